//! What real overlay mounts leave, row by row of what a container can do.

use crate::Mode;
use crate::testing::{in_overlay, layer, metadata, root, show, store, store_for, union};
use expect_test::{Expect, expect};

const LOWER: &str = "
    d d
    f d/a one
    f d/b two
    d d/sub
    f d/sub/deep three
    d e
    f e/x ex
    h e/y e/x
    l link d
    f top topfile";

/// Runs `script` over a small lower layer and shows the layer it makes.
fn check(script: &str, expected: Expect) {
    check_in(Mode::Root, script, expected);
}

fn check_in(mode: Mode, script: &str, expected: Expect) {
    if !root("a real overlay's upper directory") {
        return;
    }
    let (_directory, store) = store_for(mode);
    let lower = union(&[&layer(&store, None, LOWER)]);
    let root = lower.lookup("").unwrap().entry.metadata();
    let staged = store.layers().stage(&root).unwrap();
    in_overlay(&lower, Some((staged.fs_path(), staged.work_path())), script);
    let merged = staged.commit_upper(&lower).unwrap();
    expected.assert_eq(&show(&merged.index().unwrap()));
    assert!(!merged.directory().join("work").exists());
    compare_with_a_mount(&crate::Union::new(vec![lower.layers()[0].clone(), merged]).unwrap());
}

/// What the union says must be what a mount of the same layers shows.
pub(crate) fn compare_with_a_mount(union: &crate::Union) {
    let listing = "find . -mindepth 1 -printf '%P %y %m %U:%G %l\\n'";
    let mut mounted: Vec<String> = in_overlay(union, None, listing).lines().map(str::to_owned).collect();
    mounted.sort();
    let mut looked_up: Vec<String> = union
        .walk("")
        .into_iter()
        .skip(1)
        .map(|found| {
            let entry = found.entry;
            let kind = match entry.kind() {
                crate::Kind::File => 'f',
                crate::Kind::Directory => 'd',
                crate::Kind::Symlink => 'l',
                crate::Kind::CharacterDevice => 'c',
                crate::Kind::BlockDevice => 'b',
                crate::Kind::Fifo => 'p',
                crate::Kind::Whiteout => panic!("a union shows no whiteouts"),
            };
            let (path, target) = (String::from_utf8_lossy(entry.path()), String::from_utf8_lossy(entry.target()));
            format!("{path} {kind} {:o} {}:{} {target}", entry.mode(), entry.uid(), entry.gid())
        })
        .collect();
    looked_up.sort();
    assert_eq!(looked_up, mounted);
}

#[test]
fn nothing_done_is_an_empty_layer() {
    check(
        "true",
        expect![[r#"
        dir / 755 parent-only
    "#]],
    );
}

#[test]
fn removed_file() {
    check(
        "rm d/a",
        expect![[r#"
        dir / 755 parent-only
        dir /d 755 parent-only
        whiteout /d/a
    "#]],
    );
}

#[test]
fn removed_directory() {
    check(
        "rm -rf d",
        expect![[r#"
        dir / 755 parent-only
        whiteout /d
    "#]],
    );
}

#[test]
fn directory_removed_and_made_again() {
    check(
        "rm -rf d; mkdir d; echo new > d/b",
        expect![[r#"
        dir / 755 parent-only
        dir /d 755 opaque
        file /d/b 644 4b
    "#]],
    );
}

#[test]
fn file_replaced_by_a_directory() {
    check(
        "rm top; mkdir top",
        expect![[r#"
        dir / 755 parent-only
        dir /top 755 opaque
    "#]],
    );
}

#[test]
fn moved_file() {
    check(
        "mv d/a e/a",
        expect![[r#"
        dir / 755 parent-only
        dir /d 755 parent-only
        whiteout /d/a
        dir /e 755 parent-only
        file /e/a 644 3b
    "#]],
    );
}

#[test]
fn renamed_lower_directory_is_copied_by_mv() {
    check(
        "mv d/sub d/sub2",
        expect![[r#"
        dir / 755 parent-only
        dir /d 755 parent-only
        whiteout /d/sub
        dir /d/sub2 755
        file /d/sub2/deep 644 5b
    "#]],
    );
}

#[test]
fn appending_breaks_a_hard_link() {
    check(
        "echo more >> e/x",
        expect![[r#"
        dir / 755 parent-only
        dir /e 755 parent-only
        file /e/x 644 7b
    "#]],
    );
}

#[test]
fn new_hard_link_to_a_lower_file() {
    check(
        "ln d/a d/c; ln d/a d/c2",
        expect![[r#"
        dir / 755 parent-only
        dir /d 755 parent-only
        file /d/c 644 3b group1
        file /d/c2 644 3b group1
    "#]],
    );
}

#[test]
fn metadata_changes_without_effect_leave_nothing() {
    check(
        "chmod 644 d/a; chown 0:0 d/b; : 3<> d/sub/deep",
        expect![[r#"
        dir / 755 parent-only
    "#]],
    );
}

#[test]
fn bytes_changed_under_the_same_time_stay() {
    check(
        "touch -r d/a keep; printf ONE > d/a; touch -r keep d/a; rm keep",
        expect![[r#"
        dir / 755 parent-only
        dir /d 755 parent-only
        file /d/a 644 3b
    "#]],
    );
}

#[test]
fn changed_mode_owner_and_time() {
    check(
        "chmod 600 d/a; chown 7:8 d/b; touch -d @5 top",
        expect![[r#"
        dir / 755 parent-only
        dir /d 755 parent-only
        file /d/a 600 3b
        file /d/b 644 7:8 3b
        file /top 644 7b
    "#]],
    );
}

#[test]
fn made_and_deleted_again_leaves_nothing() {
    check(
        "touch d/sub/tmp; rm d/sub/tmp; mkdir e/tmp; rmdir e/tmp",
        expect![[r#"
        dir / 755 parent-only
    "#]],
    );
}

#[test]
fn mode_of_the_root() {
    check(
        "chmod 711 .",
        expect![[r#"
        dir / 711
    "#]],
    );
}

#[test]
fn special_files_links_and_sockets() {
    check(
        "mkfifo d/pipe; mknod d/null c 1 3; mknod d/disk b 8 1; ln -s /nowhere d/l; ln d/pipe d/pipe2;
         python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"d/socket\")'",
        expect![[r#"
            dir / 755 parent-only
            dir /d 755 parent-only
            block /d/disk 644 8:1
            link /d/l -> /nowhere
            char /d/null 644 1:3
            fifo /d/pipe 644 group1
            fifo /d/pipe2 644 group1
        "#]],
    );
}

#[test]
fn xattrs_of_the_container_and_of_a_nested_overlay() {
    check(
        "setfattr -n user.mine -v 1 d/a; echo new > d/n; touch -d @0 d/n; setfattr -n user.mine -v 1 d/n;
         setfattr -n trusted.overlay.opaque -v y d/sub",
        expect![[r#"
        dir / 755 parent-only
        dir /d 755 parent-only
        file /d/n 644 4b user.mine=1
        dir /d/sub 755 trusted.overlay.opaque=y
    "#]],
    );
}

#[test]
fn the_marks_of_a_rootless_store() {
    check_in(
        Mode::Rootless,
        "rm -rf d; mkdir d; echo new > d/b; rm e/x; setfattr -n user.overlay.opaque -v y e; chmod 644 top",
        expect![[r#"
            dir / 755 parent-only
            dir /d 755 opaque
            file /d/b 644 4b
            dir /e 755 user.overlay.opaque=y
            whiteout /e/x
        "#]],
    );
}

#[test]
fn a_layer_with_redirects_is_refused() {
    let (_directory, store) = store();
    let staged = store.layers().stage(&metadata(0o755)).unwrap();
    let moved = staged.fs_path().join("moved");
    std::fs::create_dir(&moved).unwrap();
    let set = rustix::fs::setxattr(&moved, "trusted.overlay.redirect", b"/d", rustix::fs::XattrFlags::empty());
    if set.is_err() {
        eprintln!("skipped: trusted xattrs need root");
        return;
    }
    let refused = staged.commit_upper(&crate::Union::default()).unwrap_err();
    assert!(matches!(refused, crate::Error::RefusedUpper { .. }), "{refused}");
    assert!(refused.to_string().contains("trusted.overlay.redirect"));
}

#[test]
fn mtimes_of_unchanged_parents_survive_the_clean_up() {
    if !root("a real overlay's upper directory") {
        return;
    }
    let (_directory, store) = store();
    let lower = union(&[&layer(&store, None, LOWER)]);
    let staged = store.layers().stage(&metadata(0o755)).unwrap();
    in_overlay(&lower, Some((staged.fs_path(), staged.work_path())), "chmod 644 d/a; echo x >> d/sub/deep");
    let top = staged.commit_upper(&lower).unwrap();
    assert!(!top.fs_path().join("d/a").exists());
    let on_disk = std::fs::metadata(top.fs_path().join("d")).unwrap();
    let mtime = std::os::unix::fs::MetadataExt::mtime(&on_disk);
    assert_eq!(mtime, metadata(0).mtime.seconds);
    assert_eq!(top.index().unwrap().get("d").unwrap().mtime(), metadata(0).mtime);
}

#[test]
fn deep_directories_neither_crash_nor_hide() {
    let (_directory, store) = store();
    let stage = |depth: usize| {
        let staged = store.layers().stage(&metadata(0o755)).unwrap();
        let flags = rustix::fs::OFlags::RDONLY;
        let mut at = rustix::fs::open(staged.fs_path(), flags, rustix::fs::Mode::empty()).unwrap();
        for _ in 0..depth {
            rustix::fs::mkdirat(&at, c"deep", rustix::fs::Mode::RWXU).unwrap();
            at = rustix::fs::openat(&at, c"deep", flags, rustix::fs::Mode::empty()).unwrap();
        }
        staged
    };
    let made = stage(300).commit_upper(&crate::Union::default()).unwrap();
    assert_eq!(made.index().unwrap().len(), 301);
    assert_eq!(union(&[&made]).walk("").len(), 301);
    // As many as fit into a path: either it works or it says why not.
    let refused = stage(900).commit_upper(&crate::Union::default()).err();
    assert!(matches!(refused, Some(crate::Error::BadPath { .. } | crate::Error::Io { .. })), "{refused:?}");
}

#[test]
fn large_directories_are_read_whole() {
    let (_directory, store) = store();
    let staged = store.layers().stage(&metadata(0o755)).unwrap();
    std::fs::create_dir(staged.fs_path().join("large")).unwrap();
    for number in 0..3000 {
        std::fs::write(staged.fs_path().join(format!("large/{number}")), "x").unwrap();
    }
    let made = staged.commit_upper(&crate::Union::default()).unwrap();
    assert_eq!(made.index().unwrap().len(), 3002);
}
