//! What the tests of this crate share: a store that goes away, and layers of awkward entries.

use std::io::Write;

use kiln_store::{Device, Hashing, Kind, Layer, LayerWriter, Metadata, Mode, Store, Timestamp, Union};

/// A store in a directory that goes when it is dropped.
pub(crate) struct TestStore {
    pub(crate) store: Store,
    _directory: tempfile::TempDir,
}

impl TestStore {
    pub(crate) fn new() -> TestStore {
        // In memory where possible: creating files on a disk that just deleted many is slow.
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let mode = if is_root() { Mode::Root } else { Mode::Rootless };
        TestStore { store: Store::open(directory.path(), mode).unwrap(), _directory: directory }
    }
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub(crate) fn metadata(mode: u32) -> Metadata {
    Metadata::root_owned(mode, Timestamp::from_seconds(1_500_000_000))
}

pub(crate) fn put_file(writer: &LayerWriter, path: impl AsRef<[u8]>, metadata: &Metadata, bytes: &[u8]) {
    let mut file = writer.file(path, metadata, Hashing::Now).unwrap();
    file.write_all(bytes).unwrap();
    file.finish().unwrap();
}

/// A layer of small files (0644) and directories (0755, a trailing slash), on nothing.
pub(crate) fn simple_layer(store: &Store, paths: &[&str]) -> Layer {
    layer_over(store, &[], |writer| {
        for path in paths {
            match path.strip_suffix('/') {
                Some(directory) => writer.directory(directory, &metadata(0o755)).unwrap(),
                None => put_file(writer, path, &metadata(0o644), path.as_bytes()),
            }
        }
    })
}

/// A layer made by `fill`, over others.
pub(crate) fn layer_over(store: &Store, lower: &[Layer], fill: impl FnOnce(&LayerWriter)) -> Layer {
    let staged = store.layers().stage(&metadata(0o755)).unwrap();
    let writer = staged.writer_over(Union::new(lower.to_vec()).unwrap()).unwrap();
    fill(&writer);
    writer.commit().unwrap()
}

/// Every kind of entry with awkward names, owners, times and contents; without device nodes where
/// they cannot be made.
pub(crate) fn torture_layer(store: &Store) -> Layer {
    layer_over(store, &[], |writer| {
        let mut odd = metadata(0o755);
        odd.mtime = Timestamp { seconds: 1_234_567_890, nanoseconds: 987_654_321 };
        writer.directory("dir", &odd).unwrap();
        writer.directory("dir/sticky", &metadata(0o1777)).unwrap();
        put_file(writer, "dir/first", &metadata(0o644), b"linked");
        writer.hard_link("other/second", "dir/first").unwrap();
        writer.hard_link("dir/third", "dir/first").unwrap();
        put_file(writer, "empty", &metadata(0o600), b"");
        put_file(writer, "setuid", &metadata(0o4755), b"#!/bin/sh\n");
        put_file(writer, b"not-utf8-\xff\xfe", &metadata(0o644), b"bytes");
        put_file(writer, "new\nline = 5", &metadata(0o644), b"x");
        put_file(writer, "n".repeat(255), &metadata(0o644), b"long name");
        let deep = vec!["d".repeat(200); 3].join("/");
        put_file(writer, &deep, &metadata(0o644), b"long path");
        let mut before = metadata(0o644);
        before.mtime = Timestamp::from_seconds(-1_000_000);
        put_file(writer, "before-1970", &before, b"old");
        let mut capable = metadata(0o755);
        let value = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
        capable.xattrs.insert(b"security.capability".to_vec(), value);
        capable.xattrs.insert(b"user.note".to_vec(), b"stays here".to_vec());
        put_file(writer, "capable", &capable, b"ping");
        let mut big = metadata(0o644);
        (big.uid, big.gid) = (4_294_967_294, 2_097_152);
        put_file(writer, "big-ids", &big, b"ids");
        writer.symlink("absolute", b"/etc/passwd", &metadata(0o777)).unwrap();
        writer.symlink("long-link", &[b't'; 300], &metadata(0o777)).unwrap();
        writer.fifo("fifo", &metadata(0o640)).unwrap();
        let null = Device { major: 1, minor: 3 };
        writer.device("null", Kind::CharacterDevice, null, &metadata(0o666)).unwrap();
        let disk = Device { major: 259, minor: 70_000 };
        writer.device("disk", Kind::BlockDevice, disk, &metadata(0o660)).unwrap();
        let blocks: Vec<u8> = (0..800_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        put_file(writer, "large", &metadata(0o644), &blocks);
    })
}

/// Everything an index says, one line an entry; capability only of the xattrs, times in seconds.
pub(crate) fn listing(layer: &Layer) -> Vec<String> {
    let index = layer.index().unwrap();
    let mut groups = std::collections::HashMap::new();
    let mut lines = Vec::new();
    for entry in index.entries().filter(|entry| !entry.path().is_empty()) {
        let first = entry.link_group().map(|group| *groups.entry(group).or_insert(entry.path()));
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        let mut line = format!("{:?} {}", entry.kind(), text(entry.path()));
        if entry.kind() != Kind::Whiteout {
            line += &format!(" {:o} {}:{} {}", entry.mode(), entry.uid(), entry.gid(), entry.mtime().seconds);
            line += &format!(" {} {:?}", text(entry.target()), entry.device());
            line += &format!(" {:?} {:?}", entry.xattr(b"security.capability"), entry.digest());
            line += &format!(" opaque={} {:?}", entry.opaque(), first.map(text));
        }
        lines.push(line);
    }
    lines
}
