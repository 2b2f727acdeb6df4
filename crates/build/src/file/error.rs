//! What can go wrong with a file operation, in words that users know from BuildKit.

use std::sync::Arc;

use super::missing::Guess;
use crate::tree::TreeError;

/// Why a file operation failed.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error("{0}")]
    Store(Arc<kiln_store::Error>),
    #[error("\"/{path}\": not found")]
    NotFound { path: String, guess: Option<Box<Guess>> },
    #[error("lstat /{path}: no such file or directory")]
    NoSuchDirectory { path: String, guess: Option<Box<Guess>> },
    #[error("cannot copy to non-directory: /{0}")]
    NotADirectory(String),
    #[error("cannot replace to directory /{0} with file")]
    DirectoryInTheWay(String),
    #[error("invalid chmod parameter {0:?}: expected an octal mode or clauses such as u+x,go-w")]
    Chmod(String),
    #[error(transparent)]
    User(#[from] kiln_sandbox::users::UserError),
    #[error("{0}")]
    Accounts(String),
    #[error("cannot write /{path}: {reason}")]
    Write { path: String, reason: String },
    #[error("the copy was cancelled")]
    Cancelled,
    #[error("{path:?} in the build context kept changing while it was copied")]
    Unstable { path: String },
    #[error("the store's copy of /{path} is damaged: its bytes are not those that were stored")]
    Damaged { path: String },
    #[error("cannot unpack {path:?}: {reason}")]
    Archive { path: String, reason: String },
    #[error("syntax error in the pattern {0:?}")]
    Pattern(String),
}

impl From<kiln_sandbox::Error> for FileError {
    fn from(error: kiln_sandbox::Error) -> Self {
        FileError::Accounts(crate::error::chain(&error))
    }
}

impl From<kiln_store::Error> for FileError {
    fn from(error: kiln_store::Error) -> Self {
        FileError::Store(Arc::new(error))
    }
}
