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

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
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

fn read_only_mount() -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = open_tree(rustix::fs::CWD, THIS_BINARY, flags)?;
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
