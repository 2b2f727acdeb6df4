//! A root file system into a directory, as `--output type=local` does.
//!
//! Modes, times and links are the image's. Everything goes beneath the given descriptor: what the
//! directory held before may replace nothing outside of it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use kiln_store::{Entry, Found, Kind, Timestamp, Union};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::ExportError;
use super::rootfs::FirstNames;
use crate::pack::copy_content;

/// Whose the entries of the directory are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners {
    /// The calling user's, as a local output is.
    Caller,
    /// The image's, as far as the caller may give files away.
    Image,
}

/// Writes the root file system into `directory`. Files that are there are replaced, directories
/// merged, everything else stays. Device nodes are left out where the caller may not make them.
/// File times after `newest` become `newest`.
pub fn local(directory: BorrowedFd<'_>, rootfs: &Union, newest: Option<Timestamp>) -> Result<(), ExportError> {
    materialize(directory, rootfs, newest, Owners::Caller)
}

/// The same as [`local`], with the owners that are asked for.
pub fn materialize(
    directory: BorrowedFd<'_>,
    rootfs: &Union,
    newest: Option<Timestamp>,
    owners: Owners,
) -> Result<(), ExportError> {
    let root = open_directory(directory, OsStr::new(".")).map_err(|error| failed(b".", error))?;
    let mut tree = Tree { root, open: Vec::new(), newest, rootfs, owners };
    let mut first_names = FirstNames::default();
    for found in rootfs.walk(b"") {
        let path = found.entry.path();
        if path.is_empty() {
            continue;
        }
        tree.close_until(path)?;
        match first_names.earlier(&found) {
            Some(first) => tree.hard_link(path, first).map_err(|error| failed(path, error))?,
            None => tree.entry(&found)?,
        }
    }
    tree.close_until(b"")
}

struct Tree<'a> {
    root: OwnedFd,
    /// The directories from the root to the current entry; their metadata is set when they are
    /// left, because what is put into them changes their times.
    open: Vec<(OwnedFd, Entry<'a>)>,
    newest: Option<Timestamp>,
    rootfs: &'a Union,
    owners: Owners,
}

impl<'a> Tree<'a> {
    fn parent(&self) -> BorrowedFd<'_> {
        self.open.last().map_or(self.root.as_fd(), |(directory, _)| directory.as_fd())
    }

    /// Leaves the directories that `path` is not in.
    fn close_until(&mut self, path: &[u8]) -> Result<(), ExportError> {
        while let Some((directory, entry)) = self.open.pop() {
            let beneath = path.strip_prefix(entry.path()).is_some_and(|rest| rest.starts_with(b"/"));
            if beneath {
                self.open.push((directory, entry));
                break;
            }
            self.give(directory.as_fd(), OsStr::new(""), &entry)
                .and_then(|()| rustix::fs::fchmod(&directory, Mode::from_raw_mode(entry.mode())))
                .and_then(|()| rustix::fs::futimens(&directory, &self.times(&entry)))
                .map_err(|error| failed(entry.path(), error))?;
        }
        Ok(())
    }

    fn entry(&mut self, found: &Found<'a>) -> Result<(), ExportError> {
        let entry = found.entry;
        let name = OsStr::from_bytes(entry.name());
        let wrong = |error| failed(entry.path(), error);
        if entry.kind() == Kind::Directory {
            let directory = make_directory(self.parent(), name).map_err(wrong)?;
            self.open.push((directory, entry));
            return Ok(());
        }
        remove_file(self.parent(), name).map_err(wrong)?;
        match entry.kind() {
            Kind::File => self.file(found, name)?,
            Kind::Symlink => {
                rustix::fs::symlinkat(OsStr::from_bytes(entry.target()), self.parent(), name).map_err(wrong)?;
                self.give(self.parent(), name, &entry).map_err(wrong)?;
                self.set_times(&entry, name).map_err(wrong)?;
            }
            Kind::Fifo => self.node(&entry, name, FileType::Fifo).map_err(wrong)?,
            Kind::CharacterDevice => self.node(&entry, name, FileType::CharacterDevice).map_err(wrong)?,
            Kind::BlockDevice => self.node(&entry, name, FileType::BlockDevice).map_err(wrong)?,
            Kind::Directory | Kind::Whiteout => {}
        }
        Ok(())
    }

    fn file(&self, found: &Found<'a>, name: &OsStr) -> Result<(), ExportError> {
        let entry = found.entry;
        let wrong = |error: Errno| failed(entry.path(), error);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(self.parent(), name, flags, Mode::RUSR | Mode::WUSR).map_err(wrong)?;
        let mut output = BufWriter::with_capacity(8 * 1024, File::from(file));
        let source = self.rootfs.open(found)?;
        let at = |source| ExportError::WriteEntry { path: shown(entry.path()), source };
        let layer = &self.rootfs.layers()[found.layer];
        copy_content(source, layer, &entry, &mut output, at).inspect_err(|_| {
            // What is damaged stays nowhere. The first error is the one to tell.
            let _ = rustix::fs::unlinkat(self.parent(), name, AtFlags::empty());
        })?;
        output.flush().map_err(at)?;
        let file = output.get_ref();
        self.give(file.as_fd(), OsStr::new(""), &entry).map_err(wrong)?;
        rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode())).map_err(wrong)?;
        rustix::fs::futimens(file, &self.times(&entry)).map_err(wrong)
    }

    /// A named pipe or device. Where devices are not allowed there is none.
    fn node(&self, entry: &Entry<'a>, name: &OsStr, kind: FileType) -> rustix::io::Result<()> {
        let device = rustix::fs::makedev(entry.device().major, entry.device().minor);
        let mode = Mode::from_raw_mode(entry.mode());
        match rustix::fs::mknodat(self.parent(), name, kind, Mode::RUSR, device) {
            Err(Errno::PERM) if kind != FileType::Fifo => return Ok(()),
            other => other?,
        }
        self.give(self.parent(), name, entry)?;
        rustix::fs::chmodat(self.parent(), name, mode, AtFlags::empty())?;
        self.set_times(entry, name)
    }

    fn hard_link(&self, path: &[u8], first: &[u8]) -> rustix::io::Result<()> {
        let (parent, name) = match first.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => first.split_at(slash),
            None => (&b"."[..], first),
        };
        let name = OsStr::from_bytes(name.strip_prefix(b"/").unwrap_or(name));
        let flags = rustix::fs::ResolveFlags::BENEATH | rustix::fs::ResolveFlags::NO_SYMLINKS;
        let oflags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let source = rustix::fs::openat2(&self.root, OsStr::from_bytes(parent), oflags, Mode::empty(), flags)?;
        let own_name = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
        let own_name = OsStr::from_bytes(own_name);
        remove_file(self.parent(), own_name)?;
        match rustix::fs::linkat(&source, name, self.parent(), own_name, AtFlags::empty()) {
            // The first name is a device that could not be made.
            Err(Errno::NOENT) => Ok(()),
            other => other,
        }
    }

    /// Sets the owner of `name`, or of the descriptor itself if the name is empty, where the
    /// image's owners are wanted. What the caller may not give away stays the caller's.
    fn give(&self, at: BorrowedFd<'_>, name: &OsStr, entry: &Entry<'a>) -> rustix::io::Result<()> {
        if self.owners == Owners::Caller {
            return Ok(());
        }
        let (uid, gid) = (Uid::from_raw(entry.uid()), Gid::from_raw(entry.gid()));
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
        match rustix::fs::chownat(at, name, Some(uid), Some(gid), flags) {
            Err(Errno::PERM | Errno::INVAL) => Ok(()),
            other => other,
        }
    }

    fn set_times(&self, entry: &Entry<'a>, name: &OsStr) -> rustix::io::Result<()> {
        rustix::fs::utimensat(self.parent(), name, &self.times(entry), AtFlags::SYMLINK_NOFOLLOW)
    }

    fn times(&self, entry: &Entry<'a>) -> Timestamps {
        let mtime = self.newest.map_or(entry.mtime(), |newest| newest.min(entry.mtime()));
        let time = Timespec { tv_sec: mtime.seconds, tv_nsec: i64::from(mtime.nanoseconds) };
        Timestamps { last_access: time, last_modification: time }
    }
}

/// Opens the directory `name`, or makes one; whatever else has the name is replaced.
fn make_directory(parent: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
        Ok(()) => return open_directory(parent, name),
        Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    match open_directory(parent, name) {
        Err(Errno::NOTDIR | Errno::LOOP) => {
            rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
            rustix::fs::mkdirat(parent, name, Mode::RWXU)?;
            open_directory(parent, name)
        }
        Ok(directory) => {
            // What is put into it must be allowed, whatever its mode was.
            rustix::fs::fchmod(&directory, Mode::RWXU)?;
            Ok(directory)
        }
        Err(error) => Err(error),
    }
}

fn open_directory(parent: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

fn remove_file(parent: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

fn failed(path: &[u8], error: Errno) -> ExportError {
    ExportError::WriteEntry { path: shown(path), source: io::Error::from(error) }
}
