//! `--mirror-of`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use kiln_tests::counting_proxy::CountingProxy;
use kiln_tests::kiln::Kiln;
use kiln_tests::running::wait_until;
use serde_json::json;

use super::slow::Slow;
use crate::peer::{Content, Peer, Repository, image_of, index_of, unknown_digest};

const NAME: &str = "team/app";

/// A registry of kiln's with an image, and a proxy before it that counts what is asked.
struct Upstream {
    peer: Peer,
    proxy: CountingProxy,
    image: Content,
    blobs: Vec<Content>,
}

impl Upstream {
    fn new() -> Upstream {
        Upstream::of(Peer::kiln())
    }

    fn of(peer: Peer) -> Upstream {
        let repository = peer.named(NAME);
        let blobs = vec![Content::layer(b"{}"), Content::large(700_000)];
        blobs.iter().for_each(|blob| drop(repository.push_blob(blob)));
        let image = Content::manifest(&image_of(&blobs[0], &[&blobs[1]]));
        repository.push("latest", &image);
        let proxy = CountingProxy::before(&peer.server().address);
        Upstream { peer, proxy, image, blobs }
    }

    fn url(&self) -> String {
        format!("http://{}", self.proxy.address())
    }

    fn repository(&self) -> Repository<'_> {
        self.peer.named(NAME)
    }

    fn mirror(&self) -> Peer {
        Peer::kiln_with(&["--mirror-of", &self.url()])
    }
}

#[track_caller]
fn assert_same(mirror: &Peer, upstream: &Upstream) {
    assert_manifests(mirror, upstream);
    let repository = mirror.named(NAME);
    for blob in &upstream.blobs {
        let answer = mirror.expect(200, &repository.get_blob(&blob.digest));
        assert!(answer.body == blob.bytes, "{} other bytes", answer.body.len());
        assert_eq!(answer.header("docker-content-digest"), Some(blob.digest.as_str()));
    }
}

#[track_caller]
fn assert_manifests(mirror: &Peer, upstream: &Upstream) {
    let repository = mirror.named(NAME);
    for reference in ["latest", &upstream.image.digest] {
        let answer = mirror.expect(200, &repository.get_manifest(reference));
        assert!(answer.body == upstream.image.bytes, "{answer}");
        assert_eq!(answer.header("content-type"), Some(upstream.image.media_type.as_str()), "{answer}");
        mirror.expect(200, &repository.head_manifest(reference));
    }
}

#[test]
fn what_another_registry_has_can_be_pulled() {
    let upstream = Upstream::new();
    let mirror = upstream.mirror();
    assert_same(&mirror, &upstream);
    let repository = mirror.named(NAME);
    mirror.expect(404, &repository.get_manifest("other"));
    mirror.expect(404, &repository.get_manifest(&unknown_digest()));
    mirror.expect(404, &repository.get_blob(&unknown_digest()));
    mirror.expect(404, &mirror.named("team/other").get_manifest("latest"));
}

#[test]
fn dockers_registry_can_be_mirrored() {
    let upstream = Upstream::of(Peer::docker());
    assert_same(&upstream.mirror(), &upstream);
}

#[test]
fn manifests_and_blobs_are_fetched_once() {
    let upstream = Upstream::new();
    let mirror = upstream.mirror();
    assert_same(&mirror, &upstream);
    upstream.proxy.take();
    assert_same(&mirror, &upstream);
    let asked = upstream.proxy.take();
    let is_cheap = |line: &String| line.starts_with("HEAD ") && line.contains("/manifests/latest");
    assert!(asked.iter().all(is_cheap), "{asked:?}");
}

#[test]
fn many_who_want_a_blob_fetch_it_once() {
    let upstream = Upstream::new();
    let mirror = upstream.mirror();
    let blob = &upstream.blobs[1];
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                let answer = mirror.expect(200, &mirror.named(NAME).get_blob(&blob.digest));
                assert!(answer.body == blob.bytes, "{} other bytes", answer.body.len());
            });
        }
    });
    let asked = upstream.proxy.take();
    let fetched = asked.iter().filter(|line| line.starts_with("GET ") && line.contains("/blobs/"));
    assert_eq!(fetched.count(), 1, "{asked:?}");
}

#[test]
fn head_of_a_blob_fetches_none() {
    let upstream = Upstream::new();
    let mirror = upstream.mirror();
    let blob = &upstream.blobs[1];
    let answer = mirror.expect(200, &mirror.named(NAME).head_blob(&blob.digest));
    assert_eq!(answer.header("content-length"), Some(blob.bytes.len().to_string().as_str()), "{answer}");
    let asked = upstream.proxy.take();
    assert!(asked.iter().all(|line| !line.starts_with("GET /v2/team")), "{asked:?}");
}

#[test]
fn parts_of_a_blob_that_was_not_there_are_served() {
    let upstream = Upstream::new();
    let mirror = upstream.mirror();
    let blob = &upstream.blobs[1];
    let request = mirror.named(NAME).get_blob(&blob.digest).header("Range", "bytes=1000-1999");
    let answer = mirror.expect(206, &request);
    assert!(answer.body == blob.bytes[1000..2000]);
}

#[test]
fn what_was_fetched_is_served_while_the_other_registry_is_away() {
    let upstream = Upstream::new();
    let mirror = upstream.mirror();
    assert_same(&mirror, &upstream);
    let Upstream { peer, proxy, image, blobs } = upstream;
    drop(peer);
    let gone = Upstream { peer: Peer::kiln(), proxy, image, blobs };
    assert_same(&mirror, &gone);
    let repository = mirror.named(NAME);
    let tags = mirror.expect(200, &repository.request("GET", "tags/list"));
    assert_eq!(tags.json()["tags"], json!(["latest"]), "{tags}");
    for request in [repository.get_manifest("other"), repository.get_blob(&unknown_digest())] {
        let answer = mirror.server().send(&request);
        assert_eq!(answer.status, 502, "{answer}");
    }
}

#[test]
fn tags_mean_what_they_mean_there() {
    let upstream = Upstream::new();
    let mirror = upstream.mirror();
    assert_same(&mirror, &upstream);
    let (here, there) = (mirror.named(NAME), upstream.repository());
    let new = there.push_image("latest", "new");
    there.push("other", &new);
    assert!(mirror.expect(200, &here.get_manifest("latest")).body == new.bytes);
    let tags = mirror.expect(200, &here.request("GET", "tags/list"));
    assert_eq!(tags.json()["tags"], json!(["latest", "other"]), "{tags}");
    let page = mirror.expect(200, &here.request("GET", "tags/list?n=1"));
    assert_eq!(page.json()["tags"], json!(["latest"]), "{page}");
    assert!(page.header("link").is_some_and(|link| link.contains("last=latest")), "{page}");
    upstream.peer.expect(202, &there.request("DELETE", "manifests/latest"));
    mirror.expect(404, &here.get_manifest("latest"));
    assert!(mirror.expect(200, &here.get_manifest("other")).body == new.bytes);
}

#[test]
fn indexes_and_referrers_come_too() {
    let upstream = Upstream::new();
    let there = upstream.repository();
    let index = Content::manifest(&index_of(&[&upstream.image]));
    there.push("all", &index);
    let mut document = there.image_document("signature");
    document["subject"] = upstream.image.descriptor();
    let signature = Content::manifest(&document);
    there.push(&signature.digest, &signature);
    let mirror = upstream.mirror();
    let here = mirror.named(NAME);
    assert!(mirror.expect(200, &here.get_manifest("all")).body == index.bytes);
    let list = mirror.expect(200, &here.request("GET", &format!("referrers/{}", upstream.image.digest)));
    assert_eq!(list.json()["manifests"][0]["digest"], signature.digest.as_str(), "{list}");
    assert!(mirror.expect(200, &here.get_manifest(&signature.digest)).body == signature.bytes);
}

#[test]
fn nothing_can_be_pushed_to_a_mirror() {
    let upstream = Upstream::new();
    let mirror = upstream.mirror();
    mirror.expect(405, &mirror.named(NAME).request("POST", "blobs/uploads/"));
    mirror.expect(405, &mirror.named(NAME).request("DELETE", "manifests/latest"));
}

/// A connection on which a blob was asked for and half of it was read.
fn read_half(mirror: &Peer, blob: &Content) -> TcpStream {
    let mut stream = TcpStream::connect(&mirror.server().address).expect("a connection");
    let path = mirror.named(NAME).path(&format!("blobs/{}", blob.digest));
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("a request");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("the head of an answer");
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
    let mut half = vec![0; blob.bytes.len() / 2];
    stream.read_exact(&mut half).expect("half of the blob");
    stream
}

#[test]
fn a_blob_is_served_while_it_comes() {
    let blob = Content::large(1_000_000);
    let slow = Slow::serve(&blob, &blob.bytes);
    let mirror = Peer::kiln_with(&["--mirror-of", &slow.url()]);
    let mut stream = read_half(&mirror, &blob);
    slow.go_on();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("the rest");
    assert!(rest == blob.bytes[blob.bytes.len() / 2..]);
}

#[test]
fn a_blob_arrives_though_nobody_waits_for_it_any_more() {
    let blob = Content::large(1_000_000);
    let slow = Slow::serve(&blob, &blob.bytes);
    let kiln = Arc::new(Kiln::new());
    let mirror = Peer::over(Arc::clone(&kiln), &["--mirror-of", &slow.url()]);
    drop(read_half(&mirror, &blob));
    slow.go_on();
    let listed = || std::fs::read_dir(kiln.root().join("uploads")).expect("uploads").count();
    wait_until("the end of the upload", || listed() == 0);
    drop(mirror);
    let plain = Peer::over(kiln, &[]);
    let answer = plain.expect(200, &plain.named(NAME).get_blob(&blob.digest));
    assert!(answer.body == blob.bytes);
}

#[test]
fn wrong_bytes_never_come_to_an_end_and_are_not_kept() {
    let blob = Content::large(1_000_000);
    let mut wrong = blob.bytes.clone();
    wrong[999_999] ^= 1;
    let slow = Slow::serve(&blob, &wrong);
    slow.go_on();
    let kiln = Arc::new(Kiln::new());
    let mirror = Peer::over(Arc::clone(&kiln), &["--mirror-of", &slow.url()]);
    for _ in 0..2 {
        let answer = mirror.server().try_send(&mirror.named(NAME).get_blob(&blob.digest));
        assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status == 502));
    }
    drop(mirror);
    let plain = Peer::over(kiln, &[]);
    plain.expect(404, &plain.named(NAME).get_blob(&blob.digest));
}

#[test]
fn addresses_that_are_none_are_refused() {
    for address in ["ftp://example.com", "https://example.com/path", "https://", "https://ada:secret@example.com"] {
        let said = Kiln::new().fails(&["registry", "serve", "--mirror-of", address], &["--mirror-of"]);
        assert!(said.stdout.is_empty(), "{said}");
    }
}
