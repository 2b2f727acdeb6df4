//! Deleting trees that containers may have filled: any depth, any mode, immutable files.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, IFlags, Mode, OFlags, chmodat, openat, unlinkat};
use rustix::io::Errno;

use crate::error::{At, Result};
use crate::fault::{self, Operation};

/// Deeper directories are moved to the top first, so that descriptors and stack stay bounded.
const DEEPEST: usize = 64;

/// Deletes the directory with everything in it. Not there is fine.
pub(crate) fn tree(path: &Path) -> Result<()> {
    let removed = open(CWD, path).and_then(|top| {
        // A process that is just dying may still put something in: try again.
        for _ in 0..10 {
            Remover { top: top.as_fd(), moved: std::cell::Cell::new(0) }.empty(top.as_fd(), 0)?;
            match fault::run(Operation::Remove, || unlinkat(CWD, path, AtFlags::REMOVEDIR)) {
                Err(Errno::NOTEMPTY) => continue,
                answer => return answer,
            }
        }
        Err(Errno::NOTEMPTY)
    });
    match removed {
        Err(Errno::NOENT) => Ok(()),
        Err(Errno::NOTDIR) => fault::run(Operation::Remove, || std::fs::remove_file(path)).at("remove", path),
        answer => answer.at("remove", path),
    }
}

struct Remover<'a> {
    top: BorrowedFd<'a>,
    moved: std::cell::Cell<u32>,
}

impl Remover<'_> {
    fn empty(&self, directory: BorrowedFd<'_>, depth: usize) -> Result<(), Errno> {
        loop {
            let mut again = false;
            for entry in Dir::read_from(directory)? {
                let entry = entry?;
                if matches!(entry.file_name().to_bytes(), b"." | b"..") {
                    continue;
                }
                again |= self.remove(directory, entry.file_name().to_owned(), entry.file_type(), depth)?;
            }
            if !again {
                return Ok(());
            }
        }
    }

    /// Returns whether something new appeared at the top.
    fn remove(&self, parent: BorrowedFd<'_>, name: CString, kind: FileType, depth: usize) -> Result<bool, Errno> {
        if kind != FileType::Directory {
            match unlink(parent, &name, AtFlags::empty()) {
                Err(Errno::ISDIR) => {}
                answer => return answer.map(|()| false),
            }
        }
        if depth >= DEEPEST {
            return self.move_to_top(parent, &name).map(|()| false);
        }
        let child = match open(parent, name.as_c_str()) {
            Err(Errno::NOENT) => return Ok(false),
            answer => answer?,
        };
        self.empty(child.as_fd(), depth + 1)?;
        unlink(parent, &name, AtFlags::REMOVEDIR)?;
        Ok(depth == 0 && self.moved.replace(0) > 0)
    }

    fn move_to_top(&self, parent: BorrowedFd<'_>, name: &CString) -> Result<(), Errno> {
        loop {
            let count = self.moved.get() + 1;
            self.moved.set(count);
            let new_name = format!(".deep-{}-{count}", rustix::process::getpid().as_raw_nonzero());
            match fault::run(Operation::Rename, || rustix::fs::renameat(parent, name, self.top, &new_name)) {
                Err(Errno::NOTEMPTY | Errno::EXIST) => continue,
                answer => return answer,
            }
        }
    }
}

fn unlink(parent: BorrowedFd<'_>, name: &CString, flags: AtFlags) -> Result<(), Errno> {
    match fault::run(Operation::Remove, || unlinkat(parent, name, flags)) {
        Err(Errno::NOENT) => Ok(()),
        Err(Errno::PERM | Errno::ACCESS) => {
            make_removable(parent, name);
            unlinkat(parent, name, flags)
        }
        answer => answer,
    }
}

/// Takes immutable and append-only flags away, from the entry and its directory.
fn make_removable(parent: BorrowedFd<'_>, name: &CString) {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    clear_flags(parent);
    if let Ok(file) = openat(parent, name, flags, Mode::empty()) {
        clear_flags(file.as_fd());
    }
}

/// The unlink that follows reports what this could not do.
fn clear_flags(file: BorrowedFd<'_>) {
    if let Ok(flags) = rustix::fs::ioctl_getflags(file) {
        let cleared = flags - (IFlags::IMMUTABLE | IFlags::APPEND);
        if cleared != flags {
            let _ = rustix::fs::ioctl_setflags(file, cleared);
        }
    }
}

fn open<P: rustix::path::Arg + Copy>(parent: BorrowedFd<'_>, name: P) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(parent, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
            openat(parent, name, flags, Mode::empty())
        }
        answer => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_very_deep_tree_goes() {
        let base = tempfile::tempdir().unwrap();
        let top = base.path().join("top");
        std::fs::create_dir(&top).unwrap();
        let mut at = openat(CWD, &top, OFlags::RDONLY, Mode::empty()).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&at, c"deep", Mode::RWXU).unwrap();
            drop(openat(&at, c"file", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap());
            at = openat(&at, c"deep", OFlags::RDONLY, Mode::empty()).unwrap();
        }
        tree(&top).unwrap();
        assert!(!top.exists());
    }

    #[test]
    fn closed_directories_and_missing_ones_go() {
        let base = tempfile::tempdir().unwrap();
        let top = base.path().join("top");
        std::fs::create_dir_all(top.join("work/work")).unwrap();
        std::fs::write(top.join("work/work/file"), "").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o000);
        std::fs::set_permissions(top.join("work/work"), mode).unwrap();
        tree(&top).unwrap();
        tree(&top).unwrap();
        assert!(!top.exists());
    }
}
