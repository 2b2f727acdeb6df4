//! A read-only registry on loopback that serves the base images from their OCI layouts, as
//! `library/busybox:latest` and so on. Plain HTTP; understands just what a pull asks.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::kiln::fixture;

/// Serves while the process lives; its thread is not waited for.
pub struct Registry {
    address: SocketAddr,
    busy: Arc<AtomicUsize>,
}

/// `REPOSITORY/manifests/TAG` → digest; and everything else by digest.
struct Images {
    tags: HashMap<String, String>,
    layouts: Vec<PathBuf>,
    /// How many more requests find no time.
    busy: Arc<AtomicUsize>,
}

impl Registry {
    /// Starts serving these base images (`busybox`, `debian`, …) on a free port.
    pub fn serve(bases: &[&str]) -> Registry {
        let mut images = Images { tags: HashMap::new(), layouts: Vec::new(), busy: Arc::default() };
        for base in bases {
            images.add(&fixture(base));
        }
        let listener = TcpListener::bind("127.0.0.1:0").expect("free port on loopback");
        let address = listener.local_addr().expect("address");
        let busy = Arc::clone(&images.busy);
        let images = Arc::new(images);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let images = Arc::clone(&images);
                // A client that goes away in the middle is no fault of the test.
                std::thread::spawn(move || images.converse(&stream).unwrap_or_default());
            }
        });
        Registry { address, busy }
    }

    /// The next so many requests are answered by "Service Unavailable".
    pub fn be_busy(&self, requests: usize) {
        self.busy.store(requests, Ordering::SeqCst);
    }

    /// `HOST:PORT`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }
}

impl Images {
    fn add(&mut self, layout: &Path) {
        let text = fs::read_to_string(layout.join("index.json")).expect("index.json");
        let index: Value = serde_json::from_str(&text).expect("index.json");
        let manifest = &index["manifests"][0];
        let name = manifest["annotations"]["io.containerd.image.name"].as_str().expect("name");
        let (repository, tag) = name.trim_start_matches("docker.io/").rsplit_once(':').expect("tag");
        let digest = manifest["digest"].as_str().expect("digest");
        self.tags.insert(format!("{repository}/manifests/{tag}"), digest.to_owned());
        self.layouts.push(layout.to_path_buf());
    }

    /// Answers requests of one connection until it is closed.
    fn converse(&self, stream: &TcpStream) -> io::Result<()> {
        let mut lines = BufReader::new(stream).lines();
        while let Some(request) = lines.next() {
            let request = request?;
            for header in lines.by_ref() {
                if header?.is_empty() {
                    break;
                }
            }
            let mut words = request.split(' ');
            let head = words.next() == Some("HEAD");
            self.answer(stream, head, words.next().unwrap_or_default())?;
        }
        Ok(())
    }

    fn answer(&self, mut stream: &TcpStream, head: bool, path: &str) -> io::Result<()> {
        let one_less = |busy: usize| busy.checked_sub(1);
        if self.busy.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
            return stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
        }
        let path = path.trim_start_matches("/v2/");
        if path.is_empty() {
            return stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
        }
        let Some((digest, file)) = self.find(path) else {
            let body = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
            let length = body.len();
            let body = if head { "" } else { body };
            return write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: {length}\r\n\r\n{body}");
        };
        let kind = if path.contains("/manifests/") { media_type(&file)? } else { "application/octet-stream".into() };
        let mut file = File::open(file)?;
        let length = file.metadata()?.len();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nDocker-Content-Digest: {digest}\r\n\r\n"
        )?;
        if !head {
            io::copy(&mut file, &mut stream)?;
        }
        Ok(())
    }

    fn find(&self, path: &str) -> Option<(String, PathBuf)> {
        let digest = match self.tags.get(path) {
            Some(digest) => digest.as_str(),
            None => path.rsplit('/').next()?,
        };
        let hex = digest.strip_prefix("sha256:").filter(|hex| hex.len() == 64)?;
        let blobs = self.layouts.iter().map(|layout| layout.join("blobs/sha256").join(hex));
        blobs.into_iter().find(|file| file.is_file()).map(|file| (digest.to_owned(), file))
    }
}

/// What a manifest or an index calls itself.
fn media_type(file: &Path) -> io::Result<String> {
    let document: Value = serde_json::from_slice(&fs::read(file)?)?;
    Ok(document["mediaType"].as_str().unwrap_or("application/json").to_owned())
}
