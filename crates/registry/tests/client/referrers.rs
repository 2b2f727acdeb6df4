//! What refers to a manifest: listed by the registry, or by a tag that clients keep.

use bytes::Bytes;
use kiln_oci::{Descriptor, Digest, Index, Manifest, MediaType};
use kiln_registry::Error;

use crate::image::{client, descriptor, reference};
use crate::server::{Reply, Server};
use crate::storage::Storage;

fn subject() -> Descriptor {
    descriptor(MediaType::OciManifest, b"the subject")
}

/// A signature of [`subject`], or something else of that type.
fn referrer(artifact_type: &str) -> Vec<u8> {
    let config = descriptor(MediaType::parse("application/vnd.oci.empty.v1+json"), b"{}");
    let mut manifest = Manifest::new(config, Vec::new());
    manifest.artifact_type = Some(artifact_type.into());
    manifest.subject = Some(subject());
    manifest.annotations.insert("org.example.by".into(), "ann".into());
    serde_json::to_vec(&manifest).unwrap()
}

fn listed(artifact_type: &str) -> Descriptor {
    let mut entry = descriptor(MediaType::OciManifest, &referrer(artifact_type));
    entry.artifact_type = Some(artifact_type.into());
    entry
}

fn page(entries: Vec<Descriptor>) -> Reply {
    Reply::body(serde_json::to_vec(&Index::new(entries)).unwrap()).with("Content-Type", MediaType::OciIndex.as_str())
}

#[tokio::test]
async fn the_registrys_own_list_is_read_to_its_last_page() {
    let path = format!("/v2/team/app/referrers/{}", subject().digest);
    let server = Server::start(move |request| match request.path.strip_prefix(&path) {
        Some("") => page(vec![listed("a/x"), listed("a/y")]).with("Link", format!(r#"<{path}?next>; rel="next""#)),
        Some("?next") => page(vec![listed("a/z")]),
        // Whether it filters is the registry's affair.
        Some("?artifactType=a%2Fy") => page(vec![listed("a/x"), listed("a/y")]),
        _ => Reply::new(404),
    })
    .await;
    let found = async |kind| client().referrers(&reference(&server), &subject().digest, kind).await.unwrap();
    assert_eq!(found(None).await, [listed("a/x"), listed("a/y"), listed("a/z")]);
    assert_eq!(found(Some("a/y")).await, [listed("a/y")]);
    assert_eq!(server.lines().len(), 3);
}

#[tokio::test]
async fn without_that_list_a_tag_is_kept() {
    let storage = Storage::default();
    let served = storage.clone();
    let server = Server::start(move |request| served.reply(request)).await;
    let (client, reference) = (client(), reference(&server));
    let found = async |kind| client.referrers(&reference, &subject().digest, kind).await.unwrap();
    assert_eq!(found(None).await, []);
    for kind in ["a/x", "a/y", "a/x"] {
        let raw = Bytes::from(referrer(kind));
        let by_digest = reference.with_digest(Digest::of(&raw));
        client.push_manifest(&by_digest, MediaType::OciManifest, raw).await.unwrap();
    }
    let tag = format!("sha256-{}", subject().digest.hex());
    assert!(storage.content().manifests.contains_key(&tag));
    let kinds = |entries: &[Descriptor]| entries.iter().map(|e| e.artifact_type.clone().unwrap()).collect::<Vec<_>>();
    assert_eq!(kinds(&found(None).await), ["a/x", "a/y"]);
    let only = found(Some("a/y")).await;
    assert_eq!(kinds(&only), ["a/y"]);
    assert_eq!(only[0].annotations["org.example.by"], "ann");

    client.delete_referrer(&reference, &only[0].digest).await.unwrap();
    assert_eq!(kinds(&found(None).await), ["a/x"]);
    assert!(!storage.content().manifests.contains_key(&only[0].digest.to_string()));
}

#[tokio::test]
async fn a_registry_that_keeps_the_list_is_left_to_it() {
    let server = Server::start(|_| Reply::new(201).with("OCI-Subject", subject().digest.to_string())).await;
    let raw = Bytes::from(referrer("a/x"));
    client().push_manifest(&reference(&server), MediaType::OciManifest, raw).await.unwrap();
    assert_eq!(server.lines(), ["PUT /v2/team/app/manifests/1"]);
}

#[tokio::test]
async fn a_tag_that_is_no_list_is_not_overwritten() {
    let storage = Storage::default();
    let served = storage.clone();
    let server = Server::start(move |request| served.reply(request)).await;
    let config = descriptor(MediaType::OciConfig, b"{}");
    let image = serde_json::to_vec(&Manifest::new(config, Vec::new())).unwrap();
    let tag = format!("sha256-{}", subject().digest.hex());
    storage.content().manifests.insert(tag.clone(), (MediaType::OciManifest.as_str().to_owned(), image.clone()));
    let raw = Bytes::from(referrer("a/x"));
    let error = client().push_manifest(&reference(&server), MediaType::OciManifest, raw).await.unwrap_err();
    assert!(matches!(error, Error::InvalidManifest { .. }), "{error}");
    assert_eq!(storage.content().manifests[&tag].1, image);
}

#[tokio::test]
async fn a_list_that_makes_no_sense_is_an_error() {
    let server = Server::start(|_| Reply::body("<html>")).await;
    let error = client().referrers(&reference(&server), &subject().digest, None).await.unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error}");
}
