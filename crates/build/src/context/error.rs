//! What can go wrong with a context.

use std::io;
use std::path::PathBuf;

/// Why a context cannot be read. Cheap to clone: one failure may be told to many steps.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ContextError {
    /// The context is no directory that can be opened.
    #[error("unable to prepare context: path {path:?} {reason}", path = path.display().to_string())]
    Unusable {
        /// The directory as the user wrote it.
        path: PathBuf,
        /// Why: `not found`, or the system's words.
        reason: String,
    },
    /// An entry cannot be read.
    #[error("cannot read {path:?} in the build context: {reason}")]
    Entry {
        /// The path within the context, lossily.
        path: String,
        /// The system's words.
        reason: String,
        /// The system's number for it, if it was the system that refused.
        code: Option<i32>,
    },
    /// The ignore file is wrong.
    #[error("error parsing ignore file: {0}")]
    Ignore(String),
}

impl ContextError {
    pub(crate) fn entry(path: &[u8], error: impl Into<io::Error>) -> Self {
        let error = error.into();
        let path = String::from_utf8_lossy(path).into_owned();
        ContextError::Entry { path, reason: error.to_string(), code: error.raw_os_error() }
    }
}
