//! Root file systems joined by overlayfs without a place: a mount that only a descriptor holds.
//!
//! For what is mounted *into* a process's root file system; the root itself is the runtime's.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use kiln_store::Mode;
use rustix::fd::BorrowedFd;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
};

/// Mounts `lowers` (topmost first) under `upper`; the mount goes with the descriptor and all that
/// was cloned from it.
pub(crate) fn detached(lowers: &[PathBuf], upper: &Path, work: &Path, mode: Mode) -> io::Result<OwnedFd> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    configure(&context, lowers, upper, work, mode).map_err(|error| explained(&context, error))?;
    let attributes = MountAttrFlags::empty();
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

fn configure(context: &OwnedFd, lowers: &[PathBuf], upper: &Path, work: &Path, mode: Mode) -> rustix::io::Result<()> {
    for lower in lowers {
        fsconfig_set_string(context, "lowerdir+", lower)?;
    }
    fsconfig_set_string(context, "upperdir", upper)?;
    fsconfig_set_string(context, "workdir", work)?;
    for (option, value) in [("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off"), ("xino", "off")] {
        fsconfig_set_string(context, option, value)?;
    }
    fsconfig_set_flag(context, "volatile")?;
    if mode == Mode::Rootless {
        fsconfig_set_flag(context, "userxattr")?;
    }
    fsconfig_create(context)
}

/// The kernel explains itself on the context's descriptor, a line `e overlay: …` at a time.
fn explained(context: &OwnedFd, error: rustix::io::Errno) -> io::Error {
    let mut line = [0; 512];
    match rustix::io::read(context, &mut line) {
        Ok(length) => {
            let text = String::from_utf8_lossy(line.get(..length).unwrap_or_default());
            io::Error::new(io::Error::from(error).kind(), format!("{error} ({})", text.trim()))
        }
        Err(_) => error.into(),
    }
}

/// Whether mounts can be cloned from a detached one on this kernel (6.15 and later).
pub(crate) fn is_cloneable(mount: BorrowedFd<'_>) -> bool {
    use rustix::mount::{OpenTreeFlags, open_tree};
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::AT_EMPTY_PATH | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(mount, "", flags).is_ok()
}
