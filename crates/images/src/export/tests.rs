//! Archives as other tools take them, and file systems as they were.

use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use kiln_oci::{HistoryEntry, RootFs};
use kiln_progress::Sink;
use kiln_store::{Image, ImageLayer, Union};

use super::*;
use crate::tar::TarReader;
use crate::testing::*;
use crate::{load, save, unpack, validate};

mod platforms;

fn task() -> Task {
    Sink::none().task("test")
}

/// An image of a base and a layer over it that deletes and replaces.
fn sample(store: &Store) -> ImageContent {
    let base = torture_layer(store);
    let empty = layer_over(store, std::slice::from_ref(&base), |_| {});
    let top = layer_over(store, &[base.clone(), empty.clone()], |writer| {
        writer.whiteout("setuid").unwrap();
        writer.directory("dir", &metadata(0o700)).unwrap();
        writer.opaque("dir").unwrap();
        put_file(writer, "dir/only", &metadata(0o644), b"only");
        put_file(writer, "etc/passwd", &metadata(0o644), b"root:x:0:0::/:/bin/sh\n");
    });
    content(vec![base, empty, top], "amd64")
}

fn content(layers: Vec<Layer>, architecture: &str) -> ImageContent {
    let step = |position| HistoryEntry { created_by: Some(format!("step {position}")), ..Default::default() };
    let config = ImageConfig {
        created: Some("2020-01-02T03:04:05Z".into()),
        architecture: architecture.into(),
        os: "linux".into(),
        rootfs: RootFs::default(),
        history: (0..layers.len()).map(step).collect(),
        ..ImageConfig::default()
    };
    let layers = layers.into_iter().map(ContentLayer::Here).collect();
    ImageContent { platform: config.platform(), config, layers }
}

/// The layers of an image that are all unpacked.
fn unpacked(store: &Store, image: &Image) -> Vec<Layer> {
    let layer = |layer: &ImageLayer| store.layers().get(layer.layer.unwrap()).unwrap().unwrap();
    image.layers.iter().map(layer).collect()
}

fn name(text: &str) -> Reference {
    text.parse().unwrap()
}

fn oci_bytes(store: &Store, images: &[ImageContent], options: &ExportOptions) -> (Vec<u8>, Exported) {
    let mut bytes = Vec::new();
    let exported = oci(&mut bytes, store, images, &[name("app")], options, &task()).unwrap();
    (bytes, exported)
}

fn assert_valid(archive: &[u8]) {
    let problems = validate::archive(archive).unwrap();
    assert!(problems.is_empty(), "{problems:#?}");
}

/// The flat view of some layers, as listed by the tar reader.
fn flat(layers: &[Layer]) -> Vec<crate::tar::Entry> {
    let bytes = tar(Vec::new(), &Union::new(layers.to_vec()).unwrap(), None).unwrap();
    let mut reader = TarReader::new(bytes.as_slice());
    let mut entries = Vec::new();
    while let Some(mut entry) = reader.next_entry().unwrap() {
        entry.offset = 0;
        entries.push(entry);
    }
    entries
}

#[test]
fn an_archive_is_valid_repeatable_and_loads_to_the_same_image() {
    for format in [Format::GZIP, Format::ZSTD, Format::Uncompressed] {
        let (from, to) = (TestStore::new(), TestStore::new());
        let image = sample(&from.store);
        let options = ExportOptions { format, ..ExportOptions::default() };
        let (bytes, exported) = oci_bytes(&from.store, std::slice::from_ref(&image), &options);
        assert_valid(&bytes);
        assert!(bytes == oci_bytes(&from.store, std::slice::from_ref(&image), &options).0);

        let loaded = load::load(&to.store, bytes.as_slice(), Some(&image.platform), &task()).unwrap();
        assert_eq!(loaded.len(), 1);
        assert_eq!(loaded[0].names, ["docker.io/library/app:latest"]);
        assert_eq!([loaded[0].id.clone()], exported.configs.as_slice());
        let stored = to.store.images().resolve("docker.io/library/app:latest").unwrap().unwrap();
        let layers: Vec<Layer> =
            stored.layers.iter().map(|layer| to.store.layers().get(layer.layer.unwrap()).unwrap().unwrap()).collect();
        assert_eq!(flat(&layers), flat(&image.layers_here().unwrap()));
    }
}

#[test]
fn a_loaded_image_is_saved_with_its_own_manifest() {
    let (from, to) = (TestStore::new(), TestStore::new());
    let image = sample(&from.store);
    let (bytes, exported) = oci_bytes(&from.store, std::slice::from_ref(&image), &ExportOptions::default());
    let loaded = load::load(&to.store, bytes.as_slice(), Some(&image.platform), &task()).unwrap();
    let stored = to.store.images().get(&loaded[0].id).unwrap().unwrap();
    let mut saved = Vec::new();
    let again = save::save(&mut saved, &to.store, &[(vec![stored], vec![name("app:2")])], &task()).unwrap();
    assert_valid(&saved);
    assert_eq!(again[0].descriptor.digest, exported.descriptor.digest);
}

#[test]
fn a_built_image_can_be_named_and_saved() {
    let test = TestStore::new();
    let image = sample(&test.store);
    let names = [name("app"), name("app:1.0")];
    let stored = store_images(&test.store, std::slice::from_ref(&image), &names).unwrap().remove(0);
    assert_eq!(stored.names, ["docker.io/library/app:1.0", "docker.io/library/app:latest"]);
    let mut saved = Vec::new();
    save::save(&mut saved, &test.store, &[(vec![stored.clone()], vec![name("app")])], &task()).unwrap();
    assert_valid(&saved);
    let other = TestStore::new();
    let loaded = load::load(&other.store, saved.as_slice(), None, &task()).unwrap();
    assert_eq!(loaded[0].id, stored.id);
}

#[test]
fn a_layer_that_was_pulled_keeps_its_blob() {
    let (from, to) = (TestStore::new(), TestStore::new());
    let image = sample(&from.store);
    let zstd = ExportOptions { format: Format::ZSTD, ..ExportOptions::default() };
    let (bytes, _) = oci_bytes(&from.store, std::slice::from_ref(&image), &zstd);
    let loaded = load::load(&to.store, bytes.as_slice(), Some(&image.platform), &task()).unwrap();
    let base = to.store.images().get(&loaded[0].id).unwrap().unwrap();
    let mut layers: Vec<Layer> =
        base.layers.iter().map(|layer| to.store.layers().get(layer.layer.unwrap()).unwrap().unwrap()).collect();
    layers.push(layer_over(&to.store, &layers, |writer| put_file(writer, "added", &metadata(0o644), b"1")));
    let options = ExportOptions { newest: Some(Timestamp::from_seconds(1)), ..ExportOptions::default() };
    let built = content(layers, "amd64");
    let (bytes, _) = oci_bytes(&to.store, std::slice::from_ref(&built), &options);
    assert_valid(&bytes);
    for layer in &base.layers {
        let path = crate::layout::blob_path(&layer.blob.as_ref().unwrap().digest);
        assert!(bytes.windows(path.len()).any(|window| window == path.as_bytes()));
    }
}

#[test]
fn an_image_without_layers_is_valid() {
    let test = TestStore::new();
    let (bytes, _) = oci_bytes(&test.store, &[content(Vec::new(), "amd64")], &ExportOptions::default());
    assert_valid(&bytes);
}

/// Runs a tool; `None` (said aloud) if it is not installed.
fn run(tool: &str, arguments: &[&str]) -> Option<String> {
    match Command::new(tool).args(arguments).output() {
        Err(error) => {
            eprintln!("skipped: {tool}: {error}");
            None
        }
        Ok(output) => {
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{tool} {arguments:?}: {stderr}");
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
    }
}

fn path_text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn skopeo_inspects_and_copies_both_kinds_of_archive() {
    let test = TestStore::new();
    let image = sample(&test.store);
    let scratch = tempfile::tempdir_in("/dev/shm").unwrap();
    let (oci_path, docker_path) = (scratch.path().join("oci.tar"), scratch.path().join("docker.tar"));
    let (bytes, exported) = oci_bytes(&test.store, std::slice::from_ref(&image), &ExportOptions::default());
    std::fs::write(&oci_path, bytes).unwrap();
    let mut bytes = Vec::new();
    docker(&mut bytes, &test.store, &image, &[name("app")], &ExportOptions::default(), &task()).unwrap();
    assert_valid(&bytes);
    std::fs::write(&docker_path, bytes).unwrap();

    let from_oci = format!("oci-archive:{}", path_text(&oci_path));
    let Some(inspected) = run("skopeo", &["inspect", &from_oci]) else { return };
    let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["Layers"].as_array().unwrap().len(), 3);
    assert_eq!(inspected["Created"], "2020-01-02T03:04:05Z");
    let from_docker = format!("docker-archive:{}:app:latest", path_text(&docker_path));
    for (position, source) in [from_oci, from_docker].iter().enumerate() {
        let copy = scratch.path().join(format!("copy-{position}"));
        run("skopeo", &["--insecure-policy", "copy", source, &format!("oci:{}:copy", path_text(&copy))]);
        let problems = validate::layout(&copy).unwrap();
        assert!(problems.is_empty(), "{problems:#?}");
        // The copy can be a base, and is the same image.
        let other = TestStore::new();
        let selector = load::Selector::Tag("copy".into());
        let taken = load::from_layout(&other.store, &copy, &selector, &image.platform, &task()).unwrap();
        // Skopeo writes the config of a docker archive anew.
        assert_eq!(taken.id == exported.configs[0], position == 0);
        assert_eq!(flat(&unpacked(&other.store, &taken)), flat(&image.layers_here().unwrap()));
    }
}

#[test]
fn umoci_unpacks_the_tree_that_was_built() {
    if !is_root() {
        eprintln!("skipped: umoci restores owners and devices only as root");
        return;
    }
    let test = TestStore::new();
    let image = sample(&test.store);
    let scratch = tempfile::tempdir_in("/dev/shm").unwrap();
    let layout = scratch.path().join("layout");
    let (bytes, _) = oci_bytes(&test.store, std::slice::from_ref(&image), &ExportOptions::default());
    std::fs::create_dir(&layout).unwrap();
    std::fs::write(scratch.path().join("oci.tar"), bytes).unwrap();
    run("tar", &["-C", path_text(&layout), "-xf", path_text(&scratch.path().join("oci.tar"))]);
    let bundle = scratch.path().join("bundle");
    let reference = format!("{}:latest", path_text(&layout));
    if run("umoci", &["unpack", "--image", &reference, path_text(&bundle)]).is_none() {
        return;
    }
    let rootfs = bundle.join("rootfs");
    for entry in flat(&image.layers_here().unwrap()) {
        let path = rootfs.join(std::ffi::OsStr::new(&*String::from_utf8_lossy(&entry.path)));
        if std::str::from_utf8(&entry.path).is_err() {
            continue;
        }
        let found = std::fs::symlink_metadata(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        if !matches!(entry.kind, crate::tar::EntryKind::HardLink { .. }) {
            assert_eq!((found.uid(), found.gid()), (entry.metadata.uid, entry.metadata.gid), "{path:?}");
            assert_eq!(found.mtime(), entry.metadata.mtime.seconds, "{path:?}");
        }
        if !found.file_type().is_symlink() {
            assert_eq!(found.permissions().mode() & 0o7777, entry.metadata.mode, "{path:?}");
        }
    }
    assert!(!rootfs.join("setuid").exists() && !rootfs.join("dir/first").exists());
    assert_eq!(std::fs::read(rootfs.join("dir/only")).unwrap(), b"only");
}

#[test]
fn podman_loads_the_archive() {
    if !is_root() {
        eprintln!("skipped: podman load is tried as root only");
        return;
    }
    let test = TestStore::new();
    // Owners beyond what podman's checks allow are left out.
    let image = content(vec![simple_layer(&test.store, &["etc/", "etc/x"])], "amd64");
    let scratch = tempfile::tempdir_in("/dev/shm").unwrap();
    let archive = scratch.path().join("oci.tar");
    std::fs::write(&archive, oci_bytes(&test.store, &[image], &ExportOptions::default()).0).unwrap();
    let (root, runroot) = (scratch.path().join("root"), scratch.path().join("run"));
    let storage = ["--root", path_text(&root), "--runroot", path_text(&runroot), "--storage-driver", "vfs"];
    let load = [&storage[..], &["load", "-i", path_text(&archive)]].concat();
    let Some(answer) = run("podman", &load) else { return };
    assert!(answer.contains("app"), "{answer}");
}

#[test]
fn a_flat_tar_is_the_merged_view() {
    let test = TestStore::new();
    let image = sample(&test.store);
    let entries = flat(&image.layers_here().unwrap());
    let has = |path: &str| entries.iter().any(|entry| entry.path == path.as_bytes());
    assert!(has("dir/only") && has("etc/passwd") && has("capable"));
    assert!(!has("dir/first") && !has("setuid") && !has(".wh.setuid"));
    // What can be unpacked again is the same view.
    let bytes = tar(Vec::new(), &Union::new(image.layers_here().unwrap()).unwrap(), None).unwrap();
    let again = unpack::layer(&test.store, bytes.as_slice(), None).unwrap().layer;
    assert_eq!(flat(&[again]), entries);
}

#[test]
fn a_directory_gets_the_tree_and_keeps_what_was_there() {
    let test = TestStore::new();
    let image = sample(&test.store);
    let (target, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(target.path().join("mine"), b"stays").unwrap();
    std::fs::write(target.path().join("large"), b"is replaced").unwrap();
    // A trap: a link where the image has a directory.
    std::os::unix::fs::symlink(outside.path(), target.path().join("etc")).unwrap();
    let directory = std::fs::File::open(target.path()).unwrap();
    let rootfs = Union::new(image.layers_here().unwrap()).unwrap();
    for _ in 0..2 {
        local(directory.as_fd(), &rootfs, None).unwrap();
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
        assert_eq!(std::fs::read(target.path().join("mine")).unwrap(), b"stays");
        assert_eq!(std::fs::read(target.path().join("etc/passwd")).unwrap(), b"root:x:0:0::/:/bin/sh\n");
        assert_eq!(std::fs::metadata(target.path().join("large")).unwrap().len(), 3_200_000);
        let directory = std::fs::metadata(target.path().join("dir")).unwrap();
        assert_eq!((directory.mode() & 0o7777, directory.mtime()), (0o700, 1_500_000_000));
        let second = std::fs::symlink_metadata(target.path().join("other/second")).unwrap();
        assert_eq!((second.size(), second.nlink()), (6, 1));
        let link = std::fs::symlink_metadata(target.path().join("absolute")).unwrap();
        assert!(link.file_type().is_symlink() && link.mtime() == 1_500_000_000);
    }
}

#[test]
fn hard_links_of_the_image_are_hard_links_in_a_directory() {
    let test = TestStore::new();
    let layer = torture_layer(&test.store);
    let target = tempfile::tempdir().unwrap();
    let directory = std::fs::File::open(target.path()).unwrap();
    local(directory.as_fd(), &Union::new(vec![layer]).unwrap(), None).unwrap();
    let inode = |path: &str| std::fs::metadata(target.path().join(path)).unwrap().ino();
    assert!(inode("dir/first") == inode("other/second") && inode("dir/first") == inode("dir/third"));
}

#[test]
fn owners_are_kept_where_that_is_asked_for() {
    let test = TestStore::new();
    let layer = layer_over(&test.store, &[], |writer| {
        let mut owned = metadata(0o4755);
        (owned.uid, owned.gid) = (11, 12);
        put_file(writer, "d/f", &owned, b"1");
        writer.directory("d", &owned).unwrap();
        writer.symlink("l", b"nowhere", &owned).unwrap();
    });
    let rootfs = Union::new(vec![layer]).unwrap();
    let me = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let theirs = if is_root() { (11, 12) } else { me };
    for (owners, expected) in [(Owners::Caller, me), (Owners::Image, theirs)] {
        let target = tempfile::tempdir().unwrap();
        let directory = std::fs::File::open(target.path()).unwrap();
        materialize(directory.as_fd(), &rootfs, None, owners).unwrap();
        for path in ["d", "d/f", "l"] {
            let found = std::fs::symlink_metadata(target.path().join(path)).unwrap();
            assert_eq!((found.uid(), found.gid()), expected, "{path}");
        }
        let file = std::fs::metadata(target.path().join("d/f")).unwrap();
        assert_eq!(file.permissions().mode() & 0o7777, 0o4755);
    }
}

mod documents;
