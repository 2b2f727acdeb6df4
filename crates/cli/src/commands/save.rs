//! `save`: images into an archive.

use std::io::{BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use kiln_oci::Platform;

use super::archive_file::ArchiveFile;
use super::caller::Caller;
use super::engine;
use crate::display::{Display, Progress};
use crate::failure::Failure;

/// The flags of `save`.
#[derive(clap::Args, Debug)]
pub(crate) struct SaveArguments {
    /// Images
    #[arg(value_name = "IMAGE", required = true)]
    names: Vec<String>,
    /// Write to this file instead of the standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Of an image for several platforms, save only the one for this
    #[arg(long)]
    platform: Option<Platform>,
}

/// Saves.
pub(crate) fn run(caller: &Caller, arguments: &SaveArguments) -> Result<ExitCode, Failure> {
    if arguments.output.is_none() && std::io::stdout().is_terminal() {
        return Err(Failure::new("cowardly refusing to save to a terminal. Use the -o flag or redirect"));
    }
    let host = caller.host()?;
    let engine = engine(&host);
    let display = Display::new(Progress::Quiet);
    let task = display.sink.task("save");
    super::pull::complete_all(&host, &arguments.names, arguments.platform.as_ref(), &task)?;
    match &arguments.output {
        Some(path) => {
            let mut archive = ArchiveFile::create(path, "failed to save image")?;
            engine.save(&mut archive, &arguments.names, arguments.platform.as_ref(), &task)?;
            archive.finish()?;
        }
        None => {
            let mut output = BufWriter::new(std::io::stdout().lock());
            engine.save(&mut output, &arguments.names, arguments.platform.as_ref(), &task)?;
            output.flush()?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
