//! Many commands at once, and a watchdog: when they do not all end in time, what each waits for is told, and they are
//! killed.

use std::fmt::Write;
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use kiln_tests::{full, hygiene};

/// How a command ended.
pub(crate) struct Ended {
    pub status: ExitStatus,
    /// What it wrote to its standard error.
    pub said: String,
}

/// How long all of them may take: many times what they need, for a deadlock takes for ever.
fn patience() -> Duration {
    Duration::from_secs(if full() { 1200 } else { 240 })
}

/// Runs all commands at once, to their ends. `root` is their store, for the watchdog.
pub(crate) fn crowd(commands: Vec<Command>, root: &Path) -> Vec<Ended> {
    let start = |mut command: Command| {
        let said = tempfile::tempfile().expect("file");
        let child = command.stdout(Stdio::null()).stderr(said.try_clone().expect("descriptor")).spawn();
        (child.unwrap_or_else(|error| panic!("cannot start {command:?}: {error}")), said)
    };
    let mut running: Vec<(Child, File)> = commands.into_iter().map(start).collect();
    let deadline = Instant::now() + patience();
    while running.iter_mut().any(|(child, _)| child.try_wait().expect("wait").is_none()) {
        if Instant::now() > deadline {
            give_up(running, root);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    running
        .into_iter()
        .map(|(mut child, said)| Ended { status: child.wait().expect("ended"), said: text(said) })
        .collect()
}

fn text(mut file: File) -> String {
    let mut text = String::new();
    file.rewind().and_then(|()| file.read_to_string(&mut text)).expect("what a command said");
    text
}

/// Tells who waits for what, and ends everything.
fn give_up(running: Vec<(Child, File)>, root: &Path) -> ! {
    let mut report = String::from("not all builds have ended in time\n");
    for (pid, line) in hygiene::processes(root) {
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let _ = writeln!(report, "process {pid} ({line}) waits in {}", read("wchan"));
    }
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let _ = writeln!(report, "locks:\n{locks}");
    for (mut child, said) in running {
        if child.try_wait().expect("wait").is_none() {
            let _ = child.kill();
            let _ = child.wait();
            let _ = writeln!(report, "process {} had said:\n{}", child.id(), text(said));
        }
    }
    panic!("{report}");
}
