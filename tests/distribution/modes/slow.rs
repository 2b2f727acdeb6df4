//! A registry on loopback that has one blob, sends the first half of it, and the rest only when it is told to.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::peer::Content;

/// Serves while the process lives.
pub(crate) struct Slow {
    address: SocketAddr,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Slow {
    /// A registry in which every repository has this blob; `sent` is what it sends as such.
    pub(crate) fn serve(blob: &Content, sent: &[u8]) -> Slow {
        let listener = TcpListener::bind("127.0.0.1:0").expect("free port on loopback");
        let address = listener.local_addr().expect("address");
        let gate = Arc::<Gate>::default();
        let (shared, path, sent) = (Arc::clone(&gate), format!("blobs/{}", blob.digest), sent.to_vec());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (gate, path, sent) = (Arc::clone(&shared), path.clone(), sent.clone());
                // A client that goes away in the middle is no fault of the test.
                std::thread::spawn(move || answer(&stream, &path, &sent, &gate).unwrap_or_default());
            }
        });
        Slow { address, gate }
    }

    /// `http://HOST:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets the rest go.
    pub(crate) fn go_on(&self) {
        *self.gate.is_open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.gate.opened.notify_all();
    }
}

fn answer(mut stream: &TcpStream, path: &str, sent: &[u8], gate: &Gate) -> io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let close = "Connection: close\r\n";
    if !first.contains(path) {
        return write!(stream, "HTTP/1.1 404 Not Found\r\n{close}Content-Length: 0\r\n\r\n");
    }
    write!(stream, "HTTP/1.1 200 OK\r\n{close}Content-Length: {}\r\n\r\n", sent.len())?;
    if first.starts_with("HEAD ") {
        return Ok(());
    }
    let (half, rest) = sent.split_at(sent.len() / 2);
    stream.write_all(half)?;
    let is_open = gate.is_open.lock().unwrap_or_else(PoisonError::into_inner);
    drop(gate.opened.wait_while(is_open, |is_open| !*is_open));
    stream.write_all(rest)
}
