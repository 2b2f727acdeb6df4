//! What the tests of this crate share: a store that goes with the test, layers from a few words, real overlay mounts.

use std::path::PathBuf;
use std::process::Command;

use crate::{Hashing, Index, Kind, Layer, LayerWriter, Metadata, Mode, Store, Timestamp, Union};
use std::io::Write;

/// A store in memory, if there is room for one, and the directory that it goes with.
pub(crate) fn store() -> (tempfile::TempDir, Store) {
    store_for(mode())
}

/// The mode that fits whoever runs the tests.
pub(crate) fn mode() -> Mode {
    if rustix::process::geteuid().is_root() { Mode::Root } else { Mode::Rootless }
}

pub(crate) fn store_for(mode: Mode) -> (tempfile::TempDir, Store) {
    let directory = directory();
    let store = Store::open(&directory.path().join("store"), mode).unwrap();
    (directory, store)
}

pub(crate) fn directory() -> tempfile::TempDir {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// Whether a test that needs root may run; says so if not.
pub(crate) fn root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: {test} needs root to mount an overlay");
    }
    root
}

pub(crate) fn metadata(mode: u32) -> Metadata {
    Metadata::root_owned(mode, Timestamp { seconds: 1_000_000_000, nanoseconds: 123_456_789 })
}

/// A layer from lines: `d path`, `f path content`, `l path target`, `h path existing`, `w path`, `o path`.
pub(crate) fn layer(store: &Store, lower: Option<&Union>, lines: &str) -> Layer {
    let staged = store.layers().stage(&metadata(0o755)).unwrap();
    let writer = match lower {
        Some(lower) => staged.writer_over(lower.clone()).unwrap(),
        None => staged.writer().unwrap(),
    };
    lines.lines().map(str::trim).filter(|line| !line.is_empty()).for_each(|line| write_line(&writer, line));
    writer.commit().unwrap()
}

fn write_line(writer: &LayerWriter, line: &str) {
    let words: Vec<&str> = line.splitn(3, ' ').collect();
    let third = || words.get(2).copied().unwrap_or("");
    match words[0] {
        "d" => writer.directory(words[1], &metadata(0o755)).unwrap(),
        "f" => {
            let mut file = writer.file(words[1], &metadata(0o644), Hashing::Now).unwrap();
            file.write_all(third().as_bytes()).unwrap();
            file.finish().unwrap();
        }
        "l" => writer.symlink(words[1], third().as_bytes(), &metadata(0o777)).unwrap(),
        "h" => writer.hard_link(words[1], third()).unwrap(),
        "w" => writer.whiteout(words[1]).unwrap(),
        "o" => writer.opaque(words[1]).unwrap(),
        other => panic!("{other}?"),
    }
}

pub(crate) fn union(layers: &[&Layer]) -> Union {
    Union::new(layers.iter().map(|&layer| layer.clone()).collect()).unwrap()
}

/// Runs a shell script in an overlay mount over `lower` with the given upper and work directories, in a mount
/// namespace of its own; answers what it printed.
pub(crate) fn in_overlay(lower: &Union, upper: Option<(&std::path::Path, &std::path::Path)>, script: &str) -> String {
    let scratch = directory();
    let merged = scratch.path().join("merged");
    let empty = scratch.path().join("empty");
    std::fs::create_dir_all(&merged).unwrap();
    std::fs::create_dir_all(&empty).unwrap();
    let layers = lower.layers().iter().rev().map(|layer| layer.fs_path().display().to_string());
    let lowers: Vec<String> = layers.chain([empty.display().to_string()]).collect();
    let mode = lower.layers().first().map_or(Mode::Root, Layer::mode);
    let mut options = "redirect_dir=nofollow,metacopy=off,index=off,xino=off,".to_string();
    options += &format!("lowerdir={}", lowers.join(":"));
    options += if mode == Mode::Rootless { ",userxattr" } else { "" };
    if let Some((upper, work)) = upper {
        options += &format!(",volatile,upperdir={},workdir={}", upper.display(), work.display());
    }
    let whole = format!(
        "set -e; mount -t overlay overlay -o '{options}' {merged}; cd {merged}; umask 022; {script}",
        merged = merged.display()
    );
    let output = Command::new("unshare").args(["-m", "sh", "-c", &whole]).output().unwrap();
    assert!(output.status.success(), "{}\n{}", whole, String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// One line per entry, as short as it can say everything.
pub(crate) fn show(index: &Index) -> String {
    let mut text = String::new();
    for entry in index.entries() {
        let kind = match entry.kind() {
            Kind::File => "file",
            Kind::Directory => "dir",
            Kind::Symlink => "link",
            Kind::CharacterDevice => "char",
            Kind::BlockDevice => "block",
            Kind::Fifo => "fifo",
            Kind::Whiteout => "whiteout",
        };
        text += &format!("{kind} /{}", String::from_utf8_lossy(entry.path()));
        if !matches!(entry.kind(), Kind::Whiteout | Kind::Symlink) {
            text += &format!(" {:o}", entry.mode());
        }
        if (entry.uid(), entry.gid()) != (0, 0) {
            text += &format!(" {}:{}", entry.uid(), entry.gid());
        }
        if entry.kind() == Kind::File {
            text += &format!(" {}b", entry.size());
        }
        if !entry.target().is_empty() {
            text += &format!(" -> {}", String::from_utf8_lossy(entry.target()));
        }
        if entry.device() != crate::Device::default() {
            text += &format!(" {}:{}", entry.device().major, entry.device().minor);
        }
        for (name, value) in entry.xattrs() {
            text += &format!(" {}={}", String::from_utf8_lossy(&name), String::from_utf8_lossy(&value));
        }
        for (set, word) in [(entry.parent_only(), " parent-only"), (entry.opaque(), " opaque")] {
            text += if set { word } else { "" };
        }
        if let Some(group) = entry.link_group() {
            text += &format!(" group{group}");
        }
        text += "\n";
    }
    text
}
