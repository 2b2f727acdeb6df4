//! The executable that helpers are started from: this binary, but out of a container's reach.
//!
//! A container's first process is a copy of the helper until it executes the command, and an
//! image can make the kernel execute `/proc/self/exe` once more; through that link it could open
//! our binary for writing. So helpers are executed from a private read-only mount of the binary,
//! or, where that cannot be had, from a sealed copy in memory.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::OnceLock;

use rustix::fs::{CWD, MemfdFlags, SealFlags, fcntl_add_seals, fstat, memfd_create, stat};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::sys;

const THIS_BINARY: &str = "/proc/self/exe";

/// A path that executes this binary and through which it cannot be written; valid in this
/// process and in what it spawns.
pub(crate) fn protected() -> io::Result<PathBuf> {
    static DESCRIPTOR: OnceLock<OwnedFd> = OnceLock::new();
    let descriptor = match DESCRIPTOR.get() {
        Some(descriptor) => descriptor,
        None => {
            let made = read_only_mount().or_else(|_| sealed_copy())?;
            DESCRIPTOR.get_or_init(|| made)
        }
    };
    Ok(PathBuf::from(format!("/proc/self/fd/{}", descriptor.as_raw_fd())))
}

/// `/proc/self/exe` lies in the mount namespace that this process was started in; after it has
/// entered another one, the same file has to be found there by its path.
fn read_only_mount() -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = match open_tree(CWD, THIS_BINARY, flags) {
        Ok(mount) => mount,
        Err(_) => open_tree(CWD, std::fs::read_link(THIS_BINARY)?, flags)?,
    };
    let (found, own) = (fstat(&mount)?, stat(THIS_BINARY)?);
    if (found.st_dev, found.st_ino) != (own.st_dev, own.st_ino) {
        return Err(Errno::STALE.into());
    }
    sys::mount_set_attributes(mount.as_fd(), libc::MOUNT_ATTR_RDONLY, 0, 0, false)?;
    Ok(mount)
}

fn sealed_copy() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut copy = File::from(memfd_create("kiln", flags)?);
    io::copy(&mut File::open(THIS_BINARY)?, &mut copy)?;
    fcntl_add_seals(&copy, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    // Executing a file that is open for writing is refused: open it anew.
    let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
    Ok(File::open(path)?.into())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_sealed_copy_is_the_binary_and_cannot_be_changed() {
        let copy = File::from(sealed_copy().unwrap());
        let mut start = [0u8; 4];
        (&copy).read_exact(&mut start).unwrap();
        assert_eq!(&start, b"\x7fELF");
        let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
        let writable = File::options().write(true).open(path).unwrap();
        let error = io::Write::write(&mut &writable, b"x").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    }
}
