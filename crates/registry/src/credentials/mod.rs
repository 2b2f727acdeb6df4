//! Who we are to a registry: credentials, and where they come from. This module sends nothing.

mod docker_config;
mod helper;
mod keeping;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;

pub use docker_config::DockerConfig;
pub use keeping::{Kept, Login, LoginSecret};

/// A text that must not be shown; its `Debug` form does not.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The secret itself, to be sent.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What one registry host is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A user name and a password or access token, for basic authentication and token requests.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: Secret,
    },
    /// An OAuth2 refresh token that a login left.
    IdentityToken(Secret),
}

/// Why credentials could not be had; never holds any.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// The file with the credentials cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file with the credentials is not what it should be.
    #[error("{path} is not valid: {detail}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, without the contents.
        detail: String,
    },
    /// The file with the credentials cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A credential helper did not store or erase something; docker's words.
    #[error("error {doing} credentials - err: {detail}, out: `{said}`")]
    Keep {
        /// `storing` or `erasing`.
        doing: &'static str,
        /// How it ended, or why it did not start.
        detail: String,
        /// What it said.
        said: String,
    },
    /// A credential helper could not be run or failed.
    #[error("the credential helper {helper} failed for {host}: {detail}")]
    Helper {
        /// The program.
        helper: String,
        /// The registry it was asked about.
        host: String,
        /// What it said on its standard error, or why it did not start.
        detail: String,
    },
}

/// A future of [`CredentialSource::credential`].
pub type Lookup<'a> = Pin<Box<dyn Future<Output = Result<Option<Credential>, CredentialsError>> + Send + 'a>>;

/// Knows credentials by registry.
pub trait CredentialSource: Send + Sync {
    /// The credentials for `host`, the domain as in references (`docker.io`, `localhost:5000`); `None` to
    /// ask anonymously.
    fn credential<'a>(&'a self, host: &'a str) -> Lookup<'a>;
}

/// No credentials for anybody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Anonymous;

impl CredentialSource for Anonymous {
    fn credential<'a>(&'a self, _host: &'a str) -> Lookup<'a> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// Credentials that the caller holds, by domain.
#[derive(Clone, Debug, Default)]
pub struct StaticCredentials(pub BTreeMap<String, Credential>);

impl CredentialSource for StaticCredentials {
    fn credential<'a>(&'a self, host: &'a str) -> Lookup<'a> {
        Box::pin(std::future::ready(Ok(self.0.get(host).cloned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let credential = Credential::Basic { username: "ann".into(), password: Secret::new("hunter2") };
        let shown = format!("{credential:?} {:?}", Credential::IdentityToken(Secret::new("hunter2")));
        assert!(shown.contains("ann") && !shown.contains("hunter2"), "{shown}");
    }
}
