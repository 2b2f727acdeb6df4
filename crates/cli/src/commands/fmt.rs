//! `fmt`: Dockerfiles in their usual form. What that is, and that the meaning stays, is the room's below.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use kiln_dockerfile::{Emphasis, FormatError, format, render_error, text_of};
use similar::TextDiff;

use crate::failure::Failure;
use crate::{os_error, output};

/// The exit code of `--check` when something would change.
const WOULD_CHANGE: u8 = 1;

/// The flags of `fmt`.
#[derive(clap::Args, Debug)]
pub(crate) struct FmtArguments {
    /// Dockerfiles (- is the standard input)
    #[arg(value_name = "FILE", default_value = "Dockerfile")]
    files: Vec<PathBuf>,
    /// Change nothing; name the files that would change, and exit with 1 if there are any
    #[arg(long)]
    check: bool,
    /// Show what would change
    #[arg(long, conflicts_with = "write")]
    diff: bool,
    /// Write the files instead of printing them
    #[arg(short, long, conflicts_with = "check")]
    write: bool,
}

/// Formats each file; a file that cannot be formatted does not keep the others from it.
pub(crate) fn run(arguments: &FmtArguments) -> Result<ExitCode, Failure> {
    let mut code = 0;
    for file in &arguments.files {
        match one(arguments, file) {
            Ok(changes) if changes && arguments.check => code = code.max(WOULD_CHANGE),
            Ok(_) => {}
            Err(failure) if failure.message.is_empty() => return Err(failure),
            Err(failure) => {
                code = code.max(failure.code);
                failure.report();
            }
        }
    }
    Ok(ExitCode::from(code))
}

/// Formats a file; says whether that changes it.
fn one(arguments: &FmtArguments, file: &Path) -> Result<bool, Failure> {
    let bytes = read(file)?;
    let name = if is_stdin(file) { "Dockerfile".into() } else { file.display().to_string() };
    let before = text_of(&bytes);
    let after = format(&before).map_err(|error| wrong(&name, &before, &error))?;
    let changes = before != after;
    if arguments.check && changes && !arguments.diff {
        output::line(&name)?;
    }
    if arguments.diff {
        let diff = TextDiff::from_lines(&before, &after);
        let (old, new) = (format!("a/{name}"), format!("b/{name}"));
        let text = diff.unified_diff().header(&old, &new).to_string();
        print(&text)?;
    } else if arguments.write && !is_stdin(file) {
        if changes {
            replace(file, &kiln_dockerfile::bytes_of(&after))?;
        }
    } else if !arguments.check {
        print(&after)?;
    }
    Ok(changes)
}

fn is_stdin(file: &Path) -> bool {
    file == Path::new("-")
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let read = if is_stdin(file) {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        fs::read(file)
    };
    read.map_err(|error| failed("open", file, &error))
}

fn failed(what: &str, file: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("ERROR: {what} {}: {}", file.display(), os_error::words(error)))
}

fn wrong(name: &str, text: &str, error: &FormatError) -> Failure {
    match error {
        FormatError::Wrong(errors) => {
            let shown = errors.iter().map(|error| render_error(name, text, error, Emphasis::default()));
            Failure::new(shown.collect::<Vec<_>>().join("\n\n"))
        }
        FormatError::Meaning => Failure::new(format!("ERROR: {name}: {error}")),
    }
}

/// The text as bytes, for a Dockerfile need not be UTF-8.
fn print(text: &str) -> Result<(), Failure> {
    output::bytes(&kiln_dockerfile::bytes_of(text))
}

/// Writes a file beside it and renames that to its place: nobody ever sees half of it.
fn replace(file: &Path, bytes: &[u8]) -> Result<(), Failure> {
    // A link stays one.
    let file = fs::canonicalize(file).map_err(|error| failed("open", file, &error))?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let beside = file.with_file_name(format!(".{name}.{}", std::process::id()));
    let write = || {
        let mut new = fs::OpenOptions::new().write(true).create_new(true).open(&beside)?;
        new.set_permissions(fs::Permissions::from_mode(fs::metadata(&file)?.permissions().mode() & 0o7777))?;
        new.write_all(bytes)?;
        new.sync_all()?;
        fs::rename(&beside, &file)
    };
    write().map_err(|error| {
        // The name is this process's own; there may be nothing to remove.
        let _ = fs::remove_file(&beside);
        failed("write", &file, &error)
    })
}
