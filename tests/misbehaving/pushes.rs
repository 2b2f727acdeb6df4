//! Registries that take a push badly.

use kiln_tests::kiln::Kiln;
use kiln_tests::misbehaving::{Content, Misbehaving, Reply};
use serde_json::json;

use crate::circles::challenge;

#[test]
fn a_token_that_expires_in_the_middle_of_an_upload_is_renewed() {
    let mut granted = 0;
    let server = Misbehaving::serve(Content::default(), move |request, reply| {
        if request.path.starts_with("/token") {
            granted += 1;
            return Reply::new(200, format!(r#"{{"token":"t{granted}","expires_in":3600}}"#));
        }
        let is_first_put = request.method == "PUT" && granted == 1;
        let is_good = request.headers.get("authorization").is_some_and(|token| *token == format!("Bearer t{granted}"));
        if is_good && !is_first_put { reply } else { challenge(request) }
    });
    let kiln = Kiln::new();
    kiln.load("busybox");
    kiln.ok(&["tag", "busybox", &server.image()]);
    kiln.ok(&["push", &server.image()]);
    assert_eq!(server.content().blobs.len(), 2);
}

#[test]
fn a_push_is_refused_with_the_registrys_words() {
    let server = Misbehaving::serve(Content::default(), |request, reply| match request.method.as_str() {
        "PUT" => Reply::new(400, r#"{"errors":[{"code":"DIGEST_INVALID","message":"not what it says\u001b[31m"}]}"#),
        _ => reply,
    });
    let kiln = Kiln::new();
    kiln.load("busybox");
    kiln.ok(&["tag", "busybox", &server.image()]);
    let answer = kiln.fails(&["push", &server.image()], &["answers 400", "not what it says [31m"]);
    assert!(server.content().manifests.is_empty(), "{answer}");
}

#[test]
fn a_push_in_circles_ends() {
    let server = Misbehaving::serve(Content::default(), |request, reply| match request.method.as_str() {
        "PUT" => Reply::new(307, "").with("Location", request.path.clone()),
        _ => reply,
    });
    let kiln = Kiln::new();
    kiln.load("busybox");
    kiln.ok(&["tag", "busybox", &server.image()]);
    kiln.fails(&["push", &server.image()], &["redirects in circles"]);
    assert!(server.requests().len() < 60, "{}", server.requests().len());
}

#[test]
fn an_upload_that_is_to_go_elsewhere_takes_no_credentials_along() {
    let elsewhere = Misbehaving::serve(Content::default(), |_, _| Reply::new(201, ""));
    let target = format!("http://{}/bucket", elsewhere.address());
    let server = Misbehaving::serve(Content::default(), move |request, reply| {
        if !request.headers.contains_key("authorization") {
            return Reply::new(401, "").with("WWW-Authenticate", "Basic realm=x");
        }
        match request.method.as_str() {
            "POST" => Reply::new(202, "").with("Location", target.clone()),
            _ => reply,
        }
    });
    let kiln = Kiln::new();
    let config = kiln.home().join(".docker");
    std::fs::create_dir_all(&config).expect("configuration");
    let auth = json!({"auths": {server.address(): {"auth": "YW5uOmh1bnRlcjI="}}});
    std::fs::write(config.join("config.json"), auth.to_string()).expect("configuration");
    kiln.load("busybox");
    kiln.ok(&["tag", "busybox", &server.image()]);
    kiln.ok(&["push", &server.image()]);
    let asked = elsewhere.requests();
    assert!(!asked.is_empty());
    for request in asked {
        assert!(!request.headers.contains_key("authorization"), "{request:?}");
        assert!(!request.path.contains("hunter2"), "{request:?}");
    }
}
