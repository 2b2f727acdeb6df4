//! Sockets that exist while a process runs: what connects to them is served by threads of the caller's.
//! Knows nothing of what is said on them.

use std::collections::HashMap;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// How many connections are served at once; more are closed at once.
const CONNECTIONS: usize = 64;

/// Serves one connection to a socket, on a thread of its own. It must return soon after the connection was shut down,
/// which happens when the process has ended.
#[derive(Clone)]
pub struct Serve(pub Arc<dyn Fn(UnixStream) + Send + Sync>);

impl std::fmt::Debug for Serve {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Serve")
    }
}

/// A socket whose connections are served until this is dropped.
pub struct Served {
    listener: UnixListener,
    open: Arc<Mutex<Open>>,
    thread: Option<JoinHandle<()>>,
}

/// The connections that are being served.
#[derive(Default)]
struct Open {
    closed: bool,
    next: u64,
    streams: HashMap<u64, UnixStream>,
}

impl Served {
    /// Serves what connects to `listener` from now on, each connection by `serve`.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn start(listener: UnixListener, serve: Serve) -> io::Result<Self> {
        let open = Arc::<Mutex<Open>>::default();
        let (accepting, registry) = (listener.try_clone()?, Arc::clone(&open));
        let thread = std::thread::Builder::new().name("socket".into());
        let thread = thread.spawn(move || accept_all(&accepting, &registry, &serve))?;
        Ok(Served { listener, open, thread: Some(thread) })
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.closed = true;
        // Wakes those who wait in `accept` and `read`; what is closed already needs no waking.
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        for stream in open.streams.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        drop(open);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked said so already.
            let _ = thread.join();
        }
    }
}

fn accept_all(listener: &UnixListener, open: &Mutex<Open>, serve: &Serve) {
    std::thread::scope(|scope| {
        while let Ok((stream, _)) = listener.accept() {
            let Some(number) = register(open, &stream) else { continue };
            let served = move || {
                (serve.0)(stream);
                open.lock().unwrap_or_else(PoisonError::into_inner).streams.remove(&number);
            };
            if std::thread::Builder::new().name("connection".into()).spawn_scoped(scope, served).is_err() {
                open.lock().unwrap_or_else(PoisonError::into_inner).streams.remove(&number);
            }
        }
    });
}

/// Takes a connection in, if there is room and the process still runs.
fn register(open: &Mutex<Open>, stream: &UnixStream) -> Option<u64> {
    let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
    if open.closed || open.streams.len() >= CONNECTIONS {
        return None;
    }
    let copy = stream.try_clone().ok()?;
    let number = open.next;
    open.next += 1;
    open.streams.insert(number, copy);
    Some(number)
}
