//! What the writer makes of good, replaced and hostile entries.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use expect_test::{Expect, expect};

use super::*;
use crate::testing::{layer, metadata, show, store, union};
use crate::{Timestamp, Xattrs};

fn check(lines: &str, expected: Expect) {
    let (_directory, store) = store();
    let made = layer(&store, None, lines);
    expected.assert_eq(&show(&made.index().unwrap()));
}

fn writer(store: &crate::Store) -> LayerWriter {
    store.layers().stage(&metadata(0o755)).unwrap().writer().unwrap()
}

fn put(writer: &LayerWriter, path: &str, bytes: &[u8]) -> Result<Written> {
    let mut file = writer.file(path, &metadata(0o644), Hashing::Now)?;
    file.write_all(bytes).unwrap();
    file.finish()
}

#[test]
fn missing_parents_are_made() {
    check(
        "f a/b/c x",
        expect![[r#"
        dir / 755 parent-only
        dir /a 755
        dir /a/b 755
        file /a/b/c 644 1b
    "#]],
    );
}

#[test]
fn missing_parents_over_a_lower_layer_are_its_own() {
    let (_directory, store) = store();
    let staged = store.layers().stage(&metadata(0o755)).unwrap();
    let below = staged.writer().unwrap();
    below.directory("a", &Metadata { uid: 7, ..metadata(0o1777) }).unwrap();
    let lower = union(&[&below.commit().unwrap()]);
    let top = layer(&store, Some(&lower), "f a/new/file x");
    expect![[r#"
        dir / 755 parent-only
        dir /a 1777 7:0 parent-only
        dir /a/new 755
        file /a/new/file 644 1b
    "#]]
    .assert_eq(&show(&top.index().unwrap()));
    assert_eq!(std::fs::metadata(top.fs_path().join("a")).unwrap().mode() & 0o7777, 0o1777);
}

#[test]
fn later_entries_replace_earlier_ones() {
    check(
        "f a one
         f a three
         d b
         f b/x y
         f b now-a-file
         f c file
         d c
         f c/x y
         d d
         f d/kept x
         d d",
        expect![[r#"
            dir / 755 parent-only
            file /a 644 5b
            file /b 644 10b
            dir /c 755 opaque
            file /c/x 644 1b
            dir /d 755
            file /d/kept 644 1b
        "#]],
    );
}

#[test]
fn whiteouts_and_opaque_directories() {
    check(
        "w gone
         f again x
         w again
         w comes-back
         d comes-back
         d o
         f o/x y
         o o
         o made",
        expect![[r#"
            dir / 755 parent-only
            whiteout /again
            dir /comes-back 755 opaque
            whiteout /gone
            dir /made 755 opaque
            dir /o 755 opaque
            file /o/x 644 1b
        "#]],
    );
}

#[test]
fn whiteouts_of_nothing_are_dropped() {
    let (_directory, store) = store();
    let lower = union(&[&layer(&store, None, "f d/a x\n f d/b x")]);
    let top = layer(&store, Some(&lower), "w d/a\n w d/none\n w none/none\n d o\n w o/x\n o o");
    expect![[r#"
        dir / 755 parent-only
        dir /d 755 parent-only
        whiteout /d/a
        dir /o 755 opaque
    "#]]
    .assert_eq(&show(&top.index().unwrap()));
    assert!(!top.fs_path().join("o/x").exists());
}

#[test]
fn parents_through_links_of_this_layer_stay_beneath_the_root() {
    check(
        "l out ../../../../tmp
         f out/file x
         l abs /etc
         f abs/passwd x
         d real
         l in real/../real
         f in/file x",
        expect![[r#"
            dir / 755 parent-only
            link /abs -> /etc
            dir /etc 755
            file /etc/passwd 644 1b
            link /in -> real/../real
            link /out -> ../../../../tmp
            dir /real 755
            file /real/file 644 1b
            dir /tmp 755
            file /tmp/file 644 1b
        "#]],
    );
}

#[test]
fn hard_links_are_one_group() {
    check(
        "f z x\n h a z\n h b a\n l s t\n h s2 s\n f z new",
        expect![[r#"
        dir / 755 parent-only
        file /a 644 1b group1
        file /b 644 1b group1
        link /s -> t group2
        link /s2 -> t group2
        file /z 644 3b
    "#]],
    );
}

#[test]
fn nothing_leaves_the_layer() {
    let (directory, store) = store();
    let canary = directory.path().join("canary");
    std::fs::create_dir(&canary).unwrap();
    let writer = writer(&store);
    for path in ["../canary/x", "a/../../canary/x", "a\0b", "/../x"] {
        assert!(matches!(put(&writer, path, b"x"), Err(Error::BadPath { .. })), "{path:?}");
    }
    let target = canary.as_os_str().as_encoded_bytes();
    writer.symlink("escape", target, &metadata(0o777)).unwrap();
    put(&writer, "escape/x", b"x").unwrap();
    // Even a link that this writer does not know of is not followed.
    std::os::unix::fs::symlink(&canary, writer.staged.fs_path().join("unknown")).unwrap();
    assert!(put(&writer, "unknown/x", b"x").is_err());
    put(&writer, "unknown", b"x").unwrap();
    assert_eq!(std::fs::read_dir(&canary).unwrap().count(), 0);
}

#[test]
fn wrong_parents_links_and_devices_are_errors() {
    let (_directory, store) = store();
    let writer = writer(&store);
    put(&writer, "file", b"x").unwrap();
    assert!(matches!(put(&writer, "file/below", b"x"), Err(Error::WrongKind { .. })));
    writer.symlink("loop", b"loop", &metadata(0o777)).unwrap();
    assert!(matches!(put(&writer, "loop/x", b"x"), Err(Error::SymlinkLoop { .. })));
    assert!(matches!(writer.hard_link("h", "missing"), Err(Error::MissingEntry { .. })));
    writer.directory("d", &metadata(0o755)).unwrap();
    assert!(matches!(writer.hard_link("h", "d"), Err(Error::WrongKind { .. })));
    let zero = writer.device("dev", Kind::CharacterDevice, Device::default(), &metadata(0o600));
    assert!(matches!(zero, Err(Error::BadPath { .. })));
    assert!(matches!(put(&writer, "", b"x"), Err(Error::WrongKind { .. })));
}

#[test]
fn hostile_xattrs_are_escaped_and_found_again() {
    if !crate::testing::root("setting trusted xattrs") {
        return;
    }
    let (_directory, store) = store();
    let writer = writer(&store);
    let xattrs: Xattrs = [
        (b"trusted.overlay.redirect".to_vec(), b"/etc".to_vec()),
        (b"trusted.overlay.opaque".to_vec(), b"y".to_vec()),
        (b"user.fine".to_vec(), b"1".to_vec()),
    ]
    .into();
    writer.directory("d", &Metadata { xattrs: xattrs.clone(), ..metadata(0o755) }).unwrap();
    let made = writer.commit().unwrap();
    let directory = std::fs::File::open(made.fs_path()).unwrap();
    let (found, marks) = xattrs::read(directory.as_fd(), b"d", crate::Mode::Root).unwrap();
    assert_eq!(found, xattrs);
    assert_eq!(marks, xattrs::Marks::default());
    assert_eq!(made.index().unwrap().get("d").unwrap().xattrs(), xattrs);
}

#[test]
fn metadata_arrives_on_disk_and_in_the_index() {
    if !crate::testing::root("giving files away") {
        return;
    }
    let (_directory, store) = store();
    let writer = writer(&store);
    let old = Timestamp { seconds: -5, nanoseconds: 7 };
    let suid = Metadata { mode: 0o4755, uid: 12, gid: 34, mtime: old, xattrs: Xattrs::new() };
    writer.directory("d", &Metadata { mode: 0o2555, ..suid.clone() }).unwrap();
    let mut file = writer.file("d/f", &metadata(0o600), Hashing::Later).unwrap();
    file.write_all(b"draft").unwrap();
    file.restart().unwrap();
    file.write_all(b"text").unwrap();
    assert_eq!(file.finish_with(&suid).unwrap(), Written { size: 4, digest: None });
    writer.device("d/null", Kind::CharacterDevice, Device { major: 1, minor: 3 }, &suid).unwrap();
    writer.fifo("d/pipe", &suid).unwrap();
    let made = writer.commit().unwrap();
    for (path, mode) in [("d", 0o42555), ("d/f", 0o104755), ("d/null", 0o24755), ("d/pipe", 0o14755)] {
        let status = std::fs::symlink_metadata(made.fs_path().join(path)).unwrap();
        assert_eq!(status.permissions().mode(), mode, "{path}");
        assert_eq!((status.uid(), status.gid(), status.mtime(), status.mtime_nsec()), (12, 34, -5, 7), "{path}");
    }
    let index = made.index().unwrap();
    assert_eq!(index.get("d/f").unwrap().metadata(), suid);
    assert_eq!(index.get("d/null").unwrap().device(), Device { major: 1, minor: 3 });
    assert_eq!(std::fs::read(made.fs_path().join("d/f")).unwrap(), b"text");
}

#[test]
fn unfinished_files_are_gone() {
    let (_directory, store) = store();
    let writer = writer(&store);
    drop(writer.file("f", &metadata(0o644), Hashing::Now).unwrap());
    assert_eq!(writer.kind("f"), None);
    let made = writer.commit().unwrap();
    assert!(made.is_empty().unwrap());
    assert!(!made.fs_path().join("f").exists());
}

#[test]
fn equal_files_are_linked_from_an_older_layer_at_the_same_path_only() {
    let (_directory, store) = store();
    let older = layer(&store, None, "f d/same text\n f d/empty\n f d/one x\n h d/two d/one");
    let digest = older.index().unwrap().get("d/same").unwrap().digest();
    let writer = writer(&store);
    let link = |path: &str, mode, digest| writer.link_from(&older, path, &metadata(mode), digest).unwrap();
    assert!(!link("d/same", 0o600, digest));
    assert!(!link("d/same", 0o644, Some(FileDigest([0; 32]))));
    assert!(!link("d/empty", 0o644, None));
    assert!(!link("d/one", 0o644, None));
    assert!(!link("d/missing", 0o644, None));
    assert!(link("d/same", 0o644, digest));
    assert!(!link("d/same", 0o644, digest));
    let made = writer.commit().unwrap();
    let inode = |layer: &Layer| std::fs::metadata(layer.fs_path().join("d/same")).unwrap().ino();
    assert_eq!(inode(&made), inode(&older));
    assert_eq!(made.index().unwrap().get("d/same").unwrap().digest(), digest);
}

#[test]
fn replacing_a_linked_file_leaves_the_older_layer_alone() {
    let (_directory, store) = store();
    let older = layer(&store, None, "f same text");
    let writer = writer(&store);
    assert!(writer.link_from(&older, "same", &metadata(0o644), None).unwrap());
    put(&writer, "same", b"other").unwrap();
    writer.commit().unwrap();
    assert_eq!(std::fs::read(older.fs_path().join("same")).unwrap(), b"text");
}

#[test]
fn threads_write_at_once() {
    let (_directory, store) = store();
    let writer = writer(&store);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let writer = &writer;
            scope.spawn(move || {
                for number in 0..100 {
                    put(writer, &format!("shared/{}/{thread}-{number}", number % 5), b"x").unwrap();
                }
            });
        }
    });
    let made = writer.commit().unwrap();
    assert_eq!(made.index().unwrap().len(), 1 + 1 + 5 + 400);
    for entry in made.index().unwrap().entries() {
        let path = std::str::from_utf8(entry.path()).unwrap();
        assert!(made.fs_path().join(path).exists(), "{path}");
    }
}

/// Not a test by itself as root: the next one runs it as a plain user.
#[test]
fn rootless_the_index_keeps_what_the_disk_cannot() {
    let (_directory, store) = crate::testing::store_for(crate::Mode::Rootless);
    let writer = writer(&store);
    let given = Metadata { mode: 0o4711, uid: 12, gid: 34, ..metadata(0) };
    writer.directory("d", &given).unwrap();
    let mut file = writer.file("d/f", &given, Hashing::Now).unwrap();
    file.write_all(b"x").unwrap();
    file.finish().unwrap();
    writer.symlink("d/l", b"f", &given).unwrap();
    writer.device("d/null", Kind::CharacterDevice, Device { major: 1, minor: 3 }, &given).unwrap();
    writer.whiteout("d/gone").unwrap();
    let made = writer.commit().unwrap();
    expect![[r#"
        dir / 755 parent-only
        dir /d 4711 12:34
        file /d/f 4711 12:34 1b
        whiteout /d/gone
        link /d/l 12:34 -> f
        char /d/null 4711 12:34 1:3
    "#]]
    .assert_eq(&show(&made.index().unwrap()));
}

#[test]
fn a_plain_user_can_write_layers() {
    if !crate::testing::root("becoming a plain user") {
        return;
    }
    let directory = crate::testing::directory();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = directory.path().join("tests");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let output = std::process::Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(program)
        .args(["writer::", "store::", "prune::"])
        .current_dir("/")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn what_the_lower_layers_show_already_is_left_out() {
    let (_directory, store) = store();
    let below = layer(&store, None, "d d\n f d/same text\n f d/other text\n l d/link target\n d kept\n f kept/a x");
    let lower = union(&[&below]);
    let above = layer(
        &store,
        Some(&lower),
        "d d\n f d/same text\n f d/other xtet\n l d/link target\n d kept\n f kept/a x\n f new/same text",
    );
    let index = above.index().unwrap();
    let paths: Vec<_> = index.entries().map(|entry| String::from_utf8_lossy(entry.path()).into_owned()).collect();
    assert_eq!(paths, ["", "d", "d/other", "new", "new/same"]);
    assert!(index.get("d").unwrap().parent_only());
    assert!(!above.fs_path().join("kept").exists());
    assert!(!above.fs_path().join("d/same").exists());
}

#[test]
fn below_what_was_removed_equal_entries_stay() {
    let (_directory, store) = store();
    let below = layer(&store, None, "d d\n f d/same text");
    let above = layer(&store, Some(&union(&[&below])), "w d\n d d\n f d/same text");
    assert!(above.index().unwrap().get("d/same").is_some());
}

#[test]
fn holes_are_zeros_that_take_no_room() {
    let (_directory, store) = store();
    let writer = writer(&store);
    let mut file = writer.file("sparse", &metadata(0o644), Hashing::Now).unwrap();
    file.write_all(b"begin").unwrap();
    file.hole(8 << 20).unwrap();
    file.write_all(b"end").unwrap();
    file.hole(1 << 20).unwrap();
    let written = file.finish().unwrap();
    let expected = [b"begin".to_vec(), vec![0; 8 << 20], b"end".to_vec(), vec![0; 1 << 20]].concat();
    let digest = crate::FileDigest(*blake3::hash(&expected).as_bytes());
    assert_eq!((written.size, written.digest), (expected.len() as u64, Some(digest)));
    let path = writer.commit().unwrap().fs_path().join("sparse");
    assert!(std::fs::read(&path).unwrap() == expected);
    assert!(std::fs::metadata(&path).unwrap().blocks() < 64);
}

#[test]
fn a_very_long_hole_is_no_work() {
    let (_directory, store) = store();
    let writer = writer(&store);
    let mut file = writer.file("sparse", &metadata(0o644), Hashing::Now).unwrap();
    file.hole(1 << 42).unwrap();
    file.hole(u64::MAX).unwrap_err();
    let written = file.finish().unwrap();
    assert_eq!((written.size, written.digest), (1 << 42, None));
    let layer = writer.commit().unwrap();
    assert_eq!(layer.index().unwrap().get("sparse").unwrap().size(), 1 << 42);
}

#[test]
fn parents_that_an_archive_does_not_have_look_as_below() {
    let (_directory, store) = store();
    let staged = store.layers().stage(&metadata(0o755)).unwrap();
    let below = staged.writer().unwrap();
    below.directory("tmp", &Metadata { uid: 7, ..metadata(0o1777) }).unwrap();
    let below = below.commit().unwrap();
    let above = store.layers().stage(&metadata(0o755)).unwrap().unpacker().unwrap();
    put(&above, "tmp/new/file", b"x").unwrap();
    let above = above.commit().unwrap();
    let union = union(&[&below, &above]);
    let seen = |path: &str| {
        let found = union.lookup(path).unwrap();
        (found.layer, found.entry.mode(), found.entry.uid(), found.entry.mtime().seconds)
    };
    assert_eq!(seen("tmp"), (0, 0o1777, 7, 1_000_000_000));
    assert_eq!(seen("tmp/new"), (1, 0o755, 0, 0));
    let listed: Vec<_> = union.walk("").iter().map(|found| (found.entry.path(), found.layer)).collect();
    assert_eq!(listed, [(&b""[..], 1), (b"tmp", 0), (b"tmp/new", 1), (b"tmp/new/file", 1)]);
    let implied: Vec<_> = union.implied_directories().iter().map(|found| found.entry.path()).collect();
    assert_eq!(implied, [b"tmp"]);
}
