//! What is written down of sizes is what `du` says.

use std::process::Command;

use super::*;
use crate::testing::{layer, metadata, store};
use crate::{Hashing, Layer, Store};

/// What `du` says of some of the store's directories.
fn du(store: &Store, names: &[&str]) -> u64 {
    let paths = names.iter().map(|name| store.root().join(name)).filter(|path| path.exists());
    let output = Command::new("du").args(["-s", "-c", "--block-size=1"]).args(paths).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().last().unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

/// The layers by their rows, and by `du`; the directory of all layers is not one of them.
fn check(store: &Store) {
    let sizes = sizes(&store.inner).unwrap();
    let all = std::fs::symlink_metadata(store.root().join("layers")).unwrap();
    assert_eq!(sizes.layers.values().sum::<u64>() + all.blocks() * 512, du(store, &["layers"]));
}

/// Copies a layer by links, and adds a file.
fn grown(store: &Store, older: &Layer, added: &str) -> Layer {
    let writer = store.layers().stage(&metadata(0o755)).unwrap().writer().unwrap();
    let index = older.index().unwrap();
    let files = index.entries().filter(|entry| entry.kind() == crate::Kind::File && entry.link_group().is_none());
    for entry in files {
        assert!(writer.link_from(older, entry.path(), &entry.metadata(), None).unwrap());
    }
    let mut file = writer.file(added, &metadata(0o644), Hashing::Now).unwrap();
    std::io::Write::write_all(&mut file, &vec![7; 50_000]).unwrap();
    file.finish().unwrap();
    writer.commit().unwrap()
}

#[test]
fn files_that_layers_share_count_once_whatever_is_deleted_when() {
    let (_directory, store) = store();
    let text = "x".repeat(30_000);
    let first = layer(&store, None, &format!("d a\nf a/b {text}\nf c {text}\nh d c"));
    check(&store);
    let second = grown(&store, &first, "e");
    let third = grown(&store, &second, "f");
    let beside = grown(&store, &first, "g");
    check(&store);
    let later = grown(&store, &third, "h");
    store.layers().remove(first.id()).unwrap();
    check(&store);
    store.layers().remove(second.id()).unwrap();
    check(&store);
    store.layers().remove(later.id()).unwrap();
    check(&store);
    store.layers().remove(third.id()).unwrap();
    check(&store);
    store.layers().remove(beside.id()).unwrap();
    check(&store);
}

#[test]
fn the_total_is_what_du_says_of_the_store() {
    let (_directory, store) = store();
    layer(&store, None, &format!("f a {}", "x".repeat(100_000)));
    store.blobs().insert(&vec![1; 70_000]).unwrap();
    let mount = store.cache_mounts().directory("m", |_| Ok::<_, crate::Error>(metadata(0o755))).unwrap();
    std::fs::write(mount.join("cached"), vec![1; 40_000]).unwrap();
    let sizes = sizes(&store.inner).unwrap();
    // The root's own directory and those in it that hold what is counted one by one.
    let own = ["", "layers", "cache-mounts"]
        .map(|name| std::fs::symlink_metadata(store.root().join(name)).unwrap().blocks() * 512);
    let apart = du(&store, &["containers", "tmp"]);
    assert_eq!(sizes.total() + own.iter().sum::<u64>() + apart, du(&store, &[""]));
    assert!(sizes.total() > 210_000);
    std::fs::write(mount.join("more"), vec![1; 40_000]).unwrap();
    let bytes = |store: &Store| super::sizes(&store.inner).unwrap().mounts.into_values().sum::<u64>();
    let before = bytes(&store);
    store.cache_mounts().directory("m", |_| Ok::<_, crate::Error>(metadata(0o755))).unwrap();
    assert!(bytes(&store) >= before + 40_000, "a mount that was used is measured again");
}

#[test]
fn the_quick_look_never_says_too_little() {
    let (_directory, store) = store();
    let first = layer(&store, None, &format!("d a\nf a/b {}\nf c x\nl d c", "x".repeat(30_000)));
    grown(&store, &first, "e");
    store.blobs().insert(b"blob").unwrap();
    let quick = at_most(&store.inner).unwrap().unwrap();
    let layers: u64 = sizes(&store.inner).unwrap().layers.values().sum();
    assert!(quick >= layers + du(&store, &["blobs"]) / 4, "{quick} {layers}");
    let exact = at_most(&store.inner).unwrap().unwrap();
    assert!(exact <= quick && exact >= layers);
    store.cache_mounts().directory("m", |_| Ok::<_, crate::Error>(metadata(0o755))).unwrap();
    assert_eq!(at_most(&store.inner).unwrap(), None, "nobody knows what is in the cache mount");
}
