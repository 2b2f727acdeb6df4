//! HTTP/1.1 as it is on the wire, one connection a request: what a test sends is what it wrote, and what it reads is
//! what came. Follows no redirect, repeats nothing, knows no registry.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

/// A server that hangs fails the test after this time.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a server listens and how it is spoken to.
#[derive(Clone)]
pub struct Server {
    /// `HOST:PORT`.
    pub address: String,
    /// TLS with these settings, or none.
    pub tls: Option<Arc<ClientConfig>>,
}

/// A request that has not been sent.
#[derive(Clone)]
pub struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    chunked: bool,
}

/// What a server answered.
#[derive(Clone)]
pub struct Response {
    /// The request's first line, for messages.
    pub asked: String,
    /// The status code.
    pub status: u16,
    /// Names in lower case, in the order of the answer.
    pub headers: Vec<(String, String)>,
    /// The body, whole.
    pub body: Vec<u8>,
}

impl Request {
    /// A request without a body.
    pub fn new(method: &str, target: &str) -> Request {
        let (method, target) = (method.to_owned(), target.to_owned());
        Request { method, target, headers: Vec::new(), body: Vec::new(), chunked: false }
    }

    /// With one more header.
    pub fn header(mut self, name: &str, value: &str) -> Request {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With this body, its length said beforehand.
    pub fn body(mut self, body: &[u8]) -> Request {
        self.body = body.to_vec();
        self
    }

    /// With this body, its length not said.
    pub fn streamed(mut self, body: &[u8]) -> Request {
        self.chunked = true;
        self.body(body)
    }

    /// The first line and the headers as they are sent; `length` replaces the body's.
    fn head(&self, host: &str, length: usize) -> String {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let bodiless = ["GET", "HEAD", "DELETE"].contains(&self.method.as_str()) && length == 0;
        if self.chunked {
            head.push_str("Transfer-Encoding: chunked\r\n");
        } else if !bodiless {
            head.push_str(&format!("Content-Length: {length}\r\n"));
        }
        head + "\r\n"
    }

    fn write(&self, host: &str, stream: &mut impl Write) -> io::Result<()> {
        stream.write_all(self.head(host, self.body.len()).as_bytes())?;
        if !self.chunked {
            stream.write_all(&self.body)?;
            return stream.flush();
        }
        for piece in self.body.chunks(64 * 1024) {
            write!(stream, "{:x}\r\n", piece.len())?;
            stream.write_all(piece)?;
            stream.write_all(b"\r\n")?;
        }
        stream.write_all(b"0\r\n\r\n")?;
        stream.flush()
    }
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

impl Server {
    /// A server of plain HTTP.
    pub fn plain(address: &str) -> Server {
        Server { address: address.to_owned(), tls: None }
    }

    /// Sends a request and reads the whole answer. Fails where the connection does.
    pub fn try_send(&self, request: &Request) -> io::Result<Response> {
        let mut stream = self.connect()?;
        // A server may answer before it has read everything, and close: what it says counts then.
        let sent = request.write(&self.address, &mut stream);
        let asked = format!("{} {}", request.method, request.target);
        let answer = read_response(asked, request.method == "HEAD", &mut BufReader::new(&mut stream));
        answer.map_err(|failed| sent.err().unwrap_or(failed))
    }

    /// Sends a request and reads the answer; one that does not come fails the test.
    #[track_caller]
    pub fn send(&self, request: &Request) -> Response {
        let failed = |e| panic!("{} {}: {e}", request.method, request.target);
        self.try_send(request).unwrap_or_else(failed)
    }

    /// Sends the head of a request that announces `length` bytes, and only its body; then breaks the connection.
    pub fn send_and_break(&self, request: &Request, length: usize) -> io::Result<()> {
        let mut stream = self.connect()?;
        stream.write_all(request.head(&self.address, length).as_bytes())?;
        stream.write_all(&request.body)?;
        stream.flush()
    }

    fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let host = self.address.rsplit_once(':').map_or(self.address.as_str(), |(host, _)| host);
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let session = ClientConnection::new(Arc::clone(tls), name).map_err(io::Error::other)?;
        Ok(Box::new(StreamOwned::new(session, stream)))
    }
}

fn read_response(asked: String, head: bool, stream: &mut impl BufRead) -> io::Result<Response> {
    let (status, headers) = loop {
        let (status, headers) = read_head(stream)?;
        if status >= 200 {
            break (status, headers);
        }
    };
    let mut response = Response { asked, status, headers, body: Vec::new() };
    if head || status == 204 || status == 304 {
        return Ok(response);
    }
    if response.header("transfer-encoding").is_some_and(|encoding| encoding.contains("chunked")) {
        read_chunks(stream, &mut response.body)?;
    } else if let Some(length) = response.header("content-length") {
        let length = length.parse().map_err(io::Error::other)?;
        stream.take(length).read_to_end(&mut response.body)?;
        if (response.body.len() as u64) < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    } else {
        stream.read_to_end(&mut response.body)?;
    }
    Ok(response)
}

fn read_head(stream: &mut impl BufRead) -> io::Result<(u16, Vec<(String, String)>)> {
    let first = read_line(stream)?;
    let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("no status line: {first:?}")))?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(stream)?;
        let Some((name, value)) = line.split_once(':') else { return Ok((status, headers)) };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
}

fn read_line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

fn read_chunks(stream: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let length = read_line(stream)?;
        let length = u64::from_str_radix(length.split(';').next().unwrap_or_default(), 16).map_err(io::Error::other)?;
        let before = body.len();
        stream.by_ref().take(length).read_to_end(body)?;
        if ((body.len() - before) as u64) < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        read_line(stream)?;
        if length == 0 {
            return Ok(());
        }
    }
}

impl Response {
    /// The first header of this name, which is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("no JSON ({e}): {self}"))
    }
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} was answered by {}", self.asked, self.status)?;
        for (name, value) in &self.headers {
            writeln!(f, "  {name}: {value}")?;
        }
        let shown = &self.body[..self.body.len().min(2000)];
        write!(f, "{}", String::from_utf8_lossy(shown))
    }
}
