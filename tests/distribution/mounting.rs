//! Blobs that another repository of the same registry has.

use kiln_tests::http::Request;

use crate::peer::{Content, Peer, closing, unknown_digest};
use crate::requirements;

requirements! {
    (Must, mount_of_a_blob, "A mount of a blob that the other repository has answers 201 with `Location`, from which it can be pulled."),
    (Should, mount_of_what_is_not_there_begins_an_upload, "A mount of a blob that the other repository does not have answers 202 and begins an upload."),
    (Should, mount_from_an_unknown_repository_begins_an_upload, "A mount from a repository that does not exist answers 202 and begins an upload."),
    (May, mount_without_a_source, "A mount without `from` answers 201 if the blob was found somewhere, or else 202."),
    (Kiln, mount_without_a_source_finds_the_blob, "A mount without `from` finds the blob wherever the registry has it."),
    (Kiln, mounted_blob_outlives_its_source, "A mounted blob stays when it is deleted where it came from."),
}

fn mount_of_a_blob(peer: &Peer) {
    let (source, repository) = (peer.repository(), peer.repository());
    let blob = Content::layer(b"to be mounted");
    source.push_blob(&blob);
    let post = format!("blobs/uploads/?mount={}&from={}", blob.digest, source.name);
    let mounted = peer.expect(201, &repository.request("POST", &post));
    let target = peer.target(&mounted);
    assert!(target.contains(&repository.name), "{mounted}");
    let answer = peer.expect(200, &Request::new("GET", &target));
    assert!(answer.body == blob.bytes, "{answer}");
}

/// A mount that fails leads to an upload that works.
#[track_caller]
fn begins_an_upload(peer: &Peer, blob: &Content, source: &str) {
    let repository = peer.repository();
    let post = format!("blobs/uploads/?mount={}&from={source}", blob.digest);
    let begun = peer.expect(202, &repository.request("POST", &post));
    let put = Request::new("PUT", &closing(&peer.target(&begun), &blob.digest));
    peer.expect(201, &put.body(&blob.bytes));
    peer.expect(200, &repository.get_blob(&blob.digest));
}

fn mount_of_what_is_not_there_begins_an_upload(peer: &Peer) {
    let source = peer.repository();
    source.push_image("latest", "a");
    begins_an_upload(peer, &Content::layer(b"nowhere yet"), &source.name);
}

fn mount_from_an_unknown_repository_begins_an_upload(peer: &Peer) {
    begins_an_upload(peer, &Content::layer(b"nowhere yet"), "conformance/nobody");
}

fn mount_without_a_source(peer: &Peer) {
    let blob = Content::layer(b"to be found");
    peer.repository().push_blob(&blob);
    let repository = peer.repository();
    for digest in [blob.digest, unknown_digest()] {
        let answer = peer.send(&repository.request("POST", &format!("blobs/uploads/?mount={digest}")));
        match answer.status {
            201 => drop(peer.expect(200, &Request::new("GET", &peer.target(&answer)))),
            202 => drop(peer.target(&answer)),
            _ => panic!("{answer}"),
        }
    }
}

fn mount_without_a_source_finds_the_blob(peer: &Peer) {
    let blob = Content::layer(b"to be found");
    peer.repository().push_blob(&blob);
    let repository = peer.repository();
    peer.expect(201, &repository.request("POST", &format!("blobs/uploads/?mount={}", blob.digest)));
    peer.expect(200, &repository.get_blob(&blob.digest));
}

fn mounted_blob_outlives_its_source(peer: &Peer) {
    let (source, repository) = (peer.repository(), peer.repository());
    let blob = Content::layer(b"to be mounted");
    source.push_blob(&blob);
    let post = format!("blobs/uploads/?mount={}&from={}", blob.digest, source.name);
    peer.expect(201, &repository.request("POST", &post));
    peer.expect(202, &source.request("DELETE", &format!("blobs/{}", blob.digest)));
    peer.expect(404, &source.get_blob(&blob.digest));
    let answer = peer.expect(200, &repository.get_blob(&blob.digest));
    assert!(answer.body == blob.bytes, "{answer}");
}
