//! A registry on loopback that knows its protocol, and whose answers a test changes into what no registry should say.
//! It holds a base image, takes pushes, and remembers what it was asked. Plain HTTP, one request a connection.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::kiln::fixture;

/// The repository and tag of the image that it holds.
pub const NAME: &str = "team/app:1";
/// The same repository in paths.
const REPOSITORY: &str = "/v2/team/app/";

/// What was asked.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The path with the query.
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

/// An answer, as far as it goes.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Besides those about the length.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// How the body ends.
    pub ending: Ending,
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As long as announced.
    Whole,
    /// The length is not announced; the chunks end properly.
    Unannounced,
    /// The connection breaks after so many bytes.
    Cut(usize),
    /// What should be a head is none: the body is sent raw.
    Raw,
}

/// What it holds.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// Media type and bytes, by digest and by tag.
    pub manifests: BTreeMap<String, (String, Vec<u8>)>,
    /// By digest.
    pub blobs: BTreeMap<String, Vec<u8>>,
    uploads: BTreeMap<usize, Vec<u8>>,
    begun: usize,
}

type Manner = Box<dyn FnMut(&Request, Reply) -> Reply + Send>;

struct State {
    content: Content,
    manner: Manner,
    requests: Vec<Request>,
}

/// Serves while the process lives; its threads are not waited for.
pub struct Misbehaving {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Misbehaving {
    /// Starts one that holds `content` and gives each answer to `manner` before it is sent.
    pub fn serve(content: Content, manner: impl FnMut(&Request, Reply) -> Reply + Send + 'static) -> Misbehaving {
        let listener = TcpListener::bind("127.0.0.1:0").expect("free port on loopback");
        let address = listener.local_addr().expect("address");
        let state = Arc::new(Mutex::new(State { content, manner: Box::new(manner), requests: Vec::new() }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                // A client that goes away in the middle is no fault of the test.
                std::thread::spawn(move || converse(&stream, &state).unwrap_or_default());
            }
        });
        Misbehaving { address, state }
    }

    /// `HOST:PORT`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The image's whole name.
    pub fn image(&self) -> String {
        format!("{}/{NAME}", self.address)
    }

    /// What was asked so far.
    pub fn requests(&self) -> Vec<Request> {
        locked(&self.state).requests.clone()
    }

    /// What it holds now.
    pub fn content(&self) -> Content {
        locked(&self.state).content.clone()
    }
}

impl Request {
    /// Whether it asks for a blob's bytes.
    pub fn is_for_blob(&self) -> bool {
        self.method == "GET" && self.path.contains("/blobs/sha256:")
    }

    /// Whether it is about a manifest.
    pub fn is_for_manifest(&self) -> bool {
        self.path.contains("/manifests/")
    }
}

impl Reply {
    /// One without headers.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Reply {
        Reply { status, headers: Vec::new(), body: body.into(), ending: Ending::Whole }
    }

    /// With one more header.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Reply {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Ending like this.
    pub fn ending(self, ending: Ending) -> Reply {
        Reply { ending, ..self }
    }

    fn write(&self, mut stream: &TcpStream, head_only: bool) -> io::Result<()> {
        if self.ending == Ending::Raw {
            return stream.write_all(&self.body);
        }
        let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let length = self.body.len();
        head.push_str(&match self.ending {
            Ending::Unannounced => "Transfer-Encoding: chunked\r\n\r\n".to_owned(),
            _ => format!("Content-Length: {length}\r\n\r\n"),
        });
        stream.write_all(head.as_bytes())?;
        if head_only {
            return Ok(());
        }
        match self.ending {
            Ending::Unannounced => {
                write!(stream, "{length:x}\r\n")?;
                stream.write_all(&self.body)?;
                stream.write_all(if length == 0 { b"\r\n" } else { b"\r\n0\r\n\r\n" })
            }
            Ending::Cut(after) => stream.write_all(&self.body[..after.min(length)]),
            Ending::Whole | Ending::Raw => stream.write_all(&self.body),
        }
    }
}

impl Content {
    /// The base image `base` under [`NAME`].
    pub fn of(base: &str) -> Content {
        let layout = fixture(base);
        let index = std::fs::read(layout.join("index.json")).expect("index.json");
        let index: Value = serde_json::from_slice(&index).expect("index.json");
        let mut content = Content::default();
        for file in std::fs::read_dir(layout.join("blobs/sha256")).expect("blobs").flatten() {
            let digest = format!("sha256:{}", file.file_name().to_string_lossy());
            content.blobs.insert(digest, std::fs::read(file.path()).expect("blob"));
        }
        let named = &index["manifests"][0];
        let manifest = content.blobs[named["digest"].as_str().expect("digest")].clone();
        content.name(named["mediaType"].as_str().expect("type"), manifest);
        content
    }

    /// Puts the tag of [`NAME`] on this manifest.
    pub fn name(&mut self, media_type: &str, raw: impl Into<Vec<u8>>) {
        let kept = (media_type.to_owned(), raw.into());
        self.manifests.insert(digest(&kept.1), kept.clone());
        self.manifests.insert("1".into(), kept);
    }

    /// The manifest with that tag.
    pub fn manifest(&self) -> Value {
        serde_json::from_slice(&self.manifests["1"].1).expect("manifest")
    }

    /// Changes it.
    pub fn with_manifest(mut self, change: impl FnOnce(&mut Value)) -> Content {
        let (media_type, mut manifest) = (self.manifests["1"].0.clone(), self.manifest());
        change(&mut manifest);
        self.name(&media_type, serde_json::to_vec(&manifest).expect("JSON"));
        self
    }

    fn answer(&mut self, request: &Request) -> Reply {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        match path.strip_prefix(REPOSITORY).unwrap_or_default().split('/').collect::<Vec<_>>()[..] {
            ["manifests", name] => self.answer_manifest(request, name),
            ["blobs", "uploads", ""] => {
                self.begun += 1;
                self.uploads.insert(self.begun, Vec::new());
                self.status(202, self.begun)
            }
            ["blobs", "uploads", number] => self.take(request, number.parse().expect("an upload's number"), query),
            ["blobs", digest] => match self.blobs.get(digest) {
                Some(blob) => part(blob, request),
                None => Reply::new(404, ""),
            },
            _ => Reply::new(404, ""),
        }
    }

    fn answer_manifest(&mut self, request: &Request, name: &str) -> Reply {
        if request.method == "PUT" {
            let media_type = request.headers.get("content-type").cloned().unwrap_or_default();
            let kept = (media_type, request.body.clone());
            self.manifests.insert(digest(&request.body), kept.clone());
            self.manifests.insert(name.to_owned(), kept);
            return Reply::new(201, "");
        }
        let Some((media_type, raw)) = self.manifests.get(name) else { return Reply::new(404, "") };
        let digest = digest(raw);
        Reply::new(200, raw.clone()).with("Content-Type", media_type).with("Docker-Content-Digest", digest)
    }

    fn status(&self, status: u16, number: usize) -> Reply {
        let last = self.uploads[&number].len().saturating_sub(1);
        let place = format!("{REPOSITORY}blobs/uploads/{number}");
        Reply::new(status, "").with("Location", place).with("Range", format!("0-{last}"))
    }

    fn take(&mut self, request: &Request, number: usize, query: &str) -> Reply {
        let Some(upload) = self.uploads.get_mut(&number) else { return Reply::new(404, "") };
        upload.extend_from_slice(&request.body);
        match request.method.as_str() {
            "GET" => self.status(204, number),
            "PATCH" => self.status(202, number),
            "DELETE" => {
                self.uploads.remove(&number);
                Reply::new(204, "")
            }
            _ => {
                let blob = self.uploads.remove(&number).unwrap_or_default();
                let digest = digest(&blob);
                if !query.replace("%3A", ":").contains(&digest) {
                    return Reply::new(400, r#"{"errors":[{"code":"DIGEST_INVALID"}]}"#);
                }
                self.blobs.insert(digest, blob);
                Reply::new(201, "")
            }
        }
    }
}

/// What these bytes are called.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{:x}", Sha256::digest(bytes))
}

/// A blob, or the part of it from where a request wants it.
fn part(blob: &[u8], request: &Request) -> Reply {
    let range = request.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let Some((first, last)) = range else { return Reply::new(200, blob) };
    let first: usize = first.parse().expect("a position");
    if first >= blob.len() {
        return Reply::new(416, "").with("Content-Range", format!("bytes */{}", blob.len()));
    }
    let last = last.parse().unwrap_or(usize::MAX).min(blob.len() - 1);
    let range = format!("bytes {first}-{last}/{}", blob.len());
    Reply::new(206, &blob[first..=last]).with("Content-Range", range)
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn converse(stream: &TcpStream, state: &Mutex<State>) -> io::Result<()> {
    let Some(request) = read(stream)? else { return Ok(()) };
    let reply = {
        let mut guard = locked(state);
        let State { content, manner, requests } = &mut *guard;
        requests.push(request.clone());
        manner(&request, content.answer(&request))
    };
    reply.write(stream, request.method == "HEAD")?;
    stream.shutdown(Shutdown::Write)
}

fn read(stream: &TcpStream) -> io::Result<Option<Request>> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut words = first.split(' ').map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(None) };
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().expect("a length"));
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Request { method, path, headers, body }))
}
