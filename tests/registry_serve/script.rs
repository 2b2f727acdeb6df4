//! A push, a mount, a tag that moves, a deletion: one after the other, each acknowledged or not, and what must be there
//! afterwards.

use std::io;

use kiln_tests::http::{Request, Response, Server};
use serde_json::json;
use sha2::{Digest, Sha256};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// How many steps there are.
pub(crate) const STEPS: usize = 6;

/// What a registry has of what the script does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    layer: bool,
    config: bool,
    tag: Option<Manifest>,
    mounted: bool,
    first: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manifest {
    First,
    Second,
}

/// The digest of bytes, as the protocol writes it.
pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{:x}", Sha256::digest(bytes))
}

/// Large enough that it comes in several writes.
pub(crate) fn layer() -> Vec<u8> {
    (0..700_000u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

impl Manifest {
    fn bytes(self) -> Vec<u8> {
        let layer = layer();
        let descriptor = |bytes: &[u8]| json!({"mediaType": "example/x", "digest": digest(bytes), "size": bytes.len()});
        let number = if self == Manifest::First { "1" } else { "2" };
        let document = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "annotations": {"number": number},
            "config": descriptor(b"{}"), "layers": [descriptor(&layer)],
        });
        document.to_string().into_bytes()
    }

    fn digest(self) -> String {
        digest(&self.bytes())
    }
}

/// Does one step; an answer that is no success is an error, too.
pub(crate) fn step(server: &Server, number: usize) -> io::Result<()> {
    let send = |request: Request| server.try_send(&request).and_then(success);
    let put = |manifest: Manifest| {
        let request = Request::new("PUT", "/v2/a/manifests/one").header("Content-Type", MANIFEST);
        send(request.body(&manifest.bytes()))
    };
    let done = match number {
        0 => push_in_chunks(server, &layer()),
        1 => {
            let begun = send(Request::new("POST", "/v2/a/blobs/uploads/"))?;
            let target = format!("{}?digest={}", location(&begun), digest(b"{}"));
            send(Request::new("PUT", &target).body(b"{}"))
        }
        2 => put(Manifest::First),
        3 => {
            let target = format!("/v2/b/blobs/uploads/?mount={}&from=a", digest(&layer()));
            send(Request::new("POST", &target))
        }
        4 => put(Manifest::Second),
        _ => send(Request::new("DELETE", &format!("/v2/a/manifests/{}", Manifest::First.digest()))),
    };
    done.map(drop)
}

fn push_in_chunks(server: &Server, bytes: &[u8]) -> io::Result<Response> {
    let begun = server.try_send(&Request::new("POST", "/v2/a/blobs/uploads/")).and_then(success)?;
    let (first, rest) = bytes.split_at(bytes.len() / 2);
    let patch = Request::new("PATCH", &location(&begun)).streamed(first);
    let patched = server.try_send(&patch).and_then(success)?;
    let target = format!("{}?digest={}", location(&patched), digest(bytes));
    server.try_send(&Request::new("PUT", &target).body(rest)).and_then(success)
}

fn location(response: &Response) -> String {
    response.header("location").expect("a location").to_owned()
}

fn success(response: Response) -> io::Result<Response> {
    match response.status {
        200..300 => Ok(response),
        status => Err(io::Error::other(format!("{}: {status}", response.asked))),
    }
}

/// What is there after so many steps.
pub(crate) fn expected(steps: usize) -> State {
    let tag = match steps {
        0..=2 => None,
        3 | 4 => Some(Manifest::First),
        _ => Some(Manifest::Second),
    };
    State { layer: steps > 0, config: steps > 1, tag, mounted: steps > 3, first: (3..=5).contains(&steps) }
}

/// What is there: whatever is, is whole.
pub(crate) fn found(server: &Server) -> State {
    let get = |path: &str| {
        let response = server.send(&Request::new("GET", path));
        match response.status {
            200 => Some(response.body),
            404 => None,
            status => panic!("{path}: {status}"),
        }
    };
    let blob = |repository: &str, bytes: &[u8]| {
        let body = get(&format!("/v2/{repository}/blobs/{}", digest(bytes)));
        assert!(body.as_ref().is_none_or(|body| body == bytes), "a blob has other bytes");
        body.is_some()
    };
    let manifest = |name: &str| {
        let body = get(&format!("/v2/a/manifests/{name}"))?;
        let known = [Manifest::First, Manifest::Second].into_iter().find(|each| each.bytes() == body);
        Some(known.expect("one of the manifests"))
    };
    State {
        layer: blob("a", &layer()),
        config: blob("a", b"{}"),
        tag: manifest("one"),
        mounted: blob("b", &layer()),
        first: manifest(&Manifest::First.digest()).is_some(),
    }
}
