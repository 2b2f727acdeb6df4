//! Archives of every form, whole and damaged.

use std::io::Write;

use kiln_oci::Index;
use kiln_progress::Sink;

use super::*;
use crate::compression::{CompressedWriter, Format};
use crate::layout;
use crate::pack;
use crate::tar::{Entry, EntryKind, TarReader, TarWriter};
use crate::testing::*;

fn task() -> Task {
    Sink::none().task("test")
}

fn loaded(bytes: &[u8]) -> Result<(TestStore, Vec<Loaded>), String> {
    let test = TestStore::new();
    let result = load(&test.store, bytes, Some(&Platform::new("linux", "amd64")), &task());
    result.map(|loaded| (test, loaded)).map_err(|error| error.to_string())
}

type Files = Vec<(String, EntryKind, Vec<u8>)>;

fn archive(files: &Files) -> Vec<u8> {
    let mut tar = TarWriter::new(Vec::new());
    for (path, kind, bytes) in files {
        let entry =
            Entry { path: path.as_bytes().to_vec(), kind: kind.clone(), size: bytes.len() as u64, ..Entry::default() };
        tar.append(&entry).unwrap();
        tar.write_all(bytes).unwrap();
    }
    tar.finish().unwrap()
}

fn take_apart(bytes: &[u8]) -> Files {
    let mut reader = TarReader::new(bytes);
    let mut files = Files::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let mut content = Vec::new();
        reader.read_to_end(&mut content).unwrap();
        files.push((String::from_utf8(entry.path).unwrap(), entry.kind, content));
    }
    files
}

fn sample_layer() -> Vec<u8> {
    let test = TestStore::new();
    let layer = simple_layer(&test.store, &["etc/", "etc/x"]);
    let lower = kiln_store::Union::new(Vec::new()).unwrap();
    pack::write_layer(Vec::new(), &layer, &lower, None).unwrap()
}

fn config(diff_ids: &[Digest]) -> Vec<u8> {
    let rootfs = serde_json::json!({"type": "layers", "diff_ids": diff_ids});
    serde_json::json!({"architecture": "amd64", "os": "linux", "rootfs": rootfs}).to_string().into_bytes()
}

/// A docker archive as docker itself once wrote it: directories of layers, links for equal ones.
fn old_docker_archive(layer: &[u8]) -> Files {
    let diff_id = Digest::of(&sample_layer());
    let config = config(&[diff_id.clone(), diff_id]);
    let list = serde_json::json!([{
        "Config": "abc.json", "RepoTags": ["busybox:1", "example.com/a/b:2"],
        "Layers": ["one/layer.tar", "two/layer.tar"],
    }]);
    vec![
        ("one/".into(), EntryKind::Directory, vec![]),
        ("one/layer.tar".into(), EntryKind::File, layer.to_vec()),
        ("two/layer.tar".into(), EntryKind::Symlink { target: b"../one/layer.tar".to_vec() }, vec![]),
        ("abc.json".into(), EntryKind::File, config),
        ("manifest.json".into(), EntryKind::File, list.to_string().into_bytes()),
        ("repositories".into(), EntryKind::File, b"{}".to_vec()),
    ]
}

fn compressed(bytes: &[u8], format: Format) -> Vec<u8> {
    let mut writer = CompressedWriter::new(Vec::new(), format);
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

#[test]
fn old_docker_archives_load_however_compressed() {
    let layer = sample_layer();
    let plain = archive(&old_docker_archive(&layer));
    let inner = archive(&old_docker_archive(&compressed(&layer, Format::ZSTD)));
    for bytes in [&plain, &compressed(&plain, Format::GZIP), &compressed(&plain, Format::ZSTD), &inner] {
        let (test, loaded) = loaded(bytes).unwrap();
        assert_eq!(loaded[0].names, ["docker.io/library/busybox:1", "example.com/a/b:2"]);
        let image = test.store.images().get(&loaded[0].id).unwrap().unwrap();
        assert_eq!(image.layers.len(), 2);
        assert!(image.layers.iter().all(|layer| layer.layer.is_some() && layer.layer == image.layers[0].layer));
        // What was loaded can be saved, and is valid then.
        let mut saved = Vec::new();
        crate::save::save(&mut saved, &test.store, &[(vec![image], vec![])], &task()).unwrap();
        assert_eq!(crate::validate::archive(saved.as_slice()).unwrap(), []);
    }
}

#[test]
fn layers_in_bzip2_become_plain_ones() {
    let layer = sample_layer();
    let mut packed = Vec::new();
    let mut encoder = bzip2::write::BzEncoder::new(&mut packed, bzip2::Compression::fast());
    encoder.write_all(&layer).unwrap();
    encoder.finish().unwrap();
    let (test, loaded) = loaded(&archive(&old_docker_archive(&packed))).unwrap();
    let image = test.store.images().get(&loaded[0].id).unwrap().unwrap();
    assert_eq!(image.layers[0].blob.as_ref().unwrap().digest, Digest::of(&layer));
}

/// An OCI archive with the given index entries' annotations, all for the same image.
fn oci_archive(annotations: &[&[(&str, &str)]]) -> Files {
    let test = TestStore::new();
    let layer = simple_layer(&test.store, &["a"]);
    let image = crate::export::ImageContent {
        config: kiln_oci::ImageConfig { os: "linux".into(), architecture: "amd64".into(), ..Default::default() },
        layers: vec![crate::export::ContentLayer::Here(layer)],
        platform: Platform::new("linux", "amd64"),
    };
    let mut bytes = Vec::new();
    let options = crate::export::ExportOptions::default();
    crate::export::oci(&mut bytes, &test.store, &[image], &[], &options, &task()).unwrap();
    let mut files = take_apart(&bytes);
    for (path, _, content) in &mut files {
        if path == layout::INDEX {
            let mut index: Index = serde_json::from_slice(content).unwrap();
            let entry = index.manifests[0].clone();
            let named = |pairs: &&[(&str, &str)]| {
                let mut entry = entry.clone();
                entry.annotations = pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
                entry
            };
            index.manifests = annotations.iter().map(named).collect();
            *content = serde_json::to_vec(&index).unwrap();
        }
    }
    files
}

#[test]
fn names_come_from_the_annotations() {
    let image_name = layout::IMAGE_NAME;
    let ref_name = layout::REF_NAME;
    for (annotations, names) in [
        (vec![[(image_name, "docker.io/library/a:1")].as_slice()], vec!["docker.io/library/a:1"]),
        (vec![[(ref_name, "ghcr.io/b:2")].as_slice()], vec!["ghcr.io/b:2"]),
        (vec![[(ref_name, "latest")].as_slice()], vec![]),
        (vec![[].as_slice()], vec![]),
        (
            vec![[(image_name, "a:1")].as_slice(), [(image_name, "b")].as_slice()],
            vec!["docker.io/library/a:1", "docker.io/library/b:latest"],
        ),
    ] {
        let (test, loaded) = loaded(&archive(&oci_archive(&annotations))).unwrap();
        assert_eq!(loaded.len(), 1);
        assert_eq!(loaded[0].names, names);
        for name in names {
            assert!(test.store.images().resolve(name).unwrap().is_some());
        }
    }
}

#[test]
fn damage_is_named() {
    let whole = oci_archive(&[&[]]);
    let remove = |part: &str| {
        let kept = whole.iter().filter(|(path, _, _)| !path.contains(part)).cloned();
        loaded(&archive(&kept.collect())).err().unwrap()
    };
    assert!(remove(layout::INDEX).contains("neither index.json (OCI) nor manifest.json (docker)"));
    for (path, kind, content) in &whole {
        if path.starts_with("blobs/") && *kind == EntryKind::File {
            assert!(remove(path).contains(&path[13..]), "{path}: {}", remove(path));
            let mut changed = whole.clone();
            let flipped = changed.iter_mut().find(|(other, _, _)| other == path).unwrap();
            flipped.2[content.len() / 2] ^= 1;
            let error = loaded(&archive(&changed)).err().unwrap();
            assert!(error.contains(path) && error.contains("digest mismatch"), "{error}");
        }
    }
    let bytes = archive(&whole);
    for cut in [100, 1000, bytes.len() / 2] {
        assert!(loaded(&bytes[..cut]).err().unwrap().contains("truncated"));
    }
    assert!(loaded(b"").err().unwrap().contains("holds no image"));
    assert!(loaded(&b"some text".repeat(100)).err().unwrap().contains("not a tar header"));
}

#[test]
fn an_image_whose_layer_is_another_is_refused() {
    let layer = sample_layer();
    let mut files = old_docker_archive(&layer);
    files[3].2 = config(&[Digest::of(b"a"), Digest::of(b"b")]);
    assert!(loaded(&archive(&files)).err().unwrap().contains("does not match the image's config"));
    files[3].2 = config(&[]);
    assert!(loaded(&archive(&files)).err().unwrap().contains("2 layers, its config 0 diff ids"));
}

#[test]
fn a_layout_directory_is_asked_by_tag_digest_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let (one, two) = ([(layout::REF_NAME, "one")], [(layout::REF_NAME, "two")]);
    for (path, kind, content) in oci_archive(&[&one, &two]) {
        match kind {
            EntryKind::Directory => std::fs::create_dir(directory.path().join(path)).unwrap(),
            _ => std::fs::write(directory.path().join(path), content).unwrap(),
        }
    }
    let test = TestStore::new();
    let platform = Platform::new("linux", "amd64");
    let ask = |selector: &Selector| {
        from_layout(&test.store, directory.path(), selector, &platform, &task()).map_err(|error| error.to_string())
    };
    let image = ask(&Selector::Tag("two".into())).unwrap();
    assert!(image.names.is_empty() && image.layers[0].layer.is_some());
    let by_digest = ask(&Selector::Digest(image.manifest.clone().unwrap())).unwrap();
    assert_eq!(by_digest.id, image.id);
    assert!(ask(&Selector::Default).unwrap_err().contains("it has one, two"));
    assert!(ask(&Selector::Tag("three".into())).unwrap_err().contains("no image three"));
    let nowhere = from_layout(&test.store, Path::new("/nonexistent"), &Selector::Default, &platform, &task());
    assert!(nowhere.unwrap_err().to_string().contains("/nonexistent"));
    let other = tempfile::tempdir().unwrap();
    let empty = from_layout(&test.store, other.path(), &Selector::Default, &platform, &task());
    assert!(empty.unwrap_err().to_string().contains("holds no image"));
}

#[test]
fn a_layout_directory_cannot_point_out_of_itself() {
    let (directory, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(outside.path().join("index.json"), b"{}").unwrap();
    let link = directory.path().join("index.json");
    std::os::unix::fs::symlink(outside.path().join("index.json"), link).unwrap();
    let test = TestStore::new();
    let platform = Platform::new("linux", "amd64");
    let error = from_layout(&test.store, directory.path(), &Selector::Default, &platform, &task()).unwrap_err();
    assert!(error.to_string().contains("index.json"), "{error}");
}
