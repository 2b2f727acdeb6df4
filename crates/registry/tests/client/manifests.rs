//! Finding and fetching manifests and indexes.

use kiln_oci::{Descriptor, Digest, Index, ManifestOrIndex, MediaType, Platform, Reference};
use kiln_registry::{Client, Error};

use crate::image::{Image, client, descriptor, manifest_reply, reference};
use crate::server::{Reply, Server};

async fn serving(media_type: &'static str, raw: impl Into<Vec<u8>>) -> Server {
    let raw = raw.into();
    Server::start(move |_| manifest_reply(media_type, &raw)).await
}

async fn refused(media_type: &'static str, raw: impl Into<Vec<u8>>) -> Error {
    let server = serving(media_type, raw).await;
    client().resolve(&reference(&server)).await.unwrap_err()
}

#[tokio::test]
async fn an_image_is_found_by_tag_and_by_digest() {
    let image = Image::new();
    let served = image.clone();
    let server = Server::start(move |request| served.reply(request)).await;
    let client = client();
    let by_tag = client.image(&reference(&server), &Platform::host()).await.unwrap();
    assert_eq!(by_tag.raw, image.manifest);
    assert_eq!(by_tag.descriptor, descriptor(MediaType::OciManifest, &image.manifest));
    assert_eq!(client.head(&reference(&server)).await.unwrap(), by_tag.descriptor);

    let by_digest = reference(&server).with_digest(by_tag.descriptor.digest.clone());
    assert_eq!(client.resolve(&by_digest).await.unwrap().raw, image.manifest);
    let config = client.small_blob(&by_digest, &by_tag.manifest.config).await.unwrap();
    assert_eq!(config, image.config);
    let accept = server.requests()[0].header("accept").unwrap().to_owned();
    assert!(!accept.contains("*/*"), "{accept}");
}

#[tokio::test]
async fn the_manifest_for_the_platform_is_taken_from_an_index() {
    let image = Image::new();
    let mut entry = descriptor(MediaType::OciManifest, &image.manifest);
    entry.platform = Some(Platform::new("linux", "s390x"));
    let inner = serde_json::to_vec(&Index::new(vec![entry.clone()])).unwrap();
    let outer = serde_json::to_vec(&Index::new(vec![descriptor(MediaType::OciIndex, &inner)])).unwrap();
    let (nested, root) = (inner.clone(), outer.clone());
    let server = Server::start(move |request| match request.path.strip_prefix("/v2/team/app/manifests/") {
        Some("1") => manifest_reply(MediaType::OciIndex.as_str(), &root),
        Some(name) if name == Digest::of(&nested).to_string() => manifest_reply(MediaType::OciIndex.as_str(), &nested),
        _ => image.reply(request),
    })
    .await;
    let found = client().image(&reference(&server), &Platform::new("linux", "s390x")).await.unwrap();
    assert_eq!(found.descriptor, entry);
    assert_eq!(found.root.descriptor.digest, Digest::of(&outer));
    assert!(matches!(found.root.content, ManifestOrIndex::Index(_)));

    let error = client().image(&reference(&server), &Platform::new("linux", "riscv64")).await.unwrap_err();
    assert!(error.to_string().ends_with("has no image for linux/riscv64; it has linux/s390x"), "{error}");
}

#[tokio::test]
async fn what_is_no_image_is_refused() {
    let old = refused("application/vnd.docker.distribution.manifest.v1+prettyjws", r#"{"schemaVersion":1}"#).await;
    assert!(matches!(old, Error::UnsupportedManifest { .. }) && old.to_string().contains("schema 1"), "{old}");
    let unknown = refused("application/vnd.example.thing+json", r#"{"schemaVersion":2}"#).await;
    assert!(unknown.to_string().contains("vnd.example.thing"), "{unknown}");
    let page = refused("text/html", "<html>it works</html>").await;
    assert!(matches!(page, Error::InvalidManifest { .. }), "{page}");
}

#[tokio::test]
async fn an_artefact_is_not_an_image() {
    let chart = Descriptor::new(MediaType::Other("application/vnd.example.chart".into()), Digest::of(b"{}"), 2);
    let raw = serde_json::to_vec(&kiln_oci::Manifest::new(chart, Vec::new())).unwrap();
    let server = serving("application/vnd.oci.image.manifest.v1+json", raw).await;
    let error = client().image(&reference(&server), &Platform::host()).await.unwrap_err();
    assert!(error.to_string().contains("no container image"), "{error}");
}

#[tokio::test]
async fn an_endless_manifest_is_not_read() {
    let server = Server::start(|_| Reply::body(vec![b' '; (4 << 20) + 1])).await;
    let announced = client().resolve(&reference(&server)).await.unwrap_err();
    assert!(matches!(announced, Error::TooLarge { limit: 4_194_304, .. }), "{announced}");

    let server = Server::start(|_| Reply::body(vec![b' '; 5 << 20]).chunked(5 << 20)).await;
    let chunked = client().resolve(&reference(&server)).await.unwrap_err();
    assert!(matches!(chunked, Error::TooLarge { .. }), "{chunked}");
}

#[tokio::test]
async fn a_manifest_with_another_digest_is_refused() {
    let image = Image::new();
    let server = serving("application/vnd.oci.image.manifest.v1+json", image.manifest.clone()).await;
    let other = reference(&server).with_digest(Digest::of(b"something else"));
    let error = client().resolve(&other).await.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");

    let lying = Server::start(move |_| {
        let digest = Digest::of(b"another").to_string();
        Reply::body(image.manifest.clone()).with("Docker-Content-Digest", digest)
    })
    .await;
    let error = client().resolve(&reference(&lying)).await.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
}

#[tokio::test]
async fn a_missing_image_is_named() {
    let server = Server::start(|_| Reply::new(404)).await;
    let error = client().resolve(&reference(&server)).await.unwrap_err();
    assert_eq!(error.to_string(), format!("{} was not found on {}", reference(&server), server.host()));
    assert_eq!(server.lines().len(), 1);
}

#[tokio::test]
async fn a_head_without_digest_is_followed_by_a_get() {
    let image = Image::new();
    let raw = image.manifest.clone();
    let server = Server::start(move |_| {
        Reply::body(raw.clone()).with("Content-Type", "application/vnd.oci.image.manifest.v1+json")
    })
    .await;
    let found = client().head(&reference(&server)).await.unwrap();
    assert_eq!(found, descriptor(MediaType::OciManifest, &image.manifest));
    assert_eq!(server.lines(), ["HEAD /v2/team/app/manifests/1", "GET /v2/team/app/manifests/1"]);
}

#[tokio::test]
async fn mirrors_are_asked_first_and_passed_over_when_they_fail() {
    let image = Image::new();
    let broken = Server::start(|_| Reply::new(404)).await;
    let wrong = Server::start(|_| Reply::body("other bytes")).await;
    let served = image.clone();
    let origin = Server::start(move |request| served.reply(request)).await;
    let mut config = crate::image::config();
    config.hosts.entry(origin.host()).or_default().mirrors = vec![broken.host(), wrong.host()];
    let client = Client::new(config, std::sync::Arc::new(kiln_registry::Anonymous));
    let by_digest: Reference = reference(&origin).with_digest(Digest::of(&image.manifest));
    assert_eq!(client.resolve(&by_digest).await.unwrap().raw, image.manifest);
    assert_eq!((broken.lines().len(), wrong.lines().len(), origin.lines().len()), (1, 1, 1));
}
