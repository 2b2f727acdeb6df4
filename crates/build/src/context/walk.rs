//! Walking a directory: metadata of everything that the ignore rules leave, in parallel by directory.
//!
//! Only regular files and directories are ever opened; everything is reached from its directory's
//! descriptor, so that a directory that is moved meanwhile cannot lead elsewhere.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use kiln_dockerfile::ignore::{IgnoreMatcher, Inherited};
use kiln_sandbox::users::Owner;
use kiln_store::{Device, FileStamp, Kind, Timestamp};
use rayon::prelude::*;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Statx, StatxFlags};

use super::{ContextEntry, ContextError, Snapshot};

/// So many files are looked at by one task, where there are no directories beside them.
const FILES_A_TASK: usize = 64;

/// What is in a directory.
struct Listing {
    names: Vec<CString>,
    /// Whether there may be directories among it.
    deep: bool,
}

/// One walk of a context.
pub(super) struct Walk<'a> {
    ignore: &'a IgnoreMatcher,
}

impl<'a> Walk<'a> {
    pub(super) fn new(ignore: &'a IgnoreMatcher) -> Self {
        Walk { ignore }
    }

    /// Everything below `root` that is not ignored.
    pub(super) fn run(&self, root: &OwnedFd) -> Result<Snapshot, ContextError> {
        let entries = self.directory(root, b"", &Inherited::default())?;
        Ok(Snapshot::new(entries))
    }

    fn directory(&self, fd: &OwnedFd, path: &[u8], inherited: &Inherited) -> Result<Vec<ContextEntry>, ContextError> {
        let Listing { mut names, deep } = list(fd, path)?;
        names.sort_unstable();
        let least = if deep { 1 } else { FILES_A_TASK };
        let found = names.par_iter().with_min_len(least).try_fold(Vec::new, |mut entries, name| {
            self.entry(fd, path, name, inherited, &mut entries)?;
            Ok(entries)
        });
        found.try_reduce(Vec::new, |before, after| Ok(joined(before, after)))
    }

    /// Adds the entry `name` of a directory, with what is below it. Nothing if it is ignored or gone meanwhile.
    fn entry(
        &self,
        parent: &OwnedFd,
        directory: &[u8],
        name: &CStr,
        inherited: &Inherited,
        entries: &mut Vec<ContextEntry>,
    ) -> Result<(), ContextError> {
        let path = join(directory, name.to_bytes());
        let (ignored, inherited) = ask(self.ignore, &path, inherited)?;
        if ignored && self.ignore.can_prune(&String::from_utf8_lossy(&path)) {
            return Ok(());
        }
        let Some(status) = status_at(parent, name, &path)? else { return Ok(()) };
        let Some(kind) = kind_of(&status) else { return Ok(()) };
        if kind != Kind::Directory {
            if !ignored {
                entries.push(leaf(parent, name, path, kind, &status)?);
            }
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(parent, name, flags, Mode::empty()).map_err(|e| ContextError::entry(&path, e))?;
        let below = self.directory(&fd, &path, &inherited)?;
        if !ignored || !below.is_empty() {
            entries.push(context_entry(path, kind, &status, None));
            entries.extend(below);
        }
        Ok(())
    }
}

fn joined(mut before: Vec<ContextEntry>, after: Vec<ContextEntry>) -> Vec<ContextEntry> {
    if before.is_empty() {
        return after;
    }
    before.extend(after);
    before
}

/// Whether a path is ignored, given what its parents handed down, and what it hands down itself.
fn ask(ignore: &IgnoreMatcher, path: &[u8], inherited: &Inherited) -> Result<(bool, Inherited), ContextError> {
    if ignore.is_empty() {
        return Ok((false, Inherited::default()));
    }
    let verdict = ignore.check(&String::from_utf8_lossy(path), inherited);
    let verdict = verdict.map_err(|error| ContextError::Ignore(error.to_string()))?;
    Ok((verdict.excluded, verdict.inherited))
}

fn list(fd: &OwnedFd, path: &[u8]) -> Result<Listing, ContextError> {
    let fail = |error| ContextError::entry(path, error);
    let mut listing = Listing { names: Vec::new(), deep: false };
    for item in Dir::read_from(fd).map_err(fail)? {
        let item = item.map_err(fail)?;
        if !matches!(item.file_name().to_bytes(), b"." | b"..") {
            listing.deep |= matches!(item.file_type(), FileType::Directory | FileType::Unknown);
            listing.names.push(item.file_name().to_owned());
        }
    }
    Ok(listing)
}

fn join(directory: &[u8], name: &[u8]) -> Arc<[u8]> {
    if directory.is_empty() { name.into() } else { [directory, b"/", name].concat().into() }
}

fn status_at(parent: impl AsFd, name: &CStr, path: &[u8]) -> Result<Option<Statx>, ContextError> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    match rustix::fs::statx(parent, name, flags, StatxFlags::BASIC_STATS) {
        Ok(status) => Ok(Some(status)),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(ContextError::entry(path, error)),
    }
}

/// What an entry is; `None` for a socket, which no layer holds.
fn kind_of(status: &Statx) -> Option<Kind> {
    match FileType::from_raw_mode(status.stx_mode.into()) {
        FileType::RegularFile => Some(Kind::File),
        FileType::Directory => Some(Kind::Directory),
        FileType::Symlink => Some(Kind::Symlink),
        FileType::CharacterDevice => Some(Kind::CharacterDevice),
        FileType::BlockDevice => Some(Kind::BlockDevice),
        FileType::Fifo => Some(Kind::Fifo),
        FileType::Socket | FileType::Unknown => None,
    }
}

fn leaf(
    parent: &OwnedFd,
    name: &CStr,
    path: Arc<[u8]>,
    kind: Kind,
    status: &Statx,
) -> Result<ContextEntry, ContextError> {
    let target = match kind {
        Kind::Symlink => {
            let read = rustix::fs::readlinkat(parent, name, Vec::new()).map_err(|e| ContextError::entry(&path, e))?;
            Some(read.into_bytes().into())
        }
        _ => None,
    };
    Ok(context_entry(path, kind, status, target))
}

fn context_entry(path: Arc<[u8]>, kind: Kind, status: &Statx, target: Option<Box<[u8]>>) -> ContextEntry {
    let moment = |time: rustix::fs::StatxTimestamp| Timestamp { seconds: time.tv_sec, nanoseconds: time.tv_nsec };
    let stamp = FileStamp {
        device: rustix::fs::makedev(status.stx_dev_major, status.stx_dev_minor),
        inode: status.stx_ino,
        size: status.stx_size,
        mtime: moment(status.stx_mtime),
        ctime: moment(status.stx_ctime),
    };
    ContextEntry {
        path,
        kind,
        mode: u32::from(status.stx_mode) & 0o7777,
        owner: Owner::default(),
        stamp,
        links: status.stx_nlink,
        rdev: Device { major: status.stx_rdev_major, minor: status.stx_rdev_minor },
        target,
        digest: None,
    }
}

/// What an open regular file is now.
pub(crate) fn describe(file: &File, path: &[u8]) -> Result<ContextEntry, ContextError> {
    let status = rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
        .map_err(|error| ContextError::entry(path, error))?;
    match kind_of(&status) {
        Some(Kind::File) => Ok(context_entry(path.into(), Kind::File, &status, None)),
        _ => Err(ContextError::Entry {
            path: String::from_utf8_lossy(path).into_owned(),
            reason: "it was a regular file when the build began and is none any more".into(),
            code: None,
        }),
    }
}
