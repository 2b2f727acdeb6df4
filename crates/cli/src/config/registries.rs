//! `[registries]`: what counts for all registries; `[registry."HOST"]`: how one of them is connected to.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use kiln_registry::{HostConfig, Identity, Security};
use serde_json::{Map, Value, json};
use toml::de::DeValue;

use super::read::{Key, Of, Problem, Result, bytes, entries, unknown, whole_number, wrong};
use super::said;
use crate::host::home;

const ALL: [&str; 3] = ["connections", "certificates", "hosts"];
const ONE: [&str; 7] = ["mirrors", "insecure", "ca", "cert", "key", "connections", "upload-piece"];

/// Where docker keeps certificates of registries.
const CERTIFICATES: &str = "/etc/docker/certs.d";

/// Where containerd keeps its `hosts.toml` files.
const HOSTS: &str = "/etc/containerd/certs.d";

/// What the files say; what they do not say is `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct RegistriesConfig {
    /// `connections`: how many requests each host serves at once.
    connections: Option<NonZeroUsize>,
    /// `certificates`: directories such as docker's `certs.d`.
    certificates: Option<Vec<PathBuf>>,
    /// `hosts`: directories such as containerd's `certs.d`.
    hosts: Option<Vec<PathBuf>>,
    /// `[registry."HOST"]`.
    each: BTreeMap<String, HostConfig>,
}

impl RegistriesConfig {
    /// Takes a key of `[registries]`.
    pub(super) fn take(&mut self, key: &Key<'_>, value: &Of<'_>) -> Result<()> {
        match key.get_ref().as_ref() {
            "connections" => self.connections = Some(connections(value)?),
            "certificates" => self.certificates = Some(paths(value)?),
            "hosts" => self.hosts = Some(paths(value)?),
            _ => return Err(unknown(key, Some("registries"), &ALL)),
        }
        Ok(())
    }

    /// Takes a table of `[registry]`.
    pub(super) fn take_host(&mut self, key: &Key<'_>, value: &Of<'_>) -> Result<()> {
        let name = key.get_ref();
        if name.is_empty() || name.contains('/') {
            let hint = "[registry.\"HOST\"] has a host as references name it, such as docker.io or localhost:5000";
            return Err(Problem::at(key.span(), "a host is expected, no address").with_hint(hint));
        }
        let host = self.each.entry(name.clone().into_owned()).or_default();
        entries(value, |key, value| take_setting(host, name, key, value))?;
        match host.identities.first() {
            Some(identity) if identity.certificate.as_os_str().is_empty() => {
                Err(Problem::at(key.span(), "there is a key without its cert"))
            }
            _ => Ok(()),
        }
    }

    /// The settings of a client.
    pub(crate) fn client(&self) -> kiln_registry::Config {
        let mut client = kiln_registry::Config {
            hosts: self.each.clone(),
            certificates: self.certificates.clone().unwrap_or_else(|| usual(CERTIFICATES, "docker/certs.d")),
            hosts_directories: self.hosts.clone().unwrap_or_else(|| usual(HOSTS, "containerd/certs.d")),
            ..kiln_registry::Config::default()
        };
        if let Some(connections) = self.connections {
            client.connections_per_host = connections.get();
        }
        client
    }

    /// As `info` shows it.
    pub(super) fn shown(&self) -> Map<String, Value> {
        said([
            ("connections", json!(self.connections)),
            ("certificates", json!(self.certificates)),
            ("hosts", json!(self.hosts)),
        ])
    }

    /// The same for single hosts.
    pub(super) fn shown_hosts(&self) -> Map<String, Value> {
        self.each.iter().map(|(name, host)| (name.clone(), Value::from(shown(host)))).collect()
    }
}

fn take_setting(host: &mut HostConfig, name: &str, key: &Key<'_>, value: &Of<'_>) -> Result<()> {
    match key.get_ref().as_ref() {
        "mirrors" => host.mirrors = texts(value)?.into_iter().map(str::to_owned).collect(),
        "insecure" => host.security = Some(security(value)?),
        "ca" => host.authorities = paths(value)?,
        "cert" => identity(host).certificate = path(value, text(value)?)?,
        "key" => identity(host).key = Some(path(value, text(value)?)?),
        "connections" => host.connections = Some(connections(value)?.get()),
        "upload-piece" => host.upload_piece = Some(bytes(value)?).filter(|bytes| *bytes > 0),
        _ => return Err(unknown(key, Some(&format!("registry.{name:?}")), &ONE)),
    }
    Ok(())
}

/// The one identity that these files can name.
fn identity(host: &mut HostConfig) -> &mut Identity {
    if host.identities.is_empty() {
        host.identities.push(Identity { certificate: PathBuf::new(), key: None });
    }
    &mut host.identities[0]
}

fn security(value: &Of<'_>) -> Result<Security> {
    match value.get_ref() {
        DeValue::Boolean(true) => Ok(Security::Insecure),
        DeValue::Boolean(false) => Ok(Security::Tls),
        _ => Err(wrong(value, "true or false is expected")),
    }
}

fn connections(value: &Of<'_>) -> Result<NonZeroUsize> {
    let number = usize::try_from(whole_number(value)?).ok().and_then(NonZeroUsize::new);
    number.ok_or_else(|| wrong(value, "at least one connection must be allowed"))
}

fn text<'v>(value: &'v Of<'_>) -> Result<&'v str> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text),
        _ => Err(wrong(value, "a text is expected")),
    }
}

/// One text or several.
fn texts<'v>(value: &'v Of<'_>) -> Result<Vec<&'v str>> {
    match value.get_ref() {
        DeValue::Array(items) => items.iter().map(text).collect(),
        _ => Ok(vec![text(value)?]),
    }
}

fn path(value: &Of<'_>, text: &str) -> Result<PathBuf> {
    let path = PathBuf::from(text);
    if path.is_absolute() { Ok(path) } else { Err(wrong(value, "an absolute path is expected")) }
}

/// One path or several.
fn paths(value: &Of<'_>) -> Result<Vec<PathBuf>> {
    texts(value)?.into_iter().map(|text| path(value, text)).collect()
}

/// The machine's directory, and the user's own.
fn usual(machines: &str, users: &str) -> Vec<PathBuf> {
    let given = std::env::var_os("XDG_CONFIG_HOME").filter(|directory| !directory.is_empty()).map(PathBuf::from);
    let own = given.or_else(|| Some(home()?.join(".config")));
    std::iter::once(PathBuf::from(machines)).chain(own.map(|own| own.join(users))).collect()
}

fn shown(host: &HostConfig) -> Map<String, Value> {
    let identity = host.identities.first();
    let some = |texts: Value| if texts.as_array().is_some_and(Vec::is_empty) { Value::Null } else { texts };
    said([
        ("mirrors", some(json!(host.mirrors))),
        ("insecure", json!(host.security.map(|security| security == Security::Insecure))),
        ("ca", some(json!(host.authorities))),
        ("cert", json!(identity.map(|identity| &identity.certificate))),
        ("key", json!(identity.and_then(|identity| identity.key.as_ref()))),
        ("connections", json!(host.connections)),
        ("upload-piece", json!(host.upload_piece)),
    ])
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use expect_test::{Expect, expect};

    use super::*;
    use crate::config::Config;
    use crate::config::read::into;

    #[test]
    fn every_key_is_read_and_shown() {
        let text = "[registries]\nconnections = 4\ncertificates = \"/c\"\nhosts = [\"/h\", \"/i\"]\n\
            [registry.\"docker.io\"]\nmirrors = [\"m.example\", \"http://n.example/x\"]\n\
            [registry.\"localhost:5000\"]\ninsecure = true\nca = \"/ca.pem\"\ncert = \"/me.cert\"\nkey = \"/me.key\"\n\
            connections = 2\nupload-piece = \"64MB\"\n";
        let mut config = Config::default();
        into(&mut config, text).unwrap();
        into(&mut config, "registry.\"docker.io\".insecure = false\n").unwrap();
        let shown = json!({
            "docker.io": {"mirrors": ["m.example", "http://n.example/x"], "insecure": false},
            "localhost:5000": {
                "insecure": true, "ca": ["/ca.pem"], "cert": "/me.cert", "key": "/me.key", "connections": 2,
                "upload-piece": 64 << 20,
            },
        });
        assert_eq!(Value::from(config.registries.shown_hosts()), shown);
        let client = config.registries.client();
        assert_eq!((client.connections_per_host, client.certificates), (4, vec!["/c".into()]));
        assert_eq!(client.hosts_directories, [Path::new("/h"), Path::new("/i")]);
        assert_eq!(client.hosts["docker.io"].security, Some(Security::Tls));
    }

    #[test]
    fn what_makes_no_sense_is_pointed_at() {
        let check = |text: &str, want: Expect| {
            let problem = into(&mut Config::default(), text).unwrap_err();
            want.assert_eq(&problem.failure(Path::new("config.toml"), text).message);
        };
        check(
            "[registry.\"https://a.example\"]\n",
            expect![[r#"
                ERROR: config.toml:1:11: a host is expected, no address
                   |
                 1 | [registry."https://a.example"]
                   |           ^
                hint: [registry."HOST"] has a host as references name it, such as docker.io or localhost:5000"#]],
        );
        check(
            "[registry.\"a.example\"]\nmirror = []\n",
            expect![[r#"
                ERROR: config.toml:2:1: unknown key "mirror" in [registry."a.example"]
                   |
                 2 | mirror = []
                   | ^
                hint: did you mean mirrors? [registry."a.example"] has mirrors, insecure, ca, cert, key, connections, upload-piece"#]],
        );
        for wrong in [
            "registry = 3",
            "registry.x = 3",
            "[registry.x]\nca = \"relative\"",
            "[registry.x]\nkey = \"/k\"",
            "[registry.x]\nconnections = 0",
            "[registry.x]\nmirrors = [3]",
            "[registries]\nconnection = 1",
        ] {
            assert!(into(&mut Config::default(), wrong).is_err(), "{wrong}");
        }
    }
}
