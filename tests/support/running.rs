//! A command that runs while the test goes on, watched by what it says on standard error.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// A running command. Its standard output is dropped.
pub struct Running {
    child: Child,
    progress: BufReader<ChildStderr>,
    said: String,
}

impl Running {
    /// Starts the command.
    pub fn start(command: &mut Command) -> Running {
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
        let progress = BufReader::new(child.stderr.take().expect("piped"));
        Running { child, progress, said: String::new() }
    }

    /// Waits until a step whose instruction begins with these words is named.
    #[track_caller]
    pub fn wait_for_step(&mut self, instruction: &str) {
        let named = format!("] {instruction}");
        self.wait_for(instruction, |line| line.starts_with('[') && line.contains(&named));
    }

    /// Waits until a line other than a step's name contains these words: what a step, or kiln itself, says.
    #[track_caller]
    pub fn wait_for_words(&mut self, words: &str) {
        self.wait_for(words, |line| !line.starts_with('[') && line.contains(words));
    }

    /// `matches` gets a line of plain progress without its number.
    #[track_caller]
    fn wait_for(&mut self, what: &str, matches: impl Fn(&str) -> bool) {
        loop {
            let start = self.said.len();
            let n = self.progress.read_line(&mut self.said).expect("progress");
            assert_ne!(n, 0, "ended without {what:?}:\n{}", self.said);
            let line = &self.said[start..];
            if matches(line.split_once(' ').map_or(line, |(_, rest)| rest)) {
                return;
            }
        }
    }

    /// Sends a signal, then waits for the end.
    pub fn signal(self, signal: Signal) -> (ExitStatus, String) {
        kill_process(Pid::from_child(&self.child), signal).expect("running");
        self.end()
    }

    /// Waits for the end; how the command ended, and all that it said.
    pub fn end(mut self) -> (ExitStatus, String) {
        while self.progress.read_line(&mut self.said).is_ok_and(|n| n > 0) {}
        (self.child.wait().expect("ended"), self.said)
    }

    /// Waits for the end, which must be a success.
    #[track_caller]
    pub fn must_succeed(self) {
        let (status, said) = self.end();
        assert!(status.success(), "{status}: {said}");
    }
}

/// Polls for something that another process does; gives up after a minute.
#[track_caller]
pub fn wait_until(what: &str, done: impl Fn() -> bool) {
    for _ in 0..6000 {
        if done() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("waited in vain for: {what}");
}
