//! Many clients push to and pull from one `kiln registry serve` at once, by plain HTTP: none of them sees an error, the
//! server's memory does not grow with them, and what it acknowledged is there after it was killed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use kiln_tests::http::{Request, Response, Server};
use kiln_tests::kiln::Kiln;
use kiln_tests::kiln_registry::KilnRegistry;
use kiln_tests::{full, say};
use rustix::process::Signal;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// What the server may need at most beside what every process needs: far less than what the clients move.
const MEMORY: u64 = 160 << 20;

/// How much is done.
struct Scale {
    clients: usize,
    images: usize,
    layer: usize,
    kills: usize,
}

fn scale() -> Scale {
    if full() {
        Scale { clients: 200, images: 8, layer: 2 << 20, kills: 5 }
    } else {
        Scale { clients: 200, images: 1, layer: 600 << 10, kills: 2 }
    }
}

/// Bytes of their own for every name.
fn bytes(name: &str, length: usize) -> Vec<u8> {
    let mut state = Sha256::digest(name).iter().fold(1u64, |sum, byte| sum.wrapping_mul(257) + u64::from(*byte)) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = (0..length / 8 + 1).flat_map(|_| next()).collect();
    bytes.truncate(length);
    bytes
}

fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    format!("sha256:{}", hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// A client of one repository.
struct Client<'a> {
    server: &'a Server,
    repository: String,
}

/// The connection failed, as it may where the server is killed.
struct Gone;

impl Client<'_> {
    fn send(&self, request: &Request) -> Result<Response, Gone> {
        self.server.try_send(request).map_err(|_| Gone)
    }

    /// An answer must have this status, if there is one.
    #[track_caller]
    fn expect(&self, status: u16, request: &Request) -> Result<Response, Gone> {
        let answer = self.send(request)?;
        assert_eq!(answer.status, status, "{answer}");
        Ok(answer)
    }

    fn request(&self, method: &str, rest: &str) -> Request {
        Request::new(method, &format!("/v2/{}/{rest}", self.repository))
    }

    /// Pushes a blob, in chunks if `chunks`; what the server acknowledged goes to `log`.
    fn push_blob(&self, blob: &[u8], chunks: bool, log: &Log) -> Result<Value, Gone> {
        let digest = digest(blob);
        let begun = self.expect(202, &self.request("POST", "blobs/uploads/"))?;
        let mut target = begun.header("location").expect("a location").to_owned();
        let mut rest = blob;
        if chunks {
            let (first, second) = blob.split_at(blob.len() / 2);
            let range = format!("0-{}", first.len() - 1);
            let patched = Request::new("PATCH", &target).header("Content-Range", &range).body(first);
            target = self.expect(202, &patched)?.header("location").expect("a location").to_owned();
            rest = second;
        }
        self.expect(201, &Request::new("PUT", &format!("{target}?digest={digest}")).body(rest))?;
        log.acknowledged(&self.repository, &format!("blobs/{digest}"), blob);
        Ok(json!({"mediaType": "application/octet-stream", "digest": digest, "size": blob.len()}))
    }

    /// Pushes an image and pulls it again.
    fn round(&self, number: usize, layer: usize, log: &Log) -> Result<(), Gone> {
        let name = format!("{}:{number}", self.repository);
        let layer = self.push_blob(&bytes(&name, layer), number % 2 == 1, log)?;
        let config = self.push_blob(format!("{{\"name\":\"{name}\"}}").as_bytes(), false, log)?;
        let shared = self.push_blob(&bytes("shared", 100_000), false, log)?;
        let document = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer, shared]});
        let text = serde_json::to_vec(&document).expect("a document");
        let tag = format!("manifests/v{number}");
        let put = self.request("PUT", &tag).header("Content-Type", MANIFEST).body(&text);
        self.expect(201, &put)?;
        log.acknowledged(&self.repository, &tag, &text);
        self.check(&tag, &text)?;
        for blob in [&layer, &config, &shared] {
            let answer = self
                .expect(200, &self.request("GET", &format!("blobs/{}", blob["digest"].as_str().expect("a digest"))))?;
            assert_eq!(digest(&answer.body), blob["digest"].as_str().expect("a digest"));
        }
        Ok(())
    }

    /// What was acknowledged comes back as it was sent.
    fn check(&self, rest: &str, expected: &[u8]) -> Result<(), Gone> {
        let answer = self.expect(200, &self.request("GET", rest).header("Accept", MANIFEST))?;
        assert!(answer.body == expected, "{}/{rest}: {} other bytes", self.repository, answer.body.len());
        Ok(())
    }
}

/// What the server acknowledged: by repository and path the digest of what must be there.
#[derive(Default)]
struct Log(Mutex<HashMap<(String, String), String>>);

impl Log {
    fn acknowledged(&self, repository: &str, rest: &str, sent: &[u8]) {
        let key = (repository.to_owned(), rest.to_owned());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, digest(sent));
    }

    /// All of it is there, as it was sent.
    #[track_caller]
    fn check(&self, server: &Server) -> usize {
        let log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for ((repository, rest), expected) in log.iter() {
            let request = Request::new("GET", &format!("/v2/{repository}/{rest}")).header("Accept", MANIFEST);
            let answer = server.send(&request);
            assert_eq!(answer.status, 200, "{answer}");
            assert_eq!(&digest(&answer.body), expected, "{repository}/{rest}");
        }
        log.len()
    }
}

/// Runs all clients at once; tells how many of their images came to an end.
fn crowd(server: &Server, name: &str, scale: &Scale, log: &Log, stop: &AtomicBool) -> usize {
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for number in 0..scale.clients {
            let done = &done;
            scope.spawn(move || {
                // Neighbours share a repository.
                let client = Client { server, repository: format!("{name}/team{}", number / 2) };
                for image in 0..scale.images {
                    let image = number % 2 + 2 * image;
                    if stop.load(Ordering::SeqCst) || client.round(image, scale.layer, log).is_err() {
                        return;
                    }
                    done.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    done.into_inner()
}

#[test]
fn many_clients_see_no_error_and_the_memory_is_bounded() {
    let kiln = Kiln::new();
    let registry = KilnRegistry::start(&kiln, &[]);
    let (scale, log) = (scale(), Log::default());
    let done = crowd(registry.server(), "load", &scale, &log, &AtomicBool::new(false));
    assert_eq!(done, scale.clients * scale.images);
    let peak = registry.peak_memory();
    let moved = done * (scale.layer + 100_000) * 2;
    say(&format!(
        "{} clients moved {} MiB; the registry's memory was {} MiB at most",
        scale.clients,
        moved >> 20,
        peak >> 20
    ));
    assert!(peak < MEMORY, "{} MiB", peak >> 20);
    log.check(registry.server());
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let kiln = Kiln::new();
    let (scale, log) = (scale(), Log::default());
    for round in 1..=scale.kills {
        let registry = KilnRegistry::start(&kiln, &[]);
        let server = registry.server().clone();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let before = log.0.lock().unwrap_or_else(PoisonError::into_inner).len();
            let pushing = scope.spawn(|| crowd(&server, &format!("round{round}"), &scale, &log, &stop));
            // In the middle: when so much was acknowledged.
            let enough = || log.0.lock().unwrap_or_else(PoisonError::into_inner).len() >= before + 40 * round;
            kiln_tests::running::wait_until("enough pushes", || enough() || pushing.is_finished());
            registry.signal(Signal::KILL);
            stop.store(true, Ordering::SeqCst);
        });
        let registry = KilnRegistry::start(&kiln, &[]);
        let count = log.check(registry.server());
        say(&format!("killed in the middle, the registry still has all {count} things that it acknowledged"));
        let client = Client { server: registry.server(), repository: "after".to_owned() };
        assert!(client.round(round, scale.layer, &log).is_ok(), "a push after the kill");
    }
    kiln.ok(&["system", "check"]);
}
