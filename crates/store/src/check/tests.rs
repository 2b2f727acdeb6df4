//! Checks of stores that were damaged in every way that a test can.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use super::*;
use crate::testing::{layer, metadata, mode, root, store};
use crate::{Hashing, ImageLayer, Key, Kind, Mode, NewImage, NewRecord, Store};
use kiln_oci::{Digest, Platform};
use std::io::Write;

fn check(store: &Store) -> Report {
    store.check(&|_, _| {}).unwrap()
}

/// The findings, one a line, without the store's path.
fn found(store: &Store) -> String {
    let root = format!("{}/", store.root().display());
    let lines = check(store).findings.into_iter();
    lines.map(|each| format!("{}: {}\n", each.path.display().to_string().replace(&root, ""), each.problem)).collect()
}

fn set_times_of(path: &Path, status: &fs::Metadata) {
    let time = |seconds: i64, nanoseconds: i64| rustix::fs::Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let last_modification = time(status.mtime(), status.mtime_nsec());
    let last_access = time(status.atime(), status.atime_nsec());
    let times = rustix::fs::Timestamps { last_access, last_modification };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Does something to a file or directory, and puts the times of it and of its parent back.
fn silently(path: &Path, act: impl FnOnce(&Path)) {
    let parent = path.parent().unwrap();
    let (before, above) = (path.symlink_metadata().unwrap(), parent.metadata().unwrap());
    act(path);
    if path.symlink_metadata().is_ok() {
        set_times_of(path, &before);
    }
    set_times_of(parent, &above);
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[0] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// A file that nobody hashes.
fn unhashed(store: &Store) -> crate::Layer {
    let writer = store.layers().stage(&metadata(0o755)).unwrap().writer().unwrap();
    let mut file = writer.file("a", &metadata(0o644), Hashing::Later).unwrap();
    file.write_all(b"hello").unwrap();
    file.finish().unwrap();
    writer.commit().unwrap()
}

const LINES: &str =
    "d d\n f d/a hello\n f d/b there\n l link d/a\n h hard d/a\n w gone\n o opaque\n f opaque/x 1\n f x y";

#[test]
fn nothing_is_found_in_a_store_that_is_as_it_should_be() {
    for mode in [mode(), Mode::Rootless] {
        let (_directory, store) = crate::testing::store_for(mode);
        let made = layer(&store, None, LINES);
        store.layers().content_id(&made).unwrap();
        unhashed(&store);
        store.blobs().insert(b"hello").unwrap();
        store.logs().create("build", "step").unwrap();
        assert_eq!(found(&store), "");
        let again = check(&store);
        assert_eq!((again.counted.layers, again.counted.blobs, again.unverified.hashed_now), (2, 1, 0));
    }
}

#[test]
fn every_change_of_an_entry_is_found_though_the_times_are_put_back() {
    type Act = fn(&Path);
    let cases: [(&str, Act, &str); 14] = [
        ("d/b", flip, "its bytes differ"),
        ("d/b", |path| fs::write(path, "longer").unwrap(), "it has 6 bytes instead of 5"),
        ("d/b", |path| fs::remove_file(path).unwrap(), "it is missing"),
        ("d/b", |path| fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap(), "its mode is 600"),
        ("d", |path| fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap(), "its mode is 700"),
        ("x", |path| fs::rename(path, path.with_file_name("y")).unwrap(), "y: it does not belong there"),
        ("x", |path| fs::remove_file(path).and_then(|()| fs::create_dir(path)).unwrap(), "it is of another kind"),
        ("x", |path| fs::remove_file(path).and_then(|()| symlink("d/a", path)).unwrap(), "it is of another kind"),
        ("link", |path| fs::remove_file(path).and_then(|()| symlink("d/b", path)).unwrap(), "it leads somewhere else"),
        ("hard", |path| fs::remove_file(path).and_then(|()| fs::write(path, "hello")).unwrap(), "no longer the same"),
        ("d", |path| fs::remove_dir_all(path).unwrap(), "d: it is missing"),
        ("gone", |path| fs::remove_file(path).unwrap(), "gone: it is missing"),
        ("d", |path| fs::write(path.join("more"), "").unwrap(), "d/more: it does not belong there"),
        (
            "x",
            |path| rustix::fs::setxattr(path, "user.a", b"b", rustix::fs::XattrFlags::empty()).unwrap(),
            "attributes",
        ),
    ];
    for (path, act, problem) in cases {
        let (_directory, store) = store();
        let made = layer(&store, None, LINES);
        silently(&made.fs_path().join(path), act);
        let found = found(&store);
        assert!(found.contains(problem), "{path}: {problem:?} is not in {found:?}");
    }
}

#[test]
fn times_and_owners_and_marks_are_compared() {
    let (_directory, store) = store();
    let made = layer(&store, None, LINES);
    let file = fs::File::open(made.fs_path().join("x")).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert!(found(&store).contains("fs/x: its time of change differs"), "{}", found(&store));
    if root("owners and marks") {
        silently(&made.fs_path().join("d/b"), |path| std::os::unix::fs::lchown(path, Some(7), None).unwrap());
        silently(&made.fs_path().join("opaque"), |path| {
            rustix::fs::removexattr(path, "trusted.overlay.opaque").unwrap();
        });
        let found = found(&store);
        assert!(found.contains("fs/d/b: its owner is 7:0 instead of 0:0"), "{found}");
        assert!(found.contains("fs/opaque: what it hides of the layers below is marked otherwise"), "{found}");
    }
}

#[test]
fn a_silent_change_of_a_file_that_nobody_hashed_is_found_and_refused() {
    let (_directory, store) = store();
    let made = unhashed(&store);
    made.open(b"a").unwrap();
    silently(&made.fs_path().join("a"), flip);
    assert!(found(&store).contains("fs/a: it was changed after the step that made it"), "{}", found(&store));
    assert!(made.open(b"a").is_err());
    assert!(store.layers().content_id(&made).is_err());
}

#[test]
fn a_copied_store_has_no_false_findings_and_says_what_it_could_not_tell() {
    let (directory, store) = store();
    unhashed(&store);
    drop(store);
    let copy = directory.path().join("copy");
    let copied = std::process::Command::new("cp").arg("-a").arg(directory.path().join("store")).arg(&copy).status();
    assert!(copied.unwrap().success());
    let store = Store::open(&copy, mode()).unwrap();
    let first = check(&store);
    assert_eq!(first.findings, []);
    assert_eq!((first.unverified.unknown, first.unverified.hashed_now), (1, 0));
    assert_eq!(check(&store).unverified, Unverified::default());
}

#[test]
fn rows_and_directories_are_compared_both_ways() {
    let (_directory, store) = store();
    let (one, two) = (layer(&store, None, "f a 1"), layer(&store, None, "f a 2"));
    let blob = store.blobs().insert(b"hello").unwrap().digest;
    let lost = store.blobs().insert(b"lost").unwrap().digest;
    fs::remove_dir_all(store.root().join("layers/1")).unwrap();
    fs::write(store.root().join("layers/2/index"), "").unwrap();
    fs::create_dir_all(store.root().join("layers/zz/fs")).unwrap();
    fs::write(store.root().join("layers/2/more"), "").unwrap();
    flip(&store.root().join("blobs/sha256").join(blob.hex()));
    fs::remove_file(store.root().join("blobs/sha256").join(lost.hex())).unwrap();
    fs::write(store.root().join("blobs/sha256/junk"), "").unwrap();
    fs::write(store.root().join("contexts/00000000000000000000000000000000"), "junk").unwrap();
    fs::write(store.root().join("logs/junk"), "").unwrap();
    fs::write(store.root().join("cache-mounts/junk"), "").unwrap();
    fs::create_dir(store.root().join("containers/junk")).unwrap();
    fs::create_dir(store.root().join("tmp/1-junk")).unwrap();
    let found = found(&store);
    for line in [
        "layers/1: its directory is missing",
        "layers/2/index: its index is damaged: it is too short",
        "layers/2/more: it does not belong there",
        "layers/zz: the database does not know this layer",
        &format!("blobs/sha256/{}: its bytes differ", blob.hex()),
        &format!("blobs/sha256/{}: it is missing", lost.hex()),
        "blobs/sha256/junk: it does not belong there",
        "contexts/00000000000000000000000000000000: its bytes differ from its checksum",
        "logs/junk: it does not belong there",
        "cache-mounts/junk: it does not belong there",
        "containers/junk: the database does not know this container",
        "tmp/1-junk: it was left behind by a process that is gone",
    ] {
        assert!(found.contains(line), "{line:?} is not in\n{found}");
    }
    assert_eq!(found.lines().count(), 12, "{found}");
    drop((one, two));
}

#[test]
fn a_finding_names_what_depends_on_it_and_what_would_mend_it() {
    let (_directory, store) = store();
    let made = layer(&store, None, "f a hello");
    let inputs = vec![crate::Input { name: "instruction".into(), value: "COPY a /".into() }];
    let (op, lineage, layers, effects) =
        (Key([1; 32]), "Dockerfile\n\n\nCOPY".to_owned(), vec![made.id()], "{}".into());
    store.records().insert(&NewRecord { op, lineage, layers, inputs, effects }, &[Key([2; 32])]).unwrap();
    flip(&made.fs_path().join("a"));
    let only_cached = check(&store).findings.remove(0);
    assert_eq!((only_cached.needed_by, only_cached.remedy), (vec!["step COPY a /".to_owned()], Remedy::Drop));
    let diff_id = Digest::of(b"tar");
    let config =
        format!(r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#);
    let id = store.blobs().insert(config.as_bytes()).unwrap().digest;
    let layer = ImageLayer { diff_id, layer: Some(made.id()), blob: None };
    let image = NewImage { id: id.clone(), platform: Platform::host(), manifest: None, layers: vec![layer] };
    store.images().insert(&image).unwrap();
    store.images().tag("docker.io/library/app:latest", &id).unwrap();
    let finding = check(&store).findings.remove(0);
    assert_eq!(finding.needed_by, ["image app:latest", "step COPY a /"]);
    assert_eq!(finding.remedy, Remedy::DropImages(vec!["app:latest".into()]));
    assert_eq!(made.index().unwrap().get("a").map(|entry| entry.kind()), Some(Kind::File));
}
