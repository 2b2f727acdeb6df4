//! Noticing that a file of a layer was touched since it came there, where nobody hashed it yet.
//!
//! A file that a step wrote is not read when its layer is committed. Its inode number and the time of its last
//! change (ctime) are known then at no cost, and no program can set a ctime: whoever writes to the file through the
//! file system afterwards changes it, even if the time of modification is put back. Both are kept as one hash of 32
//! bits. What goes past the file system (a failing disk) is not noticed by it.
//!
//! Inode numbers say nothing once a store was copied. So the root's entry has a stamp too, of its directory's inode
//! number: where that is another one, the stamps of the layer do not count.

use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{AtFlags, Statx, StatxFlags};
use rustix::io::Errno;

use crate::index::{Entry, Index};

/// The stamp of a regular file. Making or removing a further name changes it.
pub(crate) fn of_file(status: &Statx) -> u32 {
    hash(status.stx_ino, status.stx_ctime.tv_sec, status.stx_ctime.tv_nsec)
}

/// The stamp of a layer's root directory.
pub(crate) fn of_root(status: &Statx) -> u32 {
    hash(status.stx_ino, 0, 0)
}

/// The stamp of an open file.
pub(crate) fn of_open(file: impl AsFd) -> Result<u32, Errno> {
    rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).map(|status| of_file(&status))
}

/// Whether an unhashed file is another than came into the layer, or was changed since.
pub(crate) fn is_touched(entry: &Entry<'_>, status: &std::fs::Metadata) -> bool {
    let nanoseconds = u32::try_from(status.ctime_nsec()).unwrap_or_default();
    entry.stamp() != 0 && entry.stamp() != hash(status.ino(), status.ctime(), nanoseconds)
}

/// Whether the stamps of a layer mean something: it lies where it was made, and is no copy.
pub(crate) fn counts(index: &Index, root: impl AsFd) -> bool {
    let made = index.get("").map_or(0, |root| root.stamp());
    let status = rustix::fs::statx(root, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS);
    made != 0 && status.is_ok_and(|status| of_root(&status) == made)
}

fn hash(inode: u64, seconds: i64, nanoseconds: u32) -> u32 {
    let mut bytes = [0; 20];
    bytes[..8].copy_from_slice(&inode.to_le_bytes());
    bytes[8..16].copy_from_slice(&seconds.to_le_bytes());
    bytes[16..].copy_from_slice(&nanoseconds.to_le_bytes());
    let hash = blake3::hash(&bytes);
    let [a, b, c, d, ..] = *hash.as_bytes();
    u32::from_le_bytes([a, b, c, d]).max(1)
}
