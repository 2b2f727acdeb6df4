//! Why a source cannot be had. No text here holds a user or password of an address.

use std::sync::Arc;

use kiln_oci::Digest;
use kiln_registry::WebError;

use crate::client::SecretError;
use crate::context::ContextError;

/// Why a source cannot be had.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SourceError {
    /// The server answers with a failure.
    #[error("invalid response status {0}")]
    Status(u16),
    /// No answer, or not all of it.
    #[error(transparent)]
    Web(#[from] WebError),
    /// The bytes are not those that were asked for.
    #[error("digest mismatch: {actual} (expected: {expected})")]
    Digest {
        /// What came.
        actual: Digest,
        /// What was asked for.
        expected: Digest,
    },
    /// A checksum of a kind that cannot be computed.
    #[error("checksums of the kind {0} cannot be checked")]
    Algorithm(String),
    /// git is missing.
    #[error("git cannot be started: {0}\nhint: install git, which fetches repositories")]
    GitMissing(String),
    /// git failed.
    #[error("git {action} failed: {output}")]
    Git {
        /// What git was to do.
        action: &'static str,
        /// What it said.
        output: String,
    },
    /// A repository or what is wanted of it cannot be named so.
    #[error("{what} {value:?}: {reason}")]
    Invalid {
        /// What is wrong, such as `invalid git ref`.
        what: &'static str,
        /// It.
        value: String,
        /// Why.
        reason: &'static str,
    },
    /// The repository has no such ref.
    #[error("repository does not contain ref {0}")]
    NoSuchRef(String),
    /// The ref is another commit than asked for.
    #[error("expected checksum to match {expected}, got {actual}")]
    Commit {
        /// What was asked for.
        expected: String,
        /// What the ref is.
        actual: String,
    },
    /// The directory that was asked for is not in the repository.
    #[error("the repository has no directory {0:?}")]
    NoSuchDirectory(String),
    /// A submodule cannot be had.
    #[error("submodule {path:?}: {reason}")]
    Submodule {
        /// Where it lies.
        path: String,
        /// Why.
        reason: String,
    },
    /// An archive is damaged, or none.
    #[error("cannot unpack the archive: {0}")]
    Archive(String),
    /// A file that should be a text is too large for one; so many bytes are taken.
    #[error("it is no archive, and too large for a Dockerfile: more than {0} bytes")]
    TooLarge(u64),
    /// A secret for authentication cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// What was checked out cannot be read.
    #[error(transparent)]
    Tree(#[from] ContextError),
    /// A file of our own cannot be read or written.
    #[error("{action}: {error}")]
    Local {
        /// What was to be done.
        action: &'static str,
        /// The system's words.
        error: Arc<std::io::Error>,
    },
    /// The store failed.
    #[error("{0}")]
    Store(Arc<kiln_store::Error>),
    /// Nobody waits for it any more.
    #[error("cancelled")]
    Cancelled,
}

impl From<kiln_store::Error> for SourceError {
    fn from(error: kiln_store::Error) -> Self {
        match error {
            kiln_store::Error::Cancelled => SourceError::Cancelled,
            other => SourceError::Store(Arc::new(other)),
        }
    }
}

impl SourceError {
    /// A failure to unpack.
    pub(super) fn archive(error: kiln_images::unpack::UnpackError) -> Self {
        SourceError::Archive(crate::error::chain(&error))
    }

    /// A failure on this machine.
    pub(super) fn local(action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |error| SourceError::Local { action, error: Arc::new(error) }
    }
}
