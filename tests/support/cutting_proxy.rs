//! A proxy before a plain HTTP server on loopback that cuts connections at given numbers of bytes, and counts what
//! went through. What came before a cut arrives, whole; what came after it arrives nowhere. Knows no HTTP.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server, as in a push.
    Up,
    /// From the server to the client, as in a pull.
    Down,
}

/// When a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Never.
    Never,
    /// Once: the one that brings this byte of all that go this way, and all that are open beside it go on.
    Once(Way, u64),
    /// Whichever brings this byte of all that go this way, or twice as many, or three times, …
    Every(Way, u64),
    /// Each, before it has brought more than so many bytes this way.
    Each(Way, u64),
}

/// Serves while the process lives; its threads are not waited for.
pub struct CuttingProxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    cut: Cut,
    through: Through,
}

/// What went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Through {
    /// Bytes from clients to the server.
    pub up: u64,
    /// Bytes from the server to clients.
    pub down: u64,
    /// Connections that were cut.
    pub cuts: u64,
}

impl CuttingProxy {
    /// Starts one before the server at `HOST:PORT`; it cuts nothing yet.
    pub fn before(server: &str) -> CuttingProxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("free port on loopback");
        let address = listener.local_addr().expect("address");
        let state = Arc::new(Mutex::new(State { cut: Cut::Never, through: Through::default() }));
        let (shared, server) = (Arc::clone(&state), server.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (state, server) = (Arc::clone(&shared), server.clone());
                // A client that goes away in the middle is no fault of the test.
                std::thread::spawn(move || converse(client, &server, &state).unwrap_or_default());
            }
        });
        CuttingProxy { address, state }
    }

    /// `HOST:PORT`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// From now on cuts so, and counts anew. Nothing may be under way.
    pub fn cut(&self, cut: Cut) {
        *locked(&self.state) = State { cut, through: Through::default() };
    }

    /// What went through since then.
    pub fn through(&self) -> Through {
        locked(&self.state).through
    }
}

impl Through {
    /// The bytes that went this way.
    pub fn bytes(&self, way: Way) -> u64 {
        match way {
            Way::Up => self.up,
            Way::Down => self.down,
        }
    }
}

impl State {
    /// How many of `count` bytes may still go, of a connection that brought `before` this way.
    fn allowed(&mut self, way: Way, before: u64, count: usize) -> usize {
        let limit = match self.cut {
            Cut::Once(of, at) if of == way && self.through.cuts == 0 => at - self.through.bytes(way),
            Cut::Every(of, at) if of == way => (self.through.cuts + 1) * at - self.through.bytes(way),
            Cut::Each(of, at) if of == way => at - before,
            _ => u64::MAX,
        };
        let allowed = usize::try_from(limit).unwrap_or(usize::MAX).min(count);
        match way {
            Way::Up => self.through.up += allowed as u64,
            Way::Down => self.through.down += allowed as u64,
        }
        self.through.cuts += u64::from(allowed < count);
        allowed
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn converse(client: TcpStream, server: &str, state: &Arc<Mutex<State>>) -> io::Result<()> {
    let server = TcpStream::connect(server)?;
    let (from_server, to_client) = (server.try_clone()?, client.try_clone()?);
    let shared = Arc::clone(state);
    let answers = std::thread::spawn(move || carry(from_server, to_client, Way::Down, &shared));
    carry(client, server, Way::Up, state)?;
    answers.join().map_err(|_| io::Error::other("the answers' thread"))?
}

/// Carries bytes until the connection ends or is cut.
fn carry(mut from: TcpStream, mut to: TcpStream, way: Way, state: &Mutex<State>) -> io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    let mut brought = 0;
    loop {
        // A connection that breaks ends like one that is closed.
        let count = from.read(&mut buffer).unwrap_or_default();
        if count == 0 {
            return to.shutdown(Shutdown::Write);
        }
        let allowed = locked(state).allowed(way, brought, count);
        brought += allowed as u64;
        to.write_all(&buffer[..allowed])?;
        if allowed < count {
            to.shutdown(Shutdown::Both)?;
            return from.shutdown(Shutdown::Both);
        }
    }
}
