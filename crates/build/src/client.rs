//! What a build asks of whoever wants it: contexts, secrets, SSH agents.
//!
//! No path of the user's machine goes below this trait: a build sees names, entries and bytes. [`LocalClient`]
//! answers from this machine; another implementation can answer over a wire.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use kiln_sandbox::Secret;

use crate::context::{Context, ContextError, IgnoreFile, LocalContext};
use crate::ssh::SshAgent;

/// The caller of a build.
pub trait Client: Send + Sync {
    /// The context of that name: `context` is the main one, others come from `--build-context`.
    ///
    /// # Errors
    /// A context that was promised and cannot be read. `Ok(None)`: there is none of that name.
    fn context(&self, name: &str) -> Result<Option<Arc<dyn Context>>, ContextError>;

    /// The secret of that id, for `RUN --mount=type=secret`. It is asked for when the step runs, and kept nowhere.
    ///
    /// # Errors
    /// A secret that was promised and cannot be read. `Ok(None)`: there is none of that id.
    fn secret(&self, id: &str) -> Result<Option<Secret>, SecretError>;

    /// The SSH agent of that id, for `RUN --mount=type=ssh`; `None`: there is none of that id.
    fn ssh_agent(&self, id: &str) -> Option<Arc<dyn SshAgent>>;
}

/// Why a secret cannot be had.
#[derive(Clone, Debug, thiserror::Error)]
#[error("secret {id}: {reason}")]
pub struct SecretError {
    /// Which.
    pub id: String,
    /// Why, without its value.
    pub reason: String,
}

/// Where a secret is found on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// The content of a file.
    File(PathBuf),
    /// The value of an environment variable.
    Variable(String),
}

/// The largest secret in bytes, as in BuildKit.
const LARGEST_SECRET: u64 = 500 << 10;

/// A local directory offered as a context.
#[derive(Clone, Debug)]
pub struct LocalDirectory {
    /// The directory.
    pub path: PathBuf,
    /// Its ignore file.
    pub ignore: Option<IgnoreFile>,
}

/// A client on the same machine: contexts are directories, read in place, or what was fetched before.
#[derive(Default)]
pub struct LocalClient {
    directories: BTreeMap<String, LocalDirectory>,
    contexts: BTreeMap<String, Arc<dyn Context>>,
    secrets: BTreeMap<String, SecretSource>,
    ssh_agents: BTreeMap<String, Arc<dyn SshAgent>>,
    opened: Mutex<BTreeMap<String, Arc<LocalContext>>>,
}

impl LocalClient {
    /// A client with these directories, by context name.
    pub fn new(directories: BTreeMap<String, LocalDirectory>) -> Self {
        LocalClient { directories, ..LocalClient::default() }
    }

    /// The same with contexts that are directories, by name.
    #[must_use]
    pub fn with_directories(self, directories: BTreeMap<String, LocalDirectory>) -> Self {
        LocalClient { directories, ..self }
    }

    /// The same with contexts that are no directories, by name.
    #[must_use]
    pub fn with_contexts(self, contexts: BTreeMap<String, Arc<dyn Context>>) -> Self {
        LocalClient { contexts, ..self }
    }

    /// The same with secrets, by id.
    #[must_use]
    pub fn with_secrets(self, secrets: BTreeMap<String, SecretSource>) -> Self {
        LocalClient { secrets, ..self }
    }

    /// The same with SSH agents, by id.
    #[must_use]
    pub fn with_ssh_agents(self, ssh_agents: BTreeMap<String, Arc<dyn SshAgent>>) -> Self {
        LocalClient { ssh_agents, ..self }
    }
}

impl Client for LocalClient {
    fn context(&self, name: &str) -> Result<Option<Arc<dyn Context>>, ContextError> {
        if let Some(context) = self.contexts.get(name) {
            return Ok(Some(Arc::clone(context)));
        }
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(context) = opened.get(name) {
            return Ok(Some(Arc::clone(context) as Arc<dyn Context>));
        }
        let Some(directory) = self.directories.get(name) else { return Ok(None) };
        let context = Arc::new(LocalContext::open(&directory.path, directory.ignore.as_ref())?);
        opened.insert(name.to_owned(), Arc::clone(&context));
        Ok(Some(context))
    }

    fn secret(&self, id: &str) -> Result<Option<Secret>, SecretError> {
        let bytes = match self.secrets.get(id) {
            None => return Ok(None),
            Some(SecretSource::Variable(name)) => std::env::var_os(name).unwrap_or_default().into_encoded_bytes(),
            Some(SecretSource::File(path)) => {
                let read = read_limited(path, LARGEST_SECRET);
                let unreadable = |error| SecretError { id: id.into(), reason: format!("{}: {error}", path.display()) };
                read.map_err(unreadable)?
            }
        };
        if bytes.len() as u64 > LARGEST_SECRET {
            return Err(SecretError { id: id.into(), reason: format!("it is larger than {LARGEST_SECRET} bytes") });
        }
        Ok(Some(Secret(bytes)))
    }

    fn ssh_agent(&self, id: &str) -> Option<Arc<dyn SshAgent>> {
        self.ssh_agents.get(id).map(Arc::clone)
    }
}

/// A file's content, or its first `limit` + 1 bytes.
fn read_limited(path: &Path, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_come_from_files_and_variables() {
        let directory = tempfile::tempdir().unwrap();
        let (small, large) = (directory.path().join("small"), directory.path().join("large"));
        std::fs::write(&small, "hush").unwrap();
        std::fs::write(&large, vec![0; LARGEST_SECRET as usize + 1]).unwrap();
        let missing = SecretSource::File(directory.path().join("missing"));
        let client = LocalClient::default().with_secrets(BTreeMap::from([
            ("small".into(), SecretSource::File(small)),
            ("large".into(), SecretSource::File(large)),
            ("path".into(), SecretSource::Variable("PATH".into())),
            ("missing".into(), missing),
        ]));
        assert_eq!(client.secret("small").unwrap(), Some(Secret(b"hush".to_vec())));
        assert_eq!(client.secret("path").unwrap().unwrap().0, std::env::var("PATH").unwrap().into_bytes());
        assert_eq!(client.secret("other").unwrap(), None);
        assert!(client.secret("large").unwrap_err().to_string().contains("larger than"));
        assert!(client.secret("missing").unwrap_err().to_string().contains("No such file"));
    }
}
