//! Running other programs: shown before they run, checked after. Knows nothing of what they do.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
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

/// Runs the command, passes on every line that it says, and shows it to `see` as well.
pub(crate) fn watch(command: &mut Command, mut see: impl FnMut(&str)) -> Outcome {
    let (reader, writer) = std::io::pipe().map_err(|e| format!("no pipe: {e}"))?;
    let errors = writer.try_clone().map_err(|e| format!("no pipe: {e}"))?;
    let name = shown(command);
    let child = command.stdout(writer).stderr(errors).spawn();
    // The command holds the writing ends too: without this the pipe would never end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = child.map_err(|e| format!("cannot start `{name}`: {e}"))?;
    for line in BufReader::new(reader).split(b'\n') {
        let line = line.map_err(|e| format!("cannot read from `{name}`: {e}"))?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        see(&line);
    }
    let status = child.wait().map_err(|e| format!("cannot wait for `{name}`: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{name}` failed: {status}")) }
}
