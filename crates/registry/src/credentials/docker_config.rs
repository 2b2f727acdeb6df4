//! Credentials from Docker's client settings, `~/.docker/config.json`: `auths`, `credHelpers`, `credsStore`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde::Deserialize;

use super::{Credential, CredentialSource, CredentialsError, Lookup, Secret, helper};
use crate::host;

/// Under which Docker has kept the public registry's credentials since its first version.
const PUBLIC_KEY: &str = "https://index.docker.io/v1/";

/// The user name by which helpers say that the secret is an identity token.
pub(super) const IDENTITY_TOKEN_USER: &str = "<token>";

/// The credentials in a `config.json`, and the helpers that it names.
#[derive(Clone)]
pub struct DockerConfig {
    pub(super) path: PathBuf,
    file: File,
    /// What counts before the file.
    first: Option<Box<DockerConfig>>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default)]
    creds_store: String,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Clone, Default, Deserialize)]
struct Entry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    identitytoken: String,
}

impl DockerConfig {
    /// Reads the file at `path`; one that does not exist has no credentials. Blocks.
    ///
    /// # Errors
    /// A file that cannot be read, or is no JSON of this form.
    pub fn read(path: &Path) -> Result<Self, CredentialsError> {
        let raw = match std::fs::read(path) {
            Ok(raw) => raw,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => b"{}".to_vec(),
            Err(source) => return Err(CredentialsError::Read { path: path.into(), source }),
        };
        Self::parse(path, &raw)
    }

    fn parse(path: &Path, raw: &[u8]) -> Result<Self, CredentialsError> {
        let raw = if raw.trim_ascii().is_empty() { b"{}" } else { raw };
        // serde's own message may quote the contents: only the place is told.
        let file = serde_json::from_slice(raw).map_err(|e| CredentialsError::Invalid {
            path: path.into(),
            detail: format!("unexpected JSON in line {}, column {}", e.line(), e.column()),
        })?;
        Ok(DockerConfig { path: path.into(), file, first: None })
    }

    /// The same, but `text`, JSON such as the file's, counts before it: the value of the variable `name`.
    ///
    /// # Errors
    /// No JSON of this form.
    pub fn after_variable(self, name: &str, text: &str) -> Result<Self, CredentialsError> {
        let first = Self::parse(Path::new(name), text.as_bytes())?;
        Ok(DockerConfig { first: Some(Box::new(first)), ..self })
    }

    fn stored(&self, domain: &str) -> Result<Option<Credential>, CredentialsError> {
        let found = keys(domain).find_map(|key| self.file.auths.get(&key));
        let found = found
            .or_else(|| self.file.auths.iter().find(|(key, _)| registry_of_key(key) == domain).map(|(_, entry)| entry));
        match found {
            Some(entry) => self.decode(domain, entry),
            None => Ok(None),
        }
    }

    fn decode(&self, domain: &str, entry: &Entry) -> Result<Option<Credential>, CredentialsError> {
        if !entry.identitytoken.is_empty() {
            return Ok(Some(Credential::IdentityToken(Secret::new(&entry.identitytoken))));
        }
        if entry.auth.is_empty() {
            return Ok(basic(&entry.username, &entry.password));
        }
        let invalid = || CredentialsError::Invalid {
            path: self.path.clone(),
            detail: format!("the entry \"auth\" of {domain} is not base64 of user:password"),
        };
        let raw = base64::engine::general_purpose::STANDARD.decode(entry.auth.trim()).map_err(|_| invalid())?;
        let text = String::from_utf8(raw).map_err(|_| invalid())?;
        let (username, password) = text.split_once(':').ok_or_else(invalid)?;
        Ok(basic(username, password.trim_end_matches('\0')))
    }

    /// The helper that keeps what is known under `key`, if not the file does.
    pub(super) fn keeper(&self, key: &str) -> Option<&str> {
        let special = self.file.cred_helpers.get(key).map(String::as_str);
        Some(special.unwrap_or(&self.file.creds_store)).filter(|name| !name.is_empty())
    }

    fn helper(&self, domain: &str) -> Option<(&str, String)> {
        let special = keys(domain).find_map(|key| Some((self.file.cred_helpers.get(&key)?.as_str(), key)));
        let key = if domain == host::PUBLIC { PUBLIC_KEY } else { domain };
        let general = Some((self.file.creds_store.as_str(), key.to_owned()));
        special.or(general).filter(|(name, _)| !name.is_empty())
    }
}

/// The keys under which `domain` may be listed.
fn keys(domain: &str) -> impl Iterator<Item = String> {
    let public: &[&str] = if domain == host::PUBLIC { &[PUBLIC_KEY, "index.docker.io", "docker.io"] } else { &[] };
    let own = [domain.to_owned(), format!("https://{domain}"), format!("http://{domain}")];
    public.iter().map(|key| (*key).to_owned()).chain(own)
}

/// The registry that a key such as `https://host/v1/` is about.
fn registry_of_key(key: &str) -> &str {
    let rest = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let registry = rest.split('/').next().unwrap_or(rest);
    if registry == "index.docker.io" { host::PUBLIC } else { registry }
}

/// A credential of a user name and a password, where there is any.
fn basic(username: &str, password: &str) -> Option<Credential> {
    if username == IDENTITY_TOKEN_USER {
        return Some(Credential::IdentityToken(Secret::new(password)));
    }
    let some = !username.is_empty() || !password.is_empty();
    some.then(|| Credential::Basic { username: username.into(), password: Secret::new(password) })
}

impl CredentialSource for DockerConfig {
    fn credential<'a>(&'a self, host: &'a str) -> Lookup<'a> {
        Box::pin(async move {
            let first = self.first.as_ref().map(|first| first.stored(host)).transpose()?.flatten();
            if first.is_some() {
                return Ok(first);
            }
            let Some((name, key)) = self.helper(host) else { return self.stored(host) };
            match helper::get(name, &key).await? {
                Some(answer) => Ok(basic(&answer.username, answer.secret.expose())),
                None => self.stored(host),
            }
        })
    }
}

impl fmt::Debug for DockerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DockerConfig").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(raw: &str) -> DockerConfig {
        DockerConfig::parse(Path::new("config.json"), raw.as_bytes()).unwrap()
    }

    fn ann() -> Option<Credential> {
        Some(Credential::Basic { username: "ann".into(), password: Secret::new("hunter:2") })
    }

    #[test]
    fn the_public_registry_has_many_names() {
        for key in ["https://index.docker.io/v1/", "index.docker.io", "docker.io", "https://index.docker.io/v2/"] {
            let config = config(&format!(r#"{{"auths":{{"{key}":{{"auth":"YW5uOmh1bnRlcjoy"}}}}}}"#));
            assert_eq!(config.stored("docker.io").unwrap(), ann(), "{key}");
            assert_eq!(config.stored("ghcr.io").unwrap(), None, "{key}");
        }
    }

    #[test]
    fn entries_have_several_forms() {
        let check = |entry: &str, want: Option<Credential>| {
            let config = config(&format!(r#"{{"auths":{{"localhost:5000":{entry}}}}}"#));
            assert_eq!(config.stored("localhost:5000").unwrap(), want, "{entry}");
        };
        check(r#"{"auth":"YW5uOmh1bnRlcjoy"}"#, ann());
        check(r#"{"username":"ann","password":"hunter:2"}"#, ann());
        let token = Some(Credential::IdentityToken(Secret::new("t")));
        check(r#"{"auth":"YW5uOmh1bnRlcjoy","identitytoken":"t"}"#, token);
        check("{}", None);
    }

    #[test]
    fn a_key_is_for_its_own_host_only() {
        let config = config(r#"{"auths":{"https://a.example/v1/":{"auth":"YW5uOmh1bnRlcjoy"}}}"#);
        assert_eq!(config.stored("a.example").unwrap(), ann());
        for other in ["a.example:443", "b.a.example", "example", "a.example.com"] {
            assert_eq!(config.stored(other).unwrap(), None, "{other}");
        }
    }

    #[test]
    fn errors_do_not_quote_the_file() {
        let secret = r#"{"auths":{"a.example":{"auth":"hunter2!"},"b.example":{"password":"hunter2"}}}"#;
        let error = config(secret).stored("a.example").unwrap_err();
        assert!(error.to_string().contains("a.example"), "{error}");
        assert!(!format!("{error:?} {:?}", config(secret)).contains("hunter2"));
        let error = DockerConfig::parse(Path::new("c"), br#"{"auths":"hunter2"}"#).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }

    #[test]
    fn a_missing_file_has_no_credentials_and_a_directory_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let config = DockerConfig::read(&directory.path().join("none.json")).unwrap();
        assert_eq!(config.stored("docker.io").unwrap(), None);
        assert!(matches!(DockerConfig::read(directory.path()), Err(CredentialsError::Read { .. })));
    }

    #[tokio::test]
    async fn a_variable_counts_before_the_file() {
        let config = config(r#"{"auths":{"a.example":{"auth":"Yjpi"},"b.example":{"auth":"YW5uOmh1bnRlcjoy"}}}"#);
        let text = r#"{"auths":{"a.example":{"auth":"YW5uOmh1bnRlcjoy"}}}"#;
        let config = config.after_variable("V", text).unwrap();
        for host in ["a.example", "b.example"] {
            assert_eq!(config.credential(host).await.unwrap(), ann(), "{host}");
        }
        let error = self::config("").after_variable("V", "hunter2").unwrap_err().to_string();
        assert!(error.starts_with("V is not valid") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn the_helper_for_a_host_comes_before_the_general_one() {
        let config = config(r#"{"credsStore":"desktop","credHelpers":{"a.example":"special","b.example":""}}"#);
        assert_eq!(config.helper("a.example"), Some(("special", "a.example".into())));
        assert_eq!(config.helper("b.example"), None);
        assert_eq!(config.helper("docker.io"), Some(("desktop", PUBLIC_KEY.into())));
        assert_eq!(self::config("{}").helper("a.example"), None);
    }
}
