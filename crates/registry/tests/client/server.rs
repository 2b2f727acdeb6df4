//! A small HTTP server that answers as a test says, wrong lengths and broken connections included. It ends
//! when it is dropped.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The server's own address, such as `http://127.0.0.1:1234`.
    pub(crate) base: String,
    pub(crate) method: String,
    /// With the query.
    pub(crate) path: String,
    headers: Vec<(String, String)>,
    /// As far as it was read.
    pub(crate) body: Vec<u8>,
    /// Whether the connection breaks in the middle of the body.
    pub(crate) is_cut: bool,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    end: End,
    /// Whether it is sent though the request has not come to its end.
    is_early: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// The whole body, its length announced.
    Whole,
    /// The connection breaks after so many bytes.
    Cut(usize),
    /// Nothing more comes after so many bytes, but the connection stays.
    Stall(usize),
    /// The connection breaks before the answer.
    Nothing,
    /// A byte now and then, for ever.
    Trickle,
    /// The same of the head.
    SlowHead,
    /// Well-formed chunks that end after so many bytes.
    Chunked(usize),
}

impl Reply {
    pub(crate) fn new(status: u16) -> Self {
        Reply { status, headers: Vec::new(), body: Vec::new(), end: End::Whole, is_early: false }
    }

    pub(crate) fn body(body: impl Into<Vec<u8>>) -> Self {
        Reply { body: body.into(), ..Reply::new(200) }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn status(self, status: u16) -> Self {
        Reply { status, ..self }
    }

    pub(crate) fn set_body(&mut self, body: &[u8]) {
        self.body = body.to_vec();
    }

    pub(crate) fn cut(self, after: usize) -> Self {
        Reply { end: End::Cut(after), ..self }
    }

    pub(crate) fn stall(self, after: usize) -> Self {
        Reply { end: End::Stall(after), ..self }
    }

    pub(crate) fn chunked(self, after: usize) -> Self {
        Reply { end: End::Chunked(after), ..self }
    }

    pub(crate) fn nothing() -> Self {
        Reply { end: End::Nothing, ..Reply::new(200) }
    }

    pub(crate) fn early(self) -> Self {
        Reply { is_early: true, ..self }
    }

    pub(crate) fn slow_head(self) -> Self {
        Reply { end: End::SlowHead, ..self }
    }

    pub(crate) fn trickle(self) -> Self {
        Reply { end: End::Trickle, ..self }
    }

    pub(crate) fn len(&self) -> usize {
        self.body.len()
    }

    fn head(&self) -> String {
        let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        match self.end {
            End::Chunked(_) => head.push_str("Transfer-Encoding: chunked\r\n"),
            _ => head.push_str(&format!("Content-Length: {}\r\n", self.body.len())),
        }
        head + "\r\n"
    }
}

type Handler = Box<dyn FnMut(&Request) -> Reply + Send>;

/// How many bytes of a body are read before the connection breaks; `None`: all.
type Intake = Box<dyn FnMut(&Request) -> Option<usize> + Send>;

pub(crate) struct Server {
    address: SocketAddr,
    scheme: &'static str,
    requests: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) async fn start(handler: impl FnMut(&Request) -> Reply + Send + 'static) -> Self {
        Self::listen(Box::new(handler), Box::new(|_| None), None).await
    }

    /// One whose connections break while they bring a body, where `intake` says so. The handler sees what came.
    pub(crate) async fn start_cutting(
        intake: impl FnMut(&Request) -> Option<usize> + Send + 'static,
        handler: impl FnMut(&Request) -> Reply + Send + 'static,
    ) -> Self {
        Self::listen(Box::new(handler), Box::new(intake), None).await
    }

    pub(crate) async fn start_tls(
        acceptor: TlsAcceptor,
        handler: impl FnMut(&Request) -> Reply + Send + 'static,
    ) -> Self {
        Self::listen(Box::new(handler), Box::new(|_| None), Some(acceptor)).await
    }

    async fn listen(handler: Handler, intake: Intake, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let requests = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::new(Shared {
            base: format!("{scheme}://{address}"),
            handler: Mutex::new(handler),
            intake: Mutex::new(intake),
            requests: requests.clone(),
        });
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, tls) = (shared.clone(), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, &shared).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream, &shared).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        Server { address, scheme, requests, task }
    }

    /// `127.0.0.1:port`.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The requests as `METHOD path`.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.requests().iter().map(|r| format!("{} {}", r.method, r.path)).collect()
    }
}

struct Shared {
    base: String,
    handler: Mutex<Handler>,
    intake: Mutex<Intake>,
    requests: Arc<Mutex<Vec<Request>>>,
}

/// One request and its answer; `None` if the peer went away.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, shared: &Shared) -> Option<()> {
    let request = read_request(&mut stream, shared).await?;
    let reply = (shared.handler.lock().unwrap())(&request);
    shared.requests.lock().unwrap().push(request.clone());
    if request.is_cut && !reply.is_early || reply.end == End::Nothing {
        return Some(());
    }
    if reply.end == End::SlowHead {
        return slowly(&mut stream, format!("HTTP/1.1 200 X\r\nX-Long: {}", "y".repeat(100_000)).as_bytes()).await;
    }
    stream.write_all(reply.head().as_bytes()).await.ok()?;
    if request.method == "HEAD" {
        return stream.shutdown().await.ok();
    }
    match reply.end {
        End::Nothing | End::SlowHead => {}
        End::Whole => stream.write_all(&reply.body).await.ok()?,
        End::Cut(after) => stream.write_all(&reply.body[..after]).await.ok()?,
        End::Stall(after) => {
            stream.write_all(&reply.body[..after]).await.ok()?;
            stream.flush().await.ok()?;
            // Until the client gives up.
            stream.read_u8().await.ok()?;
        }
        End::Trickle => slowly(&mut stream, &reply.body).await?,
        End::Chunked(after) => {
            stream.write_all(format!("{after:x}\r\n").as_bytes()).await.ok()?;
            stream.write_all(&reply.body[..after]).await.ok()?;
            stream.write_all(b"\r\n0\r\n\r\n").await.ok()?;
        }
    }
    stream.shutdown().await.ok()
}

/// A byte now and then.
async fn slowly(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Option<()> {
    for byte in bytes.chunks(1) {
        stream.write_all(byte).await.ok()?;
        stream.flush().await.ok()?;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Some(())
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin), shared: &Shared) -> Option<Request> {
    let mut raw = Vec::new();
    let head_end = loop {
        let mut byte = [0];
        stream.read_exact(&mut byte).await.ok()?;
        raw.push(byte[0]);
        if raw.ends_with(b"\r\n\r\n") {
            break raw.len();
        }
    };
    let head = String::from_utf8(raw[..head_end].to_vec()).unwrap();
    let mut lines = head.lines();
    let mut words = lines.next()?.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let pairs = lines.filter_map(|line| line.split_once(": "));
    let headers: Vec<_> = pairs.map(|(key, value)| (key.to_ascii_lowercase(), value.to_owned())).collect();
    let base = shared.base.clone();
    let mut request = Request { base, method, path, headers, body: Vec::new(), is_cut: false };
    let announced = request.header("content-length").map_or(0, |text| text.parse().unwrap());
    let length = (shared.intake.lock().unwrap())(&request).map_or(announced, |intake| intake.min(announced));
    request.is_cut = length < announced;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    request.body = body;
    Some(request)
}

/// A server's side of TLS for `name`, and its certificate as PEM.
pub(crate) fn tls(name: &str) -> (TlsAcceptor, String) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let settings = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(settings)), cert.pem())
}
