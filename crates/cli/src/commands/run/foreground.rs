//! A container in the foreground: its streams, its terminal, the signals that are passed on to it.

use std::io::{IsTerminal, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use kiln_engine::{Engine, Error, Signaller, Stream, Terminal};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::failure::Failure;
use crate::host::Host;

/// After so many requests to end, a container that ignores them is killed.
const PATIENCE: u32 = 3;

/// Numbers of the signals that are passed on.
const PASSED_ON: [i32; 7] = [1, 2, 3, 10, 12, 15, 18];
const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

/// How a container is bound to this process's streams.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Streams {
    /// It reads the standard input.
    pub(crate) input: bool,
    /// It has a terminal.
    pub(crate) terminal: bool,
}

impl Streams {
    /// Docker refuses a terminal whose input is none.
    pub(crate) fn check(self) -> Result<(), Failure> {
        if self.input && self.terminal && !std::io::stdin().is_terminal() {
            return Err(Failure::new("the input device is not a TTY"));
        }
        Ok(())
    }
}

/// Starts a container and stays with it to its end; tells its exit code.
pub(crate) fn attend(host: &Host, engine: &Engine, id: &str, streams: Streams) -> Result<u8, Error> {
    let size = if streams.terminal { window_size() } else { None };
    // Signals that arrive while it starts must not end this process without it.
    let mut helpers = JoinSet::new();
    let received = receive(host, &mut helpers);
    let attached = engine.start(id, size)?;
    for note in attached.notes() {
        eprintln!("WARNING: {note}");
    }
    let signaller = attached.signaller();
    helpers.spawn_on(pass_on(received, signaller), host.runtime.handle());
    if let Some(terminal) = attached.terminal() {
        let _guard = host.runtime.enter();
        helpers.spawn(follow_size(terminal));
    }
    let raw = if streams.terminal && streams.input { RawMode::enter() } else { None };
    let input = if streams.input { standard_input() } else { None };
    let result = attached.run(input, &mut |stream, bytes| write(stream, bytes));
    drop(raw);
    result
}

/// A descriptor of our own on the standard input.
fn standard_input() -> Option<OwnedFd> {
    std::io::stdin().as_fd().try_clone_to_owned().ok()
}

/// What cannot be written (a closed pipe) is dropped: the container goes on as with docker.
fn write(stream: Stream, bytes: &[u8]) {
    let written = match stream {
        Stream::Stdout => {
            let mut out = std::io::stdout().lock();
            out.write_all(bytes).and_then(|()| out.flush())
        }
        Stream::Stderr => std::io::stderr().write_all(bytes),
    };
    drop(written);
}

/// Rows and columns of the terminal that this process writes to.
fn window_size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(std::io::stdout()).or_else(|_| tcgetwinsize(std::io::stdin())).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// The terminal of this process gives every key to the container; as before when dropped.
struct RawMode {
    before: Termios,
}

impl RawMode {
    fn enter() -> Option<Self> {
        let before = tcgetattr(std::io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw).ok()?;
        Some(RawMode { before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Numbers of the signals that this process gets from now on.
fn receive(host: &Host, helpers: &mut JoinSet<()>) -> tokio::sync::mpsc::UnboundedReceiver<i32> {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let _guard = host.runtime.enter();
    for number in PASSED_ON {
        // A signal that cannot be caught ends us as it would without this.
        let Ok(mut signals) = signal(SignalKind::from_raw(number)) else { continue };
        let sender = sender.clone();
        helpers.spawn(async move { while signals.recv().await.is_some() && sender.send(number).is_ok() {} });
    }
    receiver
}

async fn pass_on(mut received: tokio::sync::mpsc::UnboundedReceiver<i32>, signaller: Signaller) {
    let mut requests = 0;
    while let Some(number) = received.recv().await {
        requests += u32::from(matches!(number, SIGINT | SIGTERM));
        // One that has ended needs no signal.
        let _ = if requests < PATIENCE { signaller.signal(number) } else { signaller.kill() };
    }
}

async fn follow_size(terminal: Arc<Terminal>) {
    let Ok(mut changes) = signal(SignalKind::window_change()) else { return };
    while changes.recv().await.is_some() {
        if let Some((rows, columns)) = window_size() {
            // The container may have closed it.
            let _ = terminal.resize(rows, columns);
        }
    }
}
