//! Why a process could not be run, or its end not be told.

use std::io;
use std::path::PathBuf;

use kiln_runtime::{StartError, WaitError};
use oci_spec::OciSpecError;

use crate::users::UserError;

/// Why a process could not be run, or its end not be told. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It did not start; tells a missing program (127) from one that cannot be executed (126).
    #[error(transparent)]
    Start(#[from] StartError),
    /// The end of the process cannot be told.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// Its user is not to be had.
    #[error(transparent)]
    User(#[from] UserError),
    /// The store refused something.
    #[error(transparent)]
    Store(#[from] kiln_store::Error),
    /// More layers than one overlay takes.
    #[error("the root file system has {count} layers that are not empty, but an overlay takes at most {limit}")]
    TooManyLayers {
        /// How many there are, without empty ones and repeats.
        count: usize,
        /// How many the kernel takes.
        limit: usize,
    },
    /// Something to be mounted is not there, or cannot be mounted.
    #[error("cannot mount {source_path} at {}: {reason}", target.display())]
    Mount {
        /// What was asked for.
        source_path: String,
        /// Where.
        target: PathBuf,
        /// Why not.
        reason: io::Error,
    },
    /// A value does not fit into the runtime's specification.
    #[error("the process cannot be described to the runtime")]
    Spec(#[from] OciSpecError),
    /// A system call failed while preparing.
    #[error("cannot {action}")]
    Io {
        /// What was tried.
        action: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The caller's cancellation ended it, or kept it from starting.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// Docker's exit code for it: 127 not found, 126 not executable, 125 otherwise.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Start(error) => error.exit_code(),
            _ => 125,
        }
    }

    pub(crate) fn io(action: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Error::Io { action: action.into(), source: source.into() }
    }
}
