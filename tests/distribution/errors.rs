//! What a refusal says. That a JSON body has the specification's form is checked of every answer in every test.

use kiln_tests::http::{Request, Response};

use crate::peer::{CONFIG, Content, Peer, closing, codes, image_of, unknown_digest};
use crate::requirements;

requirements! {
    (Must, blob_unknown, "A blob that is not there: BLOB_UNKNOWN."),
    (Must, blob_upload_unknown, "An upload that does not exist: BLOB_UPLOAD_UNKNOWN."),
    (Must, digest_invalid, "Content that does not match its digest: DIGEST_INVALID."),
    (Must, manifest_blob_unknown, "A manifest of blobs that are not there: MANIFEST_BLOB_UNKNOWN."),
    (Must, manifest_invalid, "A manifest that is none: MANIFEST_INVALID."),
    (Must, manifest_unknown, "A manifest that is not there: MANIFEST_UNKNOWN."),
    (Must, name_invalid, "A repository name that is none: NAME_INVALID."),
    (Must, name_unknown, "Tags of a repository that does not exist: NAME_UNKNOWN."),
    (Kiln, refusals_are_json, "Every refusal has a JSON body with a code of the specification, a message, and its length."),
    (Kiln, unknown_paths_and_methods, "Paths that are none of the specification's answer 404, methods that a path does not have 405 with `Allow`."),
}

/// The codes of the specification.
const CODES: &[&str] = &[
    "BLOB_UNKNOWN",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
    "DIGEST_INVALID",
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNKNOWN",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "SIZE_INVALID",
    "UNAUTHORIZED",
    "DENIED",
    "UNSUPPORTED",
    "TOOMANYREQUESTS",
];

#[track_caller]
fn assert_code(answer: &Response, code: &str) {
    assert!((400..500).contains(&answer.status), "{answer}");
    assert!(codes(answer).iter().any(|found| found == code), "no {code}: {answer}");
}

fn blob_unknown(peer: &Peer) {
    let repository = peer.repository();
    repository.push_image("latest", "a");
    assert_code(&peer.send(&repository.get_blob(&unknown_digest())), "BLOB_UNKNOWN");
}

fn blob_upload_unknown(peer: &Peer) {
    let repository = peer.repository();
    repository.push_image("latest", "a");
    let path = repository.path("blobs/uploads/6b3c9a93-af5d-473f-a4ff-9710022185cd");
    assert_code(&peer.send(&Request::new("GET", &path)), "BLOB_UPLOAD_UNKNOWN");
}

fn digest_invalid(peer: &Peer) {
    let repository = peer.repository();
    let target = closing(&repository.begin_upload(), &unknown_digest());
    assert_code(&peer.send(&Request::new("PUT", &target).body(b"some bytes")), "DIGEST_INVALID");
    let image = repository.image("a");
    assert_code(&repository.put(&unknown_digest(), &image), "DIGEST_INVALID");
}

fn manifest_blob_unknown(peer: &Peer) {
    let repository = peer.repository();
    repository.push_image("latest", "a");
    let absent = Content::of(b"{\"absent\":1}", CONFIG);
    assert_code(&repository.put("absent", &Content::manifest(&image_of(&absent, &[]))), "MANIFEST_BLOB_UNKNOWN");
}

fn manifest_invalid(peer: &Peer) {
    let repository = peer.repository();
    let mut image = repository.image("a");
    image.bytes.truncate(20);
    assert_code(&repository.put("latest", &image), "MANIFEST_INVALID");
}

fn manifest_unknown(peer: &Peer) {
    let repository = peer.repository();
    repository.push_image("latest", "a");
    assert_code(&peer.send(&repository.get_manifest("other")), "MANIFEST_UNKNOWN");
}

fn name_invalid(peer: &Peer) {
    assert_code(&peer.send(&peer.named("a/UPPER").request("GET", "tags/list")), "NAME_INVALID");
}

fn name_unknown(peer: &Peer) {
    assert_code(&peer.send(&peer.repository().request("GET", "tags/list")), "NAME_UNKNOWN");
}

fn refusals_are_json(peer: &Peer) {
    let repository = peer.repository();
    repository.push_image("latest", "a");
    let unknown = unknown_digest();
    let refused = [
        repository.get_manifest("other"),
        repository.get_blob(&unknown),
        repository.get_blob("nonsense"),
        repository.request("DELETE", "manifests/other"),
        repository.request("DELETE", &format!("blobs/{unknown}")),
        repository.request("GET", "referrers/nonsense"),
        repository.request("GET", "blobs/uploads/nonsense"),
        repository.request("PUT", "manifests/other").body(b"{"),
        repository.request("GET", "nothing/here"),
        peer.named("UPPER").get_manifest("latest"),
        peer.repository().request("GET", "tags/list"),
    ];
    for request in refused {
        let answer = peer.send(&request);
        assert!((400..500).contains(&answer.status), "{answer}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{answer}");
        assert!(answer.header("content-length").is_some(), "{answer}");
        assert!(codes(&answer).iter().all(|code| CODES.contains(&code.as_str())), "{answer}");
        let error = &answer.json()["errors"][0];
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{answer}");
    }
}

fn unknown_paths_and_methods(peer: &Peer) {
    let repository = peer.repository();
    repository.push_image("latest", "a");
    peer.expect(404, &repository.request("GET", "nothing/here"));
    peer.expect(404, &Request::new("GET", "/v3/"));
    let answer = peer.expect(405, &repository.request("POST", "manifests/latest").body(b"{}"));
    assert!(answer.header("allow").is_some_and(|methods| methods.contains("GET")), "{answer}");
    peer.expect(405, &repository.request("PUT", "tags/list"));
}
