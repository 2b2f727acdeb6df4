//! Challenges, tokens and credentials, and who gets to see them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kiln_oci::Platform;
use kiln_registry::{Client, Credential, Error, Secret, Security, StaticCredentials};
use tokio_rustls::TlsAcceptor;

use crate::image::{Image, basic, client, client_with, config, layer, reference};
use crate::server::{Reply, Request, Server, tls};

/// `ann:hunter2`.
const BASIC: &str = "Basic YW5uOmh1bnRlcjI=";

fn challenge(realm: &str) -> Reply {
    let value = format!(r#"Bearer realm="{realm}/token",service="the registry",scope="repository:team/app:pull""#);
    Reply::new(401).with("WWW-Authenticate", value)
}

/// A registry that wants the token `good`, and is its own token server.
fn guarded(image: &Image, request: &Request) -> Reply {
    if request.path.starts_with("/token") {
        return Reply::body(r#"{"token":"good","expires_in":300}"#);
    }
    match request.header("authorization") {
        Some("Bearer good") => image.reply(request),
        _ => challenge(&request.base),
    }
}

#[tokio::test]
async fn an_anonymous_token_is_fetched_once_and_used_again() {
    let image = Image::new();
    let served = image.clone();
    let server = Server::start(move |request| guarded(&served, request)).await;
    let client = client();
    client.image(&reference(&server), &Platform::host()).await.unwrap();
    assert_eq!(layer(&client, &server, &image).await.unwrap(), image.layer);
    let digest = image.layer_descriptor().digest;
    assert_eq!(
        server.lines(),
        [
            "GET /v2/team/app/manifests/1".to_owned(),
            "GET /token?service=the+registry&scope=repository%3Ateam%2Fapp%3Apull".to_owned(),
            "GET /v2/team/app/manifests/1".to_owned(),
            format!("GET /v2/team/app/blobs/{digest}"),
        ]
    );
    assert_eq!(server.requests()[1].header("authorization"), None);
}

#[tokio::test]
async fn basic_credentials_go_to_the_token_server_only() {
    let tokens = Server::start(|request| match request.header("authorization") {
        Some(BASIC) => Reply::body(r#"{"access_token":"good"}"#),
        _ => Reply::new(401),
    })
    .await;
    let (image, realm) = (Image::new(), tokens.url());
    let server = Server::start(move |request| match request.header("authorization") {
        Some("Bearer good") => image.reply(request),
        _ => challenge(&realm),
    })
    .await;
    client_with(&server, basic()).resolve(&reference(&server)).await.unwrap();
    assert_eq!(tokens.lines().len(), 1);
    assert!(tokens.lines()[0].ends_with("&account=ann"), "{:?}", tokens.lines());
    assert!(server.requests().iter().all(|r| r.header("authorization") != Some(BASIC)));
}

#[tokio::test]
async fn an_identity_token_is_exchanged() {
    let image = Image::new();
    let server = Server::start(move |request| match (request.method.as_str(), request.path.as_str()) {
        ("POST", "/token") => {
            let form = String::from_utf8_lossy(&request.body);
            assert!(form.contains("grant_type=refresh_token") && form.contains("refresh_token=keep+me"), "{form}");
            Reply::body(r#"{"access_token":"good","expires_in":300}"#)
        }
        ("GET", "/token") => Reply::new(400),
        _ => guarded(&image, request),
    })
    .await;
    let credential = Credential::IdentityToken(Secret::new("keep me"));
    client_with(&server, credential).resolve(&reference(&server)).await.unwrap();
    assert!(server.requests().iter().all(|r| !r.path.contains("keep")));
}

#[tokio::test]
async fn basic_authentication_without_tokens() {
    let image = Image::new();
    let server = Server::start(move |request| match request.header("authorization") {
        Some(BASIC) => image.reply(request),
        _ => Reply::new(401).with("WWW-Authenticate", "Basic realm=\"x\""),
    })
    .await;
    client_with(&server, basic()).resolve(&reference(&server)).await.unwrap();

    let error = client().resolve(&reference(&server)).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Denied { .. }) && text.contains("log in"), "{text}");
    assert!(text.contains(&server.host()) && text.contains("team/app"), "{text}");
}

#[tokio::test]
async fn wrong_credentials_are_an_error_that_does_not_tell_them() {
    let server = Server::start(|request| {
        if request.path.starts_with("/token") {
            return Reply::new(401);
        }
        challenge(&request.base)
    })
    .await;
    let error = client_with(&server, basic()).resolve(&reference(&server)).await.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(matches!(error, Error::Denied { .. }), "{text}");
    assert!(!text.contains("hunter2") && !text.contains("YW5u"), "{text}");
    assert_eq!(server.lines().len(), 2);
}

#[tokio::test]
async fn a_registry_that_refuses_each_token_is_not_asked_for_ever() {
    let server = Server::start(|request| {
        if request.path.starts_with("/token") {
            return Reply::body(r#"{"token":"never good"}"#);
        }
        challenge(&request.base)
    })
    .await;
    let error = client().resolve(&reference(&server)).await.unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{error}");
    assert_eq!(server.lines().len(), 3);
}

/// A registry and token server whose tokens `t1`, `t2`, … are each good for `uses` requests.
async fn with_short_tokens(image: Image, uses: usize, answer: impl Fn(usize) -> String + Send + 'static) -> Server {
    let (mut issued, mut left) = (0, 0);
    Server::start(move |request| {
        if request.path.starts_with("/token") {
            (issued, left) = (issued + 1, uses);
            return Reply::body(answer(issued));
        }
        if left == 0 || request.header("authorization") != Some(&format!("Bearer t{issued}")) {
            return challenge(&request.base);
        }
        left -= 1;
        image.reply(request)
    })
    .await
}

#[tokio::test]
async fn a_token_that_the_registry_no_longer_takes_is_renewed() {
    let image = Image::new();
    let server = with_short_tokens(image.clone(), 1, |n| format!(r#"{{"token":"t{n}","expires_in":3600}}"#)).await;
    let client = client();
    client.resolve(&reference(&server)).await.unwrap();
    assert_eq!(layer(&client, &server, &image).await.unwrap(), image.layer);
    let tokens = server.lines().iter().filter(|line| line.contains("/token")).count();
    assert_eq!((tokens, server.lines().len()), (2, 6));
}

#[tokio::test]
async fn a_token_that_runs_out_while_a_blob_comes_is_renewed_for_the_rest() {
    let image = Image::new();
    let (bytes, mut sent) = (image.layer.clone(), 0);
    let server = Server::start(move |request| {
        if request.path.starts_with("/token") {
            return Reply::body(format!(r#"{{"token":"t{sent}","expires_in":3600}}"#));
        }
        if request.header("authorization") != Some(&format!("Bearer t{sent}")) {
            return challenge(&request.base);
        }
        sent += 1;
        let reply = Reply::body(bytes.clone());
        if sent == 1 { reply.cut(100_000) } else { reply }
    })
    .await;
    assert_eq!(layer(&client(), &server, &image).await.unwrap(), image.layer);
    assert_eq!(server.lines().iter().filter(|line| line.contains("/token")).count(), 2);
}

#[tokio::test]
async fn many_requests_wait_for_one_token() {
    let image = Image::new();
    let fetched = Arc::new(AtomicUsize::new(0));
    let (served, count) = (image.clone(), fetched.clone());
    let server = Server::start(move |request| {
        count.fetch_add(usize::from(request.path.starts_with("/token")), Ordering::Relaxed);
        guarded(&served, request)
    })
    .await;
    let client = client();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (client, reference, config) = (client.clone(), reference(&server), image.config_descriptor());
        tasks.spawn(async move { client.small_blob(&reference, &config).await.map(drop) });
    }
    for outcome in tasks.join_all().await {
        outcome.unwrap();
    }
    assert_eq!(fetched.load(Ordering::Relaxed), 1);
}

/// A client with credentials for a registry that names `realm` as its token server, and its answer. The
/// registry is asked as `0.0.0.0`, which reaches this machine but is no loopback address to the client.
async fn asked_for_credentials_by(realm: String, tls: Option<(TlsAcceptor, String)>) -> Error {
    let security = if tls.is_some() { Security::Tls } else { Security::Plain };
    let answer = move |_: &Request| challenge(&realm);
    let directory = tempfile::tempdir().unwrap();
    let (server, authority) = match tls {
        Some((acceptor, authority)) => (Server::start_tls(acceptor, answer).await, authority),
        None => (Server::start(answer).await, String::new()),
    };
    let host = server.host().replace("127.0.0.1", "0.0.0.0");
    let mut config = config();
    config.hosts.entry(host.clone()).or_default().security = Some(security);
    config.certificates.push(directory.path().into());
    std::fs::create_dir(directory.path().join(&host)).unwrap();
    std::fs::write(directory.path().join(&host).join("ca.crt"), authority).unwrap();
    let all = BTreeMap::from([(host.clone(), basic())]);
    let client = Client::new(config, Arc::new(StaticCredentials(all)));
    client.resolve(&format!("{host}/team/app:1").parse().unwrap()).await.unwrap_err()
}

#[tokio::test]
async fn a_registry_cannot_have_credentials_sent_anywhere() {
    let check = async |realm: String, tls: Option<(TlsAcceptor, String)>, want: &str| {
        let error = asked_for_credentials_by(realm, tls).await;
        assert!(matches!(&error, Error::RealmRefused { reason, .. } if reason.contains(want)), "{error}");
    };
    let thief = Server::start(|_| Reply::body(r#"{"token":"x"}"#)).await;
    let elsewhere = thief.url().replace("127.0.0.1", "0.0.0.0");
    check(thief.url(), None, "this machine").await;
    check(thief.url(), Some(tls("0.0.0.0")), "this machine").await;
    check(elsewhere.clone(), Some(tls("0.0.0.0")), "not be encrypted").await;
    check(elsewhere.replace("http://", "https://"), None, "anybody could have named it").await;
    assert!(thief.lines().is_empty());
}

#[tokio::test]
async fn a_token_server_that_is_no_address_is_refused() {
    for realm in ["file:///etc", "not an address", "ftp://127.0.0.1"] {
        let server = Server::start(move |_| challenge(realm)).await;
        let error = client().resolve(&reference(&server)).await.unwrap_err();
        assert!(matches!(error, Error::Protocol { .. }), "{realm}: {error}");
    }
}
