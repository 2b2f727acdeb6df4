//! Redirects and demands for authentication that lead nowhere.

use kiln_tests::kiln::Kiln;
use kiln_tests::misbehaving::{Misbehaving, Reply, Request};

use crate::{busybox, refused_when};

#[test]
fn redirects_in_circles_end() {
    let server = refused_when(
        |request, _| Reply::new(307, "").with("Location", format!("{}?again", request.path)),
        &["redirects in circles"],
    );
    assert!(server.requests().len() < 30);
    refused_when(
        |request, reply| {
            if !request.is_for_blob() {
                return reply;
            }
            Reply::new(302, "").with("Location", request.path.clone())
        },
        &["redirects in circles"],
    );
}

#[test]
fn a_redirect_to_what_is_no_web_address_is_refused() {
    for target in ["file:///etc/passwd", "gopher://127.0.0.1/x", "//[", "http://"] {
        refused_when(
            move |request, reply| {
                if request.is_for_blob() { Reply::new(307, "").with("Location", target) } else { reply }
            },
            &["redirect"],
        );
    }
    refused_when(|request, reply| if request.is_for_blob() { Reply::new(307, "") } else { reply }, &["redirect"]);
}

/// The registry's 401, which sends one to a token server of the same address.
pub(crate) fn challenge(request: &Request) -> Reply {
    let realm = format!(r#"Bearer realm="http://{}/token",service="s""#, request.headers["host"]);
    Reply::new(401, r#"{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}"#).with("WWW-Authenticate", realm)
}

#[test]
fn authentication_that_never_succeeds_ends() {
    let useless = refused_when(
        |request, _| match request.path.starts_with("/token") {
            true => Reply::new(200, r#"{"token":"useless"}"#),
            false => challenge(request),
        },
        &["denies access to team/app", "hint:"],
    );
    assert!(useless.requests().len() < 10);
    let circular = refused_when(|request, _| challenge(request), &["denies access to team/app"]);
    assert!(circular.requests().len() < 10);
    let unnamed = refused_when(|_, _| Reply::new(401, ""), &["denies access to team/app"]);
    assert!(unnamed.requests().len() < 10);
}

#[test]
fn a_token_server_that_makes_no_sense_is_named() {
    for body in ["", "{}", "<html>", r#"{"token":7}"#, r#"{"token":"a\nb"}"#] {
        refused_when(
            move |request, _| {
                if request.path.starts_with("/token") { Reply::new(200, body) } else { challenge(request) }
            },
            &["the token server's answer has no token"],
        );
    }
}

#[test]
fn a_token_that_expires_between_requests_is_renewed() {
    let (mut granted, mut used) = (0, 0);
    let server = Misbehaving::serve(busybox(), move |request, reply| {
        if request.path.starts_with("/token") {
            (granted, used) = (granted + 1, 0);
            return Reply::new(200, format!(r#"{{"token":"t{granted}","expires_in":3600}}"#));
        }
        used += 1;
        // Each is good for one request, whatever was said of it.
        let is_good = request.headers.get("authorization").is_some_and(|token| *token == format!("Bearer t{granted}"));
        if is_good && used < 3 { reply } else { challenge(request) }
    });
    let kiln = Kiln::new();
    kiln.ok(&["pull", &server.image()]);
    assert!(server.requests().iter().filter(|request| request.path.starts_with("/token")).count() > 1);
}
