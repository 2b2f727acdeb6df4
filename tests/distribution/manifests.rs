//! Pushing manifests and indexes.

use kiln_tests::http::Request;
use serde_json::json;

use crate::peer::{CONFIG, Content, INDEX, MANIFEST, Peer, codes, image_of, index_of, unknown_digest};
use crate::requirements;

requirements! {
    (Must, manifest_by_tag_is_taken, "A PUT of a manifest by tag answers 201 with `Location`, from which it can be pulled."),
    (Must, manifest_by_digest_is_taken, "A PUT of a manifest by digest answers 201 with `Location`, from which it can be pulled."),
    (Must, manifest_is_kept_byte_by_byte, "A manifest is kept in exactly the bytes that came, whatever their order and white space."),
    (Must, pushed_manifest_has_the_digest_of_the_client, "`Docker-Content-Digest` in the answer to a PUT is the client's digest."),
    (Should, parameters_of_the_type_are_passed_over, "Parameters on the `Content-Type` of a PUT are passed over."),
    (Must, manifest_of_another_digest_is_refused, "A PUT by digest of other content is refused with 400."),
    (Must, index_of_images_is_taken, "An index whose manifests are there is taken."),
    (Must, list_of_blobs_may_be_empty, "A manifest without layers is taken."),
    (Must, artifact_is_taken, "A manifest of another `artifactType`, config and layers of any type, is taken."),
    (Must, manifest_with_an_absent_subject_is_taken, "A manifest whose `subject` is not there is taken."),
    (Must, index_with_an_absent_subject_is_taken, "An index whose `subject` is not there is taken."),
    (Must, manifest_of_unknown_blobs, "If a manifest is refused since a blob of it is not there, the error is MANIFEST_BLOB_UNKNOWN."),
    (Must, index_of_unknown_manifests, "If an index is refused since a manifest of it is not there, the error is MANIFEST_BLOB_UNKNOWN."),
    (Kiln, every_unknown_blob_is_named, "A manifest whose blobs are not there is refused, with an error for each of them."),
    (Should, manifest_of_4_megabytes_is_taken, "A manifest of 4 megabytes is taken."),
    (Should, manifest_that_is_too_large_is_413, "A manifest that is larger than the registry takes answers 413."),
    (Must, answer_names_the_subject, "The answer to a PUT of a manifest, or index, with `subject` has `OCI-Subject` with its digest."),
    (Must, answer_names_no_subject_where_none_is, "The answer to a PUT of a manifest without `subject` has no `OCI-Subject`."),
    (Kiln, tag_moves, "A tag that is pushed again names the new manifest; the old one stays under its digest."),
    (Kiln, docker_manifests_are_taken, "Manifests and lists of docker's schema 2 are taken and given as such."),
    (Kiln, schema_1_is_refused, "Manifests of docker's schema 1 are refused."),
    (Kiln, nonsense_is_refused, "What is no manifest is refused with MANIFEST_INVALID."),
}

fn manifest_by_tag_is_taken(peer: &Peer) {
    let repository = peer.repository();
    let image = repository.image("a");
    let put = repository.push("latest", &image);
    let answer = peer.expect(200, &Request::new("GET", &peer.target(&put)).header("Accept", MANIFEST));
    assert!(answer.body == image.bytes, "{answer}");
}

fn manifest_by_digest_is_taken(peer: &Peer) {
    let repository = peer.repository();
    let image = repository.image("a");
    let put = repository.push(&image.digest, &image);
    let answer = peer.expect(200, &Request::new("GET", &peer.target(&put)).header("Accept", MANIFEST));
    assert!(answer.body == image.bytes, "{answer}");
}

fn manifest_is_kept_byte_by_byte(peer: &Peer) {
    let repository = peer.repository();
    let document = repository.image_document("a");
    let (config, layers) = (&document["config"], &document["layers"]);
    let text = format!(
        "  {{\"unknown\": [1.50, {{}}],\n\n\t\"layers\": {layers}, \"annotations\": {{\"z\": \"\\u00e9\", \"a\": \"\"}},\n\
         \"mediaType\":\"{MANIFEST}\"   , \"config\": {config}, \"schemaVersion\": 2 }}\n\n"
    );
    let manifest = Content::of(text.as_bytes(), MANIFEST);
    repository.push("odd", &manifest);
    for reference in ["odd", &manifest.digest] {
        let answer = peer.expect(200, &repository.get_manifest(reference));
        assert!(answer.body == manifest.bytes, "{answer}");
    }
}

fn pushed_manifest_has_the_digest_of_the_client(peer: &Peer) {
    let repository = peer.repository();
    let image = repository.image("a");
    for reference in ["latest", &image.digest] {
        let put = repository.push(reference, &image);
        assert_eq!(put.header("docker-content-digest"), Some(image.digest.as_str()), "{put}");
    }
}

fn parameters_of_the_type_are_passed_over(peer: &Peer) {
    let repository = peer.repository();
    let mut image = repository.image("a");
    image.media_type = format!("{MANIFEST}; charset=utf-8");
    repository.push("latest", &image);
    let answer = peer.expect(200, &repository.get_manifest("latest"));
    assert_eq!(answer.header("content-type").and_then(|kind| kind.split(';').next()), Some(MANIFEST), "{answer}");
}

fn manifest_of_another_digest_is_refused(peer: &Peer) {
    let repository = peer.repository();
    let (image, other) = (repository.image("a"), repository.image("b"));
    let put = repository.put(&other.digest, &image);
    assert_eq!(put.status, 400, "{put}");
    peer.expect(404, &repository.get_manifest(&other.digest));
    peer.expect(404, &repository.get_manifest(&image.digest));
}

fn index_of_images_is_taken(peer: &Peer) {
    let repository = peer.repository();
    let (one, two) = (repository.image("a"), repository.image("b"));
    repository.push(&one.digest, &one);
    repository.push(&two.digest, &two);
    let index = Content::manifest(&index_of(&[&one, &two]));
    repository.push("both", &index);
    let answer = peer.expect(200, &repository.get_manifest("both"));
    assert!(answer.body == index.bytes, "{answer}");
}

fn list_of_blobs_may_be_empty(peer: &Peer) {
    let repository = peer.repository();
    let config = Content::of(b"{}", CONFIG);
    repository.push_blob(&config);
    repository.push("empty", &Content::manifest(&image_of(&config, &[])));
}

fn artifact_is_taken(peer: &Peer) {
    let repository = peer.repository();
    let empty = Content::of(b"{}", "application/vnd.oci.empty.v1+json");
    let file = Content::of(b"a chart", "text/plain; charset=utf-8");
    repository.push_blob(&empty);
    repository.push_blob(&file);
    let mut document = image_of(&empty, &[&file]);
    document["artifactType"] = json!("application/vnd.example.chart");
    repository.push("chart", &Content::manifest(&document));
}

fn manifest_with_an_absent_subject_is_taken(peer: &Peer) {
    let repository = peer.repository();
    let mut document = repository.image_document("a");
    document["subject"] = Content::of(b"not here", MANIFEST).descriptor();
    repository.push("referrer", &Content::manifest(&document));
}

fn index_with_an_absent_subject_is_taken(peer: &Peer) {
    let repository = peer.repository();
    let image = repository.push_image("latest", "a");
    let mut document = index_of(&[&image]);
    document["subject"] = Content::of(b"not here", MANIFEST).descriptor();
    repository.push("referrer", &Content::manifest(&document));
}

fn manifest_of_unknown_blobs(peer: &Peer) {
    let repository = peer.repository();
    repository.push_image("latest", "a");
    let (config, layer) = (Content::of(b"{\"absent\":1}", CONFIG), Content::layer(b"absent"));
    let put = repository.put("absent", &Content::manifest(&image_of(&config, &[&layer])));
    let refused = || codes(&put).iter().all(|code| code == "MANIFEST_BLOB_UNKNOWN");
    assert!(put.status == 201 || refused(), "{put}");
}

fn index_of_unknown_manifests(peer: &Peer) {
    let repository = peer.repository();
    repository.push_image("latest", "a");
    let put = repository.put("absent", &Content::manifest(&index_of(&[&Content::of(b"absent", MANIFEST)])));
    let refused = || codes(&put).iter().all(|code| code == "MANIFEST_BLOB_UNKNOWN");
    assert!(put.status == 201 || refused(), "{put}");
}

fn every_unknown_blob_is_named(peer: &Peer) {
    let repository = peer.repository();
    repository.push_image("latest", "a");
    let (config, layer) = (Content::of(b"{\"absent\":1}", CONFIG), Content::layer(b"absent"));
    let put = repository.put("absent", &Content::manifest(&image_of(&config, &[&layer])));
    assert!([400, 404].contains(&put.status), "{put}");
    let text = String::from_utf8_lossy(&put.body).into_owned();
    assert!(text.contains(&config.digest) && text.contains(&layer.digest), "{put}");
    assert_eq!(codes(&put), ["MANIFEST_BLOB_UNKNOWN", "MANIFEST_BLOB_UNKNOWN"], "{put}");
    peer.expect(404, &repository.get_manifest("absent"));
}

/// An image whose manifest has at least so many bytes.
fn manifest_of_size(peer: &Peer, bytes: usize) -> u16 {
    let repository = peer.repository();
    let mut document = repository.image_document("a");
    document["annotations"] = json!({"large": "x".repeat(bytes)});
    repository.put("large", &Content::manifest(&document)).status
}

fn manifest_of_4_megabytes_is_taken(peer: &Peer) {
    assert_eq!(manifest_of_size(peer, 4_000_000 - 2000), 201);
}

fn manifest_that_is_too_large_is_413(peer: &Peer) {
    assert_eq!(manifest_of_size(peer, 8 * 1024 * 1024), 413);
}

fn answer_names_the_subject(peer: &Peer) {
    let repository = peer.repository();
    let image = repository.push_image("latest", "a");
    let mut referrer = repository.image_document("b");
    referrer["subject"] = image.descriptor();
    let mut index = index_of(&[&image]);
    index["subject"] = image.descriptor();
    for document in [referrer, index] {
        let put = repository.push("referrer", &Content::manifest(&document));
        assert_eq!(put.header("oci-subject"), Some(image.digest.as_str()), "{put}");
    }
}

fn answer_names_no_subject_where_none_is(peer: &Peer) {
    let repository = peer.repository();
    let put = repository.push("latest", &repository.image("a"));
    assert_eq!(put.header("oci-subject"), None, "{put}");
}

fn tag_moves(peer: &Peer) {
    let repository = peer.repository();
    let (old, new) = (repository.push_image("latest", "a"), repository.push_image("latest", "b"));
    assert!(peer.expect(200, &repository.get_manifest("latest")).body == new.bytes);
    assert!(peer.expect(200, &repository.get_manifest(&old.digest)).body == old.bytes);
    let tags = peer.expect(200, &repository.request("GET", "tags/list"));
    assert_eq!(tags.json()["tags"], json!(["latest"]), "{tags}");
}

fn docker_manifests_are_taken(peer: &Peer) {
    let (manifest, list) = (
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    );
    let repository = peer.repository();
    let mut document = repository.image_document("a");
    document["mediaType"] = json!(manifest);
    document["config"]["mediaType"] = json!("application/vnd.docker.container.image.v1+json");
    document["layers"][0]["mediaType"] = json!("application/vnd.docker.image.rootfs.diff.tar.gzip");
    let image = Content::manifest(&document);
    repository.push("image", &image);
    let mut document = index_of(&[&image]);
    document["mediaType"] = json!(list);
    document["manifests"][0]["platform"] = json!({"architecture": "amd64", "os": "linux"});
    repository.push("list", &Content::manifest(&document));
    for (reference, media_type) in [("image", manifest), ("list", list)] {
        let answer = peer.expect(200, &repository.get_manifest(reference));
        assert_eq!(answer.header("content-type"), Some(media_type), "{answer}");
    }
}

fn schema_1_is_refused(peer: &Peer) {
    let repository = peer.repository();
    let layer = Content::layer(b"some bytes");
    repository.push_blob(&layer);
    let document = json!({
        "schemaVersion": 1, "name": repository.name, "tag": "old", "architecture": "amd64",
        "fsLayers": [{"blobSum": layer.digest}], "history": [{"v1Compatibility": "{\"id\":\"1\"}"}],
    });
    let text = serde_json::to_vec(&document).expect("a document");
    let manifest = Content::of(&text, "application/vnd.docker.distribution.manifest.v1+json");
    let put = repository.put("old", &manifest);
    assert!([400, 415].contains(&put.status), "{put}");
    peer.expect(404, &repository.get_manifest("old"));
}

fn nonsense_is_refused(peer: &Peer) {
    let repository = peer.repository();
    repository.push_image("latest", "a");
    for text in ["", "{", "[]", "null", "{}", "{\"schemaVersion\":2,\"config\":3}", "\u{1}"] {
        for media_type in [MANIFEST, INDEX] {
            let put = repository.put("nonsense", &Content::of(text.as_bytes(), media_type));
            assert_eq!(put.status, 400, "{text:?}: {put}");
            assert_eq!(codes(&put), ["MANIFEST_INVALID"], "{text:?}: {put}");
        }
    }
    peer.expect(404, &repository.get_manifest(&unknown_digest()));
}
