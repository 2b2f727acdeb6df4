//! Mounts on their way between two stores.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use kiln_store::Mode;
use tempfile::TempDir;

use super::*;

struct TestStore {
    store: Store,
    _directory: TempDir,
}

fn store() -> TestStore {
    let directory = tempfile::tempdir().unwrap();
    let mode = if rustix::process::geteuid().is_root() { Mode::Root } else { Mode::Rootless };
    TestStore { store: Store::open(&directory.path().join("root"), mode).unwrap(), _directory: directory }
}

/// A mount with a bit of everything.
fn filled(store: &Store) -> PathBuf {
    let root = Metadata::root_owned(0o751, Timestamp::from_seconds(7));
    let path = store.cache_mounts().directory("cache", |_| Ok::<_, kiln_store::Error>(root)).unwrap();
    std::fs::create_dir_all(path.join("deep/er")).unwrap();
    std::fs::write(path.join("deep/er/file"), "content").unwrap();
    std::fs::write(path.join("empty"), "").unwrap();
    std::fs::set_permissions(path.join("empty"), std::fs::Permissions::from_mode(0o640)).unwrap();
    std::fs::hard_link(path.join("deep/er/file"), path.join("same")).unwrap();
    symlink("/etc/passwd", path.join("link")).unwrap();
    std::fs::write(path.join(".wh.gone"), "").unwrap();
    drop(std::os::unix::net::UnixListener::bind(path.join("socket")).unwrap());
    path
}

fn pack_it(store: &Store, largest: u64) -> Result<Option<Descriptor>, MountError> {
    pack(store, "cache", largest, &|| false)
}

fn carry(from: &Store, to: &Store, blob: &Descriptor) {
    let mut writer = to.blobs().create().unwrap();
    io::copy(&mut from.blobs().open(&blob.digest).unwrap(), &mut writer).unwrap();
    writer.commit(Some(&blob.digest), Some(blob.size)).unwrap();
}

fn restored(to: &Store, blob: &Descriptor, replace: bool) -> bool {
    let files = unpack(to, blob).unwrap();
    restore(to, "cache", &files, replace, &|| false).unwrap()
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn a_mount_comes_as_it_went() {
    let (from, to) = (store(), store());
    let before = filled(&from.store);
    let blob = pack_it(&from.store, 1000).unwrap().unwrap();
    assert_eq!(pack_it(&from.store, 1000).unwrap().unwrap(), blob, "the same files, the same bytes");
    carry(&from.store, &to.store, &blob);
    assert!(restored(&to.store, &blob, false));
    let after = to.store.cache_mounts().existing("cache").unwrap();
    assert_eq!(names(&after), ["deep", "empty", "link", "same"], "neither sockets nor what would delete");
    assert_eq!(std::fs::read(after.join("same")).unwrap(), b"content");
    assert_eq!(std::fs::read_link(after.join("link")).unwrap(), Path::new("/etc/passwd"));
    let (file, same) = (after.join("deep/er/file").metadata().unwrap(), after.join("same").metadata().unwrap());
    assert_eq!(file.ino(), same.ino());
    assert_eq!(after.join("empty").metadata().unwrap().mode() & 0o7777, 0o640);
    assert_eq!(after.metadata().unwrap().mode() & 0o7777, before.metadata().unwrap().mode() & 0o7777);
}

#[test]
fn a_mount_that_exists_is_replaced_only_if_that_is_wanted() {
    let (from, to) = (store(), store());
    filled(&from.store);
    let blob = pack_it(&from.store, 1000).unwrap().unwrap();
    carry(&from.store, &to.store, &blob);
    let root = Metadata::root_owned(0o755, Timestamp::now());
    let own = to.store.cache_mounts().directory("cache", |_| Ok::<_, kiln_store::Error>(root)).unwrap();
    std::fs::create_dir(own.join("own")).unwrap();
    assert!(!restored(&to.store, &blob, false));
    assert_eq!(names(&own), ["own"]);
    assert!(restored(&to.store, &blob, true));
    assert_eq!(names(&own), ["deep", "empty", "link", "same"]);
}

#[test]
fn what_is_too_large_or_empty_stays() {
    let from = store();
    assert_eq!(pack_it(&from.store, 1000).unwrap(), None, "there is no such mount");
    let path = filled(&from.store);
    assert!(matches!(pack_it(&from.store, 6), Err(MountError::TooLarge { largest: 6, .. })));
    std::fs::remove_dir_all(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert_eq!(pack_it(&from.store, 1000).unwrap(), None, "nothing is in it");
}

#[test]
fn nobody_reads_a_mount_that_is_used_alone() {
    let from = store();
    filled(&from.store);
    let _lock =
        from.store.locks().acquire(from.store.cache_mounts().lock_key("cache"), Sharing::Exclusive, &|| false).unwrap();
    let given_up = pack(&from.store, "cache", 1000, &|| true).unwrap_err();
    assert!(matches!(given_up, MountError::Store(kiln_store::Error::Cancelled)), "{given_up}");
}
