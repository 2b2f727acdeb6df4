//! `--call`: what is told of a Dockerfile instead of building it.

use std::process::ExitCode;

use kiln_build::Request;

use super::flags::Call;
use crate::failure::Failure;

/// Tells what was asked for on the standard output.
pub(super) fn run(call: Call, _request: &Request) -> Result<ExitCode, Failure> {
    Err(Failure::new(format!("ERROR: {call:?} is not supported yet")))
}
