//! Manifests and indexes: of other kinds, without the platform, without end, or none at all.

use kiln_tests::kiln::Kiln;
use kiln_tests::misbehaving::{Ending, Misbehaving, digest};
use serde_json::json;

use crate::{INDEX, MANIFEST, blobs_asked, busybox, refused, refused_content, refused_when};

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
    let words = ["no matching manifest for linux/", "it has images for plan9/mips, linux/sparc"];
    Kiln::new().fails(&["pull", &server.image()], &words);
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
