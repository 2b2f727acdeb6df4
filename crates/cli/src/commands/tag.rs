//! `tag`.

use std::process::ExitCode;

use kiln_oci::Reference;

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
    if arguments.target.parse::<Reference>().is_ok_and(|target| target.digest().is_some()) {
        return Err(Failure::new("refusing to create a tag with a digest reference"));
    }
    let host = caller.host()?;
    engine(&host).tag(&arguments.source, &arguments.target)?;
    Ok(ExitCode::SUCCESS)
}
