//! Filling a new volume with what the image has at its place.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use kiln_store::{Found, Kind, Union};
use rustix::fs::{
    AtFlags, Dev, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags, chownat, fchmod,
    fsetxattr, makedev, mkdirat, mknodat, open, openat, openat2, symlinkat, utimensat,
};
use rustix::io::Errno;

use crate::Error;

/// Copies what `rootfs` has below `path` into the empty directory `target`, with its owners, modes
/// and times; also those of the directory itself. Nothing at `path`, nothing copied.
pub(super) fn copy(rootfs: &Union, path: &str, target: &Path) -> Result<(), Error> {
    let failed = |error: io::Error| Error::io("fill the volume", target, error);
    let resolved = rootfs.resolve(path, true)?;
    if resolved.found.is_none_or(|found| found.entry.kind() != Kind::Directory) {
        return Ok(());
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = open(target, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
    let entries = rootfs.walk(&resolved.path);
    for found in &entries {
        let name = beneath(found, &resolved.path);
        if !name.is_empty() {
            create(rootfs, found, &root, name).map_err(failed)?;
        }
    }
    // Directories last and deepest first: their times change while they are filled.
    for found in entries.iter().rev().filter(|found| found.entry.kind() == Kind::Directory) {
        set_metadata(found, &root, beneath(found, &resolved.path)).map_err(failed)?;
    }
    Ok(())
}

fn beneath<'a>(found: &Found<'a>, top: &[u8]) -> &'a OsStr {
    let path = found.entry.path();
    let rest = path.strip_prefix(top).unwrap_or(path);
    OsStr::from_bytes(rest.strip_prefix(b"/").unwrap_or(rest))
}

fn create(rootfs: &Union, found: &Found<'_>, root: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let (parent, leaf) = parent(root, name)?;
    let mode = Mode::from_raw_mode(found.entry.mode());
    match found.entry.kind() {
        Kind::Directory => {
            mkdirat(&parent, leaf, Mode::RWXU)?;
            return Ok(());
        }
        Kind::File => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let mut file = File::from(openat(&parent, leaf, flags, Mode::RUSR | Mode::WUSR)?);
            let mut source = rootfs.open(found).map_err(io::Error::other)?;
            io::copy(&mut source, &mut file)?;
        }
        Kind::Symlink => symlinkat(OsStr::from_bytes(found.entry.target()), &parent, leaf)?,
        Kind::Fifo => mknodat(&parent, leaf, FileType::Fifo, mode, 0)?,
        Kind::CharacterDevice => device(found, &parent, leaf, FileType::CharacterDevice)?,
        Kind::BlockDevice => device(found, &parent, leaf, FileType::BlockDevice)?,
        Kind::Whiteout => return Ok(()),
    }
    set_metadata(found, root, name)
}

/// In a user namespace devices cannot be made; a volume then has none.
fn device(found: &Found<'_>, parent: &OwnedFd, leaf: &OsStr, kind: FileType) -> io::Result<()> {
    let number = found.entry.device();
    let device: Dev = makedev(number.major, number.minor);
    match mknodat(parent, leaf, kind, Mode::from_raw_mode(found.entry.mode()), device) {
        Err(Errno::PERM) => Ok(()),
        done => Ok(done?),
    }
}

/// Owner, mode, xattrs, times, in the order in which none clears another.
fn set_metadata(found: &Found<'_>, root: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let entry = &found.entry;
    let (parent, leaf) = parent(root, name)?;
    let (uid, gid) = (Uid::from_raw(entry.uid()), Gid::from_raw(entry.gid()));
    match chownat(&parent, leaf, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW) {
        // An id that a user namespace does not have, or a device that could not be made.
        Err(Errno::INVAL | Errno::PERM | Errno::NOENT) => {}
        done => done?,
    }
    if matches!(entry.kind(), Kind::File | Kind::Directory) {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let opened = openat(&parent, leaf, flags, Mode::empty())?;
        fchmod(&opened, Mode::from_raw_mode(entry.mode()))?;
        for (name, value) in entry.xattrs() {
            // What this file system or user cannot have, the copy has not.
            let _ = fsetxattr(&opened, name.as_slice(), &value, XattrFlags::empty());
        }
    }
    let at = Timespec { tv_sec: entry.mtime().seconds, tv_nsec: entry.mtime().nanoseconds.into() };
    let times = Timestamps { last_access: at, last_modification: at };
    match utimensat(&parent, leaf, &times, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(()),
        done => Ok(done?),
    }
}

/// The parent directory beneath `root`, no link followed, and the last component.
fn parent<'a>(root: &OwnedFd, name: &'a OsStr) -> io::Result<(OwnedFd, &'a OsStr)> {
    let path = Path::new(name);
    let leaf = path.file_name().unwrap_or_else(|| OsStr::new("."));
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let Some(parent) = parent else { return Ok((root.as_fd().try_clone_to_owned()?, leaf)) };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    Ok((openat2(root, parent, flags, Mode::empty(), resolve)?, leaf))
}
