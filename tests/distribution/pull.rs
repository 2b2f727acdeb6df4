//! Pulling manifests and blobs, and asking whether they exist.

use crate::peer::{Content, INDEX, MANIFEST, Peer, index_of, unknown_digest};
use crate::requirements;

requirements! {
    (Must, manifest_by_tag, "A GET of an existing manifest by its tag answers 200 with the manifest."),
    (Must, manifest_by_digest, "A GET of an existing manifest by its digest answers 200 with the manifest."),
    (Should, manifest_answer_has_its_digest, "The answer to a GET of a manifest has `Docker-Content-Digest`, by tag and by digest."),
    (Should, manifest_type_is_as_pushed, "`Content-Type` of a manifest is the one that it was pushed with."),
    (Should, manifest_type_has_no_parameters, "`Content-Type` of a manifest has no parameters."),
    (Must, unknown_tag_is_404, "A manifest whose tag is not in the repository answers 404."),
    (Must, unknown_manifest_digest_is_404, "A manifest whose digest is not in the repository answers 404."),
    (Must, manifest_of_another_repository_is_404, "A manifest that only another repository has answers 404."),
    (Must, unknown_repository_is_404, "Whatever is pulled from a repository that does not exist answers 404."),
    (Must, reference_is_a_tag_or_a_digest, "A reference that is neither a tag nor a digest is refused."),
    (Must, tag_has_up_to_128_characters, "A tag of 128 characters, of every kind that is allowed, works; one of 129 is refused."),
    (Must, repository_names_follow_the_grammar, "Repository names of every allowed form work."),
    (Must, other_repository_names_are_refused, "Repository names of another form are refused."),
    (Must, blob_by_digest, "A GET of an existing blob answers 200 with the blob."),
    (Must, large_blob_by_digest, "A blob of several megabytes comes back byte by byte."),
    (Should, blob_answer_has_its_digest, "The answer to a GET of a blob has `Docker-Content-Digest`, which then MUST be the body's."),
    (Must, unknown_blob_is_404, "A GET of a blob that the repository does not have answers 404."),
    (Must, blob_of_another_repository_is_404, "A blob that only another repository has answers 404."),
    (Must, head_of_a_manifest, "A HEAD of an existing manifest answers 200, without a body."),
    (Should, head_of_a_manifest_has_digest_and_size, "A HEAD of a manifest tells `Docker-Content-Digest` and `Content-Length`."),
    (Must, head_of_a_blob, "A HEAD of an existing blob answers 200, without a body."),
    (Should, head_of_a_blob_has_digest_and_size, "A HEAD of a blob tells `Docker-Content-Digest` and `Content-Length`."),
    (Kiln, sha512_digests_work, "Blobs and manifests can be pushed and pulled under SHA-512 digests."),
    (Must, head_of_what_is_missing_is_404, "A HEAD of a manifest or blob that is not there answers 404."),
}

fn manifest_by_tag(peer: &Peer) {
    let repository = peer.repository();
    let image = repository.push_image("latest", "a");
    let answer = peer.expect(200, &repository.get_manifest("latest"));
    assert!(answer.body == image.bytes, "{answer}");
}

fn manifest_by_digest(peer: &Peer) {
    let repository = peer.repository();
    let image = repository.push_image("latest", "a");
    let answer = peer.expect(200, &repository.get_manifest(&image.digest));
    assert!(answer.body == image.bytes, "{answer}");
}

fn manifest_answer_has_its_digest(peer: &Peer) {
    let repository = peer.repository();
    let image = repository.push_image("latest", "a");
    for reference in ["latest", &image.digest] {
        let answer = peer.expect(200, &repository.get_manifest(reference));
        assert_eq!(answer.header("docker-content-digest"), Some(image.digest.as_str()), "{answer}");
    }
}

fn manifest_type_is_as_pushed(peer: &Peer) {
    let repository = peer.repository();
    let image = repository.push_image("latest", "a");
    let index = Content::manifest(&index_of(&[&image]));
    repository.push("index", &index);
    for (reference, media_type) in [("latest", MANIFEST), ("index", INDEX), (&index.digest, INDEX)] {
        let answer = peer.expect(200, &repository.get_manifest(reference));
        let found = answer.header("content-type").expect("a type");
        assert_eq!(found.split(';').next(), Some(media_type), "{answer}");
    }
}

fn manifest_type_has_no_parameters(peer: &Peer) {
    let repository = peer.repository();
    repository.push_image("latest", "a");
    let answer = peer.expect(200, &repository.get_manifest("latest"));
    assert_eq!(answer.header("content-type"), Some(MANIFEST), "{answer}");
}

fn unknown_tag_is_404(peer: &Peer) {
    let repository = peer.repository();
    repository.push_image("latest", "a");
    peer.expect(404, &repository.get_manifest("other"));
}

fn unknown_manifest_digest_is_404(peer: &Peer) {
    let repository = peer.repository();
    repository.push_image("latest", "a");
    peer.expect(404, &repository.get_manifest(&unknown_digest()));
}

fn manifest_of_another_repository_is_404(peer: &Peer) {
    let image = peer.repository().push_image("latest", "a");
    let other = peer.repository();
    other.push_image("latest", "b");
    peer.expect(404, &other.get_manifest(&image.digest));
}

fn unknown_repository_is_404(peer: &Peer) {
    let repository = peer.repository();
    peer.expect(404, &repository.get_manifest("latest"));
    peer.expect(404, &repository.get_manifest(&unknown_digest()));
    peer.expect(404, &repository.get_blob(&unknown_digest()));
    peer.expect(404, &repository.request("GET", "tags/list"));
}

fn reference_is_a_tag_or_a_digest(peer: &Peer) {
    let repository = peer.repository();
    let image = repository.push_image("latest", "a");
    for reference in [".latest", "-latest", "la+test", "sha256:abc", "sha256:", ":latest"] {
        let got = peer.send(&repository.get_manifest(reference));
        assert!([400, 404].contains(&got.status), "{got}");
        let put = repository.put(reference, &image);
        assert!([400, 404].contains(&put.status), "{put}");
    }
}

fn tag_has_up_to_128_characters(peer: &Peer) {
    let repository = peer.repository();
    let image = repository.push_image("latest", "a");
    let longest = format!("_A.z-9{}", "x".repeat(122));
    repository.push(&longest, &image);
    peer.expect(200, &repository.get_manifest(&longest));
    let put = repository.put(&format!("{longest}y"), &image);
    assert!([400, 404].contains(&put.status), "{put}");
}

fn repository_names_follow_the_grammar(peer: &Peer) {
    for name in ["a", "0", "a/b/c/d/e/f", "a.b", "a_b", "a__b", "a-b", "a----b", "blobs/uploads", "manifests/tags/list"]
    {
        let repository = peer.named(name);
        let image = repository.push_image("latest", "a");
        let answer = peer.expect(200, &repository.get_manifest("latest"));
        assert!(answer.body == image.bytes, "{answer}");
        let tags = peer.expect(200, &repository.request("GET", "tags/list"));
        assert_eq!(tags.json()["name"], name, "{tags}");
    }
}

fn other_repository_names_are_refused(peer: &Peer) {
    for name in ["A", "a/B", "-a", "a-", "a..b", "a___b", "a._b", "a/-b", "a%20b", "a//b"] {
        let begun = peer.send(&peer.named(name).request("POST", "blobs/uploads/"));
        // A path that has two slashes in a row may be taken for another one, which is told.
        let moved = name.contains("//") && (300..400).contains(&begun.status);
        assert!(moved || [400, 404].contains(&begun.status), "{begun}");
    }
}

fn blob_by_digest(peer: &Peer) {
    let repository = peer.repository();
    for blob in [Content::layer(b"some bytes"), Content::layer(b"")] {
        repository.push_blob(&blob);
        let answer = peer.expect(200, &repository.get_blob(&blob.digest));
        assert!(answer.body == blob.bytes, "{answer}");
    }
}

fn large_blob_by_digest(peer: &Peer) {
    let repository = peer.repository();
    let blob = Content::large(5 * 1024 * 1024 + 1);
    repository.push_blob(&blob);
    let answer = peer.expect(200, &repository.get_blob(&blob.digest));
    assert!(answer.body == blob.bytes, "{} bytes came back", answer.body.len());
}

fn blob_answer_has_its_digest(peer: &Peer) {
    let repository = peer.repository();
    let blob = Content::layer(b"some bytes");
    repository.push_blob(&blob);
    let answer = peer.expect(200, &repository.get_blob(&blob.digest));
    assert_eq!(answer.header("docker-content-digest"), Some(blob.digest.as_str()), "{answer}");
}

fn unknown_blob_is_404(peer: &Peer) {
    let repository = peer.repository();
    repository.push_image("latest", "a");
    peer.expect(404, &repository.get_blob(&unknown_digest()));
}

fn blob_of_another_repository_is_404(peer: &Peer) {
    let blob = Content::layer(b"elsewhere only");
    peer.repository().push_blob(&blob);
    let other = peer.repository();
    other.push_image("latest", "a");
    peer.expect(404, &other.get_blob(&blob.digest));
    peer.expect(404, &other.head_blob(&blob.digest));
}

fn head_of_a_manifest(peer: &Peer) {
    let repository = peer.repository();
    let image = repository.push_image("latest", "a");
    for reference in ["latest", &image.digest] {
        peer.expect(200, &repository.head_manifest(reference));
    }
}

fn head_of_a_manifest_has_digest_and_size(peer: &Peer) {
    let repository = peer.repository();
    let image = repository.push_image("latest", "a");
    let answer = peer.expect(200, &repository.head_manifest("latest"));
    assert_eq!(answer.header("docker-content-digest"), Some(image.digest.as_str()), "{answer}");
    assert_eq!(answer.header("content-length"), Some(image.bytes.len().to_string().as_str()), "{answer}");
}

fn head_of_a_blob(peer: &Peer) {
    let repository = peer.repository();
    let blob = Content::layer(b"some bytes");
    repository.push_blob(&blob);
    peer.expect(200, &repository.head_blob(&blob.digest));
}

fn head_of_a_blob_has_digest_and_size(peer: &Peer) {
    let repository = peer.repository();
    for blob in [Content::layer(b"some bytes"), Content::large(100_000)] {
        repository.push_blob(&blob);
        let answer = peer.expect(200, &repository.head_blob(&blob.digest));
        assert_eq!(answer.header("docker-content-digest"), Some(blob.digest.as_str()), "{answer}");
        assert_eq!(answer.header("content-length"), Some(blob.bytes.len().to_string().as_str()), "{answer}");
    }
}

fn sha512_digests_work(peer: &Peer) {
    let repository = peer.repository();
    let blob = Content::large(300_000).under_sha512();
    repository.push_blob(&blob);
    assert!(peer.expect(200, &repository.get_blob(&blob.digest)).body == blob.bytes);
    let image = repository.image("a").under_sha512();
    let put = repository.push(&image.digest, &image);
    assert_eq!(put.header("docker-content-digest"), Some(image.digest.as_str()), "{put}");
    assert!(peer.expect(200, &repository.get_manifest(&image.digest)).body == image.bytes);
    let wrong = Content::layer(b"other").under_sha512();
    let target = crate::peer::closing(&repository.begin_upload(), &wrong.digest);
    peer.expect(400, &kiln_tests::http::Request::new("PUT", &target).body(&blob.bytes));
}

fn head_of_what_is_missing_is_404(peer: &Peer) {
    let repository = peer.repository();
    repository.push_image("latest", "a");
    peer.expect(404, &repository.head_manifest("other"));
    peer.expect(404, &repository.head_manifest(&unknown_digest()));
    peer.expect(404, &repository.head_blob(&unknown_digest()));
}
