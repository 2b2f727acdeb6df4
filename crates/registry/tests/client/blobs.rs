//! Blobs: verified while they come, resumed where they broke.

use std::time::Duration;

use kiln_oci::{Digest, Hasher, MediaType};
use kiln_registry::{BlobStream, Client, Error, StaticCredentials};

use crate::image::{Image, client, config, descriptor, layer, reference};
use crate::server::{Reply, Request, Server};

/// The rest of `bytes` that a request asks for.
fn ranged(bytes: &[u8], request: &Request) -> Reply {
    let Some(range) = request.header("range") else { return Reply::body(bytes) };
    let (start, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    let (start, total): (usize, usize) = (start.parse().unwrap(), bytes.len());
    let end = if last.is_empty() { total } else { last.parse::<usize>().unwrap() + 1 };
    let mut reply = Reply::new(206).with("Content-Range", format!("bytes {start}-{}/{total}", end - 1));
    reply.set_body(&bytes[start..end]);
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

/// Reads a stream to its end.
async fn all(mut stream: BlobStream) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    while let Some(piece) = stream.chunk().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

#[tokio::test]
async fn a_download_goes_on_after_bytes_that_were_known_before() {
    let image = Image::new();
    let bytes = image.layer.clone();
    let server = Server::start(move |request| ranged(&bytes, request)).await;
    let hashed = |known: &[u8]| {
        let mut hasher = image.layer_descriptor().digest.hasher().unwrap();
        hasher.update(known);
        hasher
    };
    let after = async |hasher: Hasher| {
        let stream = client().blob_after(&reference(&server), &image.layer_descriptor(), hasher).await;
        all(stream?).await
    };
    assert_eq!(after(hashed(&image.layer[..700_000])).await.unwrap(), image.layer[700_000..]);
    assert_eq!(server.requests()[0].header("range"), Some("bytes=700000-"));
    assert_eq!(after(hashed(&image.layer)).await.unwrap(), b"");
    assert_eq!(server.lines().len(), 1);
    let wrong = after(hashed(&[7; 700_000])).await.unwrap_err();
    assert!(matches!(wrong, Error::DigestMismatch { .. }), "{wrong}");
    let too_much = after(hashed(&vec![7; image.layer.len() + 1])).await.unwrap_err();
    assert!(matches!(too_much, Error::Setup(_)), "{too_much}");
}

#[tokio::test]
async fn a_part_of_a_blob_is_just_that_part_also_when_it_breaks() {
    let image = Image::new();
    let bytes = image.layer.clone();
    let mut cuts = [60_000].into_iter();
    let server = Server::start(move |request| {
        let reply = ranged(&bytes, request);
        cuts.next().map_or(reply.clone(), |after| reply.cut(after))
    })
    .await;
    let part =
        async |range| all(client().blob_part(&reference(&server), &image.layer_descriptor(), range).await?).await;
    assert_eq!(part(100_000..300_000).await.unwrap(), image.layer[100_000..300_000]);
    let ranges: Vec<_> = server.requests().iter().map(|r| r.header("range").map(str::to_owned)).collect();
    assert_eq!(ranges, [Some("bytes=100000-299999".into()), Some("bytes=160000-299999".into())]);
    assert_eq!(part(5..5).await.unwrap(), b"");
    assert_eq!(part(0..1_200_000).await.unwrap(), image.layer);
    assert!(matches!(part(0..1_200_001).await, Err(Error::Setup(_))));
}

#[tokio::test]
async fn a_server_without_ranges_gives_no_parts() {
    let image = Image::new();
    let bytes = image.layer.clone();
    let server = Server::start(move |_| Reply::body(bytes.clone())).await;
    let error = client().blob_part(&reference(&server), &image.layer_descriptor(), 0..10).await.unwrap_err();
    assert!(matches!(error, Error::NoRanges { .. }), "{error}");
    let last = client().blob_part(&reference(&server), &image.layer_descriptor(), 1_199_990..1_200_000).await.unwrap();
    assert_eq!(all(last).await.unwrap(), image.layer[1_199_990..]);
}

#[tokio::test]
async fn a_part_with_more_bytes_than_asked_for_is_refused() {
    let image = Image::new();
    let server = Server::start(|_| {
        let mut reply = Reply::new(206).with("Content-Range", "bytes 0-9/1200000");
        reply.set_body(&[0; 11]);
        reply
    })
    .await;
    let stream = client().blob_part(&reference(&server), &image.layer_descriptor(), 0..10).await.unwrap();
    assert!(matches!(all(stream).await, Err(Error::SizeMismatch { actual: 11, .. })));
}

#[tokio::test]
async fn a_download_that_breaks_often_but_gets_further_each_time_arrives() {
    let image = Image::new();
    let bytes = image.layer.clone();
    let server = Server::start(move |request| {
        let reply = ranged(&bytes, request);
        if reply.len() > 64 << 10 { reply.cut(64 << 10) } else { reply }
    })
    .await;
    assert_eq!(layer(&client(), &server, &image).await.unwrap(), image.layer);
    assert_eq!(server.lines().len(), image.layer.len().div_ceil(64 << 10));
}

#[tokio::test]
async fn a_trickle_is_given_up() {
    let image = Image::new();
    let bytes = image.layer.clone();
    let server = Server::start(move |_| Reply::body(bytes.clone()).trickle()).await;
    let mut config = config();
    config.timeouts.stall = Duration::from_millis(300);
    let client = Client::new(config, std::sync::Arc::new(StaticCredentials::default()));
    let error = layer(&client, &server, &image).await.unwrap_err();
    assert!(matches!(error, Error::Interrupted { attempts: 3, .. }), "{error}");
}

#[tokio::test]
async fn a_mirror_that_breaks_off_is_passed_over_in_the_middle() {
    let image = Image::new();
    let (bytes, mirrored) = (image.layer.clone(), image.layer.clone());
    let mut cuts = [100_000].into_iter().chain(std::iter::repeat(10));
    let mirror = Server::start(move |request| ranged(&mirrored, request).cut(cuts.next().unwrap())).await;
    let origin = Server::start(move |request| ranged(&bytes, request)).await;
    let mut config = config();
    config.hosts.entry(origin.host()).or_default().mirrors = vec![mirror.host()];
    let client = Client::new(config, std::sync::Arc::new(StaticCredentials::default()));
    assert_eq!(layer(&client, &origin, &image).await.unwrap(), image.layer);
    assert_eq!(mirror.lines().len(), 2);
    assert_eq!(origin.requests()[0].header("range"), Some("bytes=100010-"));
}
