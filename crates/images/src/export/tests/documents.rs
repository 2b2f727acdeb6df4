//! What manifests, indexes and layouts say of an image: annotations, media types, names.

use super::*;

/// A document of an archive, by the digest that names it.
fn document(archive: &[u8], digest: &Digest) -> serde_json::Value {
    let wanted = crate::layout::blob_path(digest).into_bytes();
    let mut reader = TarReader::new(archive);
    while let Some(entry) = reader.next_entry().unwrap() {
        if entry.path == wanted {
            let mut bytes = Vec::new();
            io::Read::read_to_end(&mut reader, &mut bytes).unwrap();
            return serde_json::from_slice(&bytes).unwrap();
        }
    }
    panic!("no {digest} in the archive");
}

fn annotation(target: AnnotationTarget, platform: Option<&str>, value: &str) -> Annotation {
    let platform = platform.map(|platform| platform.parse().unwrap());
    Annotation { target, platform, key: "k".into(), value: value.into() }
}

#[test]
fn annotations_are_on_the_documents_that_they_are_for() {
    let test = TestStore::new();
    let layer = simple_layer(&test.store, &["a"]);
    let images = [content(vec![layer.clone()], "amd64"), content(vec![layer], "arm64")];
    let annotations = vec![
        annotation(AnnotationTarget::Manifest, Some("linux/arm64"), "arm"),
        annotation(AnnotationTarget::ManifestDescriptor, None, "entry"),
        annotation(AnnotationTarget::Index, None, "index"),
        annotation(AnnotationTarget::IndexDescriptor, None, "top"),
    ];
    let options = ExportOptions { annotations, ..ExportOptions::default() };
    let (bytes, exported) = oci_bytes(&test.store, &images, &options);
    assert_valid(&bytes);
    assert_eq!(exported.descriptor.annotations["k"], "top");
    let index = document(&bytes, &exported.descriptor.digest);
    assert_eq!(index["annotations"]["k"], "index");
    for (place, expected) in [(0, None), (1, Some("arm"))] {
        let entry = &index["manifests"][place];
        assert_eq!(entry["annotations"]["k"], "entry");
        let manifest = document(&bytes, &entry["digest"].as_str().unwrap().parse().unwrap());
        assert_eq!(manifest["annotations"]["k"].as_str(), expected);
    }
    let refused = oci(Vec::new(), &test.store, &images[..1], &[], &options, &task()).unwrap_err();
    assert_eq!(refused.to_string(), "index annotations not supported for single platform export");
}

#[test]
fn docker_s_media_types_give_way_to_annotations() {
    let test = TestStore::new();
    let image = content(vec![simple_layer(&test.store, &["a"])], "amd64");
    let mut options = ExportOptions { media_types: MediaTypes::Docker, ..ExportOptions::default() };
    let types = |options: &ExportOptions| {
        let (bytes, exported) = oci_bytes(&test.store, std::slice::from_ref(&image), options);
        assert_valid(&bytes);
        let manifest = document(&bytes, &exported.descriptor.digest);
        let text = |value: &serde_json::Value| value["mediaType"].as_str().unwrap().to_owned();
        [text(&manifest), text(&manifest["config"]), text(&manifest["layers"][0])]
    };
    assert_eq!(
        types(&options),
        [
            "application/vnd.docker.distribution.manifest.v2+json",
            "application/vnd.docker.container.image.v1+json",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
        ]
    );
    options.annotations = vec![annotation(AnnotationTarget::Manifest, None, "v")];
    assert_eq!(types(&options)[0], "application/vnd.oci.image.manifest.v1+json");
}

#[test]
fn a_layout_directory_keeps_its_other_images() {
    let test = TestStore::new();
    let directory = tempfile::tempdir().unwrap();
    let write = |path: &str, tag: &str| {
        let image = content(vec![simple_layer(&test.store, &[path])], "amd64");
        let options = ExportOptions::default();
        oci_directory(directory.path(), &test.store, &[image], &[name(tag)], &options, &task()).unwrap()
    };
    let first = write("one", "app:1");
    write("two", "app:2");
    let third = write("three", "app:2");
    let index: serde_json::Value =
        serde_json::from_slice(&std::fs::read(directory.path().join("index.json")).unwrap()).unwrap();
    let digests: Vec<&str> =
        index["manifests"].as_array().unwrap().iter().map(|entry| entry["digest"].as_str().unwrap()).collect();
    assert_eq!(digests, [first.descriptor.digest.to_string(), third.descriptor.digest.to_string()]);
    let packed = Command::new("tar")
        .args(["-C"])
        .arg(directory.path())
        .args(["-cf", "-", "oci-layout", "index.json", "blobs"])
        .output()
        .unwrap();
    assert_valid(&packed.stdout);
}

#[test]
fn a_packed_image_keeps_its_manifest() {
    let test = TestStore::new();
    let image = content(vec![simple_layer(&test.store, &["a"])], "amd64");
    let annotations = vec![annotation(AnnotationTarget::Manifest, None, "v")];
    let options = ExportOptions { annotations, ..ExportOptions::default() };
    let (images, exported) = store_packed_images(&test.store, &[image], &[name("app")], &options, &task()).unwrap();
    assert_eq!(images[0].manifest.as_ref(), Some(&exported.descriptor.digest));
    let mut bytes = Vec::new();
    save::save(&mut bytes, &test.store, &[(images, vec![name("app")])], &task()).unwrap();
    assert_eq!(document(&bytes, &exported.descriptor.digest)["annotations"]["k"], "v");
}
