//! What can go wrong with a depot, in words that help.

use std::io;
use std::path::PathBuf;

use kiln_oci::Digest;

/// An error of a depot. `depot` is its name as a person knows it, without credentials.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The registry, or the way to it.
    #[error("the cache {depot}: {source}")]
    Registry {
        /// The depot.
        depot: String,
        /// What the registry's client says.
        source: Box<kiln_registry::Error>,
    },
    /// The object store, or the way to it.
    #[error("the cache {depot}: cannot {doing} an object: {source}")]
    Objects {
        /// The depot.
        depot: String,
        /// What was tried.
        doing: &'static str,
        /// What the object store's client says.
        source: Box<object_store::Error>,
    },
    /// Settings with which nothing can be asked.
    #[error("the cache {depot}: {detail}")]
    Setup {
        /// The depot.
        depot: String,
        /// What is wrong with them.
        detail: String,
    },
    /// A file or directory of a depot that is a directory.
    #[error("the cache {depot}: cannot {doing} {}: {source}", .path.display())]
    Disk {
        /// The depot.
        depot: String,
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The depot does not hold what was asked for.
    #[error("the cache {depot} does not hold {digest}")]
    Missing {
        /// The depot.
        depot: String,
        /// What was asked for.
        digest: Digest,
    },
    /// What the depot holds under that name is something else.
    #[error("the cache {depot} is damaged: {what}: {detail}")]
    Damaged {
        /// The depot.
        depot: String,
        /// The blob, entry or file.
        what: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A document is larger than is read.
    #[error("the cache {depot}: {what} is larger than the {limit} bytes that are accepted")]
    TooLarge {
        /// The depot.
        depot: String,
        /// The document.
        what: String,
        /// Bytes accepted.
        limit: u64,
    },
    /// The bytes to put could not be read here, or are not those that were announced.
    #[error("cannot put {digest} into the cache {depot}: {detail}")]
    Source {
        /// The depot.
        depot: String,
        /// The blob.
        digest: Digest,
        /// Why.
        detail: String,
    },
    /// The program is ending.
    #[error("given up: the program is ending")]
    Stopped,
}

impl Error {
    /// Whether the depot works and just has nothing usable there: for a reader that is a miss, no failure.
    pub fn is_absence(&self) -> bool {
        match self {
            Error::Missing { .. } | Error::Damaged { .. } | Error::TooLarge { .. } => true,
            Error::Registry { source, .. } => matches!(
                **source,
                kiln_registry::Error::NotFound { .. }
                    | kiln_registry::Error::DigestMismatch { .. }
                    | kiln_registry::Error::SizeMismatch { .. }
                    | kiln_registry::Error::Truncated { .. }
                    | kiln_registry::Error::TooLarge { .. }
                    | kiln_registry::Error::InvalidManifest { .. }
                    | kiln_registry::Error::UnsupportedManifest { .. }
            ),
            _ => false,
        }
    }

    /// Whether the place can be reached and only gives no good answer to one question: a registry whose manifest is
    /// damaged on its disk says so.
    pub(super) fn is_answer(&self) -> bool {
        match self {
            Error::Registry { source, .. } => matches!(**source, kiln_registry::Error::Status { .. }),
            _ => false,
        }
    }

    /// Whether the place denies access. Registries also do so where a repository does not exist yet: a writer may go
    /// on as if the depot were empty, and fails at the first [`put`](super::Depot::put) if it is not welcome.
    pub fn is_denial(&self) -> bool {
        match self {
            Error::Registry { source, .. } => matches!(**source, kiln_registry::Error::Denied { .. }),
            Error::Objects { source, .. } => matches!(
                **source,
                object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. }
            ),
            _ => false,
        }
    }
}

/// The result of asking a depot.
pub type Result<T> = std::result::Result<T, Error>;
