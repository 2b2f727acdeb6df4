//! `rm`.

use std::process::ExitCode;

use kiln_engine::Error;

use super::caller::Caller;
use super::{engine, several};
use crate::failure::Failure;
use crate::{output, refusal};

/// The flags of `rm`.
#[derive(clap::Args, Debug)]
pub(crate) struct RmArguments {
    /// Containers
    #[arg(value_name = "CONTAINER", required = true)]
    names: Vec<String>,
    /// Kill a container that runs
    #[arg(short, long)]
    force: bool,
    /// Remove its anonymous volumes, too
    #[arg(short, long)]
    volumes: bool,
    /// Remove a link (not supported: there are none)
    #[arg(short, long, hide = true)]
    link: bool,
}

/// Removes containers.
pub(crate) fn run(caller: &Caller, arguments: &RmArguments) -> Result<ExitCode, Failure> {
    if arguments.link {
        return Err(Failure::new("not supported: --link"));
    }
    let host = caller.host()?;
    let engine = engine(&host);
    several::each(&arguments.names, |name| match engine.remove(name, arguments.force, arguments.volumes) {
        Ok(()) => {
            output::line(name)?;
            Ok(())
        }
        // What is to be gone is gone; docker says so and is content.
        Err(error @ Error::NoSuchContainer(_)) if arguments.force => {
            eprintln!("{}", refusal::words(&error));
            Ok(())
        }
        Err(error) => Err(error.into()),
    })
}
