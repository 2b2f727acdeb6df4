//! Deleting tags, manifests and blobs.

use serde_json::json;

use crate::peer::{Content, Peer, unknown_digest};
use crate::requirements;

requirements! {
    (Must, tag_is_deleted, "A DELETE of a tag answers 202, and a GET of it then 404; or 400 or 405 where a registry does not do that."),
    (Kiln, deleted_tag_leaves_its_manifest, "A deleted tag leaves the manifest, and its other tags."),
    (Must, manifest_is_deleted, "A DELETE of a manifest by digest answers 202, and a GET of it then 404."),
    (Must, tags_go_with_their_manifest, "With a manifest go the tags that name it, and no others."),
    (Must, manifest_of_an_unknown_repository, "A DELETE of a manifest in a repository that does not exist answers 404."),
    (Must, unknown_manifest, "A DELETE of a manifest that is not there answers 404."),
    (Kiln, unknown_tag, "A DELETE of a tag that is not there answers 404."),
    (Must, blob_is_deleted, "A DELETE of a blob answers 202, and a GET of it then 404."),
    (Must, unknown_blob, "A DELETE of a blob that is not there answers 404."),
    (Kiln, deletion_leaves_other_repositories_alone, "What is deleted in one repository stays in others."),
    (Kiln, deleted_content_can_be_pushed_again, "What was deleted can be pushed again."),
}

fn tag_is_deleted(peer: &Peer) {
    let repository = peer.repository();
    repository.push_image("latest", "a");
    let answer = peer.send(&repository.request("DELETE", "manifests/latest"));
    match answer.status {
        202 => drop(peer.expect(404, &repository.get_manifest("latest"))),
        400 | 405 => drop(peer.expect(200, &repository.get_manifest("latest"))),
        _ => panic!("{answer}"),
    }
}

fn deleted_tag_leaves_its_manifest(peer: &Peer) {
    let repository = peer.repository();
    let image = repository.push_image("latest", "a");
    repository.push("stable", &image);
    peer.expect(202, &repository.request("DELETE", "manifests/latest"));
    peer.expect(404, &repository.get_manifest("latest"));
    peer.expect(200, &repository.get_manifest("stable"));
    peer.expect(200, &repository.get_manifest(&image.digest));
    let tags = peer.expect(200, &repository.request("GET", "tags/list"));
    assert_eq!(tags.json()["tags"], json!(["stable"]), "{tags}");
}

fn manifest_is_deleted(peer: &Peer) {
    let repository = peer.repository();
    let image = repository.push_image("latest", "a");
    peer.expect(202, &repository.request("DELETE", &format!("manifests/{}", image.digest)));
    peer.expect(404, &repository.get_manifest(&image.digest));
    peer.expect(404, &repository.head_manifest(&image.digest));
    peer.expect(404, &repository.request("DELETE", &format!("manifests/{}", image.digest)));
}

fn tags_go_with_their_manifest(peer: &Peer) {
    let repository = peer.repository();
    let (image, other) = (repository.push_image("one", "a"), repository.push_image("other", "b"));
    repository.push("two", &image);
    peer.expect(202, &repository.request("DELETE", &format!("manifests/{}", image.digest)));
    peer.expect(404, &repository.get_manifest("one"));
    peer.expect(404, &repository.get_manifest("two"));
    peer.expect(200, &repository.get_manifest("other"));
    peer.expect(200, &repository.get_manifest(&other.digest));
    let tags = peer.expect(200, &repository.request("GET", "tags/list"));
    assert_eq!(tags.json()["tags"], json!(["other"]), "{tags}");
}

fn manifest_of_an_unknown_repository(peer: &Peer) {
    peer.expect(404, &peer.repository().request("DELETE", &format!("manifests/{}", unknown_digest())));
}

fn unknown_manifest(peer: &Peer) {
    let repository = peer.repository();
    repository.push_image("latest", "a");
    peer.expect(404, &repository.request("DELETE", &format!("manifests/{}", unknown_digest())));
}

fn unknown_tag(peer: &Peer) {
    let repository = peer.repository();
    repository.push_image("latest", "a");
    peer.expect(404, &repository.request("DELETE", "manifests/other"));
}

fn blob_is_deleted(peer: &Peer) {
    let repository = peer.repository();
    let blob = Content::layer(b"to be deleted");
    repository.push_blob(&blob);
    peer.expect(202, &repository.request("DELETE", &format!("blobs/{}", blob.digest)));
    peer.expect(404, &repository.get_blob(&blob.digest));
    peer.expect(404, &repository.head_blob(&blob.digest));
}

fn unknown_blob(peer: &Peer) {
    let repository = peer.repository();
    repository.push_image("latest", "a");
    peer.expect(404, &repository.request("DELETE", &format!("blobs/{}", unknown_digest())));
}

fn deletion_leaves_other_repositories_alone(peer: &Peer) {
    let (repository, other) = (peer.repository(), peer.repository());
    let (image, same) = (repository.push_image("latest", "a"), other.push_image("latest", "a"));
    assert_eq!(image.digest, same.digest);
    let blob = Content::layer(b"in both");
    repository.push_blob(&blob);
    other.push_blob(&blob);
    peer.expect(202, &repository.request("DELETE", &format!("manifests/{}", image.digest)));
    peer.expect(202, &repository.request("DELETE", &format!("blobs/{}", blob.digest)));
    peer.expect(200, &other.get_manifest("latest"));
    peer.expect(200, &other.get_manifest(&image.digest));
    peer.expect(200, &other.get_blob(&blob.digest));
}

fn deleted_content_can_be_pushed_again(peer: &Peer) {
    let repository = peer.repository();
    let image = repository.push_image("latest", "a");
    let blob = Content::layer(b"to be deleted");
    repository.push_blob(&blob);
    peer.expect(202, &repository.request("DELETE", &format!("manifests/{}", image.digest)));
    peer.expect(202, &repository.request("DELETE", &format!("blobs/{}", blob.digest)));
    repository.push_blob(&blob);
    assert!(peer.expect(200, &repository.get_blob(&blob.digest)).body == blob.bytes);
    repository.push("latest", &image);
    assert!(peer.expect(200, &repository.get_manifest("latest")).body == image.bytes);
}
