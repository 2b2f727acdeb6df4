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
const IDENTITY_TOKEN_USER: &str = "<token>";

/// The credentials in a `config.json`, and the helpers that it names.
#[derive(Clone)]
pub struct DockerConfig {
    path: PathBuf,
    file: File,
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
        // serde's own message may quote the contents: only the place is told.
        let file = serde_json::from_slice(raw).map_err(|e| CredentialsError::Invalid {
            path: path.into(),
            detail: format!("unexpected JSON in line {}, column {}", e.line(), e.column()),
        })?;
        Ok(DockerConfig { path: path.into(), file })
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
