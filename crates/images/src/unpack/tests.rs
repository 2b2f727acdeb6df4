//! Hostile archives, whiteouts, and `ADD`.

use std::io::Write;

use kiln_store::{Device, Kind, Union};

use super::*;
use crate::tar::{Entry, EntryKind, TarWriter};
use crate::testing::*;

fn archive(entries: &[(&str, EntryKind)]) -> Vec<u8> {
    let mut tar = TarWriter::new(Vec::new());
    for (path, kind) in entries {
        let content: &[u8] = if *kind == EntryKind::File { path.as_bytes() } else { b"" };
        let entry = Entry {
            path: path.as_bytes().to_vec(),
            kind: kind.clone(),
            metadata: metadata(0o755),
            size: content.len() as u64,
            offset: 0,
        };
        tar.append(&entry).unwrap();
        tar.write_all(content).unwrap();
    }
    tar.finish().unwrap()
}

fn symlink(target: &str) -> EntryKind {
    EntryKind::Symlink { target: target.as_bytes().to_vec() }
}

fn hard_link(target: &str) -> EntryKind {
    EntryKind::HardLink { target: target.as_bytes().to_vec() }
}

use EntryKind::{Directory, File};

/// Kinds and paths of everything in a layer.
fn paths(layer: &Layer) -> Vec<String> {
    let index = layer.index().unwrap();
    let entries = index.entries().filter(|entry| !entry.path().is_empty());
    let line = |entry: kiln_store::Entry<'_>| {
        let mark = match entry.kind() {
            Kind::Directory if entry.opaque() => "!/",
            Kind::Directory => "/",
            Kind::Whiteout => " gone",
            Kind::Symlink => "@",
            _ => "",
        };
        format!("{}{mark}", String::from_utf8_lossy(entry.path()))
    };
    entries.map(line).collect()
}

fn unpacked(entries: &[(&str, EntryKind)]) -> Result<Vec<String>, String> {
    let test = TestStore::new();
    let unpacked = layer(&test.store, archive(entries).as_slice(), None);
    unpacked.map(|unpacked| paths(&unpacked.layer)).map_err(|error| error.to_string())
}

#[test]
fn paths_that_lead_out_are_refused_with_their_name() {
    for (entries, part) in [
        (vec![("../up", File)], "../up"),
        (vec![("a/../../up", File)], "a/../../up"),
        (vec![("a", File), ("b", hard_link("../../etc/passwd"))], "etc/passwd"),
        (vec![("b", hard_link("/etc/passwd"))], "etc/passwd"),
        (vec![("link", symlink("/etc")), ("b", hard_link("link/passwd"))], "link/passwd"),
        (vec![("dir/.wh...", File)], "whiteout"),
        (vec![("dir/.wh.", File)], "whiteout"),
        (vec![(&*"n".repeat(256), File)], "255"),
        (vec![("zero", EntryKind::CharacterDevice(Device::default()))], "0:0"),
        (vec![("file", File), ("file/below", File)], "file"),
        (vec![(".", File)], "root"),
    ] {
        let error = unpacked(&entries).unwrap_err();
        assert!(error.contains(part), "{entries:?}: {error}");
    }
}

#[test]
fn links_of_the_archive_itself_are_followed_only_within_it() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().to_str().unwrap();
    let up = "../".repeat(20) + &target[1..];
    for target in [target, &up] {
        let entries = [("link", symlink(target)), ("link/evil", File), ("etc", symlink("/usr/etc")), ("etc/x", File)];
        let found = unpacked(&entries).unwrap();
        assert!(found.contains(&format!("{}/evil", &outside.path().to_str().unwrap()[1..])), "{found:?}");
        assert!(found.contains(&"usr/etc/x".to_owned()), "{found:?}");
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}

#[test]
fn absolute_paths_and_dots_are_beneath_the_root() {
    let found = unpacked(&[("/abs", File), ("./a/./b", File), ("a/../c", File), ("./", Directory)]);
    assert_eq!(found.unwrap(), ["a/", "a/b", "abs", "c"]);
}

#[test]
fn whiteouts_in_both_spellings() {
    let found = unpacked(&[
        (".wh.gone", File),
        ("opaque/.wh..wh..opq", File),
        ("opaque/new", File),
        (".wh.again", File),
        ("again/", Directory),
        (".wh.implied", File),
        ("implied/deep/file", File),
        ("late/file", File),
        (".wh.late", File),
        ("kept", File),
        (".wh.kept", File),
        (".wh..wh.plnk", File),
    ]);
    let expected = [
        "again!/",
        "gone gone",
        "implied!/",
        "implied/deep/",
        "implied/deep/file",
        "kept",
        "late!/",
        "late/file",
        "opaque!/",
        "opaque/new",
    ];
    assert_eq!(found.unwrap(), expected);
}

#[test]
fn overlay_attributes_of_an_image_stay_data() {
    let test = TestStore::new();
    let mut tar = TarWriter::new(Vec::new());
    for (path, name) in [("a", "trusted.overlay.opaque"), ("b", "user.overlay.redirect")] {
        let mut entry = Entry { path: path.into(), kind: Directory, metadata: metadata(0o755), ..Entry::default() };
        entry.metadata.xattrs.insert(name.into(), b"y".to_vec());
        tar.append(&entry).unwrap();
    }
    let unpacked = layer(&test.store, tar.finish().unwrap().as_slice(), None).unwrap();
    let index = unpacked.layer.index().unwrap();
    let entry = index.get("a").unwrap();
    assert!(!entry.opaque());
    assert_eq!(entry.xattr(b"trusted.overlay.opaque"), Some(b"y".as_slice()));
    if is_root() {
        let mut buffer = [0; 16];
        let on_disk =
            rustix::fs::getxattr(unpacked.layer.fs_path().join("a"), "trusted.overlay.opaque", &mut buffer[..]);
        assert!(on_disk.is_err(), "the mark must not mean anything to overlayfs");
    }
}

#[test]
fn a_wrong_diff_id_is_named_and_no_layer_stays() {
    let test = TestStore::new();
    let expected = Digest::of(b"something else");
    let bytes = archive(&[("a", File)]);
    let error = layer(&test.store, bytes.as_slice(), Some(&expected)).unwrap_err();
    assert!(matches!(error, UnpackError::DiffIdMismatch { .. }), "{error}");
    assert!(test.store.layers().by_diff_id(&Digest::of(&bytes)).unwrap().is_none());
}

#[test]
fn a_known_diff_id_is_not_read_again() {
    let test = TestStore::new();
    let bytes = archive(&[("a", File)]);
    let first = layer(&test.store, bytes.as_slice(), None).unwrap();
    let second = layer(&test.store, b"not even tar".as_slice(), Some(&first.diff_id)).unwrap();
    assert_eq!(first.layer.id(), second.layer.id());
    assert_eq!(layer(&test.store, bytes.as_slice(), None).unwrap().layer.id(), first.layer.id());
}

#[test]
fn damaged_streams_are_errors() {
    let test = TestStore::new();
    let bytes = archive(&[("a", File), ("b", File)]);
    let mut writer = crate::compression::CompressedWriter::new(Vec::new(), crate::compression::Format::GZIP);
    writer.write_all(&bytes).unwrap();
    let zipped = writer.finish().unwrap();
    for cut in [&bytes[..512], &bytes[..1300], &zipped[..zipped.len() - 4], &zipped[..30]] {
        let error = layer(&test.store, cut, None).unwrap_err();
        assert!(!error.to_string().is_empty());
    }
    assert_eq!(layer(&test.store, zipped.as_slice(), None).unwrap().diff_id, Digest::of(&bytes));
}

/// What `ADD` of `entries` to `destination` makes over a base of `base` paths.
fn added(base: &[(&str, EntryKind)], destination: &str, entries: &[(&str, EntryKind)]) -> Result<Vec<String>, String> {
    let test = TestStore::new();
    let base = layer(&test.store, archive(base).as_slice(), None).unwrap().layer;
    let lower = Union::new(vec![base]).unwrap();
    let staged = test.store.layers().stage(&metadata(0o755)).unwrap();
    let writer = staged.writer_over(lower.clone()).unwrap();
    let options = ExtractOptions::default();
    extract(archive(entries).as_slice(), &writer, &lower, destination.as_bytes(), &options)
        .map_err(|error| error.to_string())?;
    Ok(paths(&writer.commit().unwrap()))
}

#[test]
fn add_clamps_paths_into_the_destination() {
    let entries = [("../up", File), ("/abs", File), ("a/../../b", File), ("./", Directory), ("ok", File)];
    let found = added(&[("x/", Directory)], "x", &entries).unwrap();
    assert_eq!(found, ["x/", "x/abs", "x/b", "x/ok", "x/up"]);
    assert_eq!(added(&[], "", &entries).unwrap(), ["abs", "b", "ok", "up"]);
}

#[test]
fn add_takes_whiteouts_for_deletions() {
    let base = [("w/", Directory), ("w/gone", File), ("w/stay", File), ("other", File)];
    let found = added(&base, "w", &[(".wh.gone", File), (".wh.never", File), ("new", File)]).unwrap();
    assert_eq!(found, ["w/", "w/gone gone", "w/new"]);
    let found = added(&base, "w", &[(".wh.gone", File), (".wh..wh..opq", File), ("new", File)]).unwrap();
    assert_eq!(found, ["w!/", "w/gone gone", "w/new"]);
    let found = added(&base, "", &[(".wh..wh..opq", File), ("w/", Directory)]).unwrap();
    assert_eq!(found, ["other gone", "w!/"]);
}

#[test]
fn add_follows_links_within_the_destination_only() {
    let base = [("d/", Directory), ("d/in/", Directory), ("d/link", symlink("/in")), ("d/out", symlink("../etc"))];
    assert_eq!(added(&base, "d", &[("link/f", File)]).unwrap(), ["d/", "d/in/", "d/in/f"]);
    let error = added(&base, "d", &[("out/f", File)]).unwrap_err();
    assert!(error.contains("out/f") && error.contains("within the destination"), "{error}");
    let own = [("l", symlink("/etc")), ("l/passwd", File)];
    assert!(added(&base, "d", &own).unwrap_err().contains("l/passwd"));
    let circle = [("a", symlink("b")), ("b", symlink("a")), ("a/x", File)];
    assert!(added(&base, "d", &circle).unwrap_err().contains("a/x"));
    // The link itself can be replaced, by a directory too.
    assert_eq!(added(&base, "d", &[("link/", Directory), ("link/f", File)]).unwrap(), ["d/", "d/link/", "d/link/f"]);
}

#[test]
fn add_links_to_files_that_were_there_before() {
    let found = added(&[("d/", Directory), ("d/old", File)], "d", &[("new", hard_link("old"))]).unwrap();
    assert_eq!(found, ["d/", "d/new", "d/old"]);
    assert!(added(&[], "", &[("new", hard_link("missing"))]).unwrap_err().contains("missing"));
}

#[test]
fn add_keeps_owners_unless_told_and_only_capabilities() {
    let test = TestStore::new();
    let mut tar = TarWriter::new(Vec::new());
    let mut entry = Entry { path: b"f".to_vec(), metadata: metadata(0o4755), ..Entry::default() };
    (entry.metadata.uid, entry.metadata.gid) = (11, 12);
    for name in ["security.capability", "user.note"] {
        entry.metadata.xattrs.insert(name.into(), b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec());
    }
    tar.append(&entry).unwrap();
    let bytes = tar.finish().unwrap();
    for (owner, expected) in [(None, (11, 12)), (Some((5, 6)), (5, 6))] {
        let lower = Union::new(Vec::new()).unwrap();
        let made = layer_over(&test.store, &[], |writer| {
            extract(bytes.as_slice(), writer, &lower, b"", &ExtractOptions { owner }).unwrap();
        });
        let index = made.index().unwrap();
        let found = index.get("f").unwrap();
        assert_eq!((found.uid(), found.gid()), expected);
        assert_eq!((found.mode(), found.xattrs().len()), (0o4755, 1));
    }
}

#[test]
fn archives_are_told_by_their_beginning() {
    let bytes = archive(&[("a", File)]);
    assert!(starts_as_archive(&bytes[..START]) && starts_as_archive(&[0; START]));
    assert!(starts_as_archive(b"\x1f\x8b\x08rest") && starts_as_archive(b"BZh9"));
    assert!(!starts_as_archive(b"") && !starts_as_archive(b"FROM scratch\n") && !starts_as_archive(&[b'F'; START]));
    assert!(!starts_as_archive(&bytes[..START - 1]));
}

#[test]
fn archives_are_told_by_content() {
    let bytes = archive(&[("a", File)]);
    let zipped = |bytes: &[u8]| {
        let mut writer = crate::compression::CompressedWriter::new(Vec::new(), crate::compression::Format::GZIP);
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    };
    let is = |bytes: &[u8]| is_archive(bytes).unwrap();
    assert!(is(&bytes) && is(&zipped(&bytes)));
    assert!(!is(b"") && !is(b"text") && !is(&zipped(b"text")) && !is(&zipped(&bytes)[..20]) && !is(&[0; 1024]));
}
