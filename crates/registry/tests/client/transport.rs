//! Connections: TLS, redirects, repetition, limits.

use std::sync::Arc;

use kiln_oci::Reference;
use kiln_registry::{Anonymous, Client, Error, Security};

use crate::image::{Image, basic, client, client_with, config, layer, reference};
use crate::server::{Reply, Server, tls};

fn with_security(server: &Server, security: Security) -> Client {
    let mut config = config();
    config.hosts.entry(server.host()).or_default().security = Some(security);
    Client::new(config, Arc::new(Anonymous))
}

#[tokio::test]
async fn a_certificate_is_trusted_for_its_host_only() {
    let image = Image::new();
    let (acceptor, pem) = tls("127.0.0.1");
    let server = Server::start_tls(acceptor, move |request| image.reply(request)).await;
    let untrusting = with_security(&server, Security::Tls).resolve(&reference(&server)).await.unwrap_err();
    let text = untrusting.to_string();
    assert!(matches!(untrusting, Error::Unreachable { .. }) && text.contains("ca.crt"), "{text}");

    let directory = tempfile::tempdir().unwrap();
    let own = directory.path().join(server.host());
    std::fs::create_dir(&own).unwrap();
    std::fs::write(own.join("ca.crt"), &pem).unwrap();
    let trusting = kiln_registry::Config { certificates: vec![directory.path().into()], ..config() };
    let client = Client::new(trusting, Arc::new(Anonymous));
    client.resolve(&reference(&server)).await.unwrap();

    std::fs::write(own.join("bad.crt"), "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n").unwrap();
    let broken = kiln_registry::Config { certificates: vec![directory.path().into()], ..config() };
    let error = Client::new(broken, Arc::new(Anonymous)).resolve(&reference(&server)).await.unwrap_err();
    assert!(error.to_string().contains("bad.crt"), "{error}");
}

#[tokio::test]
async fn a_host_may_be_declared_unverified() {
    let image = Image::new();
    let server = Server::start_tls(tls("127.0.0.1").0, move |request| image.reply(request)).await;
    with_security(&server, Security::UnverifiedTls).resolve(&reference(&server)).await.unwrap();
}

#[tokio::test]
async fn a_host_without_tls_is_told_apart() {
    let mut config = config();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    config.hosts.entry(host.clone()).or_default().security = Some(Security::Tls);
    let plain = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    });
    let reference: Reference = format!("{host}/a").parse().unwrap();
    let error = Client::new(config, Arc::new(Anonymous)).resolve(&reference).await.unwrap_err();
    assert!(error.to_string().contains("insecure"), "{error}");
    plain.await.unwrap();
}

#[tokio::test]
async fn a_redirected_blob_is_fetched_without_credentials() {
    let image = Image::new();
    let bytes = image.layer.clone();
    let storage = Server::start(move |_| Reply::body(bytes.clone())).await;
    let target = format!("{}/bucket?signature=secret", storage.url().replace("http://", "http://eve:pw@"));
    let served = image.clone();
    let server = Server::start(move |request| match request.header("authorization") {
        None => Reply::new(401).with("WWW-Authenticate", "Basic realm=x"),
        Some(_) if request.path.contains("/blobs/") => Reply::new(307).with("Location", target.clone()),
        Some(_) => served.reply(request),
    })
    .await;
    let client = client_with(&server, basic());
    assert_eq!(layer(&client, &server, &image).await.unwrap(), image.layer);
    assert_eq!(storage.lines(), ["GET /bucket?signature=secret"]);
    assert_eq!(storage.requests()[0].header("authorization"), None);
    assert_eq!(storage.requests()[0].header("referer"), None);
}

#[tokio::test]
async fn a_way_back_to_the_registry_does_not_bring_the_credentials_back() {
    let elsewhere = Server::start(|request| {
        let back = request.path.strip_prefix("/away?").unwrap();
        Reply::new(302).with("Location", format!("http://{back}/back"))
    })
    .await;
    let away = elsewhere.url();
    let server = Server::start(move |request| match (request.path.as_str(), request.header("authorization")) {
        ("/back", _) => Reply::new(403),
        (_, None) => Reply::new(401).with("WWW-Authenticate", "Basic realm=x"),
        (_, Some(_)) => Reply::new(302).with("Location", format!("{away}/away?{}", request.header("host").unwrap())),
    })
    .await;
    let error = client_with(&server, basic()).resolve(&reference(&server)).await.unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{error}");
    assert_eq!(elsewhere.requests()[0].header("authorization"), None);
    let back = server.requests().pop().unwrap();
    assert_eq!((back.path.as_str(), back.header("authorization")), ("/back", None));
}

#[tokio::test]
async fn redirects_in_circles_end() {
    let server = Server::start(|request| Reply::new(302).with("Location", format!("{}x", request.path))).await;
    let error = client().resolve(&reference(&server)).await.unwrap_err();
    assert!(matches!(error, Error::TooManyRedirects { limit: 10, .. }), "{error}");
    assert_eq!(server.lines().len(), 11);
}

#[tokio::test]
async fn redirects_that_leave_encryption_or_http_are_not_followed() {
    for target in ["http://127.0.0.1:1/x", "file:///etc/passwd", "https://"] {
        let server = Server::start_tls(tls("127.0.0.1").0, move |_| Reply::new(302).with("Location", target)).await;
        let client = with_security(&server, Security::UnverifiedTls);
        let error = client.resolve(&reference(&server)).await.unwrap_err();
        assert!(matches!(error, Error::RedirectRefused { .. } | Error::Protocol { .. }), "{target}: {error}");
    }
}

#[tokio::test]
async fn a_busy_registry_is_asked_again() {
    let image = Image::new();
    let mut replies = [Reply::new(429).with("Retry-After", "0"), Reply::new(503).with("Retry-After", "1")].into_iter();
    let server = Server::start(move |request| replies.next().unwrap_or_else(|| image.reply(request))).await;
    client().resolve(&reference(&server)).await.unwrap();
    assert_eq!(server.lines().len(), 3);
}

#[tokio::test]
async fn a_registry_that_stays_busy_is_an_error() {
    let server = Server::start(|_| Reply::body(r#"{"errors":[{"code":"X","message":"on fire"}]}"#).status(503)).await;
    let error = client().resolve(&reference(&server)).await.unwrap_err();
    assert!(matches!(error, Error::Status { status: 503, .. }) && error.to_string().contains("on fire"), "{error}");
    assert_eq!(server.lines().len(), 3);

    let server = Server::start(|_| Reply::new(429).with("Retry-After", "3600")).await;
    let error = client().resolve(&reference(&server)).await.unwrap_err();
    assert!(error.to_string().contains("again in 3600 s"), "{error}");
    assert_eq!(server.lines().len(), 1);
}

#[tokio::test]
async fn other_errors_are_not_repeated() {
    let server = Server::start(|_| Reply::new(400)).await;
    let error = client().resolve(&reference(&server)).await.unwrap_err();
    assert!(matches!(error, Error::Status { status: 400, .. }), "{error}");
    assert_eq!(server.lines().len(), 1);
}

#[tokio::test]
async fn a_manifest_whose_connection_breaks_is_fetched_again() {
    let image = Image::new();
    let mut first = true;
    let server = Server::start(move |request| {
        let reply = image.reply(request);
        if std::mem::take(&mut first) { reply.cut(10) } else { reply }
    })
    .await;
    client().resolve(&reference(&server)).await.unwrap();
    assert_eq!(server.lines().len(), 2);
}

#[tokio::test]
async fn an_endless_head_ends() {
    let server = Server::start(|_| Reply::new(200).with("X-Long", "y".repeat(2 << 20))).await;
    let error = client().resolve(&reference(&server)).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert_eq!(server.lines().len(), 1);
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_given_up() {
    let server = Server::start(|_| Reply::new(200).slow_head()).await;
    let mut config = config();
    config.timeouts.head = std::time::Duration::from_millis(300);
    let client = Client::new(config, Arc::new(Anonymous));
    let error = client.resolve(&reference(&server)).await.unwrap_err();
    assert!(matches!(error, Error::Interrupted { attempts: 3, .. }), "{error}");
}

#[tokio::test]
async fn an_unreachable_registry_is_named_with_a_hint() {
    // Nobody else can listen there meanwhile.
    let taken = tokio::net::TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let free = taken.local_addr().unwrap();
    let reference: Reference = format!("{free}/a").parse().unwrap();
    let error = client().resolve(&reference).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Unreachable { .. }), "{text}");
    assert!(text.starts_with(&format!("cannot reach the registry {free}: ")), "{text}");
    assert!(text.contains("Connection refused") && text.contains("hint: nothing listens there"), "{text}");
}

#[tokio::test]
async fn a_reference_without_registry_is_refused() {
    let reference: Reference = "a_b.c/d".parse().unwrap();
    let error = client().resolve(&reference).await.unwrap_err();
    assert!(matches!(error, Error::NoRegistry(_)), "{error}");
}

#[tokio::test]
async fn a_host_serves_no_more_requests_at_once_than_allowed() {
    let image = Image::new();
    let served = image.clone();
    let server = Server::start(move |request| served.reply(request)).await;
    let client = Client::new(kiln_registry::Config { connections_per_host: 1, ..config() }, Arc::new(Anonymous));
    let held = client.blob(&reference(&server), &image.layer_descriptor()).await.unwrap();
    let waiting = tokio::spawn({
        let (client, reference) = (client.clone(), reference(&server));
        async move { client.resolve(&reference).await.map(drop) }
    });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.lines().len(), 1);
    drop(held);
    waiting.await.unwrap().unwrap();
    assert_eq!(server.lines().len(), 2);
}
