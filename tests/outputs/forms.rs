//! Archives and directories.

use std::fs;

use kiln_tests::kiln::{Kiln, tool};

use super::{DOCKER_MANIFEST, OCI_MANIFEST, context, json, layer_types, manifest, text};

const AMD64: [&str; 2] = ["--platform", "linux/amd64"];
const DOCKERFILE: &str = "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH file /files/\n";

#[test]
fn a_docker_layout_may_be_a_directory() {
    let kiln = Kiln::new();
    let (context, place) = (context(&kiln, DOCKERFILE), kiln.scratch("place"));
    for (options, media_type) in [("", DOCKER_MANIFEST), (",oci-mediatypes=true", OCI_MANIFEST)] {
        let directory = place.join(format!("layout{}", options.len()));
        let output = format!("type=docker,name=app:1,tar=false,dest={}{options}", text(&directory));
        kiln.build(&context, &["-o", &output, AMD64[0], AMD64[1]]);
        let entry = &json(&directory.join("index.json"))["manifests"][0];
        assert_eq!(entry["mediaType"], media_type, "{output}");
        assert_eq!(entry["annotations"]["io.containerd.image.name"], "docker.io/library/app:1");
        let digest = entry["digest"].as_str().expect("digest").trim_start_matches("sha256:");
        assert_eq!(json(&directory.join("blobs/sha256").join(digest))["mediaType"], media_type);
    }
    kiln.fails(&["build", "-o", "type=docker,tar=false", text(&context)], &["dest is required for docker exporter"]);
}

#[test]
fn levels_and_formats_of_compression() {
    let kiln = Kiln::new();
    let (context, place) = (context(&kiln, DOCKERFILE), kiln.scratch("place"));
    fs::write(context.join("file"), "much of the same, much of the same, ".repeat(20_000)).expect("file");
    let mut sizes = Vec::new();
    for (options, ending) in [
        ("compression=uncompressed", "tar"),
        ("compression=gzip,compression-level=0", "tar+gzip"),
        ("compression=gzip,compression-level=9", "tar+gzip"),
        ("compression=zstd,compression-level=0", "tar+zstd"),
        ("compression=zstd,compression-level=19", "tar+zstd"),
    ] {
        let archive = place.join(format!("{}.tar", sizes.len()));
        let output = format!("type=oci,dest={},{options}", text(&archive));
        kiln.build(&context, &["-o", &output, AMD64[0], AMD64[1]]);
        let manifest = manifest(&format!("oci-archive:{}", text(&archive)));
        assert_eq!(layer_types(&manifest), [format!("application/vnd.oci.image.layer.v1.{ending}")], "{options}");
        sizes.push(manifest["layers"][0]["size"].as_u64().expect("size"));
    }
    let [plain, stored, small, ..] = sizes[..] else { panic!("{sizes:?}") };
    assert!(stored >= plain && small * 10 < plain && sizes[4] * 10 < plain, "{sizes:?}");
}

#[test]
fn platforms_are_split_or_merged_as_asked() {
    let kiln = Kiln::new();
    let (context, place) = (context(&kiln, DOCKERFILE), kiln.scratch("place"));
    let both = ["--platform", "linux/amd64,linux/arm64"];
    let build = |name: &str, options: &str, flags: &[&str]| {
        let directory = place.join(name);
        let output = format!("type=local,dest={}{options}", text(&directory));
        kiln.build(&context, &[flags, &["-o", &output]].concat());
        let mut files: Vec<String> =
            tool("find", &[text(&directory), "-type", "f", "-printf", "%P\n"]).lines().map(str::to_owned).collect();
        files.sort();
        files
    };
    let split =
        ["linux_amd64/files/amd64", "linux_amd64/files/file", "linux_arm64/files/arm64", "linux_arm64/files/file"];
    assert_eq!(build("split", "", &both), split);
    assert_eq!(build("merged", ",platform-split=false", &both), ["files/amd64", "files/arm64", "files/file"]);
    assert_eq!(build("one", "", &AMD64), ["files/amd64", "files/file"]);
    assert_eq!(build("alone", ",platform-split=true", &AMD64), ["linux_amd64/files/amd64", "linux_amd64/files/file"]);
}
