//! Commands on several things: what works is printed, what fails is told at the end, exit code 1 if anything did.

use std::process::ExitCode;

use crate::failure::Failure;

/// Does `act` for every name.
pub(super) fn each(names: &[String], mut act: impl FnMut(&str) -> Result<(), Failure>) -> Result<ExitCode, Failure> {
    let mut failures: Vec<Failure> = Vec::new();
    for name in names {
        failures.extend(act(name).err());
    }
    if failures.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let code = failures.iter().map(|failure| failure.code).max().unwrap_or(1);
    let messages: Vec<String> = failures.into_iter().map(|failure| failure.message).collect();
    Err(Failure::new(messages.join("\n")).with_code(code))
}
