//! Bodies: wrong, too long, too short, and what is no answer at all.

use kiln_tests::misbehaving::{Ending, Reply};
use serde_json::json;

use crate::{blobs_asked, busybox, is_for_layer, refused_content, refused_when};

#[test]
fn bytes_of_another_digest_are_refused_once() {
    let layer = refused_when(
        |request, mut reply| {
            if is_for_layer(request, &reply) {
                reply.body[20_000] ^= 1;
            }
            reply
        },
        &["sent wrong bytes: expected sha256:"],
    );
    assert_eq!(blobs_asked(&layer), 2, "config and layer, each once");
    refused_when(
        |request, mut reply| {
            if request.is_for_blob() && reply.body.len() < 10_000 {
                reply.body[5] ^= 1;
            }
            reply
        },
        &["sent wrong bytes"],
    );
    refused_when(
        |request, mut reply| {
            if request.is_for_manifest() {
                reply.body.push(b'\n');
            }
            reply
        },
        &["sent wrong bytes"],
    );
}

#[test]
fn more_bytes_than_the_manifest_says_are_refused() {
    for ending in [Ending::Whole, Ending::Unannounced] {
        refused_when(
            move |request, mut reply| {
                if is_for_layer(request, &reply) {
                    reply.body.extend([0; 1000]);
                    reply.ending = ending;
                }
                reply
            },
            &["bytes for sha256:", "expected 1295323"],
        );
    }
}

#[test]
fn a_size_that_the_manifest_invents_is_refused() {
    for size in [json!(1_295_322), json!(1_295_324), json!(u64::MAX), json!(i64::MAX)] {
        let content = busybox().with_manifest(|manifest| manifest["layers"][0]["size"] = size);
        refused_content(content, &["expected"]);
    }
    for nonsense in [json!(-1), json!("1295323"), json!(1.5), json!(null)] {
        let content = busybox().with_manifest(|manifest| manifest["layers"][0]["size"] = nonsense);
        let server = refused_content(content, &["is not valid"]);
        assert_eq!(blobs_asked(&server), 0);
    }
}

#[test]
fn a_body_that_always_ends_early_is_given_up() {
    let server = refused_when(
        |request, reply| if is_for_layer(request, &reply) { reply.ending(Ending::Cut(500)) } else { reply },
        &["broke", "times"],
    );
    assert!(blobs_asked(&server) < 10, "{}", blobs_asked(&server));
}

#[test]
fn a_body_that_is_properly_ended_too_early_is_named_so() {
    refused_when(
        |request, mut reply| {
            if is_for_layer(request, &reply) {
                reply.body.truncate(500);
                reply.ending = Ending::Unannounced;
                reply.status = 200;
                reply.headers.clear();
            }
            reply
        },
        &["sent only 500 of 1295323 bytes"],
    );
}

#[test]
fn answers_that_are_no_http_are_given_up() {
    for raw in ["SSH-2.0-OpenSSH_9.6\r\n", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "HTTP/9.9 999\r\n\r\n"] {
        let words = ["cannot reach the registry", "hint: it does not seem to speak HTTP"];
        let server = refused_when(move |_, _| Reply::new(0, raw).ending(Ending::Raw), &words);
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn connections_that_are_closed_at_once_are_tried_a_few_times() {
    let server = refused_when(|_, _| Reply::new(0, "").ending(Ending::Raw), &["broke 6 times"]);
    assert_eq!(server.requests().len(), 6);
}
