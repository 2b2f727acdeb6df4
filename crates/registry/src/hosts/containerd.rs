//! containerd's `hosts.toml`: the hosts that serve one registry's content, what each is asked for, and how each is
//! connected to. A directory for a registry is called by its name; `_default` is for all that have none.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use toml::de::{DeTable, DeValue};

use super::{Capabilities, Connection, ROOT, Server, at, below};
use crate::config::Identity;
use crate::{Config, Error, Security};

/// The file in a registry's directory.
const FILE: &str = "hosts.toml";

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Declared {
    /// The hosts to be asked before the registry itself.
    pub(super) mirrors: Vec<Server>,
    /// The registry itself, if the file says anything of it.
    pub(super) server: Option<Server>,
}

/// The file for `domain`, if there is one.
pub(super) fn file(directories: &[PathBuf], domain: &str) -> Option<PathBuf> {
    if domain.is_empty() || domain.starts_with('.') || domain.contains('/') {
        return None;
    }
    let with_port = domain.rsplit_once(':').map(|(name, port)| format!("{name}_{port}_"));
    let names = [with_port, Some(domain.to_owned()), Some("_default".to_owned())];
    directories.iter().find_map(|directory| {
        // The first directory that there is counts, as with containerd, even if it has no file.
        let found = names.iter().flatten().map(|name| directory.join(name)).find(|place| place.is_dir())?;
        Some(found.join(FILE)).filter(|file| file.is_file())
    })
}

/// Reads the file for `domain`.
pub(super) fn read(config: &Config, file: &Path, domain: &str) -> Result<Declared, Error> {
    let text = fs::read_to_string(file).map_err(|e| Error::Setup(format!("cannot read {}: {e}", file.display())))?;
    let reader = Reader { config, file, domain };
    let wrong = |detail: String| Error::Setup(format!("{}: {detail}", file.display()));
    let document = DeTable::parse(&text).map_err(|e| wrong(e.message().to_owned()))?;
    reader.document(document.get_ref()).map_err(|stop| match stop {
        Stop::Wrong(detail) => wrong(detail),
        Stop::Failed(error) => error,
    })
}

/// Why a file is not read to its end.
enum Stop {
    /// It makes no sense; for a person.
    Wrong(String),
    /// Something else does not work.
    Failed(Error),
}

impl From<String> for Stop {
    fn from(detail: String) -> Self {
        Stop::Wrong(detail)
    }
}

struct Reader<'a> {
    config: &'a Config,
    file: &'a Path,
    domain: &'a str,
}

impl Reader<'_> {
    fn document(&self, document: &DeTable<'_>) -> Result<Declared, Stop> {
        let mut declared = Declared::default();
        let mut hosts = Vec::new();
        for (key, value) in document {
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("host", DeValue::Table(table)) => hosts.extend(table),
                ("host", _) => return Err("\"host\" is no table".to_owned().into()),
                _ => {}
            }
        }
        // Hosts are asked in the order of the file.
        hosts.sort_by_key(|(key, _)| key.span().start);
        for (address, settings) in hosts {
            let DeValue::Table(settings) = settings.get_ref() else {
                return Err(format!("[host.{:?}] is no table", address.get_ref()).into());
            };
            declared.mirrors.push(self.server(address.get_ref(), settings)?);
        }
        declared.server = self.itself(document)?;
        Ok(declared)
    }

    /// The registry itself, if anything is said of it.
    fn itself(&self, document: &DeTable<'_>) -> Result<Option<Server>, Stop> {
        if document.keys().all(|key| key.get_ref() == "host") {
            return Ok(None);
        }
        let server = document.iter().find(|(key, _)| key.get_ref() == "server");
        let own = match server {
            Some((_, value)) => text("server", value.get_ref())?.to_owned(),
            None => {
                let own = super::itself(self.config, self.domain).map_err(Stop::Failed)?;
                own.base.to_string()
            }
        };
        self.server(&own, document).map(Some)
    }

    fn server(&self, address: &str, settings: &DeTable<'_>) -> Result<Server, Stop> {
        let full = if address.contains("://") { address.to_owned() } else { format!("https://{address}") };
        let named = |detail: String| Stop::Wrong(format!("{address:?} is no address of a registry: {detail}"));
        let url = Url::parse(&full).map_err(|e| named(e.to_string()))?;
        let mut server = at(self.config, &url).map_err(named)?.map_err(Stop::Failed)?;
        let mut exactly = false;
        let mut skip_verify = false;
        for (key, value) in settings {
            let (name, value) = (key.get_ref().as_ref(), value.get_ref());
            match name {
                "capabilities" => server.can = capabilities(value)?,
                "ca" => server.connection.authorities.extend(self.paths(name, value)?),
                "client" => server.connection.identities.extend(self.identities(value)?),
                "skip_verify" => skip_verify = truth(name, value)?,
                "override_path" => exactly = truth(name, value)?,
                "header" => server.headers = headers(value)?,
                "dial_timeout" => server.connection.patience = Some(duration(text(name, value)?)?),
                "proxy" => server.connection.proxy = Some(text(name, value)?.to_owned()),
                "server" | "host" => {}
                _ => return Err(format!("unknown key {name:?}").into()),
            }
        }
        server.root = if url.path() == "/" && !exactly { ROOT.into() } else { below(url.path(), exactly) };
        server.namespace = (server.domain != self.domain).then(|| self.domain.to_owned());
        secure(&mut server.connection, skip_verify);
        let scheme = if server.connection.security == Security::Plain { "http" } else { "https" };
        // Both schemes are special ones, between which an address may change.
        let _ = server.base.set_scheme(scheme);
        Ok(server)
    }

    /// One path or several, relative to the file.
    fn paths(&self, name: &str, value: &DeValue<'_>) -> Result<Vec<PathBuf>, String> {
        let path = |value: &DeValue<'_>| Ok(self.beside(text(name, value)?));
        match value {
            DeValue::Array(items) => items.iter().map(|item| path(item.get_ref())).collect(),
            one => Ok(vec![path(one)?]),
        }
    }

    /// One file, several, or pairs of a certificate and its key.
    fn identities(&self, value: &DeValue<'_>) -> Result<Vec<Identity>, String> {
        let DeValue::Array(items) = value else {
            return Ok(vec![Identity { certificate: self.beside(text("client", value)?), key: None }]);
        };
        let one = |item: &DeValue<'_>| match item {
            DeValue::Array(pair) => match &pair[..] {
                [certificate, key] => {
                    let key = Some(text("client", key.get_ref())?).filter(|key| !key.is_empty());
                    let certificate = self.beside(text("client", certificate.get_ref())?);
                    Ok(Identity { certificate, key: key.map(|key| self.beside(key)) })
                }
                _ => Err("a pair in \"client\" is a certificate and its key".to_owned()),
            },
            one => Ok(Identity { certificate: self.beside(text("client", one)?), key: None }),
        };
        items.iter().map(|item| one(item.get_ref())).collect()
    }

    fn beside(&self, path: &str) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("/")).join(path)
    }
}

/// A plain address with settings for TLS is asked with TLS: as with containerd, without verification also without it.
fn secure(connection: &mut Connection, skip_verify: bool) {
    let has_settings = !connection.authorities.is_empty() || !connection.identities.is_empty();
    connection.security = match (connection.security, skip_verify) {
        (Security::Plain, true) => Security::Insecure,
        (Security::Plain, false) if has_settings => Security::Tls,
        (Security::Tls, true) => Security::UnverifiedTls,
        (as_it_is, _) => as_it_is,
    };
}

fn text<'v>(name: &str, value: &'v DeValue<'_>) -> Result<&'v str, String> {
    match value {
        DeValue::String(text) => Ok(text),
        _ => Err(format!("{name:?} is no text")),
    }
}

fn truth(name: &str, value: &DeValue<'_>) -> Result<bool, String> {
    match value {
        DeValue::Boolean(truth) => Ok(*truth),
        _ => Err(format!("{name:?} is neither true nor false")),
    }
}

fn capabilities(value: &DeValue<'_>) -> Result<Capabilities, String> {
    let DeValue::Array(names) = value else { return Err("\"capabilities\" is no list".into()) };
    if names.is_empty() {
        return Ok(Capabilities::ALL);
    }
    let mut can = Capabilities { resolve: false, pull: false, push: false };
    for name in names {
        match text("capabilities", name.get_ref())?.to_ascii_lowercase().as_str() {
            "pull" => can.pull = true,
            "resolve" => can.resolve = true,
            "push" => can.push = true,
            other => return Err(format!("unknown capability {other:?}: there are pull, resolve and push")),
        }
    }
    Ok(can)
}

/// Headers, none of which is ever shown: one may be a secret.
fn headers(value: &DeValue<'_>) -> Result<HeaderMap, String> {
    let DeValue::Table(table) = value else { return Err("\"header\" is no table".into()) };
    let mut headers = HeaderMap::new();
    for (name, value) in table {
        let name = name.get_ref();
        let key = HeaderName::try_from(name.as_ref()).map_err(|_| format!("{name:?} is no name of a header"))?;
        let values = match value.get_ref() {
            DeValue::Array(values) => values.iter().map(|value| text(name, value.get_ref())).collect(),
            one => text(name, one).map(|one| vec![one]),
        };
        for value in values? {
            let bad = |_| format!("the value of the header {name:?} cannot be sent");
            let mut value = HeaderValue::from_str(value).map_err(bad)?;
            value.set_sensitive(true);
            headers.append(&key, value);
        }
    }
    Ok(headers)
}

/// `1s`, `500ms`, `1m30s`, as Go writes it.
fn duration(text: &str) -> Result<Duration, String> {
    let invalid = || format!("\"dial_timeout\" is a time such as \"5s\", not {text:?}");
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(invalid)?);
        let (unit, tail) = tail.split_at(tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len()));
        let factor = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(invalid()),
        };
        seconds += number.parse::<f64>().map_err(|_| invalid())? * factor;
        rest = tail;
    }
    Duration::try_from_secs_f64(seconds).ok().filter(|time| !time.is_zero()).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place(tempfile::TempDir);

    impl Place {
        fn with(name: &str, text: &str) -> Place {
            let place = Place(tempfile::tempdir().unwrap());
            place.put(name, text);
            place
        }

        fn put(&self, name: &str, text: &str) {
            let directory = self.0.path().join(name);
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join(FILE), text).unwrap();
        }

        fn config(&self) -> Config {
            Config { hosts_directories: vec![self.0.path().into()], ..Config::default() }
        }

        fn servers(&self, domain: &str) -> Vec<Server> {
            super::super::serving(&self.config(), domain).unwrap()
        }

        fn shown(&self, domain: &str) -> Vec<String> {
            let shown = |s: &Server| {
                let can = [(s.can.pull, 'p'), (s.can.resolve, 'r'), (s.can.push, 'w')];
                let can: String = can.iter().filter(|(can, _)| *can).map(|(_, letter)| letter).collect();
                let ns = s.namespace.as_ref().map(|ns| format!(" for {ns}")).unwrap_or_default();
                format!("{}{} {can} {:?}{ns}", s.base.as_str().trim_end_matches('/'), s.root, s.connection.security)
            };
            self.servers(domain).iter().map(shown).collect()
        }
    }

    #[test]
    fn hosts_are_asked_in_the_order_of_the_file_and_then_the_registry() {
        let place = Place::with(
            "docker.io",
            "[host.\"https://z.example\"]\n capabilities = [\"pull\"]\n[host.\"http://a.example:80/hub\"]\n\
             [host.\"b.example/v2/x\"]\n override_path = true\n skip_verify = true\n",
        );
        let want = [
            "https://z.example/v2 p Tls for docker.io",
            "http://a.example/hub/v2 prw Plain for docker.io",
            "https://b.example/v2/x prw UnverifiedTls for docker.io",
            "https://registry-1.docker.io/v2 prw Tls",
        ];
        assert_eq!(place.shown("docker.io"), want);
        assert_eq!(place.shown("ghcr.io"), ["https://ghcr.io/v2 prw Tls"]);
    }

    #[test]
    fn a_server_stands_in_for_the_registry() {
        let place = Place::with("a.example_5000_", "server = \"http://b.example:8080\"\ncapabilities = [\"Pull\"]\n");
        assert_eq!(place.shown("a.example:5000"), ["http://b.example:8080/v2 p Plain for a.example:5000"]);
        place.put("_default", "server = \"https://c.example\"");
        assert_eq!(place.shown("d.example"), ["https://c.example/v2 prw Tls for d.example"]);
        place.put("docker.io", "server = \"https://registry-1.docker.io\"");
        assert_eq!(place.shown("docker.io"), ["https://registry-1.docker.io/v2 prw Tls"]);
    }

    #[test]
    fn certificates_lie_beside_the_file() {
        let place = Place::with(
            "a.example",
            "ca = [\"one.pem\", \"/two.pem\"]\nclient = [[\"me.cert\", \"me.key\"], \"both.pem\", [\"x\", \"\"]]\n",
        );
        let connection = place.servers("a.example").remove(0).connection;
        let here = |name: &str| place.0.path().join("a.example").join(name);
        assert_eq!(connection.authorities, [here("one.pem"), "/two.pem".into()]);
        let pair = |certificate, key: Option<&str>| Identity { certificate: here(certificate), key: key.map(here) };
        assert_eq!(connection.identities, [pair("me.cert", Some("me.key")), pair("both.pem", None), pair("x", None)]);
    }

    #[test]
    fn a_header_is_sent_and_never_shown() {
        let place = Place::with("a.example", "dial_timeout = \"1m500ms\"\n[header]\n x-a = [\"hunter2\", \"b\"]\n");
        let server = place.servers("a.example").remove(0);
        assert_eq!(server.headers.get_all("x-a").iter().count(), 2);
        assert_eq!(server.connection.patience, Some(Duration::from_millis(60_500)));
        assert!(!format!("{server:?}").contains("hunter2"));
    }

    #[test]
    fn what_makes_no_sense_is_named_with_the_file() {
        for (text, want) in [
            ("server = 3", "\"server\" is no text"),
            ("capabilities = [\"fly\"]", "unknown capability \"fly\""),
            ("skip_verify = \"no\"", "neither true nor false"),
            ("client = [[\"a\"]]", "a certificate and its key"),
            ("[host.\"ftp://x\"]", "no address"),
            ("dial_timeout = \"5\"", "a time such as"),
            ("skipverify = true", "unknown key"),
            ("[host", ""),
        ] {
            let place = Place::with("a.example", text);
            let error = super::super::serving(&place.config(), "a.example").unwrap_err().to_string();
            assert!(error.contains("hosts.toml: ") && error.contains(want), "{text}: {error}");
        }
    }

    #[test]
    fn the_users_own_settings_count_for_the_registry_itself() {
        let place = Place::with("a.example", "server = \"https://b.example\"");
        let mut config = place.config();
        config.hosts.entry("a.example".into()).or_default().security = Some(Security::Plain);
        let servers = super::super::serving(&config, "a.example").unwrap();
        assert_eq!(servers.iter().map(|s| s.base.as_str()).collect::<Vec<_>>(), ["http://a.example/"]);
    }
}
