//! Build contexts: a tree of files that belongs to the caller.
//!
//! A context is walked once, into a [`Snapshot`] of metadata; bytes are read when a step wants them. It may
//! change under the build: whoever copies compares a file's stamp before and after.

mod digests;
mod empty;
mod error;
mod ignore;
mod local;
mod snapshot;
mod stored;
mod walk;

use std::fs::File;
use std::sync::Arc;

pub(crate) use digests::ContextDigests;
pub use empty::EmptyContext;
pub use error::ContextError;
pub use ignore::{IgnoreFile, IgnoreRule};
pub use local::LocalContext;
pub use snapshot::{ContextEntry, Snapshot};
pub use stored::{StoredContext, StoredFiles};
pub(crate) use walk::describe;

/// A tree of files that belongs to the caller.
pub trait Context: Send + Sync {
    /// A text that is the same from build to build for the same place; for explanations and look-ups only.
    fn identity(&self) -> &str;

    /// The metadata of everything that is not ignored. The first call walks, later ones return the same.
    ///
    /// # Errors
    /// A directory that cannot be read.
    fn snapshot(&self) -> Result<Arc<Snapshot>, ContextError>;

    /// Opens a regular file for reading and says what it is now.
    ///
    /// # Errors
    /// A file that is gone, became something else, or may not be read.
    fn open(&self, path: &[u8]) -> Result<(File, ContextEntry), ContextError>;

    /// Whether a path exists but is left out by an ignore rule: which.
    fn ignored_by(&self, path: &[u8]) -> Option<IgnoreRule>;

    /// Whether its files are in the store: they never change, and every entry has its digest.
    fn is_stored(&self) -> bool {
        false
    }

    /// Has the store remember that a file of it is damaged, where they are in the store.
    fn note_damage(&self) {}
}
