//! Layers to archives and back.

use std::io::Read;

use expect_test::{Expect, expect};

use super::*;
use kiln_store::Metadata;

use crate::tar::{EntryKind, TarReader};
use crate::testing::*;
use crate::unpack;

fn packed(layer: &Layer, lower: &[Layer], newest: Option<Timestamp>) -> Result<Vec<u8>, PackError> {
    write_layer(Vec::new(), layer, &Union::new(lower.to_vec()).unwrap(), newest)
}

/// Compares the paths of a layer's archive; hard links with their targets.
fn check(layer: &Layer, lower: &[Layer], expected: Expect) {
    let archive = packed(layer, lower, None).unwrap();
    let mut reader = TarReader::new(archive.as_slice());
    let mut lines = String::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        lines += &String::from_utf8_lossy(&entry.path);
        if let EntryKind::HardLink { target } = &entry.kind {
            lines += &format!(" = {}", String::from_utf8_lossy(target));
        }
        lines += "\n";
    }
    expected.assert_eq(&lines);
}

#[test]
fn every_kind_of_entry_survives_the_way_through_a_tar() {
    let (from, to) = (TestStore::new(), TestStore::new());
    let layer = torture_layer(&from.store);
    let archive = packed(&layer, &[], None).unwrap();
    let unpacked = unpack::layer(&to.store, archive.as_slice(), None).unwrap();
    assert_eq!(listing(&layer), listing(&unpacked.layer));
    let again = packed(&unpacked.layer, &[], None).unwrap();
    assert!(archive == again, "packing what was unpacked gives the same bytes");
    assert_eq!(unpacked.diff_id, Digest::of(&archive));
}

#[test]
fn gnu_tar_extracts_the_same_tree() {
    if !is_root() {
        eprintln!("skipped: extracting owners and devices needs root");
        return;
    }
    let (from, to) = (TestStore::new(), TestStore::new());
    let layer = torture_layer(&from.store);
    let tree = tempfile::tempdir_in("/dev/shm").unwrap();
    let archive = tree.path().join("layer.tar");
    std::fs::write(&archive, packed(&layer, &[], None).unwrap()).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new("tar");
        command.current_dir(tree.path()).args(["--numeric-owner", "--xattrs", "--xattrs-include=*"]);
        let output = command.args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    std::fs::create_dir(tree.path().join("root")).unwrap();
    run(&["-C", "root", "-xpf", "layer.tar"]);
    let format = ["-C", "root", "--format=posix", "--sort=name", "-cf", "-"];
    let names = std::fs::read_dir(tree.path().join("root")).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    let mut command = std::process::Command::new("tar");
    command.current_dir(tree.path()).args(["--numeric-owner", "--xattrs", "--xattrs-include=security.*"]);
    let theirs = command.args(format).arg("--").args(&names).output().unwrap();
    assert!(theirs.status.success(), "{}", String::from_utf8_lossy(&theirs.stderr));
    let theirs = unpack::layer(&to.store, theirs.stdout.as_slice(), None).unwrap();
    assert_eq!(listing(&layer), listing(&theirs.layer));
}

#[test]
fn an_opaque_directory_becomes_one_whiteout_for_each_missing_child() {
    let test = TestStore::new();
    let base = simple_layer(&test.store, &["d/", "d/a", "d/b", "d/sub/", "d/sub/x", "d/sub/y", "e"]);
    let layer = layer_over(&test.store, std::slice::from_ref(&base), |writer| {
        writer.directory("d", &metadata(0o755)).unwrap();
        writer.opaque("d").unwrap();
        put_file(writer, "d/a", &metadata(0o644), b"new");
        writer.directory("d/sub", &metadata(0o755)).unwrap();
        put_file(writer, "d/sub/x", &metadata(0o644), b"new");
        writer.whiteout("e").unwrap();
    });
    check(
        &layer,
        &[base],
        expect![[r#"
            d/
            d/.wh.b
            d/a
            d/sub/
            d/sub/.wh.y
            d/sub/x
            .wh.e
        "#]],
    );
}

#[test]
fn parents_come_with_what_is_in_them_and_not_without() {
    let test = TestStore::new();
    let base = simple_layer(&test.store, &["a/", "a/b/", "a/b/old", "c/", "c/d/"]);
    let layer = layer_over(&test.store, std::slice::from_ref(&base), |writer| {
        put_file(writer, "a/b/new", &metadata(0o644), b"1");
        // Makes the parents, then takes the reason away.
        put_file(writer, "c/d/gone", &metadata(0o644), b"1");
        writer.remove("c/d/gone").unwrap();
    });
    check(
        &layer,
        &[base],
        expect![[r#"
            a/
            a/b/
            a/b/new
        "#]],
    );
}

#[test]
fn hard_links_refer_to_the_first_path() {
    let test = TestStore::new();
    let layer = layer_over(&test.store, &[], |writer| {
        put_file(writer, "z/1", &metadata(0o644), b"1");
        writer.hard_link("b", "z/1").unwrap();
        writer.hard_link("a/2", "b").unwrap();
    });
    check(
        &layer,
        &[],
        expect![[r#"
            a/
            a/2
            b = a/2
            z/
            z/1 = a/2
        "#]],
    );
}

#[test]
fn the_root_is_written_only_if_it_changed() {
    let test = TestStore::new();
    let base = simple_layer(&test.store, &["a"]);
    let below = std::slice::from_ref(&base);
    check(
        &layer_over(&test.store, below, |writer| writer.directory("", &metadata(0o755)).unwrap()),
        below,
        expect![""],
    );
    let changed = layer_over(&test.store, below, |writer| writer.directory("", &metadata(0o711)).unwrap());
    check(
        &changed,
        below,
        expect![[r#"
        ./
    "#]],
    );
}

#[test]
fn newer_times_are_clamped_and_older_stay() {
    let test = TestStore::new();
    let layer = layer_over(&test.store, &[], |writer| {
        for (path, seconds) in [("new", 2_000_000_000), ("old", 1_000_000_000)] {
            let metadata = Metadata::root_owned(0o644, Timestamp::from_seconds(seconds));
            put_file(writer, path, &metadata, b"");
        }
    });
    let archive = packed(&layer, &[], Some(Timestamp::from_seconds(1_500_000_000))).unwrap();
    let mut reader = TarReader::new(archive.as_slice());
    let mut seconds = || reader.next_entry().unwrap().unwrap().metadata.mtime.seconds;
    assert_eq!([seconds(), seconds()], [1_500_000_000, 1_000_000_000]);
}

#[test]
fn damaged_files_are_named_and_nothing_is_kept() {
    for (damage, what) in [("linkeX", "its bytes are not"), ("link", "damaged"), ("linked+", "damaged")] {
        let test = TestStore::new();
        let layer = simple_layer(&test.store, &["linked"]);
        std::fs::write(layer.fs_path().join("linked"), damage).unwrap();
        let lower = Union::new(Vec::new()).unwrap();
        let error = blob(&test.store, &layer, &lower, Format::GZIP, None).unwrap_err().to_string();
        assert!(error.contains("linked") && error.contains(what), "{error}");
        assert_eq!(layer.diff_id().unwrap(), None);
    }
}

#[test]
fn a_blob_is_made_once_for_each_format() {
    let test = TestStore::new();
    let layer = torture_layer(&test.store);
    let lower = Union::new(Vec::new()).unwrap();
    let plain = packed(&layer, &[], None).unwrap();
    for format in [Format::GZIP, Format::ZSTD, Format::Uncompressed] {
        let first = blob(&test.store, &layer, &lower, format, None).unwrap();
        assert_eq!(first.diff_id, Digest::of(&plain));
        assert_eq!(first.descriptor.media_type, format.media_type());
        let reader = test.store.blobs().open(&first.descriptor.digest).unwrap();
        let mut back = Vec::new();
        crate::compression::decompress(reader).unwrap().read_to_end(&mut back).unwrap();
        assert!(back == plain);
        // Without the file, only the memory of the first time can answer.
        std::fs::rename(layer.fs_path().join("large"), layer.fs_path().join("hidden")).unwrap();
        assert_eq!(blob(&test.store, &layer, &lower, format, None).unwrap(), first);
        std::fs::rename(layer.fs_path().join("hidden"), layer.fs_path().join("large")).unwrap();
        test.store.blobs().remove(&first.descriptor.digest).unwrap();
        assert_eq!(blob(&test.store, &layer, &lower, format, None).unwrap(), first);
    }
    assert_eq!(diff_ids(&test.store, &[layer]).unwrap(), [Digest::of(&plain)]);
}
