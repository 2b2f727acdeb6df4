//! A proxy before a plain HTTP server on loopback that stands still once it brought so many bytes to clients, until it
//! is told to go on. It counts what it brings. Knows no HTTP.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Serves while the process lives; its threads are not waited for.
pub(crate) struct HaltingProxy {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    counts: Mutex<Counts>,
    changed: Condvar,
}

#[derive(Default)]
struct Counts {
    /// Bytes that clients got.
    brought: u64,
    /// No more than so many.
    limit: Option<u64>,
}

impl HaltingProxy {
    /// Starts one before the server at `HOST:PORT`; it does not halt yet.
    pub(crate) fn before(server: &str) -> HaltingProxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("free port on loopback");
        let address = listener.local_addr().expect("address");
        let state = Arc::new(State::default());
        let (shared, server) = (Arc::clone(&state), server.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (state, server) = (Arc::clone(&shared), server.clone());
                // A client that goes away in the middle is what this is for.
                std::thread::spawn(move || converse(client, &server, &state).unwrap_or_default());
            }
        });
        HaltingProxy { address, state }
    }

    /// `HOST:PORT`.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// From now on counts anew, and halts after so many bytes.
    pub(crate) fn halt_after(&self, bytes: Option<u64>) {
        *self.state.locked() = Counts { brought: 0, limit: bytes };
        self.state.changed.notify_all();
    }

    /// Bytes that clients got since then.
    pub(crate) fn brought(&self) -> u64 {
        self.state.locked().brought
    }
}

impl State {
    fn locked(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until bytes may be brought, at most `count`, and counts them.
    fn take(&self, count: usize) -> usize {
        let mut counts = self.locked();
        loop {
            let left = counts.limit.map_or(u64::MAX, |limit| limit.saturating_sub(counts.brought));
            if left > 0 {
                let taken = usize::try_from(left).unwrap_or(usize::MAX).min(count);
                counts.brought += taken as u64;
                return taken;
            }
            counts = self.changed.wait(counts).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn converse(client: TcpStream, server: &str, state: &Arc<State>) -> io::Result<()> {
    let server = TcpStream::connect(server)?;
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    let shared = Arc::clone(state);
    let answers = std::thread::spawn(move || {
        let _ = bring(&mut from_server, &mut to_client, &shared);
        let _ = to_client.shutdown(Shutdown::Both);
        let _ = from_server.shutdown(Shutdown::Both);
    });
    let (mut from_client, mut to_server) = (client, server);
    let _ = io::copy(&mut from_client, &mut to_server);
    let _ = to_server.shutdown(Shutdown::Both);
    answers.join().map_err(|_| io::Error::other("the answers' thread"))
}

fn bring(from: &mut TcpStream, to: &mut TcpStream, state: &State) -> io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        let mut piece = &buffer[..count];
        while !piece.is_empty() {
            let taken = state.take(piece.len());
            to.write_all(&piece[..taken])?;
            piece = &piece[taken..];
        }
    }
}
