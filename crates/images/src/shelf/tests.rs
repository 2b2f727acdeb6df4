//! A registry over a store, asked directly: what the two together do that neither does alone.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use kiln_registry::server::{Answer, Body, Registry};
use serde_json::{Value, json};

use super::*;

struct Served {
    _directory: tempfile::TempDir,
    store: Store,
    registry: Arc<Registry>,
    told: Arc<Mutex<Vec<String>>>,
}

/// An answer that was read to its end, or as far as it came.
struct Read {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
    broke_off: bool,
}

impl Served {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mode =
            if rustix::process::geteuid().is_root() { kiln_store::Mode::Root } else { kiln_store::Mode::Rootless };
        let store = Store::open(&directory.path().join("store"), mode).unwrap();
        let shelf = Shelf::open(store.clone()).unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let telling = Arc::clone(&told);
        let report = move |error: &StorageError| telling.lock().unwrap().push(error.message.clone());
        let registry = Arc::new(Registry::new(Arc::new(shelf)).with_report(Box::new(report)));
        Served { _directory: directory, store, registry, told }
    }

    async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Body) -> Read {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        read(self.registry.answer(request.body(body).unwrap()).await).await
    }

    async fn get(&self, path: &str) -> Read {
        self.ask(Method::GET, path, &[], Body::default()).await
    }

    /// Begins an upload; answers where it goes on.
    async fn begin(&self, repository: &str) -> String {
        let begun = self.ask(Method::POST, &format!("/v2/{repository}/blobs/uploads/"), &[], Body::default()).await;
        assert_eq!(begun.status, StatusCode::ACCEPTED);
        begun.text("location")
    }

    async fn push(&self, repository: &str, bytes: &'static [u8]) -> Digest {
        let digest = Digest::of(bytes);
        let location = self.begin(repository).await;
        let put = self.ask(Method::PUT, &format!("{location}?digest={digest}"), &[], whole(bytes)).await;
        assert_eq!(put.status, StatusCode::CREATED);
        digest
    }

    fn place(&self, digest: &Digest) -> PathBuf {
        self.store.root().join("blobs/sha256").join(digest.hex())
    }
}

impl Read {
    fn text(&self, header: &str) -> String {
        self.headers[header].to_str().unwrap().to_owned()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn code(&self) -> String {
        self.json()["errors"][0]["code"].as_str().unwrap().to_owned()
    }
}

async fn read(answer: Answer) -> Read {
    let (head, mut stream) = answer.into_parts();
    let (mut body, mut broke_off) = (Vec::new(), false);
    while let Some(frame) = stream.frame().await {
        match frame {
            Ok(frame) => body.extend_from_slice(&frame.into_data().unwrap_or_default()),
            Err(_) => broke_off = true,
        }
    }
    Read { status: head.status, headers: head.headers, body, broke_off }
}

fn whole(bytes: &'static [u8]) -> Body {
    Full::from(bytes).map_err(|never| match never {}).boxed_unsync()
}

type Piece = io::Result<http_body::Frame<bytes::Bytes>>;

/// A body of one piece that then breaks off.
fn broken(bytes: &'static [u8]) -> Body {
    let pieces: [Piece; 2] = [Ok(http_body::Frame::data(bytes.into())), Err(io::ErrorKind::ConnectionReset.into())];
    StreamBody::new(futures_util::stream::iter(pieces)).boxed_unsync()
}

/// A body of one piece that then waits for ever, and what tells that it does.
fn hanging(bytes: &'static [u8]) -> (tokio::sync::oneshot::Receiver<()>, Body) {
    let (send, waits) = tokio::sync::oneshot::channel();
    let (mut piece, mut send) = (Some(bytes), Some(send));
    let pieces = futures_util::stream::poll_fn(move |_| match piece.take() {
        Some(bytes) => Poll::Ready(Some(Piece::Ok(http_body::Frame::data(bytes.into())))),
        None => {
            if let Some(send) = send.take() {
                send.send(()).unwrap();
            }
            Poll::Pending
        }
    });
    (waits, StreamBody::new(pieces).boxed_unsync())
}

#[tokio::test]
async fn chunks_must_follow_each_other() {
    let served = Served::new();
    let location = served.begin("a").await;
    let patch = |range: &'static str, bytes| {
        let (location, served) = (location.clone(), &served);
        async move { served.ask(Method::PATCH, &location, &[("content-range", range)], whole(bytes)).await }
    };
    let first = patch("0-2", b"abc").await;
    assert_eq!((first.status, first.text("range")), (StatusCode::ACCEPTED, "0-2".into()));
    let wrong = patch("0-2", b"abc").await;
    assert_eq!((wrong.status, wrong.text("range")), (StatusCode::RANGE_NOT_SATISFIABLE, "0-2".into()));
    assert_eq!(wrong.text("location"), location);
    let longer = patch("3-9", b"def").await;
    assert_eq!((longer.status, longer.code()), (StatusCode::BAD_REQUEST, "SIZE_INVALID".into()));
    let status = served.get(&location).await;
    assert_eq!((status.status, status.text("range")), (StatusCode::NO_CONTENT, "0-5".into()));
    let digest = Digest::of(b"abcdef");
    let put = served.ask(Method::PUT, &format!("{location}?digest={digest}"), &[], Body::default()).await;
    assert_eq!(put.status, StatusCode::CREATED);
    assert_eq!(served.get(&put.text("location")).await.body, b"abcdef");
    assert_eq!(served.get(&location).await.code(), "BLOB_UPLOAD_UNKNOWN");
}

#[tokio::test]
async fn what_came_before_a_broken_connection_is_kept() {
    let served = Served::new();
    let location = served.begin("a").await;
    let digest = Digest::of(b"abcdef");
    let path = format!("{location}?digest={digest}");
    let broken = served.ask(Method::PUT, &path, &[("content-length", "6")], broken(b"abc")).await;
    assert_eq!(broken.code(), "BLOB_UPLOAD_INVALID");
    assert_eq!(served.get(&location).await.text("range"), "0-2");
    let put = served.ask(Method::PUT, &path, &[("content-range", "3-5")], whole(b"def")).await;
    assert_eq!(put.status, StatusCode::CREATED);
}

#[tokio::test]
async fn who_comes_last_takes_an_upload_over() {
    let served = Arc::new(Served::new());
    let location = served.begin("a").await;
    let (waits, body) = hanging(b"abc");
    let (first, path) = (Arc::clone(&served), location.clone());
    let hung = tokio::spawn(async move { first.ask(Method::PATCH, &path, &[], body).await });
    waits.await.unwrap();
    let second = served.ask(Method::PATCH, &location, &[("content-range", "3-5")], whole(b"def")).await;
    assert_eq!(second.status, StatusCode::ACCEPTED);
    assert_eq!(hung.await.unwrap().code(), "BLOB_UPLOAD_INVALID");
    assert_eq!(served.get(&location).await.text("range"), "0-5");
}

#[tokio::test]
async fn a_blob_of_the_store_is_mounted_and_not_copied() {
    let served = Served::new();
    let local = served.store.blobs().insert(b"layer of a local image").unwrap().digest;
    let before = served.place(&local).metadata().unwrap().ino();
    assert_eq!(served.get(&format!("/v2/a/blobs/{local}")).await.code(), "BLOB_UNKNOWN");
    let path = format!("/v2/a/blobs/uploads/?mount={local}");
    let mounted = served.ask(Method::POST, &path, &[], Body::default()).await;
    assert_eq!((mounted.status, mounted.text("docker-content-digest")), (StatusCode::CREATED, local.to_string()));
    assert_eq!(served.get(&mounted.text("location")).await.body, b"layer of a local image");
    let path = format!("/v2/b/blobs/uploads/?mount={local}&from=c");
    let begun = served.ask(Method::POST, &path, &[], Body::default()).await;
    assert_eq!(begun.status, StatusCode::ACCEPTED);
    assert_eq!(served.place(&local).metadata().unwrap().ino(), before);
}

#[tokio::test]
async fn what_proves_damaged_breaks_off_and_can_be_pushed_again() {
    let served = Served::new();
    let digest = served.push("a", b"bytes").await;
    std::fs::write(served.place(&digest), b"sytes").unwrap();
    let path = format!("/v2/a/blobs/{digest}");
    let damaged = served.get(&path).await;
    assert!(damaged.broke_off && damaged.body.is_empty());
    let told = served.told.lock().unwrap().join("\n");
    assert!(told.contains(&digest.to_string()) && told.contains("dropped"), "{told}");
    assert_eq!(served.get(&path).await.code(), "BLOB_UNKNOWN");
    assert_eq!(served.push("a", b"bytes").await, digest);
    assert_eq!(served.get(&path).await.body, b"bytes");

    std::fs::write(served.place(&digest), b"short").unwrap();
    std::fs::write(served.place(&digest), b"x").unwrap();
    assert_eq!(served.get(&path).await.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(served.get(&path).await.code(), "BLOB_UNKNOWN");
}

#[tokio::test]
async fn a_manifest_waits_for_its_blobs_and_its_subject_lists_it() {
    let served = Served::new();
    let config = Digest::of(b"{}");
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let subject = Digest::of(b"subject");
    let document = json!({
        "schemaVersion": 2, "mediaType": media_type, "artifactType": "example/sbom", "layers": [],
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2},
        "subject": {"mediaType": media_type, "digest": subject, "size": 7}, "annotations": {"k": "v"},
    });
    let bytes: &'static [u8] = document.to_string().into_bytes().leak();
    let types = [("content-type", media_type)];
    let put = || served.ask(Method::PUT, "/v2/a/manifests/v1", &types, whole(bytes));
    let refused = put().await;
    assert_eq!((refused.status, refused.code()), (StatusCode::BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN".into()));
    served.push("a", b"{}").await;
    let taken = put().await;
    assert_eq!((taken.status, taken.text("oci-subject")), (StatusCode::CREATED, subject.to_string()));
    let got = served.get("/v2/a/manifests/v1").await;
    assert_eq!((got.body.as_slice(), got.text("content-type").as_str()), (bytes, media_type));
    let listed = served.get(&format!("/v2/a/referrers/{subject}?artifactType=example/sbom")).await;
    assert_eq!(listed.text("oci-filters-applied"), "artifactType");
    let descriptor = &listed.json()["manifests"][0];
    assert_eq!(descriptor["digest"], Digest::of(bytes).to_string());
    assert_eq!((&descriptor["artifactType"], &descriptor["annotations"]["k"]), (&json!("example/sbom"), &json!("v")));
    let other = served.get(&format!("/v2/a/referrers/{subject}?artifactType=other")).await;
    assert_eq!(other.json()["manifests"], json!([]));
}
