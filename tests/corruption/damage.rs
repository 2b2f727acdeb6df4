//! Ways to damage a file, each with the time of modification put back or not.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags};

/// One bit, in place, with the time put back.
pub(crate) fn flip(path: &Path) {
    silently(path, flip_loudly);
}

/// One bit, in place.
pub(crate) fn flip_loudly(path: &Path) {
    let mut bytes = fs::read(path).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let file = File::options().write(true).open(path).expect("open");
    file.write_all_at(&bytes, 0).expect("write");
}

/// The first half of it, with the time put back.
pub(crate) fn truncate(path: &Path) {
    silently(path, |path| {
        let file = File::options().write(true).open(path).expect("open");
        file.set_len(file.metadata().expect("status").len() / 2).expect("truncate");
    });
}

/// Another file of the same size and times in its place.
pub(crate) fn replace(path: &Path) {
    silently(path, |path| {
        let status = path.metadata().expect("status");
        let other = path.with_extension("other");
        fs::write(&other, vec![b'?'; status.len() as usize]).expect("write");
        fs::set_permissions(&other, status.permissions()).expect("mode");
        fs::rename(&other, path).expect("rename");
    });
}

/// Nothing in its place.
pub(crate) fn delete(path: &Path) {
    silently(path, |path| match path.is_dir() {
        true => fs::remove_dir_all(path).expect("remove"),
        false => fs::remove_file(path).expect("remove"),
    });
}

/// A symbolic link in its place.
pub(crate) fn link(path: &Path) {
    silently(path, |path| {
        fs::remove_file(path).expect("remove");
        std::os::unix::fs::symlink("/etc/hostname", path).expect("link");
    });
}

/// A directory in its place.
pub(crate) fn directory(path: &Path) {
    silently(path, |path| fs::remove_file(path).and_then(|()| fs::create_dir(path)).expect("directory"));
}

/// Another mode.
pub(crate) fn mode(path: &Path) {
    silently(path, |path| fs::set_permissions(path, Permissions::from_mode(0o4711)).expect("mode"));
}

/// Another owner.
pub(crate) fn owner(path: &Path) {
    silently(path, |path| std::os::unix::fs::lchown(path, Some(77), Some(78)).expect("owner"));
}

/// A further extended attribute.
pub(crate) fn xattr(path: &Path) {
    let set = |path: &Path| rustix::fs::lsetxattr(path, "user.more", b"x", XattrFlags::empty()).expect("xattr");
    silently(path, set);
}

/// A file more beside it.
pub(crate) fn extra(path: &Path) {
    silently(path, |path| fs::write(path.with_file_name("extra"), "more").expect("write"));
}

/// Garbage instead of what is at a place in it.
pub(crate) fn garbage(path: &Path, at: u64, length: usize) {
    let file = File::options().write(true).open(path).expect("open");
    file.write_all_at(&vec![0xa5; length], at).expect("write");
}

/// All blobs.
pub(crate) fn blobs(root: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(root.join("blobs/sha256")).expect("blobs");
    all.map(|entry| entry.expect("entry").path()).collect()
}

/// The blobs that are documents (configs and manifests), or those that are not (layers).
pub(crate) fn blobs_of(root: &Path, documents: bool) -> Vec<PathBuf> {
    let is_document = |path: &PathBuf| fs::read(path).expect("blob").starts_with(b"{");
    blobs(root).into_iter().filter(|path| is_document(path) == documents).collect()
}

/// The database with all that belongs to it.
pub(crate) fn remove_database(root: &Path) {
    for name in ["db.sqlite", "db.sqlite-wal", "db.sqlite-shm"] {
        // The last two are there only while it is open.
        let _ = fs::remove_file(root.join(name));
    }
}

/// Does it, and puts the times of the file and of its directory back.
fn silently(path: &Path, act: impl FnOnce(&Path)) {
    let parent = path.parent().expect("parent");
    let (before, above) = (path.symlink_metadata().expect("status"), parent.metadata().expect("status"));
    act(path);
    if path.symlink_metadata().is_ok() {
        set_times(path, &before);
    }
    set_times(parent, &above);
}

fn set_times(path: &Path, status: &fs::Metadata) {
    let time = |tv_sec: i64, tv_nsec: i64| Timespec { tv_sec, tv_nsec };
    let last_modification = time(status.mtime(), status.mtime_nsec());
    let last_access = time(status.atime(), status.atime_nsec());
    let times = Timestamps { last_access, last_modification };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("times");
}
