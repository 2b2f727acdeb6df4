//! `--read-only`.

use std::sync::Arc;

use kiln_tests::http::Request;
use kiln_tests::kiln::Kiln;

use crate::peer::{Content, Peer, Repository, codes};

/// A store with an image in `conformance/kept`, and the image.
fn filled() -> (Arc<Kiln>, Content) {
    let kiln = Arc::new(Kiln::new());
    let image = Peer::over(Arc::clone(&kiln), &[]).named("conformance/kept").push_image("latest", "a");
    (kiln, image)
}

#[track_caller]
fn assert_serves(repository: &Repository<'_>, image: &Content) {
    for reference in ["latest", &image.digest] {
        assert!(repository.peer.expect(200, &repository.get_manifest(reference)).body == image.bytes);
    }
    let manifest: serde_json::Value = serde_json::from_slice(&image.bytes).expect("a manifest");
    let layer = manifest["layers"][0]["digest"].as_str().expect("a digest");
    assert_eq!(repository.peer.expect(200, &repository.get_blob(layer)).body, b"layer of a");
    repository.peer.expect(200, &repository.request("GET", "tags/list"));
}

#[test]
fn what_is_there_can_be_pulled() {
    let (kiln, image) = filled();
    let peer = Peer::over(kiln, &["--read-only"]);
    assert_serves(&peer.named("conformance/kept"), &image);
}

#[test]
fn nothing_can_be_changed() {
    let (kiln, image) = filled();
    let peer = Peer::over(kiln, &["--read-only"]);
    let repository = peer.named("conformance/kept");
    let blob = Content::layer(b"some bytes");
    let changes = [
        repository.request("POST", "blobs/uploads/"),
        repository.request("POST", &format!("blobs/uploads/?digest={}", blob.digest)).body(&blob.bytes),
        repository.request("PATCH", "blobs/uploads/6b3c9a93-af5d-473f-a4ff-9710022185cd").body(&blob.bytes),
        repository.request("PUT", "manifests/other").header("Content-Type", &image.media_type).body(&image.bytes),
        repository.request("DELETE", "manifests/latest"),
        repository.request("DELETE", &format!("manifests/{}", image.digest)),
        repository.request("DELETE", &format!("blobs/{}", image.digest)),
    ];
    for change in changes {
        let answer = peer.expect(405, &change);
        assert_eq!(codes(&answer), ["UNSUPPORTED"], "{answer}");
        assert_eq!(answer.header("allow"), Some("GET, HEAD"), "{answer}");
    }
    peer.expect(404, &repository.get_manifest("other"));
    assert_serves(&repository, &image);
    peer.expect(200, &Request::new("GET", "/v2/"));
}
