//! `rmi`.

use std::process::ExitCode;

use kiln_engine::{Engine, Error, Removed};
use kiln_oci::Platform;

use super::caller::Caller;
use super::{engine, several};
use crate::failure::Failure;
use crate::{output, refusal};

/// The flags of `rmi`.
#[derive(clap::Args, Debug)]
pub(crate) struct RmiArguments {
    /// Images
    #[arg(value_name = "IMAGE", required = true)]
    names: Vec<String>,
    /// Remove it even if containers use it or it has several names
    #[arg(short, long)]
    force: bool,
    /// Keep untagged parents (there are none)
    #[arg(long, hide = true)]
    no_prune: bool,
    /// Of an image for several platforms, remove only those for these
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    platform: Vec<Platform>,
}

/// Removes names, and images with the last one.
pub(crate) fn run(caller: &Caller, arguments: &RmiArguments) -> Result<ExitCode, Failure> {
    let host = caller.host()?;
    let engine = engine(&host);
    several::each(&arguments.names, |name| match removed(&engine, name, arguments) {
        Ok(removed) => {
            for one in removed {
                match one {
                    Removed::Untagged(name) => output::line(format_args!("Untagged: {name}"))?,
                    Removed::Deleted(id) => output::line(format_args!("Deleted: {id}"))?,
                }
            }
            Ok(())
        }
        Err(error @ Error::NoSuchImage(_)) if arguments.force => {
            eprintln!("{}", refusal::words(&error));
            Ok(())
        }
        Err(error) => Err(error.into()),
    })
}

fn removed(engine: &Engine, name: &str, arguments: &RmiArguments) -> Result<Vec<Removed>, Error> {
    if arguments.platform.is_empty() {
        return engine.remove_image(name, arguments.force);
    }
    let mut removed = Vec::new();
    for platform in &arguments.platform {
        removed.extend(engine.remove_platform(name, platform, arguments.force)?);
    }
    Ok(removed)
}
