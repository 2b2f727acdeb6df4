//! Deleting manifests, and registries that are declared insecure.

use std::sync::Arc;

use kiln_oci::{Digest, Reference};
use kiln_registry::{BlobSource, Error};

use crate::image::{Image, client, reference};
use crate::server::{Reply, Server, tls};

fn by_digest(server: &Server) -> Reference {
    reference(server).with_digest(Digest::of(b"manifest"))
}

#[tokio::test]
async fn a_manifest_is_deleted_by_digest_and_one_that_is_gone_already_is_gone() {
    for status in [202, 404] {
        let server = Server::start(move |_| Reply::new(status)).await;
        client().delete_manifest(&by_digest(&server)).await.unwrap();
        assert_eq!(server.lines(), [format!("DELETE /v2/team/app/manifests/{}", Digest::of(b"manifest"))]);
    }
}

#[tokio::test]
async fn a_registry_that_does_not_delete_says_so_once() {
    let server = Server::start(|_| Reply::body(r#"{"errors":[{"code":"UNSUPPORTED"}]}"#).status(405)).await;
    let error = client().delete_manifest(&by_digest(&server)).await.unwrap_err();
    assert!(matches!(&error, Error::Status { status: 405, detail, .. } if detail == "UNSUPPORTED"), "{error}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn deleting_asks_for_the_permission_to_delete() {
    let server = Server::start(|request| match request.path.split('?').next().unwrap() {
        "/token" => Reply::body(r#"{"token":"t"}"#),
        _ if request.header("authorization") == Some("Bearer t") => Reply::new(202),
        _ => Reply::new(401).with("WWW-Authenticate", format!(r#"Bearer realm="{}/token",service="s""#, request.base)),
    })
    .await;
    client().delete_manifest(&by_digest(&server)).await.unwrap();
    let asked = server.lines().into_iter().find(|line| line.contains("/token")).unwrap();
    let asked = asked.replace("%3A", ":").replace("%2C", ",").replace("%2F", "/");
    assert!(asked.contains("scope=repository:team/app:pull,push,delete"), "{asked}");
}

#[tokio::test]
async fn an_insecure_registry_is_spoken_to_as_it_speaks() {
    let image = Image::new();
    let (secured, _) = tls("localhost");
    let served = image.clone();
    let unverified = Server::start_tls(secured, move |request| served.reply(request)).await;
    let served = image.clone();
    let plain = Server::start(move |request| served.reply(request)).await;
    for server in [unverified, plain] {
        let reference = reference(&server);
        let insecure = client().insecure_for(&reference).await.unwrap();
        let found = insecure.resolve(&reference).await.unwrap();
        assert_eq!(found.raw, image.manifest);
    }
}

#[tokio::test]
async fn a_source_that_cannot_be_read_ends_the_upload_at_once_and_is_named() {
    struct Broken;
    impl BlobSource for Broken {
        fn read_at(&self, offset: u64, _: usize) -> std::io::Result<bytes::Bytes> {
            if offset == 0 { Ok(bytes::Bytes::from_static(b"some")) } else { Err(std::io::Error::other("bad disk")) }
        }
    }
    let server = Server::start(|request| match request.method.as_str() {
        "POST" => Reply::new(202).with("Location", "/upload"),
        "PUT" => Reply::new(201),
        _ => Reply::new(404),
    })
    .await;
    let descriptor = Image::new().layer_descriptor();
    let error = client().push_blob(&reference(&server), &descriptor, None, Arc::new(Broken)).await.unwrap_err();
    assert!(matches!(&error, Error::Source { detail, .. } if detail.contains("bad disk")), "{error}");
    let begun = server.lines().iter().filter(|line| line.starts_with("POST")).count();
    assert_eq!(begun, 1, "{:?}", server.lines());
}
