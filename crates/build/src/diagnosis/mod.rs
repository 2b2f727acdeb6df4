//! Why a process of a RUN may have ended as it did, told from what it said and what lies in its root file system.
//! Guesses for a person; nothing else depends on them.

mod program;

use std::path::Path;

use kiln_graph::ExecOp;
use kiln_store::Union;
use serde::{Deserialize, Serialize};

use program::Program;

/// The most of a process's output that is kept for a message, in bytes.
const KEPT: usize = 4096;
/// The most lines of it.
const LINES: usize = 10;
/// A disk with less than this is full, in bytes.
const FULL: u64 = 64 << 10;

/// What is known of a failed process beyond its exit code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// The last lines of its output, without what moves a cursor.
    pub output: Vec<String>,
    /// Why it may have failed.
    pub cause: Option<Cause>,
}

/// Why a process may have failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// The kernel killed it, or what it started, for want of memory.
    OutOfMemory {
        /// The bytes that the step might have taken; where there was no such limit, the memory of the machine, or of a
        /// control group above, ran out.
        limit: Option<u64>,
    },
    /// Something killed it, as happens when a machine's memory runs out.
    Killed,
    /// A file system was full.
    DiskFull,
    /// There is no such command.
    CommandNotFound {
        /// The command.
        name: String,
        /// What the image installs packages with.
        installer: Option<Installer>,
    },
    /// The image has no shell of that path.
    NoShell(String),
    /// The interpreter's line of a script ends as Windows has it.
    WindowsLineEnds(Option<String>),
    /// A program is there, and what should run it is not.
    NoInterpreter {
        /// The program.
        program: String,
        /// Its interpreter, or the loader of its libraries.
        interpreter: String,
    },
    /// A program may not be executed.
    NotExecutable(String),
    /// A file that is neither a program nor a script with an interpreter.
    NoFormat(String),
    /// A program for other machines.
    OtherMachine {
        /// The program.
        program: String,
        /// For which, as platforms name them.
        machine: String,
    },
}

/// What an image installs packages with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Installer {
    /// Debian, Ubuntu.
    Apt,
    /// Alpine.
    Apk,
    /// Fedora, RHEL.
    Dnf,
    /// Small images of RHEL.
    Microdnf,
    /// Older RHEL.
    Yum,
    /// SUSE.
    Zypper,
    /// Arch.
    Pacman,
}

/// Where each is, most telling first.
const INSTALLERS: [(&str, Installer); 7] = [
    ("usr/bin/apt-get", Installer::Apt),
    ("sbin/apk", Installer::Apk),
    ("usr/bin/dnf", Installer::Dnf),
    ("usr/bin/microdnf", Installer::Microdnf),
    ("usr/bin/yum", Installer::Yum),
    ("usr/bin/zypper", Installer::Zypper),
    ("usr/bin/pacman", Installer::Pacman),
];

/// How shells complain about a program, after its name.
const COMPLAINTS: [&str; 8] = [
    ": not found",
    ": command not found",
    ": No such file or directory",
    ": cannot execute: required file not found",
    ": Permission denied",
    ": Exec format error",
    ": cannot execute binary file: Exec format error",
    ": cannot execute binary file",
];

/// A process that failed.
pub(crate) struct Step<'a> {
    /// What it was.
    pub(crate) op: &'a ExecOp,
    /// On what it ran, before it changed anything.
    pub(crate) rootfs: &'a Union,
    /// For which machines that is.
    pub(crate) architecture: &'a str,
    /// Where the store is, whose disk took what the process wrote.
    pub(crate) store: &'a Path,
}

/// The end of a process's output.
#[derive(Default)]
pub(crate) struct Tail(Vec<u8>);

impl Tail {
    /// Takes more output.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(&bytes[bytes.len().saturating_sub(KEPT)..]);
        let surplus = self.0.len().saturating_sub(KEPT);
        self.0.drain(..surplus);
    }

    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.0);
        let lines: Vec<String> = text.lines().map(printable).collect();
        let from = lines.len().saturating_sub(LINES);
        lines[from..].to_vec()
    }
}

/// A process that the kernel killed for want of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutOfMemory {
    /// The limit of the step, in bytes, if there was one.
    pub(crate) limit: Option<u64>,
}

/// What can be told of a process that was killed on time.
pub(crate) fn of_timeout(tail: &Tail) -> Diagnosis {
    Diagnosis { output: tail.lines(), cause: None }
}

/// What can be told of a process that ended with `code`.
pub(crate) fn of_exit(step: &Step<'_>, code: i32, out_of_memory: Option<OutOfMemory>, tail: &Tail) -> Diagnosis {
    let output = tail.lines();
    let cause = match code {
        _ if let Some(OutOfMemory { limit }) = out_of_memory => Some(Cause::OutOfMemory { limit }),
        _ if output.iter().any(|line| line.contains("No space left on device")) => Some(Cause::DiskFull),
        137 => Some(Cause::Killed),
        126 | 127 => of_shell(step, &output),
        _ if is_full(step.store) => Some(Cause::DiskFull),
        _ => None,
    };
    Diagnosis { output, cause }
}

/// What can be told of a program that could not be started.
pub(crate) fn of_start(step: &Step<'_>) -> Diagnosis {
    let args = &step.op.args;
    let cause = args.first().and_then(|program| match Program::find(program, step) {
        Some(program) => program.fault(step),
        None if program.starts_with('/') && args.get(1).is_some_and(|flag| flag == "-c") => {
            Some(Cause::NoShell(program.clone()))
        }
        None if program.contains('/') => None,
        None => Some(not_found(program, step.rootfs)),
    });
    Diagnosis { output: Vec::new(), cause }
}

/// Whether a disk has no room, now that what the process wrote is still there.
fn is_full(directory: &Path) -> bool {
    rustix::fs::statvfs(directory).is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) < FULL)
}

/// What a shell's last complaint is about.
fn of_shell(step: &Step<'_>, output: &[String]) -> Option<Cause> {
    let (line, complaint) = output.iter().rev().find_map(|line| {
        let complaint = COMPLAINTS.iter().find(|complaint| line.ends_with(*complaint))?;
        Some((line, *complaint))
    })?;
    if line.contains("\\r'") {
        return Some(Cause::WindowsLineEnds(None));
    }
    let name = line.strip_suffix(complaint)?.rsplit(": ").next()?;
    match Program::find(name, step) {
        Some(program) => program.fault(step),
        None if name.contains('/') || name.is_empty() => None,
        None => Some(not_found(name, step.rootfs)),
    }
}

fn not_found(name: &str, rootfs: &Union) -> Cause {
    let has = |path: &str| rootfs.resolve(path, true).is_ok_and(|resolved| resolved.found.is_some());
    let installer = INSTALLERS.iter().find(|(path, _)| has(path)).map(|(_, installer)| *installer);
    Cause::CommandNotFound { name: name.to_owned(), installer }
}

/// A line that cannot move the cursor or change colours.
fn printable(line: &str) -> String {
    let mut text = String::new();
    let mut chars = line.trim_end_matches('\r').chars();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => skip_sequence(&mut chars),
            '\t' => text.push('\t'),
            c if c.is_control() => text.push('·'),
            c => text.push(c),
        }
    }
    text
}

/// Leaves out the rest of an escape sequence: for colours a bracket, parameters, a letter.
fn skip_sequence(chars: &mut std::str::Chars<'_>) {
    if chars.next() == Some('[') {
        for c in chars.by_ref() {
            if c.is_ascii_alphabetic() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_output_is_kept() {
        let mut tail = Tail::default();
        for number in 0..2000 {
            tail.add(format!("line {number}\n").as_bytes());
        }
        let lines = tail.lines();
        assert_eq!(lines.len(), LINES);
        assert_eq!(lines.last().unwrap(), "line 1999");
        tail.add(&vec![b'x'; 3 * KEPT]);
        assert_eq!(tail.0.len(), KEPT);
    }

    #[test]
    fn no_output_moves_the_cursor() {
        assert_eq!(printable("\u{1b}[1;31mred\u{1b}[0m\tplain\r"), "red\tplain");
        assert_eq!(printable("a\u{8}b\u{1b}"), "a·b");
    }
}
