//! A little of the disk, kept for the day when it is full: deleting needs space first, for the database's log.
//!
//! The file `reserve` is given back when a store is opened on a full disk, and made again when there is room. It has no
//! content and no meaning; where a file system cannot set space aside there is none.

use std::path::Path;

use rustix::fs::{FallocateFlags, Mode, OFlags, fallocate};

use crate::fault::{self, Operation};

const FILE: &str = "reserve";

/// What opening a store needs at least, in bytes: the database's log and its index, a session's directory.
const PROBE: u64 = 256 << 10;

/// Gives the reserve back to a disk that is full.
pub(crate) fn release_if_full(root: &Path) {
    let Some((_, left, size)) = space(root) else { return };
    if left >= 2 * size || fits(&root.join("probe"), PROBE) {
        return;
    }
    // If it was not there, there is nothing more to be done for what comes.
    let _ = fault::run(Operation::Remove, || std::fs::remove_file(root.join(FILE)));
}

/// Makes the reserve, if it is not there and the disk has room for much more. What prevents it is no harm now.
pub(crate) fn keep(root: &Path) {
    let place = root.join(FILE);
    if place.exists() {
        return;
    }
    if let Some((_, left, size)) = space(root)
        && left >= 4 * size
        && !allocate(&place, size)
    {
        let _ = std::fs::remove_file(&place);
    }
}

/// The file system's size, what of it anybody may use, and how much of it the reserve is; in bytes. `None` if it does not
/// say.
fn space(root: &Path) -> Option<(u64, u64, u64)> {
    let found = rustix::fs::statvfs(root).ok()?;
    let total = found.f_blocks * found.f_frsize;
    Some((total, found.f_bavail * found.f_frsize, (total / 1024).clamp(512 << 10, 8 << 20)))
}

/// Whether so many bytes can be had. What file systems say of that is not exact, nor the same for every user.
fn fits(probe: &Path, size: u64) -> bool {
    let fits = allocate(probe, size);
    let _ = std::fs::remove_file(probe);
    fits
}

fn allocate(place: &Path, size: u64) -> bool {
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let made = fault::run(Operation::Create, || rustix::fs::open(place, flags, Mode::RUSR | Mode::WUSR));
    let allocate = |file| fault::run(Operation::Write, || fallocate(&file, FallocateFlags::empty(), 0, size));
    made.and_then(allocate).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserve_is_made_where_there_is_room() {
        let directory = tempfile::tempdir().unwrap();
        keep(directory.path());
        let made = std::fs::metadata(directory.path().join(FILE)).unwrap();
        assert!(made.len() >= 512 << 10);
        release_if_full(directory.path());
        assert!(directory.path().join(FILE).exists(), "the disk has room");
    }

    #[test]
    fn what_is_probed_is_not_kept() {
        let directory = tempfile::tempdir().unwrap();
        let probe = directory.path().join("probe");
        assert!(fits(&probe, PROBE));
        assert!(!fits(&probe, 1 << 60));
        assert!(!probe.exists());
    }
}
