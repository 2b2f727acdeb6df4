//! Registries that send the wrong thing, the right thing wrongly, or the same for ever: each pull and push ends soon
//! with an error that says what was wrong and where, and leaves nothing behind.

use kiln_tests::kiln::{Answer, Kiln};
use kiln_tests::misbehaving::{Content, Ending, Misbehaving, Reply, Request, digest};
use serde_json::json;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn busybox() -> Content {
    Content::of("busybox")
}

/// Whether a request asks for the bytes of the image's layer: its largest blob.
fn is_for_layer(request: &Request, reply: &Reply) -> bool {
    request.is_for_blob() && reply.body.len() > 10_000
}

/// Pulls, which must fail with all of `words` and the server's address, and leave no image.
#[track_caller]
fn refused(server: &Misbehaving, words: &[&str]) -> Answer {
    let kiln = Kiln::new();
    let answer = kiln.fails(&["pull", &server.image()], words);
    assert_eq!(answer.code(), 1, "{answer}");
    assert!(answer.stderr.contains(&server.address()), "{answer}");
    assert_eq!(kiln.ok(&["images", "--quiet", &server.image()]).stdout, "");
    answer
}

/// Pulls what such a registry serves.
#[track_caller]
fn refused_when(manner: impl FnMut(&Request, Reply) -> Reply + Send + 'static, words: &[&str]) -> Misbehaving {
    let server = Misbehaving::serve(busybox(), manner);
    refused(&server, words);
    server
}

/// Pulls this, served without fault.
#[track_caller]
fn refused_content(content: Content, words: &[&str]) -> Misbehaving {
    let server = Misbehaving::serve(content, |_, reply| reply);
    refused(&server, words);
    server
}

fn blobs_asked(server: &Misbehaving) -> usize {
    server.requests().iter().filter(|request| request.is_for_blob()).count()
}

#[test]
fn one_that_behaves_is_pulled_from() {
    let server = Misbehaving::serve(busybox(), |_, reply| reply);
    let kiln = Kiln::new();
    kiln.ok(&["pull", &server.image()]);
    assert_eq!(kiln.ok(&["images", "--quiet"]).stdout.lines().count(), 1);
}

#[test]
fn bytes_of_another_digest_are_refused_once() {
    let layer = refused_when(
        |request, mut reply| {
            if is_for_layer(request, &reply) {
                reply.body[20_000] ^= 1;
            }
            reply
        },
        &["sent wrong bytes: expected sha256:"],
    );
    assert_eq!(blobs_asked(&layer), 2, "config and layer, each once");
    refused_when(
        |request, mut reply| {
            if request.is_for_blob() && reply.body.len() < 10_000 {
                reply.body[5] ^= 1;
            }
            reply
        },
        &["sent wrong bytes"],
    );
    refused_when(
        |request, mut reply| {
            if request.is_for_manifest() {
                reply.body.push(b'\n');
            }
            reply
        },
        &["sent wrong bytes"],
    );
}

#[test]
fn more_bytes_than_the_manifest_says_are_refused() {
    for ending in [Ending::Whole, Ending::Unannounced] {
        refused_when(
            move |request, mut reply| {
                if is_for_layer(request, &reply) {
                    reply.body.extend([0; 1000]);
                    reply.ending = ending;
                }
                reply
            },
            &["bytes for sha256:", "expected 1295323"],
        );
    }
}

#[test]
fn a_size_that_the_manifest_invents_is_refused() {
    for size in [json!(1_295_322), json!(1_295_324), json!(u64::MAX), json!(i64::MAX)] {
        let content = busybox().with_manifest(|manifest| manifest["layers"][0]["size"] = size);
        refused_content(content, &["expected"]);
    }
    for nonsense in [json!(-1), json!("1295323"), json!(1.5), json!(null)] {
        let content = busybox().with_manifest(|manifest| manifest["layers"][0]["size"] = nonsense);
        let server = refused_content(content, &["is not valid"]);
        assert_eq!(blobs_asked(&server), 0);
    }
}

#[test]
fn a_body_that_always_ends_early_is_given_up() {
    let server = refused_when(
        |request, reply| if is_for_layer(request, &reply) { reply.ending(Ending::Cut(500)) } else { reply },
        &["broke", "times"],
    );
    assert!(blobs_asked(&server) < 10, "{}", blobs_asked(&server));
}

#[test]
fn a_body_that_is_properly_ended_too_early_is_named_so() {
    refused_when(
        |request, mut reply| {
            if is_for_layer(request, &reply) {
                reply.body.truncate(500);
                reply.ending = Ending::Unannounced;
                reply.status = 200;
                reply.headers.clear();
            }
            reply
        },
        &["sent only 500 of 1295323 bytes"],
    );
}

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
fn challenge(request: &Request) -> Reply {
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
fn an_index_without_the_platform_is_refused() {
    let mut content = busybox();
    let image = content.manifests["1"].1.clone();
    let entry = |platform: &str| {
        let (os, architecture) = platform.split_once('/').expect("a platform");
        json!({"mediaType": MANIFEST, "digest": digest(&image), "size": image.len(),
               "platform": {"os": os, "architecture": architecture}})
    };
    let index = json!({"schemaVersion": 2, "mediaType": INDEX,
                       "manifests": [entry("plan9/mips"), entry("linux/sparc"), entry("unknown/unknown")]});
    content.name(INDEX, index.to_string());
    let server = Misbehaving::serve(content, |_, reply| reply);
    Kiln::new().fails(&["pull", &server.image()], &["no matching manifest for linux/"]);
    assert_eq!(blobs_asked(&server), 0);
}

#[test]
fn indexes_in_circles_and_without_end_are_refused() {
    let mut content = busybox();
    let mut inner = content.manifests["1"].1.clone();
    let mut media_type = MANIFEST;
    for _ in 0..20 {
        let entry = json!({"mediaType": media_type, "digest": digest(&inner), "size": inner.len()});
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]});
        inner = index.to_string().into_bytes();
        media_type = INDEX;
        content.name(INDEX, inner.clone());
    }
    refused_content(content, &["indexes within indexes"]);
}

#[test]
fn the_old_schema_is_refused_with_a_reason() {
    for media_type in [
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "application/json",
    ] {
        let mut content = busybox();
        content.name(media_type, r#"{"schemaVersion":1,"name":"team/app","tag":"1","fsLayers":[],"history":[]}"#);
        refused_content(content, &["schema 1", "push the image again"]);
    }
}

#[test]
fn types_that_are_no_image_are_refused_before_anything_is_fetched() {
    for (media_type, words) in [
        ("application/vnd.example.thing+json", "neither an image manifest nor an index"),
        ("text/html; charset=utf-8", "neither an image manifest nor an index"),
        (INDEX, "lacks the members"),
    ] {
        let mut content = busybox();
        let raw = content.manifests["1"].1.clone();
        content.name(media_type, raw);
        let server = refused_content(
            content.with_manifest(|manifest| {
                manifest.as_object_mut().expect("an object").remove("mediaType");
            }),
            &[words],
        );
        assert_eq!(blobs_asked(&server), 0);
    }
    let chart = busybox().with_manifest(|manifest| {
        manifest["config"]["mediaType"] = json!("application/vnd.cncf.helm.config.v1+json");
    });
    let server = refused_content(chart, &["no container image"]);
    assert_eq!(blobs_asked(&server), 0);
}

#[test]
fn manifests_that_are_none_are_refused() {
    for raw in ["", "{", "[]", "null", r#"{"schemaVersion":2}"#, "\u{0}\u{0}"] {
        let mut content = busybox();
        content.name(MANIFEST, raw);
        refused_content(content, &["is not valid"]);
    }
    for digest in ["sha256:../../../../etc/passwd", "sha256:00", "md5:d41d8cd98f00b204e9800998ecf8427e", ""] {
        let content = busybox().with_manifest(|manifest| manifest["layers"][0]["digest"] = json!(digest));
        let server = Misbehaving::serve(content, |_, reply| reply);
        refused(&server, &[]);
        assert!(server.requests().iter().all(|request| !request.path.contains("..")));
    }
}

#[test]
fn documents_without_end_are_not_read_to_it() {
    for ending in [Ending::Whole, Ending::Unannounced] {
        refused_when(
            move |request, mut reply| {
                if request.is_for_manifest() {
                    reply.body = vec![b' '; 5 << 20];
                    reply.ending = ending;
                }
                reply
            },
            &["larger than the 4194304 bytes"],
        );
    }
    let content = busybox().with_manifest(|manifest| manifest["config"]["size"] = json!(1_u64 << 40));
    let server = refused_content(content, &["larger than"]);
    assert_eq!(blobs_asked(&server), 0);
}

#[test]
fn answers_that_are_no_http_are_given_up() {
    for raw in ["SSH-2.0-OpenSSH_9.6\r\n", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "HTTP/9.9 999\r\n\r\n"] {
        let words = ["cannot reach the registry", "hint: it does not seem to speak HTTP"];
        let server = refused_when(move |_, _| Reply::new(0, raw).ending(Ending::Raw), &words);
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn connections_that_are_closed_at_once_are_tried_a_few_times() {
    let server = refused_when(|_, _| Reply::new(0, "").ending(Ending::Raw), &["broke 6 times"]);
    assert_eq!(server.requests().len(), 6);
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
