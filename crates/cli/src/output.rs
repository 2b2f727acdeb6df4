//! What commands print. A reader that went away ends the command quietly, as a signal would.

use std::fmt::Display;
use std::io::{ErrorKind, Write};

use crate::failure::Failure;
use crate::os_error;

/// The exit code of a process that wrote into a closed pipe.
const CLOSED_PIPE: u8 = 141;

/// Prints a line to the standard output.
pub(crate) fn line(text: impl Display) -> Result<(), Failure> {
    written(writeln!(std::io::stdout().lock(), "{text}"))
}

/// Prints a text as it is.
pub(crate) fn text(text: impl Display) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    written(write!(out, "{text}").and_then(|()| out.flush()))
}

/// Prints bytes as they are.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    written(out.write_all(bytes).and_then(|()| out.flush()))
}

fn written(result: std::io::Result<()>) -> Result<(), Failure> {
    match result {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Failure::new("").with_code(CLOSED_PIPE)),
        Err(error) => Err(Failure::new(format!("write /dev/stdout: {}", os_error::words(&error)))),
    }
}
