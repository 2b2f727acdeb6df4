//! A container's processes, stopped while its files are copied. A process of its own stops them, and lets them go on
//! when its input ends: so they go on whatever becomes of the one that copies.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::failure::Failure;

/// The command that holds processes, for kiln's own use.
const COMMAND: &str = "hold-processes";
/// How often it is looked whether the stopped ones had started others just before.
const ROUNDS: usize = 64;
/// How long a process may take to stop; one that waits for a disk goes on waiting.
const STOPS_WITHIN: Duration = Duration::from_secs(1);

/// The word for "none of them runs any more".
const STOPPED: &[u8] = b"stopped\n";

/// Processes that do not run until this is dropped.
pub(super) struct Held {
    guard: Child,
}

impl Held {
    /// Stops a process and all that it started, and waits until they have stopped.
    pub(super) fn stop(pid: u32) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::new(format!("ERROR: cannot pause the container: {error}"));
        let mut command = Command::new("/proc/self/exe");
        command.args([COMMAND, &pid.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        // An interrupt from the terminal is not for it.
        let mut guard = command.process_group(0).spawn().map_err(failed)?;
        let mut word = [0; STOPPED.len()];
        let answer = guard.stdout.take().map_or(Ok(()), |mut output| output.read_exact(&mut word));
        let held = Held { guard };
        answer.map_err(failed)?;
        Ok(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        // They go on; how the guard ended tells nothing more.
        let _ = self.guard.wait();
    }
}

/// The words of the command that holds processes.
#[derive(clap::Args, Debug)]
pub(crate) struct HoldArguments {
    /// The first of the processes
    pid: i32,
}

/// Stops the process and all that it started until the standard input ends.
pub(crate) fn hold(arguments: &HoldArguments) -> Result<ExitCode, Failure> {
    let mut stopped = BTreeMap::new();
    for _ in 0..ROUNDS {
        let fresh = running_descendants(arguments.pid, &stopped);
        if fresh.is_empty() {
            break;
        }
        for pid in fresh {
            stopped.extend(stop(pid).map(|process| (pid, process)));
        }
    }
    // If nobody reads this any more, nobody wants them to be held.
    let told = std::io::stdout().write_all(STOPPED).and_then(|()| std::io::stdout().flush());
    if told.is_ok() {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    }
    for process in stopped.values() {
        let _ = pidfd_send_signal(process, Signal::CONT);
    }
    Ok(ExitCode::SUCCESS)
}

/// Stops one; `None` if it is gone.
fn stop(pid: i32) -> Option<OwnedFd> {
    let process = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    pidfd_send_signal(&process, Signal::STOP).ok()?;
    let start = Instant::now();
    while start.elapsed() < STOPS_WITHIN && Status::of(pid).is_some_and(|status| status.runs()) {
        thread::sleep(Duration::from_millis(1));
    }
    Some(process)
}

/// The process and its descendants, but for those that are held or stand still already.
fn running_descendants(first: i32, held: &BTreeMap<i32, OwnedFd>) -> Vec<i32> {
    let processes: BTreeMap<i32, Status> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, Status::of(pid)?)))
        .collect();
    let descends = |pid: i32| {
        let ancestors = std::iter::successors(Some(pid), |pid| Some(processes.get(pid)?.parent));
        ancestors.take(processes.len() + 1).any(|pid| pid == first)
    };
    let runs = |(pid, status): &(&i32, &Status)| status.runs() && !held.contains_key(pid) && descends(**pid);
    processes.iter().filter(runs).map(|(pid, _)| *pid).collect()
}

/// What `/proc/PID/stat` says.
struct Status {
    state: char,
    parent: i32,
}

impl Status {
    fn of(pid: i32) -> Option<Status> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The program's name before it may hold anything.
        let (_, rest) = text.rsplit_once(')')?;
        let mut words = rest.split_whitespace();
        Some(Status { state: words.next()?.chars().next()?, parent: words.next()?.parse().ok()? })
    }

    fn runs(&self) -> bool {
        !matches!(self.state, 'T' | 't' | 'Z' | 'X')
    }
}
