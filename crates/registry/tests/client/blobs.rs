//! Blobs: verified while they come, resumed where they broke.

use std::time::Duration;

use kiln_oci::{Digest, MediaType};
use kiln_registry::{Client, Error, StaticCredentials};

use crate::image::{Image, client, config, descriptor, layer, reference};
use crate::server::{Reply, Request, Server};

/// The rest of `bytes` that a request asks for.
fn ranged(bytes: &[u8], request: &Request) -> Reply {
    let Some(range) = request.header("range") else { return Reply::body(bytes) };
    let start: usize = range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap();
    let total = bytes.len();
    let mut reply = Reply::new(206).with("Content-Range", format!("bytes {start}-{}/{total}", total - 1));
    reply.set_body(&bytes[start..]);
    reply
}

#[tokio::test]
async fn a_broken_download_goes_on_where_it_broke() {
    let image = Image::new();
    let bytes = image.layer.clone();
    let mut cuts = [200_000, 70_000].into_iter();
    let server = Server::start(move |request| {
        let reply = ranged(&bytes, request);
        match cuts.next() {
            Some(after) => reply.cut(after),
            None => reply,
        }
    })
    .await;
    assert_eq!(layer(&client(), &server, &image).await.unwrap(), image.layer);
    let ranges: Vec<_> = server.requests().iter().map(|r| r.header("range").map(str::to_owned)).collect();
    assert_eq!(ranges, [None, Some("bytes=200000-".into()), Some("bytes=270000-".into())]);
}

#[tokio::test]
async fn a_server_without_ranges_is_read_again_from_the_start() {
    let image = Image::new();
    let bytes = image.layer.clone();
    let mut first = true;
    let server = Server::start(move |_| {
        let reply = Reply::body(bytes.clone());
        if std::mem::take(&mut first) { reply.cut(500_001) } else { reply }
    })
    .await;
    assert_eq!(layer(&client(), &server, &image).await.unwrap(), image.layer);
    assert_eq!(server.lines().len(), 2);
}

#[tokio::test]
async fn a_silent_download_is_taken_up_again() {
    let image = Image::new();
    let bytes = image.layer.clone();
    let mut first = true;
    let server = Server::start(move |request| {
        let reply = ranged(&bytes, request);
        if std::mem::take(&mut first) { reply.stall(1000) } else { reply }
    })
    .await;
    let mut config = config();
    config.timeouts.stall = Duration::from_millis(300);
    let client = Client::new(config, std::sync::Arc::new(StaticCredentials::default()));
    assert_eq!(layer(&client, &server, &image).await.unwrap(), image.layer);
}

#[tokio::test]
async fn a_download_that_always_breaks_ends() {
    let image = Image::new();
    let bytes = image.layer.clone();
    let server = Server::start(move |request| ranged(&bytes, request).cut(10)).await;
    let error = layer(&client(), &server, &image).await.unwrap_err();
    assert!(matches!(error, Error::Interrupted { attempts: 3, .. }), "{error}");
    assert!(error.to_string().contains(&server.host()), "{error}");
    assert_eq!(server.lines().len(), 3);
}

#[tokio::test]
async fn a_body_that_ends_early_each_time_is_truncated() {
    let image = Image::new();
    let bytes = image.layer.clone();
    let server = Server::start(move |_| Reply::body(bytes.clone()).chunked(1000)).await;
    let error = layer(&client(), &server, &image).await.unwrap_err();
    assert!(matches!(error, Error::Truncated { received: 1000, expected: 1_200_000, .. }), "{error}");
}

#[tokio::test]
async fn wrong_bytes_are_an_error_at_the_end_and_stay_one() {
    let image = Image::new();
    let mut bytes = image.layer.clone();
    bytes[12_345] ^= 1;
    let wrong = Digest::of(&bytes);
    let server = Server::start(move |_| Reply::body(bytes.clone())).await;
    let mut stream = client().blob(&reference(&server), &image.layer_descriptor()).await.unwrap();
    let error = loop {
        match stream.chunk().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("wrong bytes were accepted"),
            Err(error) => break error,
        }
    };
    assert!(matches!(&error, Error::DigestMismatch { actual, .. } if *actual == wrong), "{error}");
    assert!(matches!(stream.chunk().await, Err(Error::AlreadyFailed(_))));
    assert_eq!(server.lines().len(), 1);
}

#[tokio::test]
async fn a_wrong_size_is_an_error() {
    let image = Image::new();
    let longer: Vec<u8> = image.layer.iter().copied().chain([0]).collect();
    let announced = longer.clone();
    let server = Server::start(move |_| Reply::body(announced.clone())).await;
    let error = layer(&client(), &server, &image).await.unwrap_err();
    assert!(matches!(error, Error::SizeMismatch { expected: 1_200_000, actual: 1_200_001, .. }), "{error}");

    let server = Server::start(move |_| Reply::body(longer.clone()).chunked(1_200_001)).await;
    let error = layer(&client(), &server, &image).await.unwrap_err();
    assert!(matches!(error, Error::SizeMismatch { .. }), "{error}");
}

#[tokio::test]
async fn another_part_than_asked_for_is_refused() {
    let image = Image::new();
    let bytes = image.layer.clone();
    let server = Server::start(move |request| match request.header("range") {
        None => Reply::body(bytes.clone()).cut(1000),
        Some(_) => Reply::new(206).with("Content-Range", "bytes 0-9/1200000"),
    })
    .await;
    let error = layer(&client(), &server, &image).await.unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error}");
}

#[tokio::test]
async fn a_blob_too_large_for_memory_is_not_asked_for() {
    let server = Server::start(|_| Reply::new(500)).await;
    let mut huge = descriptor(MediaType::OciConfig, b"{}");
    huge.size = 1 << 40;
    let error = client().small_blob(&reference(&server), &huge).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    assert!(server.lines().is_empty());
}

#[tokio::test]
async fn an_empty_blob_is_verified_too() {
    let server = Server::start(|_| Reply::body("")).await;
    let empty = client().small_blob(&reference(&server), &descriptor(MediaType::OciConfig, b"")).await.unwrap();
    assert!(empty.is_empty());
    let error = client().small_blob(&reference(&server), &descriptor(MediaType::OciConfig, b"x")).await.unwrap_err();
    assert!(matches!(error, Error::SizeMismatch { .. }), "{error}");
}
