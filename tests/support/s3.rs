//! moto's S3 server on loopback: everything in it goes when this is dropped. It takes any credentials. Tests of
//! single crates include this file as well, so it uses nothing of this one.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

/// A server with one empty bucket.
pub struct S3Server {
    process: Child,
    address: String,
    log: Arc<Mutex<Vec<String>>>,
}

/// The name of the bucket that is there from the start.
pub const BUCKET: &str = "caches";

/// Where `cargo xtask fixtures` puts the server.
fn program() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = here.ancestors().map(|directory| directory.join("target/moto/bin/moto_server"));
    found.into_iter().find(|file| file.is_file()).expect("moto, which `cargo xtask fixtures` installs")
}

impl S3Server {
    /// Starts one on a free port.
    pub fn start() -> S3Server {
        let mut command = Command::new(program());
        command.args(["-H", "127.0.0.1", "-p", "0"]).env("NO_COLOR", "1");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("moto starts");
        let mut lines = BufReader::new(process.stderr.take().expect("its log")).lines();
        let address = loop {
            let line = lines.next().expect("moto ended before it listened").expect("its log");
            if let Some((_, rest)) = line.split_once("http://") {
                break rest.trim().to_owned();
            }
        };
        let log = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&log);
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| written.lock().expect("log").push(line));
        });
        let server = S3Server { process, address, log };
        server.put("", b"");
        server
    }

    /// `http://HOST:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Writes an object; the bucket itself where `key` is empty.
    pub fn put(&self, key: &str, bytes: &[u8]) {
        self.ask("PUT", key, bytes);
    }

    /// Reads an object.
    pub fn get(&self, key: &str) -> Vec<u8> {
        self.ask("GET", key, b"")
    }

    fn ask(&self, method: &str, key: &str, bytes: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(&self.address).expect("connection");
        let (host, length) = (&self.address, bytes.len());
        let head = format!(
            "{method} /{BUCKET}/{key} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\nConnection: close\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, \
             Signature=0\r\n\r\n"
        );
        stream.write_all(&[head.as_bytes(), bytes].concat()).expect("request");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("answer");
        let end = answer.windows(4).position(|part| part == b"\r\n\r\n").expect("end of the head") + 4;
        let head = String::from_utf8_lossy(&answer[..end]);
        assert!(head.starts_with("HTTP/1.1 200"), "{method} {key}: {head}");
        answer.split_off(end)
    }

    /// The requests so far, `METHOD PATH`; those of this program itself as well.
    pub fn requests(&self) -> Vec<String> {
        let log = self.log.lock().expect("log");
        let quoted = log.iter().filter_map(|line| line.split('"').nth(1));
        let requests = quoted.filter_map(|request| Some(request.rsplit_once(" HTTP/")?.0));
        // Some are coloured.
        requests.map(|request| request.trim_start_matches(|c: char| !c.is_ascii_uppercase()).to_owned()).collect()
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
