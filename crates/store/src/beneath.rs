//! Opening files beneath a directory by descriptor, never through a symbolic link, never out of it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Dir, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

use crate::path;

/// Opens `path` (normal form) beneath `root`. Symbolic links on the way or at its end are errors (ELOOP).
pub(crate) fn open(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    if path.is_empty() {
        return openat(root, c".", flags, Mode::empty());
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(root, path, flags, Mode::empty(), resolve) {
        Err(Errno::NOSYS | Errno::PERM) => open_by_component(root, path, flags),
        answer => answer,
    }
}

/// Opens a directory beneath `root`.
pub(crate) fn open_directory(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    open(root, path, OFlags::RDONLY | OFlags::DIRECTORY)
}

/// The names in a directory, in no order.
pub(crate) fn names(directory: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

/// For kernels and sandboxes without openat2.
fn open_by_component(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let (parent, name) = path::split(path);
    let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut directory: Option<OwnedFd> = None;
    for component in path::components(parent) {
        let from = directory.as_ref().map_or(root, AsFd::as_fd);
        directory = Some(openat(from, component, step, Mode::empty())?);
    }
    openat(directory.as_ref().map_or(root, AsFd::as_fd), name, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Opener = fn(BorrowedFd<'_>, &[u8], OFlags) -> Result<OwnedFd, Errno>;

    #[test]
    fn links_are_never_followed() {
        let tree = tempfile::tempdir().unwrap();
        std::fs::create_dir(tree.path().join("real")).unwrap();
        std::fs::write(tree.path().join("real/file"), "x").unwrap();
        std::os::unix::fs::symlink("/etc", tree.path().join("out")).unwrap();
        std::os::unix::fs::symlink("real", tree.path().join("in")).unwrap();
        let root = std::fs::File::open(tree.path()).unwrap();
        for opener in [open as Opener, open_by_component as Opener] {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let open = |path: &[u8]| opener(root.as_fd(), path, flags).map(drop);
            open(b"real/file").unwrap();
            assert!(matches!(open(b"out/passwd"), Err(Errno::LOOP | Errno::NOTDIR)));
            assert!(matches!(open(b"in/file"), Err(Errno::LOOP | Errno::NOTDIR)));
            assert_eq!(open(b"in"), Err(Errno::LOOP));
        }
    }
}
