//! Listing what refers to a manifest by `subject`.

use kiln_tests::http::{Request, Response};
use serde_json::{Value, json};

use crate::discovery::next;
use crate::peer::{CONFIG, Content, INDEX, Peer, Repository, index_of, unknown_digest};
use crate::requirements;

requirements! {
    (Must, referrers_are_listed, "A GET of `referrers/DIGEST` answers 200 with an image index that has a descriptor of each referrer."),
    (Must, list_has_the_type_of_an_index, "The `Content-Type` of the list is that of an image index."),
    (Must, nothing_refers_to_it, "Without any referrer the list is empty, also where no manifest has this digest: never 404."),
    (Must, referrers_in_an_unknown_repository, "The list is not answered by 404 in a repository that does not exist either."),
    (Must, broken_digest_is_400, "A digest that is none answers 400."),
    (Must, descriptor_is_of_the_referrer, "A descriptor has the media type, digest and size of the referrer."),
    (Must, artifact_type_is_the_manifests, "`artifactType` of a descriptor is the manifest's, if it has one."),
    (Must, artifact_type_is_else_the_configs, "`artifactType` of a descriptor is else the media type of the manifest's config."),
    (Must, artifact_type_of_an_index, "`artifactType` of an index is its own."),
    (Must, artifact_type_of_an_index_may_be_absent, "`artifactType` is left out if an index has none."),
    (Must, annotations_are_the_manifests, "A descriptor has the annotations of the manifest or index."),
    (Must, referrer_may_come_first, "A referrer that was pushed before its subject is listed."),
    (Must, only_this_repository_counts, "Only referrers of the same repository are listed."),
    (Must, only_this_subject_counts, "Only referrers of this very subject are listed."),
    (Should, filter_by_artifact_type, "With `artifactType` only referrers of this type are listed."),
    (Must, applied_filter_is_told, "An answer to which a filter was applied says `OCI-Filters-Applied: artifactType`; no other does."),
    (Should, filter_that_nothing_passes, "A filter that nothing passes gives an empty list, and says that it was applied."),
    (Must, long_list_is_complete, "When the list does not fit into one manifest, `Link` leads to the rest; together they have every referrer once."),
    (Must, referrers_of_the_tag_schema, "Manifests that an index under the tag ALGORITHM-HEX lists, as clients of older registries push it, are in the list, once."),
    (Kiln, deleted_referrer_is_not_listed, "A referrer that was deleted is not listed any more."),
}

/// The answer to a GET of the referrers.
#[track_caller]
fn list(repository: &Repository<'_>, digest: &str, query: &str) -> Response {
    let answer = repository.peer.expect(200, &repository.request("GET", &format!("referrers/{digest}{query}")));
    let index = answer.json();
    assert_eq!(index["schemaVersion"], 2, "{answer}");
    assert_eq!(index["mediaType"], INDEX, "{answer}");
    answer
}

/// The descriptors of a list, by digest.
#[track_caller]
fn listed(repository: &Repository<'_>, digest: &str, query: &str) -> Vec<Value> {
    let answer = list(repository, digest, query);
    let mut found = answer.json()["manifests"].as_array().unwrap_or_else(|| panic!("{answer}")).clone();
    found.sort_by_key(|descriptor| descriptor["digest"].as_str().map(str::to_owned));
    found
}

/// Pushes a manifest that refers to `subject`, with these further fields.
#[track_caller]
fn referrer(repository: &Repository<'_>, subject: &Content, seed: &str, fields: Value) -> Content {
    let mut document = repository.image_document(seed);
    extend(&mut document, subject, fields);
    let manifest = Content::manifest(&document);
    repository.push(&manifest.digest, &manifest);
    manifest
}

/// Pushes an index that refers to `subject`.
#[track_caller]
fn referring_index(repository: &Repository<'_>, subject: &Content, fields: Value) -> Content {
    let mut document = index_of(&[]);
    extend(&mut document, subject, fields);
    let index = Content::manifest(&document);
    repository.push(&index.digest, &index);
    index
}

fn extend(document: &mut Value, subject: &Content, fields: Value) {
    document["subject"] = subject.descriptor();
    for (name, value) in fields.as_object().expect("fields") {
        document[name] = value.clone();
    }
}

#[track_caller]
fn assert_digests(found: &[Value], expected: &[&Content]) {
    let mut expected: Vec<&str> = expected.iter().map(|content| content.digest.as_str()).collect();
    expected.sort_unstable();
    let found: Vec<&str> = found.iter().filter_map(|descriptor| descriptor["digest"].as_str()).collect();
    assert_eq!(found, expected);
}

fn referrers_are_listed(peer: &Peer) {
    let repository = peer.repository();
    let image = repository.push_image("latest", "a");
    let one = referrer(&repository, &image, "one", json!({"artifactType": "application/vnd.example.one"}));
    let two = referrer(&repository, &image, "two", json!({}));
    let index = referring_index(&repository, &image, json!({}));
    assert_digests(&listed(&repository, &image.digest, ""), &[&one, &two, &index]);
}

fn list_has_the_type_of_an_index(peer: &Peer) {
    let repository = peer.repository();
    let image = repository.push_image("latest", "a");
    let empty = list(&repository, &image.digest, "");
    assert_eq!(empty.header("content-type"), Some(INDEX), "{empty}");
    referrer(&repository, &image, "one", json!({}));
    let full = list(&repository, &image.digest, "");
    assert_eq!(full.header("content-type"), Some(INDEX), "{full}");
}

fn nothing_refers_to_it(peer: &Peer) {
    let repository = peer.repository();
    let image = repository.push_image("latest", "a");
    for digest in [&image.digest, &unknown_digest()] {
        let answer = list(&repository, digest, "");
        assert_eq!(answer.json()["manifests"], json!([]), "{answer}");
    }
}

fn referrers_in_an_unknown_repository(peer: &Peer) {
    let answer = peer.send(&peer.repository().request("GET", &format!("referrers/{}", unknown_digest())));
    assert_ne!(answer.status, 404, "{answer}");
}

fn broken_digest_is_400(peer: &Peer) {
    let repository = peer.repository();
    repository.push_image("latest", "a");
    for digest in ["sha256:1234", "nonsense", "latest", "sha256:"] {
        peer.expect(400, &repository.request("GET", &format!("referrers/{digest}")));
    }
}

fn descriptor_is_of_the_referrer(peer: &Peer) {
    let repository = peer.repository();
    let image = repository.push_image("latest", "a");
    let one = referrer(&repository, &image, "one", json!({}));
    let index = referring_index(&repository, &image, json!({}));
    for descriptor in listed(&repository, &image.digest, "") {
        let content = if descriptor["digest"] == one.digest.as_str() { &one } else { &index };
        for (name, value) in content.descriptor().as_object().expect("a descriptor") {
            assert_eq!(&descriptor[name], value, "{name} of {descriptor}");
        }
    }
}

/// The one descriptor that is listed.
#[track_caller]
fn only(repository: &Repository<'_>, subject: &Content) -> Value {
    let found = listed(repository, &subject.digest, "");
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

fn artifact_type_is_the_manifests(peer: &Peer) {
    let repository = peer.repository();
    let image = repository.push_image("latest", "a");
    referrer(&repository, &image, "one", json!({"artifactType": "application/vnd.example.one"}));
    assert_eq!(only(&repository, &image)["artifactType"], "application/vnd.example.one");
}

fn artifact_type_is_else_the_configs(peer: &Peer) {
    for fields in [json!({}), json!({"artifactType": ""})] {
        let repository = peer.repository();
        let image = repository.push_image("latest", "a");
        referrer(&repository, &image, "one", fields);
        assert_eq!(only(&repository, &image)["artifactType"], CONFIG);
    }
}

fn artifact_type_of_an_index(peer: &Peer) {
    let repository = peer.repository();
    let image = repository.push_image("latest", "a");
    referring_index(&repository, &image, json!({"artifactType": "application/vnd.example.many"}));
    assert_eq!(only(&repository, &image)["artifactType"], "application/vnd.example.many");
}

fn artifact_type_of_an_index_may_be_absent(peer: &Peer) {
    for fields in [json!({}), json!({"artifactType": ""})] {
        let repository = peer.repository();
        let image = repository.push_image("latest", "a");
        referring_index(&repository, &image, fields);
        let descriptor = only(&repository, &image);
        assert!(descriptor.get("artifactType").is_none(), "{descriptor}");
    }
}

fn annotations_are_the_manifests(peer: &Peer) {
    let annotations = json!({"org.example.key": "value", "org.example.odd": "\"é\n"});
    let repository = peer.repository();
    let image = repository.push_image("latest", "a");
    referrer(&repository, &image, "one", json!({"annotations": annotations}));
    assert_eq!(only(&repository, &image)["annotations"], annotations);
    let other = repository.push_image("other", "b");
    referring_index(&repository, &other, json!({"annotations": annotations}));
    assert_eq!(only(&repository, &other)["annotations"], annotations);
}

fn referrer_may_come_first(peer: &Peer) {
    let repository = peer.repository();
    let image = repository.image("a");
    let one = referrer(&repository, &image, "one", json!({}));
    assert_digests(&listed(&repository, &image.digest, ""), &[&one]);
    repository.push("latest", &image);
    assert_digests(&listed(&repository, &image.digest, ""), &[&one]);
}

fn only_this_repository_counts(peer: &Peer) {
    let (repository, other) = (peer.repository(), peer.repository());
    let image = repository.push_image("latest", "a");
    other.push_image("latest", "a");
    referrer(&other, &image, "one", json!({}));
    assert_digests(&listed(&repository, &image.digest, ""), &[]);
}

fn only_this_subject_counts(peer: &Peer) {
    let repository = peer.repository();
    let (one, two) = (repository.push_image("one", "a"), repository.push_image("two", "b"));
    let of_one = referrer(&repository, &one, "one", json!({}));
    let of_two = referrer(&repository, &two, "two", json!({}));
    assert_digests(&listed(&repository, &one.digest, ""), &[&of_one]);
    assert_digests(&listed(&repository, &two.digest, ""), &[&of_two]);
}

fn filter_by_artifact_type(peer: &Peer) {
    let repository = peer.repository();
    let image = repository.push_image("latest", "a");
    let sbom = referrer(&repository, &image, "one", json!({"artifactType": "application/spdx+json"}));
    let plain = referrer(&repository, &image, "two", json!({}));
    referring_index(&repository, &image, json!({}));
    let filtered = listed(&repository, &image.digest, "?artifactType=application/spdx%2Bjson");
    assert_digests(&filtered, &[&sbom]);
    let encoded = CONFIG.replace('/', "%2F").replace('+', "%2B");
    assert_digests(&listed(&repository, &image.digest, &format!("?artifactType={encoded}")), &[&plain]);
}

fn applied_filter_is_told(peer: &Peer) {
    let repository = peer.repository();
    let image = repository.push_image("latest", "a");
    referrer(&repository, &image, "one", json!({"artifactType": "application/vnd.example.one"}));
    let all = list(&repository, &image.digest, "");
    assert_eq!(all.header("oci-filters-applied"), None, "{all}");
    let filtered = list(&repository, &image.digest, "?artifactType=application/vnd.example.one");
    assert_eq!(filtered.header("oci-filters-applied"), Some("artifactType"), "{filtered}");
}

fn filter_that_nothing_passes(peer: &Peer) {
    let repository = peer.repository();
    let image = repository.push_image("latest", "a");
    referrer(&repository, &image, "one", json!({}));
    let filtered = list(&repository, &image.digest, "?artifactType=application/vnd.example.none");
    assert_eq!(filtered.json()["manifests"], json!([]), "{filtered}");
    assert_eq!(filtered.header("oci-filters-applied"), Some("artifactType"), "{filtered}");
}

fn long_list_is_complete(peer: &Peer) {
    let repository = peer.repository();
    let image = repository.push_image("latest", "a");
    // More than the 4 megabytes that clients are sure to take of a manifest.
    let annotations = json!({"large": "x".repeat(600_000)});
    let document = |number: usize| json!({"annotations": annotations, "number": number});
    let pushed: Vec<_> = (0..9).map(|number| referring_index(&repository, &image, document(number))).collect();
    let mut found = Vec::new();
    let mut page = Some(repository.path(&format!("referrers/{}", image.digest)));
    while let Some(path) = page {
        let answer = peer.expect(200, &Request::new("GET", &path));
        assert!(answer.body.len() <= 4 * 1024 * 1024, "a page of {} bytes", answer.body.len());
        assert_eq!(answer.header("content-type"), Some(INDEX));
        found.extend(answer.json()["manifests"].as_array().expect("descriptors").iter().cloned());
        page = next(peer, &answer);
        assert!(found.len() <= pushed.len(), "the pages do not end");
    }
    found.sort_by_key(|descriptor| descriptor["digest"].as_str().map(str::to_owned));
    assert_digests(&found, &pushed.iter().collect::<Vec<_>>());
}

fn referrers_of_the_tag_schema(peer: &Peer) {
    let repository = peer.repository();
    let image = repository.push_image("latest", "a");
    let one = referrer(&repository, &image, "one", json!({}));
    let two = referrer(&repository, &image, "two", json!({}));
    repository.push(&image.digest.replace(':', "-"), &Content::manifest(&index_of(&[&one, &two])));
    assert_digests(&listed(&repository, &image.digest, ""), &[&one, &two]);
}

fn deleted_referrer_is_not_listed(peer: &Peer) {
    let repository = peer.repository();
    let image = repository.push_image("latest", "a");
    let one = referrer(&repository, &image, "one", json!({}));
    let two = referrer(&repository, &image, "two", json!({}));
    peer.expect(202, &repository.request("DELETE", &format!("manifests/{}", one.digest)));
    assert_digests(&listed(&repository, &image.digest, ""), &[&two]);
    peer.expect(202, &repository.request("DELETE", &format!("manifests/{}", image.digest)));
    assert_digests(&listed(&repository, &image.digest, ""), &[&two]);
}
