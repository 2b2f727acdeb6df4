//! `export`: a container's files as a flat tar.

use std::io::{BufWriter, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use super::archive_file::ArchiveFile;
use super::caller::Caller;
use super::engine;
use crate::failure::Failure;

/// The flags of `export`.
#[derive(clap::Args, Debug)]
pub(crate) struct ExportArguments {
    /// The container
    #[arg(value_name = "CONTAINER")]
    name: String,
    /// Write to this file instead of the standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Exports.
pub(crate) fn run(caller: &Caller, arguments: &ExportArguments) -> Result<ExitCode, Failure> {
    let output = arguments.output.as_deref().filter(|path| !path.as_os_str().is_empty());
    if output.is_none() && std::io::stdout().is_terminal() {
        return Err(Failure::new("cowardly refusing to save to a terminal. Use the -o flag or redirect"));
    }
    let host = caller.host()?;
    let engine = engine(&host);
    match output {
        Some(path) => {
            let mut archive = ArchiveFile::create(path, "failed to export container")?;
            engine.export(&arguments.name, &mut archive)?;
            archive.finish()?;
        }
        None => engine.export(&arguments.name, BufWriter::new(std::io::stdout().lock()))?,
    }
    Ok(ExitCode::SUCCESS)
}
