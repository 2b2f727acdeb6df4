//! `tag`.

use std::process::ExitCode;

use super::caller::Caller;
use super::engine;
use crate::failure::Failure;

/// The words of `tag`.
#[derive(clap::Args, Debug)]
pub(crate) struct TagArguments {
    /// The image
    #[arg(value_name = "SOURCE_IMAGE[:TAG]")]
    source: String,
    /// Its further name
    #[arg(value_name = "TARGET_IMAGE[:TAG]")]
    target: String,
}

/// Gives an image a further name.
pub(crate) fn run(caller: &Caller, arguments: &TagArguments) -> Result<ExitCode, Failure> {
    let host = caller.host()?;
    engine(&host).tag(&arguments.source, &arguments.target)?;
    Ok(ExitCode::SUCCESS)
}
