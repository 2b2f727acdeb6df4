//! Images that are kept: what their output asked for is there when they are pushed or saved.

use kiln_tests::docker_registry::DockerRegistry;
use kiln_tests::kiln::{Kiln, tool};
use serde_json::Value;

use super::{DOCKER_MANIFEST, OCI_MANIFEST, context, json, layer_types, manifest, text};

const DOCKERFILE: &str = "FROM scratch\nARG TARGETARCH\nCOPY file /\nCOPY $TARGETARCH /arch\n";

#[test]
fn a_later_push_has_the_form_that_was_asked_for() {
    let kiln = Kiln::new();
    let registry = DockerRegistry::start();
    let context = context(&kiln, DOCKERFILE);
    for (tag, options, manifest_type, layer_type) in [
        ("zstd", "compression=zstd", OCI_MANIFEST, "application/vnd.oci.image.layer.v1.tar+zstd"),
        ("plain", "compression=uncompressed", OCI_MANIFEST, "application/vnd.oci.image.layer.v1.tar"),
        ("docker", "oci-mediatypes=false", DOCKER_MANIFEST, "application/vnd.docker.image.rootfs.diff.tar.gzip"),
        ("default", "unpack=true", OCI_MANIFEST, "application/vnd.oci.image.layer.v1.tar+gzip"),
    ] {
        let name = format!("{}/app:{tag}", registry.address());
        let output = format!("type=image,name={name},force-compression=true,{options}");
        kiln.build(&context, &["-o", &output, "--label", tag, "--platform", "linux/amd64"]);
        kiln.ok(&["push", "-q", &name]);
        let pushed = registry.manifest(&format!("app:{tag}"));
        assert_eq!(pushed["mediaType"], manifest_type, "{options}");
        assert_eq!(layer_types(&pushed), [layer_type; 2], "{options}");
    }
}

#[test]
fn times_that_were_rewritten_stay_so() {
    let kiln = Kiln::new();
    let registry = DockerRegistry::start();
    let context = context(&kiln, DOCKERFILE);
    let name = format!("{}/app:epoch", registry.address());
    let output = format!("type=image,name={name},rewrite-timestamp=true");
    let flags = ["--build-arg", "SOURCE_DATE_EPOCH=1000000000", "--platform", "linux/amd64"];
    kiln.build(&context, &[&["-o", &output][..], &flags].concat());
    kiln.ok(&["push", "-q", &name]);
    let place = kiln.scratch("place");
    let source = format!("docker://{name}");
    let layout = format!("dir:{}", text(&place));
    tool("skopeo", &["copy", "--quiet", "--src-tls-verify=false", &source, &layout]);
    let layer = registry.manifest("app:epoch")["layers"][0]["digest"].as_str().expect("digest").to_owned();
    let blob = place.join(layer.trim_start_matches("sha256:"));
    let listing = tool("tar", &["--utc", "--full-time", "-tvzf", text(&blob)]);
    assert!(listing.contains("2001-09-09 01:46:40"), "{listing}");
    // What is run is what was pushed.
    let out = kiln.scratch("out");
    let mut archive = kiln.command(&["save", &name]);
    std::fs::write(out.join("saved.tar"), archive.output().expect("kiln").stdout).expect("archive");
    let saved = manifest(&format!("oci-archive:{}", text(&out.join("saved.tar"))));
    assert_eq!(saved["layers"][0]["digest"], layer.as_str());
}

#[test]
fn an_index_with_its_annotations_goes_out_as_it_was_built() {
    let kiln = Kiln::new();
    let registry = DockerRegistry::start();
    let (context, place) = (context(&kiln, DOCKERFILE), kiln.scratch("place"));
    let (name, metadata) = (format!("{}/app:1", registry.address()), place.join("metadata.json"));
    let annotations =
        ["index:a=index", "manifest[linux/arm64]:a=arm", "manifest-descriptor:a=entry", "index-descriptor:a=outside"];
    let annotations: Vec<&str> = annotations.iter().flat_map(|annotation| ["--annotation", annotation]).collect();
    let flags = ["--platform", "linux/amd64,linux/arm64", "-t", &name, "--metadata-file", text(&metadata)];
    kiln.build(&context, &[&flags[..], &annotations].concat());
    let digest = json(&metadata)["containerimage.digest"].as_str().expect("digest").to_owned();

    let said = kiln.ok(&["push", &name]).stdout;
    assert!(said.contains(&format!("1: digest: {digest} size: ")), "{said}");
    let index = registry.manifest("app:1");
    assert_eq!(index["annotations"]["a"], "index");
    assert_eq!(index["manifests"][0]["annotations"]["a"], "entry");
    let arm = index["manifests"][1]["digest"].as_str().expect("digest");
    assert_eq!(registry.manifest(&format!("app@{arm}"))["annotations"]["a"], "arm");

    let saved = place.join("saved.tar");
    kiln.ok(&["save", "-o", text(&saved), &name]);
    let top: Value = serde_json::from_str(&tool("tar", &["-xOf", text(&saved), "index.json"])).expect("JSON");
    assert_eq!(top["manifests"][0]["digest"], digest.as_str());
    assert_eq!(top["manifests"][0]["annotations"]["a"], "outside");

    // One of the platforms by itself is its manifest.
    let alone = kiln.ok(&["push", "--platform", "linux/arm64", &name]).stdout;
    assert!(alone.contains(&format!("1: digest: {arm} size: ")), "{alone}");
    kiln.fails(
        &["push", "--platform", "linux/s390x", &name],
        &["was found but does not provide the specified platform (linux/s390x)"],
    );
    // Whoever builds the name anew gives up what was kept.
    kiln.build(&context, &["-t", &name, "--platform", "linux/amd64"]);
    let again = kiln.ok(&["push", &name]).stdout;
    assert!(!again.contains(&digest), "{again}");
}

#[test]
fn names_may_have_the_digest_of_what_they_name() {
    let kiln = Kiln::new();
    let (context, place) = (context(&kiln, "FROM scratch\nCOPY file /\nLABEL a=b\n"), kiln.scratch("place"));
    let metadata = place.join("metadata.json");
    let told = ["--metadata-file", text(&metadata)];
    let digest = || json(&metadata)["containerimage.digest"].as_str().expect("digest").to_owned();

    kiln.build(&context, &[&["-o", "type=image,name=app:1,name-canonical=true"][..], &told].concat());
    let by_digest = format!("app@{}", digest());
    let id = |name: &str| kiln.ok(&["image", "inspect", "-f", "{{.Id}}", name]).stdout;
    assert_eq!(id("app:1"), id(&by_digest));

    kiln.build(&context, &[&["-o", "type=image,dangling-name-prefix=dangling", "--label", "c=d"][..], &told].concat());
    let dangling = format!("dangling@{}", digest());
    assert_ne!(id(&dangling), id("app:1"));
    assert_eq!(json(&metadata)["image.name"], format!("docker.io/library/{dangling}"));
    kiln.fails(&["image", "inspect", "dangling"], &["No such image"]);
    // It is named, so it is no dangling image.
    kiln.ok(&["image", "prune", "--force"]);
    id(&dangling);
}

#[test]
fn a_push_by_digest_wants_no_tag() {
    let kiln = Kiln::new();
    let context = context(&kiln, "FROM scratch\nCOPY file /\n");
    let output = "type=image,name=127.0.0.1:9/app:1,push=true,push-by-digest=true";
    kiln.fails(&["build", "-o", output, text(&context)], &["can't push tagged ref 127.0.0.1:9/app:1 by digest"]);
}
