//! A process that runs, and how it ended.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Instant;

use kiln_runtime::{Container, Note, Signaller, Status, Terminal};

use crate::cancellation::Registration;
use crate::execution::Output;
use crate::output::{self, Over};
use crate::{Cancellation, Error};

/// A process that runs. Dropping it kills the whole process tree and waits for its end.
pub struct Running {
    pub(crate) container: Container,
    pub(crate) pipes: Option<Pipes>,
    pub(crate) cancellation: Cancellation,
    /// When it is killed, if it runs until then.
    pub(crate) deadline: Option<Instant>,
    pub(crate) timed_out: bool,
    pub(crate) _registration: Registration,
    /// Directories and descriptors that must outlive the process; thrown away after it.
    pub(crate) _kept: Box<dyn Send>,
}

/// The caller's ends of captured streams.
#[derive(Debug)]
pub struct Pipes {
    /// What is written here the process reads; close it to end its input. `None` without input.
    pub stdin: Option<OwnedFd>,
    /// What the process writes.
    pub stdout: OwnedFd,
    /// What it writes to its standard error.
    pub stderr: OwnedFd,
}

/// How a process ended. Everything that it started is gone, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// What it returned, or the signal that ended it.
    pub status: Status,
    /// The kernel killed something in it because of a memory limit.
    pub out_of_memory: bool,
    /// It was killed because its time was up.
    pub timed_out: bool,
    /// What was asked for and could not be had.
    pub notes: Vec<Note>,
    /// Mount points that were made and could not be removed again because something lies in them.
    pub left_mount_points: Vec<PathBuf>,
}

impl Running {
    /// The process id, as the caller's pid namespace counts.
    pub fn pid(&self) -> u32 {
        self.container.pid()
    }

    /// Sends signals, from any thread.
    pub fn signaller(&self) -> Signaller {
        self.container.signaller()
    }

    /// The captured streams, once; `None` if they are not captured.
    pub fn take_pipes(&mut self) -> Option<Pipes> {
        self.pipes.take()
    }

    /// The writing end of the captured input, once, leaving the output where it is.
    pub fn take_input(&mut self) -> Option<OwnedFd> {
        self.pipes.as_mut()?.stdin.take()
    }

    /// The terminal's controlling side, once; `None` without a terminal.
    pub fn take_terminal(&mut self) -> Option<Terminal> {
        self.container.take_terminal()
    }

    /// Becomes readable when the process has ended.
    pub fn ended(&self) -> Option<BorrowedFd<'_>> {
        self.container.ended()
    }

    /// What was asked for and could not be had.
    pub fn notes(&self) -> &[Note] {
        self.container.notes()
    }

    /// Hands the captured output to `output` until the process has ended, and kills it when its time is up. Waits for
    /// nobody else who holds the other end of the pipes.
    ///
    /// # Errors
    /// A pipe that cannot be read.
    pub fn stream(&mut self, output: &mut Output<'_>) -> Result<(), Error> {
        let Some(pipes) = self.pipes.take() else { return Ok(()) };
        let failed = |source| Error::io("read the output of the process", source);
        let Some(deadline) = self.deadline else {
            return output::forward(&pipes, self.container.ended(), None, output).map(drop).map_err(failed);
        };
        let over = output::forward(&pipes, self.container.ended(), Some(deadline), output).map_err(failed)?;
        if over == Over::InTime {
            return Ok(());
        }
        self.timed_out = true;
        // It may have ended by itself just now.
        let _ = self.container.signaller().kill();
        output::forward(&pipes, self.container.ended(), None, output).map(drop).map_err(failed)
    }

    /// Waits for the end. Output that nobody reads blocks the process: see
    /// [`stream`](Running::stream).
    ///
    /// # Errors
    /// [`Error::Cancelled`] if the cancellation was asked for, whatever the process returned.
    pub fn wait(mut self) -> Result<Finished, Error> {
        let exit = self.container.wait();
        if self.cancellation.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let exit = exit?;
        Ok(Finished {
            status: exit.status,
            out_of_memory: exit.out_of_memory,
            timed_out: self.timed_out,
            notes: self.container.notes().to_vec(),
            left_mount_points: exit.left_mount_points,
        })
    }
}
