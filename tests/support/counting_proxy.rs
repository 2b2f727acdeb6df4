//! A proxy before a plain HTTP server on loopback that notes what is asked of it. Knows requests only by their first
//! lines; bytes go through as they come.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// Serves while the process lives; its threads are not waited for.
pub struct CountingProxy {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl CountingProxy {
    /// Starts one before the server at `HOST:PORT`.
    pub fn before(server: &str) -> CountingProxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("free port on loopback");
        let address = listener.local_addr().expect("address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (notes, server) = (Arc::clone(&asked), server.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (notes, server) = (Arc::clone(&notes), server.clone());
                // A client that goes away in the middle is no fault of the test.
                std::thread::spawn(move || converse(client, &server, &notes).unwrap_or_default());
            }
        });
        CountingProxy { address, asked }
    }

    /// `HOST:PORT`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// What was asked since the last time, such as `GET /v2/…`, in order.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn converse(client: TcpStream, server: &str, asked: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let server = TcpStream::connect(server)?;
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    let answers = std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let (mut from_client, mut to_server) = (client, server);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = from_client.read(&mut buffer)?;
        let piece = &buffer[..count];
        if piece.is_empty() {
            break;
        }
        note(piece, asked);
        to_server.write_all(piece)?;
    }
    to_server.shutdown(Shutdown::Write)?;
    answers.join().map_err(|_| std::io::Error::other("the answers' thread"))
}

/// A request begins a piece, for a client waits for the answer before it asks on the same connection again.
fn note(piece: &[u8], asked: &Mutex<Vec<String>>) {
    let line = piece.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let Some(request) = std::str::from_utf8(line).ok().and_then(|line| line.strip_suffix(" HTTP/1.1")) else { return };
    asked.lock().unwrap_or_else(PoisonError::into_inner).push(request.to_owned());
}
