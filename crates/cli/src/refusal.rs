//! What the engine refuses, as docker's client prints it.

use kiln_engine::{Error, Origin};

use crate::failure::{Failure, chain};

/// The message with who refuses before it; exit code 1.
pub(crate) fn of_engine(error: &Error) -> Failure {
    Failure::new(words(error))
}

/// The words alone.
pub(crate) fn words(error: &Error) -> String {
    match error.origin() {
        Origin::Engine => format!("Error response from daemon: {}", chain(error)),
        Origin::Client => chain(error),
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        of_engine(&error)
    }
}
