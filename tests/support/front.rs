//! A server that stands before a registry: with TLS of an authority of the test's own, with a guard that answers in its
//! place, and with a memory of what came. It holds whole requests in memory and serves while the process lives.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::http;

/// Who signs certificates of servers and clients.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    /// Its certificate, as a file has it.
    pub pem: String,
}

/// A certificate and its key, as files have them.
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The key.
    pub key: String,
}

impl Authority {
    /// A new one of this name.
    pub fn new(name: &str) -> Authority {
        let key = KeyPair::generate().expect("key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("certificate");
        let (pem, der) = (certificate.pem(), certificate.der().clone());
        Authority { issuer: Issuer::new(params, key), certificate: der, pem }
    }

    /// Signs for a client.
    pub fn client(&self, name: &str) -> Identity {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("key");
        let certificate = params.signed_by(&key, &self.issuer).expect("certificate");
        Identity { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// What a server needs that is called by one of these names; it asks clients for what `of_clients` signed.
    pub fn server(&self, names: &[&str], of_clients: Option<&Authority>) -> Arc<ServerConfig> {
        let names = names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let key = KeyPair::generate().expect("key");
        let params = CertificateParams::new(names).expect("parameters");
        let certificate = params.signed_by(&key, &self.issuer).expect("certificate");
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let builder = builder.expect("versions");
        let builder = match of_clients {
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.certificate.clone()).expect("authority");
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.expect("verifier"))
            }
            None => builder.with_no_client_auth(),
        };
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("key");
        Arc::new(builder.with_single_cert(vec![certificate.der().clone()], key).expect("identity"))
    }
}

/// What came.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The path with the query; of a proxy's request the whole address.
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, whole.
    pub body: Vec<u8>,
}

impl Request {
    /// The first header of this name, which is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// Method and target.
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }
}

/// An answer of the guard's own.
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Reply {
    /// An answer with an empty body.
    pub fn new(status: u16) -> Reply {
        Reply { status, headers: Vec::new(), body: Vec::new() }
    }

    /// With one more header.
    pub fn header(mut self, name: &str, value: &str) -> Reply {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With this body.
    pub fn body(self, body: &str) -> Reply {
        Reply { body: body.as_bytes().to_vec(), ..self }
    }
}

/// Answers a request, changes it or lets it pass (`None`) to the registry behind.
pub type Guard = Box<dyn Fn(&mut Request) -> Option<Reply> + Send + Sync>;

/// A guard that lets in who shows these words by basic authentication.
pub fn basic(encoded: &'static str) -> Guard {
    Box::new(move |request| {
        let wanted = format!("Basic {encoded}");
        let refused = || Reply::new(401).header("WWW-Authenticate", "Basic realm=\"test\"");
        (request.header("authorization") != Some(&wanted)).then(refused)
    })
}

/// A guard that lets everybody in.
pub fn open() -> Guard {
    Box::new(|_| None)
}

/// The server.
pub struct Front {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    behind: Option<http::Server>,
    tls: Option<Arc<ServerConfig>>,
    guard: Guard,
    requests: Mutex<Vec<Request>>,
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Front {
    /// Stands before the registry at the address `behind`, if there is one.
    pub fn start(behind: Option<&str>, tls: Option<Arc<ServerConfig>>, guard: Guard) -> Front {
        let listener = TcpListener::bind("127.0.0.1:0").expect("free port on loopback");
        let address = listener.local_addr().expect("address");
        let shared = Arc::new(Shared {
            behind: behind.map(http::Server::plain),
            tls,
            guard,
            requests: Mutex::default(),
            now: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&serving);
                // A client that goes away in the middle is no fault of the test.
                std::thread::spawn(move || shared.serve(stream).unwrap_or_default());
            }
        });
        Front { address, shared }
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The same machine under an address that does not look like it: `0.0.0.0:PORT`.
    pub fn elsewhere(&self) -> String {
        format!("0.0.0.0:{}", self.address.port())
    }

    /// What came since this was asked last.
    pub fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut *self.shared.requests.lock().expect("requests"))
    }

    /// The same, method and target only.
    pub fn lines(&self) -> Vec<String> {
        self.requests().iter().map(Request::line).collect()
    }

    /// How many requests were served at the same time at most.
    pub fn most_at_once(&self) -> usize {
        self.shared.most.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        let mut first = [0];
        stream.peek(&mut first)?;
        let speaks_tls = first[0] == 0x16;
        match (&self.tls, speaks_tls) {
            (Some(tls), true) => {
                let session = ServerConnection::new(Arc::clone(tls)).map_err(io::Error::other)?;
                let mut stream = StreamOwned::new(session, stream);
                self.converse(&mut stream)?;
                stream.conn.send_close_notify();
                stream.flush()
            }
            (None, false) => self.converse(&mut { stream }),
            // As Go's servers say it.
            (Some(_), false) => self.refuse(stream),
            (None, true) => Ok(()),
        }
    }

    fn refuse(&self, mut stream: TcpStream) -> io::Result<()> {
        read_request(&stream)?;
        stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
    }

    /// One request on each connection.
    fn converse(&self, stream: &mut (impl Read + Write)) -> io::Result<()> {
        let mut request = read_request(&mut *stream)?;
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        self.requests.lock().expect("requests").push(request.clone());
        let reply = (self.guard)(&mut request).unwrap_or_else(|| self.relay(&request));
        self.now.fetch_sub(1, Ordering::SeqCst);
        write_reply(stream, &reply, request.method == "HEAD")
    }

    fn relay(&self, request: &Request) -> Reply {
        let Some(behind) = &self.behind else { return Reply::new(404) };
        // For which registry it is asked, a mirror would know; what is behind need not.
        let target = request.target.split("?ns=").next().unwrap_or_default();
        let mut onwards = http::Request::new(&request.method, target).body(&request.body);
        let is_onwards = |name: &str| ["accept", "content-type", "range", "content-range"].contains(&name);
        for (name, value) in request.headers.iter().filter(|(name, _)| is_onwards(name)) {
            onwards = onwards.header(name, value);
        }
        let Ok(answer) = behind.try_send(&onwards) else { return Reply::new(502) };
        let own = format!("http://{}", behind.address);
        let is_passed = |name: &str| !["connection", "transfer-encoding", "content-length"].contains(&name);
        let length = answer.header("content-length").filter(|_| request.method == "HEAD");
        let length = length.map(|length| ("content-length".to_owned(), length.to_owned()));
        let passed = answer.headers.iter().filter(|(name, _)| is_passed(name));
        let passed = passed.map(|(name, value)| (name.clone(), value.replace(&own, "")));
        Reply { status: answer.status, headers: passed.chain(length).collect(), body: answer.body }
    }
}

fn read_request(stream: impl Read) -> io::Result<Request> {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut words = lines.first().map(String::as_str).unwrap_or_default().split(' ');
    let (method, target) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
    let headers = lines.iter().skip(1).filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned())).collect();
    let mut request = Request { method, target, headers, body: Vec::new() };
    let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    reader.take(length).read_to_end(&mut request.body)?;
    Ok(request)
}

fn write_reply(stream: &mut impl Write, reply: &Reply, head: bool) -> io::Result<()> {
    let mut text = format!("HTTP/1.1 {} Test\r\nConnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !head && reply.status != 204 {
        text.push_str(&format!("Content-Length: {}\r\n", reply.body.len()));
    }
    stream.write_all(text.as_bytes())?;
    stream.write_all(b"\r\n")?;
    if !head {
        stream.write_all(&reply.body)?;
    }
    stream.flush()
}
