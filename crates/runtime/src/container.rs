//! A running container, as the process that started it sees it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Child;
use std::sync::Arc;

use crate::channel;
use crate::plan::FromHelper;
use crate::start::reap;
use crate::sys;

/// A running container. Dropping it kills every process of it and waits for their end.
#[derive(Debug)]
pub struct Container {
    pub(crate) control: Option<UnixStream>,
    pub(crate) helper: Child,
    pub(crate) pid: u32,
    pub(crate) pidfd: Arc<OwnedFd>,
    pub(crate) terminal: Option<Terminal>,
    pub(crate) notes: Vec<Note>,
}

/// Something that was asked for and is not there, for a person to read; the container runs.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Note(pub String);

/// How a container ended. All its processes are gone.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Exit {
    /// What the command returned.
    pub status: Status,
    /// The kernel killed at least one process because the memory limit was reached.
    pub out_of_memory: bool,
    /// Mount points that were made and could not be removed again (not empty), as the
    /// container saw them.
    pub left_mount_points: Vec<PathBuf>,
}

/// The end of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Status {
    /// It returned this.
    Code(u8),
    /// A signal of this number ended it.
    Signal(u8),
}

impl Status {
    /// The shell's and docker's number: the code, or 128 + the signal.
    pub fn exit_code(self) -> u8 {
        match self {
            Status::Code(code) => code,
            Status::Signal(signal) => 128u8.saturating_add(signal),
        }
    }
}

/// The end of a container cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// The helper process of the container was killed or failed; the container is gone with it.
    #[error("the process that watches the container ended before it ({0})")]
    HelperDied(String),
    /// `wait` was called again.
    #[error("the container was waited for already")]
    Waited,
    /// Reading the helper's report failed.
    #[error("cannot read how the container ended")]
    Io(#[from] io::Error),
}

impl Container {
    /// The process id of the container's pid 1, as this process's pid namespace counts.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What was asked for and could not be had.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// The controlling side of the container's terminal, once; `None` without a terminal.
    pub fn take_terminal(&mut self) -> Option<Terminal> {
        self.terminal.take()
    }

    /// Waits for the end of the container, of all its processes and of the helper, which has by
    /// then let go of what it held. Blocks.
    pub fn wait(&mut self) -> Result<Exit, WaitError> {
        let control = self.control.take().ok_or(WaitError::Waited)?;
        let heard = channel::receive(&control);
        drop(control);
        let end = reap(&mut self.helper);
        match heard? {
            Some((FromHelper::Ended(exit), _)) => Ok(exit),
            Some((FromHelper::Failed(error), _)) => Err(WaitError::HelperDied(error.to_string())),
            _ => Err(WaitError::HelperDied(end)),
        }
    }

    /// A handle to send signals with, from any thread.
    pub fn signaller(&self) -> Signaller {
        Signaller { pidfd: Arc::clone(&self.pidfd) }
    }

    /// Becomes readable when the container has ended, so that [`wait`](Container::wait) returns
    /// (nearly) at once; `None` after it.
    pub fn ended(&self) -> Option<BorrowedFd<'_>> {
        self.control.as_ref().map(AsFd::as_fd)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Some(control) = self.control.take() {
            // The end of the socket is the helper's order to kill.
            drop(control);
            reap(&mut self.helper);
        }
    }
}

/// Sends signals to pid 1 of a container. Keeps no process alive; harmless after its end.
#[derive(Clone, Debug)]
pub struct Signaller {
    pidfd: Arc<OwnedFd>,
}

impl Signaller {
    /// Sends a signal by number. A container that has ended already is no error.
    pub fn signal(&self, number: i32) -> io::Result<()> {
        match sys::signal_process(self.pidfd.as_fd(), number) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            result => result,
        }
    }

    /// Ends every process of the container at once.
    pub fn kill(&self) -> io::Result<()> {
        self.signal(libc::SIGKILL)
    }
}

/// The controlling side of a container's terminal.
#[derive(Debug)]
pub struct Terminal {
    pub(crate) master: OwnedFd,
}

impl Terminal {
    /// Tells the container the new size.
    pub fn resize(&self, rows: u16, columns: u16) -> io::Result<()> {
        let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(rustix::termios::tcsetwinsize(&self.master, size)?)
    }
}

impl AsFd for Terminal {
    /// What the container writes is read here (EIO is the end), what is written here it reads.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.master.as_fd()
    }
}
