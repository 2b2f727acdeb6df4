//! Mount points beneath a rootfs: found or made without ever leaving it, and removed again.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_OMIT, mkdirat, openat2, readlinkat,
    statat, unlinkat, utimensat,
};
use rustix::io::Errno;

use crate::plan::MadeMountPoint;

/// As many symlinks as the kernel follows.
const MOST_SYMLINKS: usize = 40;

/// Mount points that stay in a layer when they had to be made, as BuildKit leaves them.
const STAYING: [&str; 3] = ["dev", "proc", "sys"];

/// A rootfs and what was made in it.
pub(crate) struct MountPoints<'a> {
    root: BorrowedFd<'a>,
    root_device: u64,
    made: &'a mut Vec<MadeMountPoint>,
}

impl<'a> MountPoints<'a> {
    /// Mount points beneath `root`; what is made on the rootfs itself is appended to `made`.
    pub(crate) fn beneath(root: BorrowedFd<'a>, made: &'a mut Vec<MadeMountPoint>) -> rustix::io::Result<Self> {
        Ok(MountPoints { root, root_device: rustix::fs::fstat(root)?.st_dev, made })
    }

    /// The existing file or directory at `path`, symlinks followed inside the rootfs.
    pub(crate) fn find(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        openat2(
            self.root,
            path,
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )
    }

    /// As [`find`](Self::find); what is missing is made: directories, and at the end a directory
    /// or an empty file.
    pub(crate) fn find_or_make(&mut self, path: &Path, directory: bool) -> rustix::io::Result<OwnedFd> {
        match self.find(path) {
            Err(Errno::NOENT) => {}
            result => return result,
        }
        let place = self.make(path, directory)?;
        self.find(&place)
    }

    /// Walks component by component; returns the path without symlinks.
    fn make(&mut self, path: &Path, directory: bool) -> rustix::io::Result<PathBuf> {
        let mut left: VecDeque<OsString> = components(path);
        let mut at = PathBuf::new();
        let mut symlinks = 0;
        while let Some(name) = left.pop_front() {
            if name == ".." {
                at.pop();
                continue;
            }
            let parent = self.step(&at)?;
            match statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                    symlinks += 1;
                    if symlinks > MOST_SYMLINKS {
                        return Err(Errno::LOOP);
                    }
                    let link = PathBuf::from(OsString::from_vec(readlinkat(&parent, &name, Vec::new())?.into_bytes()));
                    if link.is_absolute() {
                        at = PathBuf::new();
                    }
                    for part in components(&link).into_iter().rev() {
                        left.push_front(part);
                    }
                    continue;
                }
                Ok(_) => {}
                Err(Errno::NOENT) => {
                    let is_directory = directory || !left.is_empty();
                    self.make_one(&parent, &at, &name, is_directory)?;
                }
                Err(errno) => return Err(errno),
            }
            at.push(name);
        }
        Ok(at)
    }

    /// The directory at a path that holds no symlinks any more.
    fn step(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        openat2(
            self.root,
            path,
            OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS,
        )
    }

    fn make_one(
        &mut self,
        parent: &OwnedFd,
        parent_path: &Path,
        name: &OsStr,
        directory: bool,
    ) -> rustix::io::Result<()> {
        let before = rustix::fs::fstat(parent)?;
        if directory {
            mkdirat(parent, name, Mode::from_raw_mode(0o755))?;
        } else {
            rustix::fs::mknodat(parent, name, FileType::RegularFile, Mode::from_raw_mode(0o644), 0)?;
        }
        let path = parent_path.join(name);
        let stays = STAYING.iter().any(|one| Path::new(one) == path);
        if before.st_dev == self.root_device && !stays {
            keep_modification_time(parent.as_fd(), &before);
            self.made.push(MadeMountPoint { path, directory });
        }
        Ok(())
    }
}

fn components(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            _ => None,
        })
        .collect()
}

/// Making or removing a mount point is no change of its directory. Failure costs a timestamp.
fn keep_modification_time(directory: BorrowedFd<'_>, before: &rustix::fs::Stat) {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: before.st_mtime, tv_nsec: before.st_mtime_nsec as _ },
    };
    let _ = utimensat(directory, "", &times, AtFlags::EMPTY_PATH);
}

/// Removes made mount points from the directory that received them, where they are still empty.
/// Returns those that stay, as absolute paths of the container.
pub(crate) fn remove(writable: &Path, made: &[MadeMountPoint]) -> Vec<PathBuf> {
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY;
    let Ok(root) = rustix::fs::open(writable, flags, Mode::empty()) else {
        return Vec::new();
    };
    made.iter()
        .rev()
        .filter(|one| !matches!(remove_one(&root, one), Ok(()) | Err(Errno::NOENT)))
        .map(|one| Path::new("/").join(&one.path))
        .collect()
}

fn remove_one(root: &OwnedFd, made: &MadeMountPoint) -> rustix::io::Result<()> {
    let parent = made.path.parent().filter(|path| !path.as_os_str().is_empty());
    let parent = openat2(
        root,
        parent.unwrap_or(Path::new(".")),
        OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
    )?;
    let name = made.path.file_name().ok_or(Errno::INVAL)?;
    let stat = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let before = rustix::fs::fstat(&parent)?;
    match (made.directory, kind) {
        (true, FileType::Directory) => unlinkat(&parent, name, AtFlags::REMOVEDIR)?,
        (false, FileType::RegularFile) if stat.st_size == 0 => unlinkat(&parent, name, AtFlags::empty())?,
        _ => return Err(Errno::NOTEMPTY),
    }
    keep_modification_time(parent.as_fd(), &before);
    Ok(())
}
