//! A registry of plain HTTP that holds back the end of uploads until so many of them have begun. It keeps nothing: every
//! blob is missing, every upload and manifest is taken.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// A push that uploads one layer after the other fails after this time.
const GUARD: Duration = Duration::from_secs(60);

/// Serves while the process lives; its threads are not waited for.
pub(crate) struct Gate {
    address: SocketAddr,
}

struct Uploads {
    wanted: usize,
    begun: Mutex<usize>,
    changed: Condvar,
}

impl Gate {
    /// Starts one that waits for `wanted` uploads.
    pub(crate) fn start(wanted: usize) -> Gate {
        let listener = TcpListener::bind("127.0.0.1:0").expect("free port on loopback");
        let address = listener.local_addr().expect("address");
        let uploads = Arc::new(Uploads { wanted, begun: Mutex::default(), changed: Condvar::new() });
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let uploads = Arc::clone(&uploads);
                // A client that goes away in the middle is told by the test's end.
                std::thread::spawn(move || converse(&stream, &uploads).unwrap_or_default());
            }
        });
        Gate { address }
    }

    /// `HOST:PORT`.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }
}

impl Uploads {
    /// Counts one more; false if the others do not come.
    fn wait_for_others(&self) -> bool {
        let mut begun = self.begun.lock().expect("count");
        *begun += 1;
        self.changed.notify_all();
        let waited = self.changed.wait_timeout_while(begun, GUARD, |begun| *begun < self.wanted);
        !waited.expect("count").1.timed_out()
    }
}

fn converse(stream: &TcpStream, uploads: &Uploads) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first)? == 0 {
            return Ok(());
        }
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        io::copy(&mut (&mut reader).take(length), &mut io::sink())?;
        let answer = answer(&first, uploads);
        let mut writer = stream;
        writer.write_all(format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n").as_bytes())?;
    }
}

/// Status and headers.
fn answer(first: &str, uploads: &Uploads) -> &'static str {
    let is_layer = first.contains("/blobs/");
    match first.split(' ').next() {
        Some("HEAD") => "404 Not Found",
        Some("POST") => "202 Accepted\r\nLocation: /v2/app/blobs/uploads/one",
        Some("PUT") if is_layer && !uploads.wait_for_others() => "400 Bad Request",
        Some("PUT") => "201 Created",
        // As a proxy, it leads to nobody who speaks TLS.
        Some("CONNECT") => "502 Bad Gateway",
        _ => "200 OK",
    }
}
