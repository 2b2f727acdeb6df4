//! Which hosts serve a registry's content, in which order, and how each is connected to: from the user's settings, from
//! containerd's `hosts.toml` and from the directories where docker keeps certificates. Reads files, sends nothing.

mod containerd;
mod docker;

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::HeaderMap;

use crate::config::Identity;
use crate::{Config, Error, HostConfig, Security, host};

/// What stands before everything in the protocol's paths.
pub(crate) const ROOT: &str = "/v2";

/// A host that serves a registry's content: the registry itself, or a mirror.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    /// The name under which settings and credentials are kept.
    pub(crate) domain: String,
    /// The address, without a path.
    pub(crate) base: Url,
    /// What stands in place of [`ROOT`], without a slash at the end.
    pub(crate) root: String,
    /// What it is asked for.
    pub(crate) can: Capabilities,
    /// The registry whose content it serves, where it is to be told.
    pub(crate) namespace: Option<String>,
    /// What every request to it says.
    pub(crate) headers: HeaderMap,
    /// How it is connected to.
    pub(crate) connection: Connection,
    /// Whether nobody said that it speaks plain HTTP: it is this machine, which may as well speak TLS.
    pub(crate) is_guess: bool,
}

/// What a host may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capabilities {
    /// To say which digest a tag has.
    pub(crate) resolve: bool,
    /// To give what a digest names.
    pub(crate) pull: bool,
    /// To take content.
    pub(crate) push: bool,
}

impl Capabilities {
    /// Everything.
    pub(crate) const ALL: Capabilities = Capabilities { resolve: true, pull: true, push: true };
    /// What mirrors are for.
    const MIRROR: Capabilities = Capabilities { push: false, ..Capabilities::ALL };
}

/// What somebody is about to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Which digest a tag has.
    Resolve,
    /// What a digest names.
    Pull,
    /// That content is taken, listed or deleted.
    Push,
}

impl Purpose {
    /// Whether such a host is asked.
    pub(crate) fn is_for(self, can: Capabilities) -> bool {
        match self {
            Purpose::Resolve => can.resolve,
            Purpose::Pull => can.pull,
            Purpose::Push => can.push,
        }
    }
}

/// How one host is connected to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Connection {
    /// How the connection is protected.
    pub(crate) security: Security,
    /// Files with authorities that are trusted beside the system's.
    pub(crate) authorities: Vec<PathBuf>,
    /// What may be shown to the host.
    pub(crate) identities: Vec<Identity>,
    /// How long a connection may take to stand, where that is special.
    pub(crate) patience: Option<Duration>,
    /// The proxy, in place of that of the environment.
    pub(crate) proxy: Option<String>,
}

/// The hosts to ask for `domain`, in their order. The registry itself is the last; mirrors of the user's settings come
/// in place of those of `hosts.toml`. Blocks.
///
/// # Errors
/// Files that cannot be read or make no sense, an address that is none.
pub(crate) fn serving(config: &Config, domain: &str) -> Result<Vec<Server>, Error> {
    let own = config.hosts.get(domain);
    let mirrors = own.map(|host| host.mirrors.as_slice()).unwrap_or_default();
    let declared = match containerd::file(&config.hosts_directories, domain) {
        // What the command line or the user's settings say of the registry itself counts.
        Some(file) if own.is_none_or(HostConfig::leaves_open) => Some(containerd::read(config, &file, domain)?),
        _ => None,
    };
    let mut servers = match (&declared, mirrors) {
        (_, [_, ..]) => mirrors.iter().map(|word| mirror(config, word)).collect::<Result<Vec<_>, _>>()?,
        (Some(declared), []) => declared.mirrors.clone(),
        (None, []) => Vec::new(),
    };
    servers.push(match declared.and_then(|declared| declared.server) {
        Some(server) => server,
        None => itself(config, domain)?,
    });
    Ok(servers)
}

/// The host that is named `domain` in references.
fn itself(config: &Config, domain: &str) -> Result<Server, Error> {
    let connection = connection(config, domain)?;
    let is_plain = connection.security == Security::Plain;
    let scheme = if is_plain { "http" } else { "https" };
    let base = Url::parse(&format!("{scheme}://{}", host::serving(domain)))
        .map_err(|e| Error::Setup(format!("{domain:?} is no address of a registry: {e}")))?;
    Ok(Server {
        domain: domain.to_owned(),
        base,
        root: ROOT.into(),
        can: Capabilities::ALL,
        namespace: None,
        headers: HeaderMap::new(),
        connection,
        is_guess: is_plain && config.hosts.get(domain).is_none_or(|host| host.security.is_none()),
    })
}

/// A mirror of the user's settings: `HOST[:PORT]`, or an address, below whose path it serves.
fn mirror(config: &Config, word: &str) -> Result<Server, Error> {
    if !word.contains("://") && !word.contains('/') {
        return Ok(Server { can: Capabilities::MIRROR, ..itself(config, word)? });
    }
    let address = if word.contains("://") { word.to_owned() } else { format!("https://{word}") };
    let nonsense = |detail: String| Error::Setup(format!("the mirror {word:?} is no address of a registry: {detail}"));
    let url = Url::parse(&address).map_err(|e| nonsense(e.to_string()))?;
    let mut server = at(config, &url).map_err(nonsense)??;
    server.root = below(url.path(), false);
    server.can = Capabilities::MIRROR;
    Ok(server)
}

/// The server at an address; the scheme says how it is protected unless settings of its host do. The outer error is
/// for a person, to be read after what the address is.
fn at(config: &Config, url: &Url) -> Result<Result<Server, Error>, String> {
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err("it must begin with http:// or https://".into());
    }
    let domain = host::domain_of(&crate::transport::authority(url)).to_owned();
    let declared = config.hosts.get(&domain).and_then(|host| host.security);
    Ok(itself(config, &domain).map(|mut server| {
        server.is_guess = false;
        if declared.is_none() {
            let plain = url.scheme() == "http";
            server.connection.security = if plain { Security::Plain } else { Security::Tls };
            // Both schemes are special ones, between which an address may change.
            let _ = server.base.set_scheme(url.scheme());
        }
        server
    }))
}

/// What stands in place of [`ROOT`] for a server below `path`, or exactly there.
fn below(path: &str, exactly: bool) -> String {
    let path = path.trim_end_matches('/');
    if exactly || path.ends_with(ROOT) { path.to_owned() } else { format!("{path}{ROOT}") }
}

/// How `domain` itself is connected to. Blocks.
///
/// # Errors
/// A certificate without its key, or a key without its certificate.
pub(crate) fn connection(config: &Config, domain: &str) -> Result<Connection, Error> {
    let special = config.hosts.get(domain).cloned().unwrap_or_default();
    let found = docker::certificates(&directories(config, domain), domain)?;
    let has_own = !special.authorities.is_empty() || !found.authorities.is_empty();
    let security = special.security.unwrap_or({
        let plain = host::is_loopback(domain) && !has_own;
        if plain { Security::Plain } else { Security::Tls }
    });
    Ok(Connection {
        security,
        authorities: [special.authorities, found.authorities].concat(),
        identities: [special.identities, found.identities].concat(),
        patience: None,
        proxy: None,
    })
}

/// Where certificates for `domain` lie as docker has them: as with containerd also beside a `hosts.toml` that is missing.
fn directories(config: &Config, domain: &str) -> Vec<PathBuf> {
    let without_file = |place: &&PathBuf| containerd::file(std::slice::from_ref(*place), domain).is_none();
    let others = config.hosts_directories.iter().filter(without_file);
    config.certificates.iter().chain(others).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(config: &Config, domain: &str) -> Vec<String> {
        let servers = serving(config, domain).unwrap();
        servers.iter().map(|s| format!("{}{} {}", s.base.as_str().trim_end_matches('/'), s.root, s.domain)).collect()
    }

    fn with_mirrors(mirrors: &[&str]) -> Config {
        let mut config = Config::default();
        config.hosts.entry("docker.io".into()).or_default().mirrors = mirrors.iter().map(|&m| m.into()).collect();
        config
    }

    #[test]
    fn a_registry_serves_itself() {
        let config = Config::default();
        assert_eq!(shown(&config, "docker.io"), ["https://registry-1.docker.io/v2 docker.io"]);
        assert_eq!(shown(&config, "ghcr.io"), ["https://ghcr.io/v2 ghcr.io"]);
        assert_eq!(shown(&config, "localhost:5000"), ["http://localhost:5000/v2 localhost:5000"]);
    }

    #[test]
    fn certificates_lie_with_docker_or_where_a_file_of_hosts_is_missing() {
        let (docker, containerd) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (place, name) in [(&docker, "a.crt"), (&containerd, "b.crt")] {
            std::fs::create_dir(place.path().join("a.example")).unwrap();
            std::fs::write(place.path().join("a.example").join(name), "").unwrap();
        }
        let config = Config {
            certificates: vec![docker.path().into()],
            hosts_directories: vec![containerd.path().into()],
            ..Config::default()
        };
        assert_eq!(connection(&config, "a.example").unwrap().authorities.len(), 2);
        std::fs::write(containerd.path().join("a.example/hosts.toml"), "").unwrap();
        assert_eq!(connection(&config, "a.example").unwrap().authorities.len(), 1);
    }

    #[test]
    fn mirrors_come_first_by_name_or_by_address() {
        let config = with_mirrors(&["m.example", "http://n.example:8080", "https://o.example/cache/", "p.example/hub"]);
        let want = [
            "https://m.example/v2 m.example",
            "http://n.example:8080/v2 n.example:8080",
            "https://o.example/cache/v2 o.example",
            "https://p.example/hub/v2 p.example",
            "https://registry-1.docker.io/v2 docker.io",
        ];
        assert_eq!(shown(&config, "docker.io"), want);
        let servers = serving(&config, "docker.io").unwrap();
        let pushes: Vec<bool> = servers.iter().map(|server| Purpose::Push.is_for(server.can)).collect();
        assert_eq!(pushes, [false, false, false, false, true]);
        assert!(serving(&with_mirrors(&["ftp://m.example"]), "docker.io").is_err());
    }

    #[test]
    fn a_mirror_is_connected_to_as_its_own_settings_say() {
        let mut config = with_mirrors(&["https://m.example"]);
        config.hosts.entry("m.example".into()).or_default().security = Some(Security::UnverifiedTls);
        assert_eq!(serving(&config, "docker.io").unwrap()[0].connection.security, Security::UnverifiedTls);
    }
}
