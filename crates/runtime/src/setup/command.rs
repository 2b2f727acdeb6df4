//! The command itself: its working directory, where its executable is, and executing it.

use std::ffi::{CStr, CString};
use std::path::Path;

use rustix::fs::{Access, FileType, Mode, access, mkdir, stat};
use rustix::io::Errno;

use crate::error::StartError;
use crate::plan::Process;
use crate::sys;

/// Where executables are looked for when the environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Enters the working directory inside the container's root; missing ones are made, as docker
/// does, for root.
pub(super) fn enter_working_directory(path: &Path) -> Result<(), StartError> {
    let failed = |errno: Errno| StartError::WorkingDirectory { path: path.to_owned(), errno: errno.into() };
    if rustix::process::chdir(path) == Err(Errno::NOENT) {
        make_all(path).map_err(failed)?;
        return rustix::process::chdir(path).map_err(failed);
    }
    rustix::process::chdir(path).map_err(failed)
}

fn make_all(path: &Path) -> rustix::io::Result<()> {
    let mut ancestors: Vec<&Path> = path.ancestors().collect();
    ancestors.reverse();
    for directory in ancestors {
        match mkdir(directory, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Executes the command; returns only with the reason why it does not run.
pub(super) fn execute(process: &Process) -> StartError {
    let Some(program) = process.arguments.first() else {
        return StartError::spec("process.args", "no command to run");
    };
    let strings =
        |list: &[String]| -> Vec<CString> { list.iter().filter_map(|text| CString::new(text.as_str()).ok()).collect() };
    let (arguments, environment) = (strings(&process.arguments), strings(&process.environment));
    let run = |path: &CStr| sys::execute(path, &arguments, &environment);
    if program.contains('/') {
        let Ok(path) = CString::new(program.as_str()) else {
            return not_found(program, false);
        };
        return match runnable(&path) {
            Ok(()) => refused(program, &run(&path)),
            Err(Errno::NOENT | Errno::NOTDIR) => not_found(program, false),
            Err(errno) => not_executable(program, errno),
        };
    }
    search(program, search_path(&process.environment), run)
}

fn search_path(environment: &[String]) -> &str {
    environment.iter().rev().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH)
}

fn search(program: &str, path: &str, run: impl Fn(&CStr) -> std::io::Error) -> StartError {
    let mut forbidden = None;
    for directory in path.split(':') {
        let directory = if directory.is_empty() { "." } else { directory };
        let Ok(candidate) = CString::new(format!("{directory}/{program}")) else {
            continue;
        };
        match runnable(&candidate) {
            Ok(()) => return refused(program, &run(&candidate)),
            Err(Errno::ACCESS) => forbidden = Some(Errno::ACCESS),
            Err(_) => {}
        }
    }
    match forbidden {
        Some(errno) => not_executable(program, errno),
        None => not_found(program, true),
    }
}

/// Whether this is a file that the user may execute.
fn runnable(path: &CStr) -> rustix::io::Result<()> {
    if FileType::from_raw_mode(stat(path)?.st_mode) == FileType::Directory {
        return Err(Errno::ISDIR);
    }
    access(path, Access::EXEC_OK)
}

/// The kernel's own refusal of an existing file: ENOENT is a missing interpreter then.
fn refused(program: &str, error: &std::io::Error) -> StartError {
    match Errno::from_io_error(error) {
        Some(Errno::NOENT) => not_found(program, false),
        Some(errno) => not_executable(program, errno),
        None => not_executable(program, Errno::IO),
    }
}

fn not_found(program: &str, searched: bool) -> StartError {
    StartError::NotFound { program: program.to_owned(), searched }
}

fn not_executable(program: &str, errno: Errno) -> StartError {
    StartError::NotExecutable { program: program.to_owned(), errno: errno.into() }
}
