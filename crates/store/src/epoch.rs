//! Between which moments unwritten data can be lost: boots of the machine, and mounts of the file system.
//!
//! An epoch is a line of three words: boot id, device, and what tells this mount of the device from an earlier one.
//! The file `epoch` has the last one that a process of this store has seen to its end; it may be lost or stale, for
//! then another look at the store is all that it costs.

use std::fs;
use std::path::Path;

use rustix::fs::{AtFlags, Statx, StatxFlags};

use crate::error::{At, Result};
use crate::fault::{self, Operation};
use crate::session::Session;
use crate::store::Mode;

const FILE: &str = "epoch";

/// File systems that the kernel lists, by device, while they are mounted.
const LISTED: [&str; 3] = ["ext4", "xfs", "f2fs"];

/// What the third word begins with if it is the same in every mount namespace.
const INSTANCE: &str = "fs-";

/// The epoch in which the file system of `root` is now.
pub(crate) fn current(root: &Path, mode: Mode) -> Result<String> {
    let boot_path = Path::new("/proc/sys/kernel/random/boot_id");
    let boot = fs::read_to_string(boot_path).unwrap_or_default();
    // STATX_MNT_ID_UNIQUE: a number that no later mount gets.
    let flags = StatxFlags::BASIC_STATS | StatxFlags::from_bits_retain(0x4000);
    let status = rustix::fs::statx(rustix::fs::CWD, root, AtFlags::empty(), flags).at("examine", root)?;
    let device = rustix::fs::makedev(status.stx_dev_major, status.stx_dev_minor);
    let mount = instance(&status).unwrap_or_else(|| match mode {
        Mode::Root => format!("{:x}", status.stx_mnt_id),
        // Rootless, every command has a mount namespace and so a mount of its own: the number would say nothing.
        Mode::Rootless => "0".to_owned(),
    });
    Ok(format!("{} {device:x} {mount}", boot.trim()))
}

/// The number of the kernel's entry for the mounted file system, which comes with the mount, goes with it, and is the
/// same for every mount namespace. The kernel gives a number again only after four thousand million others.
fn instance(status: &Statx) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let device = format!("/sys/dev/block/{}:{}", status.stx_dev_major, status.stx_dev_minor);
    let device = fs::read_link(device).ok()?;
    let entry = LISTED.iter().find_map(|kind| {
        let entry = Path::new("/sys/fs").join(kind).join(device.file_name()?);
        fs::metadata(entry).ok()
    });
    Some(format!("{INSTANCE}{:x}", entry?.ino()))
}

/// Whether two epochs may be one that was seen from two mount namespaces.
pub(crate) fn may_be_one(a: &str, b: &str) -> bool {
    let words = |epoch: &str| {
        let mut words = epoch.split(' ').map(str::to_owned);
        (words.next(), words.nth(1).is_some_and(|mount| mount.starts_with(INSTANCE)))
    };
    let ((boot_a, told_a), (boot_b, told_b)) = (words(a), words(b));
    boot_a == boot_b && !(told_a && told_b)
}

/// Whether the whole store was looked at in this epoch.
pub(crate) fn is_known(root: &Path, epoch: &str) -> bool {
    fs::read_to_string(root.join(FILE)).is_ok_and(|text| text.trim_end() == epoch)
}

/// Remembers that the whole store was looked at.
pub(crate) fn remember(root: &Path, epoch: &str, session: &Session) -> Result<()> {
    let (new, place) = (session.fresh_path(), root.join(FILE));
    fault::run(Operation::Write, || fs::write(&new, format!("{epoch}\n"))).at("write", &new)?;
    fault::run(Operation::Rename, || fs::rename(&new, &place)).at("create", &place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_of_a_file_system_is_seen_from_everywhere() {
        assert!(may_be_one("b 7 1a", "b 7 1b"));
        assert!(may_be_one("b 7 1a", "b 7 fs-1"));
        assert!(!may_be_one("b 7 fs-1", "b 7 fs-2"));
        assert!(!may_be_one("b 7 1a", "c 7 1a"));
    }

    #[test]
    fn an_epoch_has_three_words_and_stays_while_the_mount_does() {
        let directory = tempfile::tempdir().unwrap();
        let epoch = current(directory.path(), Mode::Root).unwrap();
        assert_eq!(epoch.split(' ').count(), 3);
        assert_eq!(current(directory.path(), Mode::Root).unwrap(), epoch);
    }
}
