//! `load`: images out of an archive.

use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use kiln_engine::Error;
use kiln_oci::{Platform, Reference};

use super::caller::Caller;
use super::engine;
use crate::display::{Display, Progress};
use crate::failure::{Failure, chain};
use crate::{collector, os_error, output};

/// The flags of `load`.
#[derive(clap::Args, Debug)]
pub(crate) struct LoadArguments {
    /// Read from this archive instead of the standard input
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
    /// Of an image for several platforms, load only the one for this
    #[arg(long)]
    platform: Option<Platform>,
}

/// Loads.
pub(crate) fn run(caller: &Caller, arguments: &LoadArguments) -> Result<ExitCode, Failure> {
    let archive = archive(arguments.input.as_deref())?;
    let config = caller.config()?;
    let host = caller.host()?;
    // Docker's progress of a load is for terminals alone.
    let quiet = arguments.quiet || !std::io::stderr().is_terminal();
    let display = Display::new(if quiet { Progress::Quiet } else { Progress::Auto });
    let task = display.sink.task("load");
    let loaded = engine(&host).load(archive, arguments.platform.as_ref(), &task);
    display.finish();
    for image in loaded.map_err(of_load)? {
        if image.names.is_empty() {
            output::line(format_args!("Loaded image ID: {}", image.id))?;
        }
        for name in &image.names {
            let familiar = name.parse::<Reference>().map_or_else(|_| name.clone(), |name| name.familiar());
            output::line(format_args!("Loaded image: {familiar}"))?;
        }
    }
    collector::collect(&host.store, &config.gc);
    Ok(ExitCode::SUCCESS)
}

/// What is wrong with an archive is not the engine's word.
fn of_load(error: Error) -> Failure {
    match error {
        Error::Load(error) => Failure::new(chain(error.as_ref())),
        other => other.into(),
    }
}

fn archive(input: Option<&Path>) -> Result<Box<dyn Read + Send>, Failure> {
    match input {
        Some(path) => {
            let file = File::open(path).map_err(|error| os_error::failure("open", path, &error))?;
            Ok(Box::new(file))
        }
        None if std::io::stdin().is_terminal() => Err(Failure::new("requested load from stdin, but stdin is empty")),
        None => Ok(Box::new(std::io::stdin())),
    }
}
