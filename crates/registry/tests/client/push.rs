//! Sending blobs and manifests.

use std::sync::Arc;

use bytes::Bytes;
use kiln_oci::{Digest, MediaType};
use kiln_registry::{BlobSource, Error};

use crate::image::{Image, basic, client, client_with, reference};
use crate::server::{Reply, Server};

fn source(bytes: &[u8]) -> Arc<dyn BlobSource> {
    Arc::new(Bytes::copy_from_slice(bytes))
}

#[tokio::test]
async fn a_blob_that_is_there_is_not_sent() {
    let image = Image::new();
    let served = image.clone();
    let server = Server::start(move |request| served.reply(request)).await;
    let descriptor = image.layer_descriptor();
    client().push_blob(&reference(&server), &descriptor, None, source(&image.layer)).await.unwrap();
    assert_eq!(server.lines(), [format!("HEAD /v2/team/app/blobs/{}", descriptor.digest)]);
}

#[tokio::test]
async fn a_mount_that_is_granted_sends_nothing_and_one_that_is_refused_sends_all() {
    let image = Image::new();
    let descriptor = image.layer_descriptor();
    for granted in [true, false] {
        let server = Server::start(move |request| match request.method.as_str() {
            "POST" if granted => Reply::new(201),
            "POST" => Reply::new(202).with("Location", "/upload?state=1"),
            "PUT" => Reply::new(201),
            _ => Reply::new(404),
        })
        .await;
        let from = Some("team/base");
        client().push_blob(&reference(&server), &descriptor, from, source(&image.layer)).await.unwrap();
        let requests = server.requests();
        let mount = format!("/v2/team/app/blobs/uploads/?mount={}&from=team/base", descriptor.digest);
        assert_eq!(requests[1].path, mount);
        assert_eq!(requests.len(), if granted { 2 } else { 3 });
        if let Some(put) = requests.get(2) {
            assert_eq!(put.path, format!("/upload?state=1&digest=sha256%3A{}", descriptor.digest.hex()));
            assert_eq!(put.body, image.layer);
        }
    }
}

#[tokio::test]
async fn an_upload_that_breaks_starts_anew() {
    let image = Image::new();
    let mut uploads = 0;
    let server = Server::start(move |request| match request.method.as_str() {
        "POST" => {
            uploads += 1;
            Reply::new(202).with("Location", format!("{}/upload/{uploads}", request.base))
        }
        "PUT" if uploads == 1 => Reply::new(503),
        "PUT" => Reply::new(201),
        _ => Reply::new(404),
    })
    .await;
    let descriptor = image.layer_descriptor();
    client().push_blob(&reference(&server), &descriptor, None, source(&image.layer)).await.unwrap();
    let last = server.requests().pop().unwrap();
    assert!(last.path.starts_with("/upload/2?digest="), "{}", last.path);
    assert_eq!(last.body, image.layer);
}

#[tokio::test]
async fn an_upload_to_another_host_goes_without_credentials() {
    let image = Image::new();
    let storage = Server::start(|_| Reply::new(201)).await;
    let target = format!("{}/bucket", storage.url());
    let server = Server::start(move |request| match (request.header("authorization"), request.method.as_str()) {
        (None, _) => Reply::new(401).with("WWW-Authenticate", "Basic realm=x"),
        (_, "POST") => Reply::new(202).with("Location", target.clone()),
        _ => Reply::new(404),
    })
    .await;
    let client = client_with(&server, basic());
    let descriptor = image.layer_descriptor();
    client.push_blob(&reference(&server), &descriptor, None, source(&image.layer)).await.unwrap();
    assert_eq!(storage.requests()[0].header("authorization"), None);
    assert_eq!(storage.requests()[0].body, image.layer);
}

#[tokio::test]
async fn a_manifest_that_is_refused_says_why() {
    let body = r#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown"}]}"#;
    let server = Server::start(move |_| Reply::body(body).status(400)).await;
    let image = Image::new();
    let raw = Bytes::from(image.manifest.clone());
    let error = client().push_manifest(&reference(&server), MediaType::OciManifest, raw.clone()).await.unwrap_err();
    assert!(matches!(error, Error::Status { status: 400, .. }), "{error}");
    assert!(error.to_string().contains("blob unknown"), "{error}");

    let other = reference(&server).with_digest(Digest::of(b"other"));
    let error = client().push_manifest(&other, MediaType::OciManifest, raw).await.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    assert_eq!(server.lines().len(), 1);
}
