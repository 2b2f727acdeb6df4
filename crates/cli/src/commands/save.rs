//! `save`: images into an archive.

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use kiln_oci::Platform;

use super::caller::Caller;
use super::engine;
use crate::display::{Display, Progress};
use crate::failure::Failure;
use crate::os_error;

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
    match &arguments.output {
        Some(path) => {
            let mut archive = Archive::create(path)?;
            engine.save(&mut archive.file, &arguments.names, arguments.platform.as_ref(), &task)?;
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

/// A file that gets its name when it is complete; what is no ordinary file is written in place.
struct Archive {
    file: BufWriter<File>,
    path: PathBuf,
    temporary: Option<PathBuf>,
}

impl Archive {
    fn create(path: &Path) -> Result<Self, Failure> {
        let special = path.metadata().is_ok_and(|found| !found.is_file());
        let temporary = (!special).then(|| {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".{}.partial", std::process::id()));
            PathBuf::from(name)
        });
        let place = temporary.as_deref().unwrap_or(path);
        let mut options = File::options();
        options.write(true).create(true).truncate(true);
        let file = options.open(place).map_err(|error| os_error::failure("open", path, &error))?;
        Ok(Archive { file: BufWriter::new(file), path: path.to_owned(), temporary })
    }

    fn finish(mut self) -> Result<(), Failure> {
        let write = |error| os_error::failure("write", &self.path, &error);
        self.file.flush().map_err(write)?;
        if let Some(temporary) = self.temporary.take() {
            std::fs::rename(&temporary, &self.path).map_err(|error| os_error::failure("open", &self.path, &error))?;
        }
        Ok(())
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // It was given up; a leftover would only waste room.
            let _ = std::fs::remove_file(temporary);
        }
    }
}
