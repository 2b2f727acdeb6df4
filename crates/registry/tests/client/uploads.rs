//! Uploads that break, expire, are refused or are slow.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kiln_oci::MediaType;
use kiln_registry::{Anonymous, BlobSource, Client, Config, Error, Sent};

use crate::image::{Image, basic, client, client_with, config, descriptor, reference};
use crate::server::{Reply, Request, Server};
use crate::storage::Storage;

const CUT: usize = 64 << 10;

async fn push(client: &Client, server: &Server, image: &Image) -> Result<Sent, Error> {
    let source = Arc::new(Bytes::copy_from_slice(&image.layer));
    client.push_blob(&reference(server), &image.layer_descriptor(), None, source).await
}

/// Checks that the layer arrived, and how many of its bytes came more than once.
#[track_caller]
fn check(storage: &Storage, image: &Image, again: usize) {
    let content = storage.content();
    assert_eq!(content.blobs[&image.layer_descriptor().digest.to_string()], image.layer);
    assert_eq!(content.received - image.layer.len(), again);
}

fn methods(server: &Server) -> Vec<String> {
    server.requests().into_iter().map(|request| request.method).collect()
}

/// The size of a request's body, as it was announced.
fn announced(request: &Request) -> usize {
    request.header("content-length").map_or(0, |text| text.parse().unwrap())
}

fn in_pieces(server: &Server, piece: u64) -> Client {
    let mut config = config();
    config.hosts.entry(server.host()).or_default().upload_piece = Some(piece);
    Client::new(config, Arc::new(Anonymous))
}

#[tokio::test]
async fn a_broken_upload_goes_on_with_what_the_registry_lacks() {
    let (image, storage) = (Image::new(), Storage::default());
    let served = storage.clone();
    let mut cuts = [500_000, 300_000].into_iter();
    let intake = move |request: &Request| if announced(request) > 0 { cuts.next() } else { None };
    let server = Server::start_cutting(intake, move |request| served.reply(request)).await;
    assert_eq!(push(&client(), &server, &image).await.unwrap(), Sent::Uploaded);
    check(&storage, &image, 0);
    assert_eq!(methods(&server), ["HEAD", "POST", "PUT", "GET", "PATCH", "GET", "PATCH", "PUT"]);
    let ranges: Vec<_> =
        server.requests().iter().filter_map(|r| r.header("content-range").map(str::to_owned)).collect();
    assert_eq!(ranges, ["500000-1199999", "800000-1199999"]);
}

#[tokio::test]
async fn an_upload_that_breaks_often_but_gets_further_each_time_arrives() {
    let (image, storage) = (Image::new(), Storage::default());
    let served = storage.clone();
    let server = Server::start_cutting(|_| Some(CUT), move |request| served.reply(request)).await;
    push(&client(), &server, &image).await.unwrap();
    check(&storage, &image, 0);
    assert_eq!(storage.content().begun, 1);
}

#[tokio::test]
async fn an_upload_that_the_registry_forgot_begins_anew() {
    let (image, storage) = (Image::new(), Storage::default());
    let served = storage.clone();
    let mut cuts = [500_000].into_iter();
    let intake = move |request: &Request| if announced(request) > 0 { cuts.next() } else { None };
    let server = Server::start_cutting(intake, move |request| {
        if request.method == "GET" {
            served.content().uploads.clear();
        }
        served.reply(request)
    })
    .await;
    push(&client(), &server, &image).await.unwrap();
    check(&storage, &image, 500_000);
    assert_eq!(methods(&server), ["HEAD", "POST", "PUT", "GET", "HEAD", "POST", "PUT"]);
}

#[tokio::test]
async fn an_upload_whose_last_answer_is_lost_is_not_repeated() {
    let (image, storage) = (Image::new(), Storage::default());
    let served = storage.clone();
    let server = Server::start(move |request| {
        let reply = served.reply(request);
        if request.method == "PUT" { Reply::nothing() } else { reply }
    })
    .await;
    assert_eq!(push(&client(), &server, &image).await.unwrap(), Sent::Uploaded);
    check(&storage, &image, 0);
}

#[tokio::test]
async fn an_upload_that_always_breaks_ends() {
    let (image, storage) = (Image::new(), Storage::default());
    let served = storage.clone();
    let intake = |request: &Request| (announced(request) > 0).then_some(1);
    let server = Server::start_cutting(intake, move |request| served.reply(request)).await;
    let error = push(&client(), &server, &image).await.unwrap_err();
    assert!(matches!(error, Error::Interrupted { attempts: 3, .. }), "{error}");
    assert!(storage.content().received < 10);
}

#[tokio::test]
async fn a_host_may_be_sent_pieces() {
    let (image, storage) = (Image::new(), Storage::default());
    let served = storage.clone();
    let server = Server::start(move |request| served.reply(request)).await;
    push(&in_pieces(&server, 500_000), &server, &image).await.unwrap();
    check(&storage, &image, 0);
    let sizes: Vec<_> = server.requests().iter().map(announced).collect();
    assert_eq!(sizes, [0, 0, 500_000, 500_000, 200_000, 0]);
    assert_eq!(methods(&server), ["HEAD", "POST", "PATCH", "PATCH", "PATCH", "PUT"]);
}

#[tokio::test]
async fn pieces_are_as_large_as_the_registry_wants_them_at_least() {
    let (image, storage) = (Image::new(), Storage::default());
    let served = storage.clone();
    let server = Server::start(move |request| match request.method.as_str() {
        "POST" => served.reply(request).with("OCI-Chunk-Min-Length", "700000"),
        _ => served.reply(request),
    })
    .await;
    push(&in_pieces(&server, 500_000), &server, &image).await.unwrap();
    check(&storage, &image, 0);
    assert_eq!(server.requests().iter().map(announced).max(), Some(700_000));
}

#[tokio::test]
async fn who_takes_no_large_bodies_gets_small_ones() {
    let (image, storage) = (Image::new(), Storage::default());
    let served = storage.clone();
    let server = Server::start(move |request| match announced(request) {
        0..=600_000 => served.reply(request),
        _ => Reply::new(413),
    })
    .await;
    push(&client(), &server, &image).await.unwrap();
    check(&storage, &image, 0);

    let nothing = Server::start(|request| match (request.method.as_str(), announced(request)) {
        ("POST", _) => Reply::new(202).with("Location", "/u"),
        (_, 0) => Reply::new(404),
        _ => Reply::new(413),
    })
    .await;
    let error = push(&client(), &nothing, &image).await.unwrap_err();
    assert!(matches!(error, Error::Status { status: 413, .. }), "{error}");
}

#[tokio::test]
async fn a_refusal_that_comes_before_the_body_is_read_is_heard() {
    let mut image = Image::new();
    image.layer = vec![1; 12 << 20];
    let storage = Storage::default();
    let served = storage.clone();
    let limit = 8 << 20;
    let intake = move |request: &Request| (announced(request) > limit).then_some(0);
    let server = Server::start_cutting(intake, move |request| match request.is_cut {
        true => Reply::new(413).early(),
        false => served.reply(request),
    })
    .await;
    push(&client(), &server, &image).await.unwrap();
    check(&storage, &image, 0);
    assert_eq!(methods(&server), ["HEAD", "POST", "PUT", "GET", "HEAD", "POST", "PATCH", "PATCH", "PUT"]);
}

#[tokio::test]
async fn a_registry_that_has_less_than_it_was_sent_says_where_to_go_on() {
    let (image, storage) = (Image::new(), Storage::default());
    let served = storage.clone();
    let mut losses = [100_000].into_iter();
    let server = Server::start(move |request| {
        if request.method == "PATCH"
            && let Some(lost) = losses.next()
        {
            let reply = served.reply(request);
            let mut content = served.content();
            let upload = content.uploads.get_mut(&1).unwrap();
            upload.truncate(upload.len() - lost);
            return reply;
        }
        served.reply(request)
    })
    .await;
    push(&in_pieces(&server, 500_000), &server, &image).await.unwrap();
    check(&storage, &image, 100_000);
    assert_eq!(methods(&server)[2..6], ["PATCH", "PATCH", "GET", "PATCH"]);
}

#[tokio::test]
async fn a_token_that_expires_in_the_middle_is_renewed_and_nothing_is_sent_twice() {
    let (image, storage) = (Image::new(), Storage::default());
    let served = storage.clone();
    let (mut token, mut pieces) = (0, 0);
    let server = Server::start(move |request| {
        if request.path.starts_with("/token") {
            token += 1;
            return Reply::body(format!(r#"{{"token":"t{token}","expires_in":3600}}"#));
        }
        if request.header("authorization") != Some(&format!("Bearer t{token}")) {
            let realm = format!(r#"Bearer realm="{}/token",service="s""#, request.base);
            return Reply::new(401).with("WWW-Authenticate", realm);
        }
        if request.method == "PATCH" {
            pieces += 1;
            // What was good for this piece is not for the next one.
            token += usize::from(pieces == 2) * 10;
        }
        served.reply(request)
    })
    .await;
    push(&in_pieces(&server, 300_000), &server, &image).await.unwrap();
    check(&storage, &image, 0);
    assert_eq!(server.lines().iter().filter(|line| line.contains("/token")).count(), 2);
    assert_eq!(storage.content().begun, 1);
}

#[tokio::test]
async fn a_registry_that_never_accepts_its_own_tokens_is_asked_a_few_times_only() {
    let server = Server::start(|request| match request.path.starts_with("/token") {
        true => Reply::body(r#"{"token":"t"}"#),
        false => {
            Reply::new(401).with("WWW-Authenticate", format!(r#"Bearer realm="{}/token",service="s""#, request.base))
        }
    })
    .await;
    let error = push(&client(), &server, &Image::new()).await.unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{error}");
    assert_eq!(server.lines().len(), 3);
}

#[tokio::test]
async fn a_mount_that_is_not_permitted_becomes_an_upload() {
    let (image, storage) = (Image::new(), Storage::default());
    let served = storage.clone();
    let server = Server::start(move |request| match request.path.contains("mount=") {
        true => Reply::new(403),
        false => served.reply(request),
    })
    .await;
    let source = Arc::new(Bytes::copy_from_slice(&image.layer));
    let sent = client().push_blob(&reference(&server), &image.layer_descriptor(), Some("secret/base"), source).await;
    assert_eq!(sent.unwrap(), Sent::Uploaded);
    check(&storage, &image, 0);
}

#[tokio::test]
async fn a_blob_that_the_registry_has_somewhere_is_not_sent() {
    let image = Image::new();
    let server = Server::start(|request| Reply::new(if request.method == "POST" { 201 } else { 404 })).await;
    assert_eq!(push(&client(), &server, &image).await.unwrap(), Sent::Existed);
    let mount = format!("POST /v2/team/app/blobs/uploads/?mount={}", image.layer_descriptor().digest);
    assert_eq!(server.lines()[1..], [mount]);
}

#[tokio::test]
async fn a_redirected_upload_goes_where_it_is_sent_without_credentials() {
    let (image, storage) = (Image::new(), Storage::default());
    let served = storage.clone();
    let other = Server::start(move |request| served.reply(request)).await;
    let target = other.url();
    let place = storage.clone();
    let server = Server::start(move |request| match (request.header("authorization"), request.method.as_str()) {
        (None, _) => Reply::new(401).with("WWW-Authenticate", "Basic realm=x"),
        (_, "PUT") => Reply::new(307).with("Location", format!("{target}{}", request.path)),
        _ => place.reply(request),
    })
    .await;
    push(&client_with(&server, basic()), &server, &image).await.unwrap();
    assert_eq!(other.requests()[0].header("authorization"), None);
    assert_eq!(storage.content().blobs.len(), 1);
}

#[tokio::test]
async fn uploads_in_circles_end() {
    let server = Server::start(|request| match request.method.as_str() {
        "PUT" => Reply::new(307).with("Location", request.path.clone()),
        "POST" => Reply::new(202).with("Location", "/u"),
        _ => Reply::new(404),
    })
    .await;
    let error = push(&client(), &server, &Image::new()).await.unwrap_err();
    assert!(matches!(error, Error::TooManyRedirects { .. }), "{error}");
}

#[tokio::test]
async fn a_registry_that_takes_no_bytes_is_given_up() {
    // More than all buffers on the way hold.
    let mut image = Image::new();
    image.layer = vec![1; 24 << 20];
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap();
    let slow = tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            held.push(listener.accept().await.unwrap());
        }
    });
    let front = Server::start(move |request| match request.method.as_str() {
        "POST" => Reply::new(202).with("Location", format!("http://{host}/u")),
        _ => Reply::new(404),
    })
    .await;
    let mut config: Config = config();
    config.timeouts.head = Duration::from_millis(300);
    config.retry.attempts = 2;
    let client = Client::new(config, Arc::new(Anonymous));
    let error = push(&client, &front, &image).await.unwrap_err();
    assert!(matches!(error, Error::Interrupted { .. }), "{error}");
    slow.abort();
}

/// Fails after so many bytes.
struct Failing(u64);

impl BlobSource for Failing {
    fn read_at(&self, offset: u64, length: usize) -> std::io::Result<Bytes> {
        if offset >= self.0 {
            return Err(std::io::Error::other("bad sector"));
        }
        Ok(vec![7; length].into())
    }
}

#[tokio::test]
async fn bytes_that_cannot_be_read_end_the_upload_at_once_and_it_is_taken_back() {
    let storage = Storage::default();
    let served = storage.clone();
    let server = Server::start(move |request| served.reply(request)).await;
    let layer = descriptor(MediaType::OciLayer, &[7; 2 << 20]);
    let source = Arc::new(Failing(1 << 20));
    let client = in_pieces(&server, 1 << 20);
    let error = client.push_blob(&reference(&server), &layer, None, source).await.unwrap_err();
    assert!(matches!(&error, Error::Source { detail, .. } if detail == "bad sector"), "{error}");
    assert_eq!(methods(&server).last().unwrap(), "DELETE");
    assert!(storage.content().uploads.is_empty());
}

#[tokio::test]
async fn other_bytes_than_announced_are_refused_by_the_registry() {
    let storage = Storage::default();
    let served = storage.clone();
    let server = Server::start(move |request| served.reply(request)).await;
    let lying = descriptor(MediaType::OciLayer, b"ab");
    let error = client().push_blob(&reference(&server), &lying, None, Arc::new(Bytes::from_static(b"xx"))).await;
    assert!(matches!(error, Err(Error::Status { status: 400, .. })), "{error:?}");
    assert!(storage.content().blobs.is_empty());
    for wrong in ["a", "abc"] {
        let source = Arc::new(Bytes::from_static(wrong.as_bytes()));
        let error = client().push_blob(&reference(&server), &lying, None, source).await;
        assert!(matches!(error, Err(Error::Source { .. })), "{wrong}: {error:?}");
    }
}
