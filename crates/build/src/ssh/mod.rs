//! SSH agents for `RUN --mount=type=ssh`: the caller's own, or one of key files inside this process.
//!
//! A step may list keys and sign with them, nothing else: it cannot add, remove or lock keys of the user's agent.
//! Knows nothing of steps and mounts.

mod forward;
mod keys;
mod wire;

use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use forward::Forwarded;
use keys::Keys;

/// An agent that answers on connections.
pub trait SshAgent: Send + Sync {
    /// Speaks the agent's protocol on a connection until that is closed or shut down.
    fn serve(&self, connection: UnixStream);
}

/// Where an agent is found on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SshSource {
    /// One socket of an agent, or one or more private keys.
    Paths(Vec<PathBuf>),
    /// A socket to which every byte is forwarded as it is, whatever listens there.
    RawSocket(PathBuf),
}

/// Why an agent cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SshError {
    /// A socket or key that cannot be read.
    #[error("{}: {reason}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// No private key in a format that is understood.
    #[error("{}: {problem}", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: KeyProblem,
    },
    /// Sockets and keys, or several sockets, for one id.
    #[error("{}: one id stands for a single socket, or for keys only", .0.display())]
    Mixed(PathBuf),
    /// Something else than a socket, to which every byte was to be forwarded.
    #[error("{}: raw=true is for sockets only", .0.display())]
    NoSocket(PathBuf),
}

/// Why a private key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyProblem {
    /// It is no private key.
    #[error("no private key was found in it")]
    NotAKey,
    /// It is one, in a format that kiln does not read.
    #[error("the format of this key is not supported; convert it: ssh-keygen -p -f KEY")]
    Format,
    /// It is encrypted, and nobody is asked for its passphrase.
    #[error("the key has a passphrase; add it to an agent and forward that")]
    Passphrase,
    /// An algorithm that kiln cannot sign with.
    #[error("kiln signs with Ed25519, RSA, and ECDSA on P-256 and P-384; for other keys forward an agent")]
    Algorithm,
    /// Its numbers contradict each other.
    #[error("the key is damaged")]
    Damaged,
}

impl SshSource {
    /// Finds the agent. Keys are read now; a socket is connected to when a step wants it.
    ///
    /// # Errors
    /// What is missing, unreadable or no key.
    pub fn open(&self) -> Result<Arc<dyn SshAgent>, SshError> {
        let paths = match self {
            SshSource::RawSocket(path) if is_socket(path)? => return Ok(Arc::new(Forwarded::raw(path.clone()))),
            SshSource::RawSocket(path) => return Err(SshError::NoSocket(path.clone())),
            SshSource::Paths(paths) => paths,
        };
        let mut keys = Keys::default();
        for path in paths {
            match (is_socket(path)?, paths.len()) {
                (true, 1) => return Ok(Arc::new(Forwarded::agent(path.clone()))),
                (true, _) => return Err(SshError::Mixed(path.clone())),
                (false, _) => keys.add(path)?,
            }
        }
        Ok(Arc::new(keys))
    }
}

fn is_socket(path: &std::path::Path) -> Result<bool, SshError> {
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    Ok(metadata.file_type().is_socket())
}

fn unreadable(path: &std::path::Path, error: &std::io::Error) -> SshError {
    SshError::Unreadable { path: path.to_owned(), reason: error.to_string() }
}
