//! A web server on loopback whose pages a test can change, and which remembers what it was asked.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// A page.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// What it holds.
    pub body: Vec<u8>,
    /// Its validator; whoever knows it gets 304.
    pub etag: Option<String>,
    /// `Last-Modified`.
    pub modified: Option<String>,
    /// Where it is instead.
    pub moved_to: Option<String>,
    /// How many more times the connection breaks in the middle.
    pub breaks: usize,
    /// Statuses that are answered first, the last of them first.
    pub failing: Vec<u16>,
}

/// A server; it serves while the process lives.
pub struct Web {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    pages: BTreeMap<String, Page>,
    requests: Vec<Request>,
}

/// What was asked, and how it was answered.
#[derive(Clone, Debug)]
pub struct Request {
    /// The path.
    pub path: String,
    /// The status of the answer.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: BTreeMap<String, String>,
}

impl Web {
    /// A server without pages, on a free port.
    pub fn serve() -> Web {
        let listener = TcpListener::bind("127.0.0.1:0").expect("free port on loopback");
        let address = listener.local_addr().expect("address");
        let state = Arc::<Mutex<State>>::default();
        let served = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&served);
                // A client that goes away in the middle is no fault of the test.
                std::thread::spawn(move || converse(&stream, &state).unwrap_or_default());
            }
        });
        Web { address, state }
    }

    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// `HOST:PORT`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Puts a page in its place.
    pub fn put(&self, path: &str, page: Page) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).pages.insert(path.to_owned(), page);
    }

    /// What was asked since this was called last.
    pub fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).requests)
    }
}

impl Page {
    /// A page with a validator made of its content.
    pub fn of(body: &[u8]) -> Page {
        let sum = body.iter().fold(7u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
        let modified = Some("Mon, 01 Jan 2024 10:00:00 GMT".to_owned());
        Page { body: body.to_vec(), etag: Some(format!("\"{sum:x}\"")), modified, ..Page::default() }
    }
}

fn converse(stream: &TcpStream, state: &Mutex<State>) -> io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let (head, body) = answer(path, headers, &mut state.lock().unwrap_or_else(PoisonError::into_inner));
    let mut stream = stream;
    stream.write_all(head.as_bytes())?;
    stream.write_all(&body)
}

fn answer(path: String, headers: BTreeMap<String, String>, state: &mut State) -> (String, Vec<u8>) {
    let page = state.pages.get_mut(path.split('?').next().unwrap_or_default());
    let (status, extra, length, body) = match page {
        None => (404, String::new(), 0, Vec::new()),
        Some(page) => page.answer(&headers),
    };
    state.requests.push(Request { path, status, headers });
    let head = format!("HTTP/1.1 {status} X\r\n{extra}Content-Length: {length}\r\nConnection: close\r\n\r\n");
    (head, body)
}

impl Page {
    fn answer(&mut self, asked: &BTreeMap<String, String>) -> (u16, String, usize, Vec<u8>) {
        if let Some(status) = self.failing.pop() {
            return (status, "Retry-After: 0\r\n".into(), 0, Vec::new());
        }
        if let Some(to) = &self.moved_to {
            return (302, format!("Location: {to}\r\n"), 0, Vec::new());
        }
        let mut extra = String::new();
        for (name, value) in [("ETag", &self.etag), ("Last-Modified", &self.modified)] {
            if let Some(value) = value {
                extra.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        if self.etag.is_some() && asked.get("if-none-match") == self.etag.as_ref() {
            return (304, extra, 0, Vec::new());
        }
        let mut body = self.body.clone();
        if self.breaks > 0 {
            self.breaks -= 1;
            body.truncate(body.len() / 2);
        }
        (200, extra, self.body.len(), body)
    }
}
