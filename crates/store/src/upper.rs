//! From what an overlay mount left in its upper directory to a layer's index.
//!
//! What was only copied up and equals the lower layers is taken out of the directory; unchanged directories above a
//! change stay, as parents only. Below an opaque directory everything stays, because the lower layers do not show
//! there. Nothing is mounted here and nothing may change meanwhile.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;
use rustix::fs::{AtFlags, Dir, FileType, OFlags, Statx, StatxFlags, openat, statx, unlinkat};
use rustix::io::Errno;

use crate::copy;
use crate::error::{At, Error, Result};
use crate::index::{Body, Index, same_apart_from_time};
use crate::metadata::{Device, Kind, Metadata, Timestamp};
use crate::path;
use crate::staged::times;
use crate::store::Mode;
use crate::union::Union;
use crate::xattrs::{self, Marks};

/// Reads the upper directory `fs` of an overlay mount over `lower`.
pub(crate) fn scan(fs: &Path, lower: &Union, mode: Mode) -> Result<Index> {
    let scan = Scan { fs, lower, mode, kept: Mutex::default() };
    let root = rustix::fs::open(fs, DIRECTORY, rustix::fs::Mode::empty()).at("open", fs)?;
    let status = statx(&root, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).at("examine", fs)?;
    let (xattrs, _) = xattrs::read(root.as_fd(), b"", mode).at("read the xattrs of", fs)?;
    scan.directory(root, Item { path: Vec::new(), status, xattrs, marks: Marks::default() }, false)?;
    let mut kept = scan.kept.into_inner().unwrap_or_else(PoisonError::into_inner);
    kept.sort_unstable_by(|a, b| path::compare(&a.path, &b.path));
    group_links(&mut kept);
    Index::encode(kept.iter().map(|each| (&each.path, &each.body))).ok_or_else(|| Error::io("index", fs, Errno::FBIG))
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

struct Scan<'a> {
    fs: &'a Path,
    lower: &'a Union,
    mode: Mode,
    kept: Mutex<Vec<Kept>>,
}

/// An entry as found.
struct Item {
    path: Vec<u8>,
    status: Statx,
    xattrs: crate::Xattrs,
    marks: Marks,
}

/// An entry of the layer.
struct Kept {
    path: Vec<u8>,
    body: Body,
    /// Device and inode, if it has several names.
    inode: Option<(u64, u64)>,
}

/// What became of an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is in the layer.
    Kept,
    /// It was taken out of the directory.
    Removed,
}

impl Scan<'_> {
    /// Handles everything in an open directory, then the directory itself. `hidden`: lower layers do not show here.
    fn directory(&self, directory: OwnedFd, item: Item, hidden: bool) -> Result<Fate> {
        let hides = hidden || item.marks.opaque;
        let names = self.names(&directory, &item.path)?;
        let fates: Vec<Fate> = names
            .par_iter()
            .with_min_len(32)
            .map(|name| self.entry(directory.as_fd(), path::join(&item.path, name), hides))
            .collect::<Result<_>>()?;
        let anything = fates.contains(&Fate::Kept);
        if fates.contains(&Fate::Removed) {
            let mtime = times(timestamp(&item.status));
            rustix::fs::futimens(&directory, &mtime).at("set the times of", &self.shown(&item.path))?;
        }
        let mut body = body(Kind::Directory, &item);
        body.opaque = item.marks.opaque;
        let below = if hides { None } else { self.lower.lookup(&item.path) };
        body.parent_only = below.is_some_and(|found| same_apart_from_time(&body, &found.entry));
        if body.parent_only && !anything && !item.path.is_empty() {
            return Ok(Fate::Removed);
        }
        self.keep(Kept { path: item.path, body, inode: None });
        Ok(Fate::Kept)
    }

    fn entry(&self, parent: BorrowedFd<'_>, path: Vec<u8>, hidden: bool) -> Result<Fate> {
        let name = path::split(&path).1;
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let status = statx(parent, name, flags, StatxFlags::BASIC_STATS).at("examine", &self.shown(&path))?;
        let (xattrs, marks) = xattrs::read(parent, name, self.mode).at("read the xattrs of", &self.shown(&path))?;
        if let Some(xattr) = marks.refers_elsewhere {
            return Err(Error::RefusedUpper { path: self.shown(&path), xattr });
        }
        let item = Item { path, status, xattrs, marks };
        match kind(&item) {
            Some(Kind::Directory) => self.subdirectory(parent, item, hidden),
            Some(Kind::Whiteout) => self.whiteout(parent, item, hidden),
            Some(kind) => self.leaf(parent, kind, item, hidden),
            None => self.remove(parent, &item.path, AtFlags::empty()),
        }
    }

    fn subdirectory(&self, parent: BorrowedFd<'_>, item: Item, hidden: bool) -> Result<Fate> {
        let path = item.path.clone();
        let name = path::split(&path).1;
        let directory = match openat(parent, name, DIRECTORY, rustix::fs::Mode::empty()) {
            Err(Errno::ACCESS) => return self.closed_directory(parent, item, hidden),
            answer => answer.at("open", &self.shown(&path))?,
        };
        match self.directory(directory, item, hidden)? {
            Fate::Removed => self.remove(parent, &path, AtFlags::REMOVEDIR),
            Fate::Kept => Ok(Fate::Kept),
        }
    }

    /// Without the right to read everything, a directory is opened to its owner for a moment.
    fn closed_directory(&self, parent: BorrowedFd<'_>, item: Item, hidden: bool) -> Result<Fate> {
        let (path, mode) = (self.shown(&item.path), item.status.stx_mode);
        let name = path::split(&item.path).1.to_vec();
        let set = |mode| rustix::fs::chmodat(parent, &*name, mode, AtFlags::empty()).at("open up", &path);
        set(rustix::fs::Mode::RWXU)?;
        let directory = openat(parent, &*name, DIRECTORY, rustix::fs::Mode::empty()).at("open", &path)?;
        let fate = self.directory(directory, item, hidden)?;
        match fate {
            Fate::Removed => self.remove(parent, path_of(&path, self.fs), AtFlags::REMOVEDIR),
            Fate::Kept => set(rustix::fs::Mode::from_raw_mode(mode.into())).map(|()| fate),
        }
    }

    fn whiteout(&self, parent: BorrowedFd<'_>, item: Item, hidden: bool) -> Result<Fate> {
        if hidden || self.lower.lookup(&item.path).is_none() {
            return self.remove(parent, &item.path, AtFlags::empty());
        }
        self.keep(Kept { path: item.path, body: Body::whiteout(), inode: None });
        Ok(Fate::Kept)
    }

    fn leaf(&self, parent: BorrowedFd<'_>, kind: Kind, item: Item, hidden: bool) -> Result<Fate> {
        let name = path::split(&item.path).1;
        let mut body = body(kind, &item);
        if kind == Kind::Symlink {
            let target = rustix::fs::readlinkat(parent, name, Vec::new());
            body.set_target(target.at("read the link", &self.shown(&item.path))?.to_bytes());
        }
        if !hidden && self.is_unchanged(parent, &item.path, &body)? {
            return self.remove(parent, &item.path, AtFlags::empty());
        }
        let device = rustix::fs::makedev(item.status.stx_dev_major, item.status.stx_dev_minor);
        let inode = (item.status.stx_nlink > 1).then_some((device, item.status.stx_ino));
        self.keep(Kept { path: item.path, body, inode });
        Ok(Fate::Kept)
    }

    /// Whether a non-directory ends as the lower layers have it, down to its time and bytes.
    fn is_unchanged(&self, parent: BorrowedFd<'_>, path: &[u8], body: &Body) -> Result<bool> {
        let Some(below) = self.lower.lookup(path) else { return Ok(false) };
        if !same_apart_from_time(body, &below.entry) || below.entry.mtime() != body.mtime {
            return Ok(false);
        }
        if body.kind != Kind::File || body.size == 0 {
            return Ok(true);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let name = path::split(path).1;
        let above = match openat(parent, name, flags, rustix::fs::Mode::empty()) {
            Err(Errno::ACCESS) => return Ok(false),
            answer => File::from(answer.at("open", &self.shown(path))?),
        };
        copy::equal(above, self.lower.open(&below)?).at("compare", &self.shown(path))
    }

    fn remove(&self, parent: BorrowedFd<'_>, path: &[u8], flags: AtFlags) -> Result<Fate> {
        unlinkat(parent, path::split(path).1, flags).at("remove", &self.shown(path))?;
        Ok(Fate::Removed)
    }

    fn keep(&self, kept: Kept) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(kept);
    }

    fn names(&self, directory: &OwnedFd, path: &[u8]) -> Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(directory).at("list", &self.shown(path))? {
            let entry = entry.at("list", &self.shown(path))?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.to_vec());
            }
        }
        Ok(names)
    }

    fn shown(&self, path: &[u8]) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        self.fs.join(std::ffi::OsStr::from_bytes(path))
    }
}

fn path_of<'a>(full: &'a Path, fs: &Path) -> &'a [u8] {
    use std::os::unix::ffi::OsStrExt;
    full.strip_prefix(fs).unwrap_or(full).as_os_str().as_bytes()
}

/// `None` for what no layer holds: sockets.
fn kind(item: &Item) -> Option<Kind> {
    let status = &item.status;
    match FileType::from_raw_mode(status.stx_mode.into()) {
        FileType::RegularFile if item.marks.whiteout && status.stx_size == 0 => Some(Kind::Whiteout),
        FileType::RegularFile => Some(Kind::File),
        FileType::Directory => Some(Kind::Directory),
        FileType::Symlink => Some(Kind::Symlink),
        FileType::CharacterDevice if (status.stx_rdev_major, status.stx_rdev_minor) == (0, 0) => Some(Kind::Whiteout),
        FileType::CharacterDevice => Some(Kind::CharacterDevice),
        FileType::BlockDevice => Some(Kind::BlockDevice),
        FileType::Fifo => Some(Kind::Fifo),
        _ => None,
    }
}

fn body(kind: Kind, item: &Item) -> Body {
    let status = &item.status;
    let metadata = Metadata {
        mode: u32::from(status.stx_mode) & 0o7777,
        uid: status.stx_uid,
        gid: status.stx_gid,
        mtime: timestamp(status),
        xattrs: item.xattrs.clone(),
    };
    let mut body = Body::new(kind, &metadata);
    match kind {
        Kind::File => body.size = status.stx_size,
        Kind::CharacterDevice | Kind::BlockDevice => {
            body.set_device(Device { major: status.stx_rdev_major, minor: status.stx_rdev_minor });
        }
        _ => {}
    }
    body
}

fn timestamp(status: &Statx) -> Timestamp {
    Timestamp { seconds: status.stx_mtime.tv_sec, nanoseconds: status.stx_mtime.tv_nsec }
}

/// Numbers the files that have several names in this layer.
fn group_links(kept: &mut [Kept]) {
    let mut names: HashMap<(u64, u64), u32> = HashMap::new();
    for inode in kept.iter().filter_map(|each| each.inode) {
        *names.entry(inode).or_default() += 1;
    }
    names.retain(|_, count| *count > 1);
    let mut numbers: HashMap<(u64, u64), u32> = HashMap::new();
    for each in kept {
        if let Some(inode) = each.inode.filter(|inode| names.contains_key(inode)) {
            let next = numbers.len() as u32 + 1;
            each.body.link_group = *numbers.entry(inode).or_insert(next);
        }
    }
}

#[cfg(test)]
#[path = "upper_tests.rs"]
mod tests;
