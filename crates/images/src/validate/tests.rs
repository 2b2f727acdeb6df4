//! A validator must find what is broken: each check is shown to fail.

use std::io::{Read, Write};

use kiln_oci::{Descriptor, MediaType};

use super::*;
use crate::tar::{Entry, TarWriter};

/// The files of a valid archive with one layer.
fn files() -> BTreeMap<String, Vec<u8>> {
    let mut tar = TarWriter::new(Vec::new());
    tar.append(&Entry { path: b"file".to_vec(), ..Entry::default() }).unwrap();
    files_with(tar.finish().unwrap(), |_, _| {})
}

/// An archive around a layer; `change` may falsify config and manifest before they are hashed.
fn files_with(
    layer: Vec<u8>,
    change: impl FnOnce(&mut serde_json::Value, &mut serde_json::Value),
) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut add = |bytes: Vec<u8>, media_type: MediaType| {
        let descriptor = Descriptor::new(media_type, Digest::of(&bytes), bytes.len() as u64);
        files.insert(layout::blob_path(&descriptor.digest), bytes);
        descriptor
    };
    let layer = add(layer, MediaType::OciLayer);
    let mut config = serde_json::json!({
        "architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
        "history": [{"created_by": "x"}, {"empty_layer": true}],
    });
    let mut manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": MediaType::OciManifest, "layers": [layer],
    });
    change(&mut config, &mut manifest);
    let config = add(config.to_string().into_bytes(), MediaType::OciConfig);
    manifest["config"] = serde_json::to_value(config).unwrap();
    let manifest = add(manifest.to_string().into_bytes(), MediaType::OciManifest);
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [manifest]});
    files.insert(layout::INDEX.into(), index.to_string().into_bytes());
    files.insert(layout::MARKER.into(), layout::MARKER_CONTENT.to_vec());
    files
}

fn problems(files: &BTreeMap<String, Vec<u8>>) -> String {
    let mut tar = TarWriter::new(Vec::new());
    for (path, bytes) in files {
        let entry = Entry { path: path.as_bytes().to_vec(), size: bytes.len() as u64, ..Entry::default() };
        tar.append(&entry).unwrap();
        tar.write_all(bytes).unwrap();
    }
    let found = archive(tar.finish().unwrap().as_slice()).unwrap();
    found.iter().map(|problem| format!("{problem}\n")).collect()
}

fn plain_layer(path: &str, twice: bool) -> Vec<u8> {
    let mut tar = TarWriter::new(Vec::new());
    for _ in 0..if twice { 2 } else { 1 } {
        tar.append(&Entry { path: path.as_bytes().to_vec(), ..Entry::default() }).unwrap();
    }
    tar.finish().unwrap()
}

#[test]
fn a_valid_archive_has_no_problem() {
    assert_eq!(problems(&files()), "");
}

#[test]
fn broken_blobs_are_found() {
    let whole = files();
    for path in whole.keys() {
        let mut missing = whole.clone();
        missing.remove(path);
        assert!(problems(&missing).contains("missing"), "{path}");
        if path.starts_with("blobs/") {
            let mut changed = whole.clone();
            changed.get_mut(path).unwrap().push(b' ');
            assert!(problems(&changed).contains("its bytes have the digest"), "{path}");
        }
    }
    let mut odd = whole.clone();
    odd.insert("blobs/sha256/xyz".into(), Vec::new());
    assert!(problems(&odd).contains("not named by a digest"));
}

#[test]
fn documents_that_disagree_are_found() {
    let with = |change: fn(&mut serde_json::Value, &mut serde_json::Value)| {
        problems(&files_with(plain_layer("file", false), change))
    };
    assert!(
        with(|config, _| config["rootfs"]["diff_ids"][0] = Digest::of(b"x").to_string().into())
            .contains("the content has")
    );
    assert!(with(|config, _| config["rootfs"]["diff_ids"] = serde_json::json!([])).contains("0 diff ids for 1 layers"));
    assert!(with(|config, _| config["history"] = serde_json::json!([{}, {}])).contains("2 steps of the history"));
    assert!(with(|config, _| config["os"] = "".into()).contains("os or architecture"));
    assert!(with(|_, manifest| manifest["layers"][0]["size"] = 5.into()).contains("not 5"));
    assert!(with(|_, manifest| manifest["layers"][0]["mediaType"] = "text/plain".into()).contains("no layer's"));
    assert!(with(|_, manifest| manifest["schemaVersion"] = 1.into()).contains("schemaVersion"));
    let unlike = with(|_, manifest| manifest["layers"][0]["mediaType"] = MediaType::OciLayerGzip.as_str().into());
    assert!(unlike.contains("unlike its media type"), "{unlike}");
}

#[test]
fn broken_layers_are_found() {
    let with = |layer: Vec<u8>| problems(&files_with(layer, |_, _| {}));
    assert!(with(plain_layer("../up", false)).contains("leads out"));
    assert!(with(plain_layer("/abs", false)).contains("leads out"));
    assert!(with(plain_layer("same", true)).contains("is there twice"));
    assert!(with(b"no tar".repeat(200)).contains("check sum"));
    let mut truncated = plain_layer("file", false);
    truncated.truncate(700);
    assert!(with(truncated).contains("truncated"));
}

#[test]
fn an_archive_that_is_none_is_an_error() {
    let mut text: &[u8] = &b"just text, long enough to be a header".repeat(30);
    assert!(archive(text.by_ref()).is_err());
}
