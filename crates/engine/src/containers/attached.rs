//! A container that this process runs: its streams, its end.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread;

use kiln_sandbox::{Output, Running, Signaller, Stream, Terminal};
use kiln_store::LockGuard;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::record::Container;
use crate::{Engine, Error};

const BUFFER: usize = 16 * 1024;

/// A container that runs as a child of this process. Dropping it kills the container, which is
/// then shown as exited.
pub struct Attached {
    engine: Engine,
    container: Container,
    running: Running,
    terminal: Option<Arc<Terminal>>,
    _lock: LockGuard,
}

/// Copies a descriptor into a container until either ends or this is dropped.
pub struct Input {
    _stop: OwnedFd,
}

impl Attached {
    pub(super) fn new(engine: Engine, container: Container, mut running: Running, lock: LockGuard) -> Self {
        let terminal = running.take_terminal().map(Arc::new);
        Attached { engine, container, running, terminal, _lock: lock }
    }

    /// The container.
    pub fn container(&self) -> &Container {
        &self.container
    }

    /// Sends signals to it, from any thread.
    pub fn signaller(&self) -> Signaller {
        self.running.signaller()
    }

    /// The controlling side of its terminal, to tell it a new size; `None` without a terminal.
    pub fn terminal(&self) -> Option<Arc<Terminal>> {
        self.terminal.clone()
    }

    /// What was asked for and could not be had, a line each.
    pub fn notes(&self) -> Vec<String> {
        self.running.notes().iter().map(|note| note.0.clone()).collect()
    }

    /// Copies `source` (if there is one) to the container's input and hands its output to `output`
    /// until it has ended; then tells its exit code. With a terminal all output is
    /// [`Stream::Stdout`].
    ///
    /// The exit code is kept in the container's state; a container made with `auto_remove` is
    /// gone afterwards.
    ///
    /// # Errors
    /// Streams that cannot be read, and an end that cannot be told; the container is then killed.
    pub fn run(mut self, source: Option<OwnedFd>, output: &mut Output<'_>) -> Result<u8, Error> {
        let read = |error| Error::io("read the output of", "the container", error);
        match self.terminal.take() {
            Some(terminal) => {
                let input = terminal.as_fd().try_clone_to_owned().map_err(read)?;
                let _input = source.map(|source| Input::start(source, input)).transpose()?;
                read_terminal(&terminal, output).map_err(read)?;
            }
            None => {
                let input = self.running.take_input();
                let _input = source.zip(input).map(|(source, input)| Input::start(source, input)).transpose()?;
                self.running.stream(output)?;
            }
        }
        self.wait()
    }

    /// Waits for the end without reading any output.
    fn wait(self) -> Result<u8, Error> {
        let Attached { engine, mut container, running, .. } = self;
        let finished = running.wait()?;
        let code = finished.status.exit_code();
        container.state.ended(code, finished.out_of_memory);
        let kept = if container.host.auto_remove { engine.discard(&container, true) } else { engine.keep(&container) };
        match kept {
            // Somebody removed it by force; how it ended is told all the same.
            Ok(()) | Err(Error::NoSuchContainer(_)) => Ok(code),
            Err(error) => Err(error),
        }
    }
}

impl Input {
    fn start(source: OwnedFd, destination: OwnedFd) -> Result<Self, Error> {
        let (stopped, stop) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| Error::io("make", "a pipe", error))?;
        thread::Builder::new()
            .name("container-input".into())
            .spawn(move || copy_until_stopped(File::from(source), File::from(destination), &stopped))
            .map_err(|error| Error::io("start", "a thread", error))?;
        Ok(Input { _stop: stop })
    }
}

/// The container's input ends when the source does, or the copy is stopped; nobody hears of
/// failures, as nobody would of a container that does not read.
fn copy_until_stopped(mut source: File, mut destination: File, stopped: &OwnedFd) {
    let mut buffer = vec![0; BUFFER];
    loop {
        let mut polled = [PollFd::new(&source, PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
        match poll(&mut polled, None) {
            Err(Errno::INTR) => continue,
            Err(_) => return,
            Ok(_) if !polled[1].revents().is_empty() => return,
            Ok(_) => {}
        }
        match source.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(read) => {
                let Some(bytes) = buffer.get(..read) else { return };
                if destination.write_all(bytes).is_err() {
                    return;
                }
            }
        }
    }
}

/// EIO is how a terminal says that nobody holds its other side any more.
fn read_terminal(terminal: &Terminal, output: &mut Output<'_>) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match rustix::io::read(terminal, &mut buffer) {
            Ok(0) | Err(Errno::IO) => return Ok(()),
            Ok(read) => output(Stream::Stdout, buffer.get(..read).unwrap_or_default()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
