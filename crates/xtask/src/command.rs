//! Running other programs: shown before they run, checked after. Knows nothing of what they do.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

/// What a chore answers: nothing, or a message for the person who started it.
pub(crate) type Outcome<T = ()> = Result<T, String>;

/// A program with its arguments, standard input closed.
pub(crate) fn program(name: impl AsRef<OsStr>, args: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(args).stdin(Stdio::null());
    command
}

/// The command as a person would type it.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| {
            let word = word.to_string_lossy();
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+".contains(c);
            if !word.is_empty() && word.chars().all(plain) {
                word.into_owned()
            } else {
                format!("'{}'", word.replace('\'', r"'\''"))
            }
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// Runs the command with its output going to ours; an exit code other than 0 is an error.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let status = command.status().map_err(|e| format!("cannot start `{}`: {e}", shown(command)))?;
    if status.success() { Ok(()) } else { Err(format!("`{}` failed: {status}", shown(command))) }
}

/// Runs the command without its standard output; what it said on standard error is part of the error.
pub(crate) fn run_quietly(command: &mut Command) -> Outcome {
    output(command).map(drop)
}

/// Runs the command and returns what it wrote to standard output.
pub(crate) fn output(command: &mut Command) -> Outcome<String> {
    let result = command.output().map_err(|e| format!("cannot start `{}`: {e}", shown(command)))?;
    if result.status.success() {
        return Ok(String::from_utf8_lossy(&result.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&result.stderr);
    Err(format!("`{}` failed: {}\n{}", shown(command), result.status, said.trim_end()))
}
