//! From what an overlay mount left in its upper directory to a layer's index.
//!
//! What was only copied up and equals the lower layers is taken out of the directory; unchanged directories above a
//! change stay, as parents only. Below an opaque directory everything stays, because the lower layers do not show
//! there. Nothing is mounted here and nothing may change meanwhile.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, FileType, OFlags, Statx, StatxFlags, openat, statx, unlinkat};
use rustix::io::Errno;

use crate::beneath;
use crate::copy;
use crate::error::{At, Error, Result, shown};
use crate::fault::{self, Operation};
use crate::index::{Body, Index, same_apart_from_time};
use crate::metadata::{Device, Kind, Metadata, Timestamp};
use crate::path;
use crate::staged::times;
use crate::stamp;
use crate::store::Mode;
use crate::union::Union;
use crate::xattrs::{self, Marks};

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Larger directories are split into jobs of so many entries.
const CHUNK: usize = 1024;

/// Reads the upper directory `fs` of an overlay mount over `lower`.
pub(crate) fn scan(fs: &Path, lower: &Union, mode: Mode) -> Result<Index> {
    let root = rustix::fs::open(fs, DIRECTORY, rustix::fs::Mode::empty()).at("open", fs)?;
    let scan = Scan { fs, lower, mode, found: Mutex::default() };
    let status = statx(&root, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).at("examine", fs)?;
    let (xattrs, _) = xattrs::read(root.as_fd(), b"", mode).at("read the xattrs of", fs)?;
    let item = Item { path: Vec::new(), status, xattrs, marks: Marks::default() };
    let top = Arc::new(root.try_clone().at("duplicate the descriptor of", fs)?);
    // Directories are jobs, not calls: a container can nest them deeper than any stack.
    rayon::scope(|scope| scan.enter(scope, top, item, false, false));
    let Found { mut kept, mut touched, failed } = scan.found.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = failed {
        return Err(error);
    }
    kept.sort_unstable_by(|a, b| path::compare(&a.path, &b.path));
    drop_unchanged_directories(fs, &root, &mut kept, &mut touched)?;
    group_links(&mut kept);
    stamp_links(&root, &mut kept).at("examine a file in", fs)?;
    Index::encode(kept.len(), kept.iter().map(|each| (&each.path, &each.body)))
        .ok_or_else(|| Error::io("index", fs, Errno::FBIG))
}

struct Scan<'a> {
    fs: &'a Path,
    lower: &'a Union,
    mode: Mode,
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    /// In any order.
    kept: Vec<Kept>,
    /// Directories whose time or mode on disk is not the index's any more.
    touched: HashSet<Vec<u8>>,
    /// What went wrong first; nothing new begins after it.
    failed: Option<Error>,
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

impl<'a> Scan<'a> {
    /// Handles a directory and starts jobs for those in it. `hidden`: lower layers do not show here. `touched`: its
    /// mode was changed to get in.
    fn enter<'s>(&'s self, scope: &rayon::Scope<'s>, directory: Arc<OwnedFd>, item: Item, hidden: bool, touched: bool) {
        let done = self.directory(scope, &directory, item, hidden, touched);
        if let Err(error) = done {
            self.found().failed.get_or_insert(error);
        }
    }

    fn directory<'s>(
        &'s self,
        scope: &rayon::Scope<'s>,
        directory: &Arc<OwnedFd>,
        item: Item,
        hidden: bool,
        touched: bool,
    ) -> Result<()> {
        if self.found().failed.is_some() {
            return Ok(());
        }
        let hides = hidden || item.marks.opaque;
        let mut names = beneath::names(directory).at("list", &self.shown(&item.path))?;
        while names.len() > CHUNK {
            let (chunk, path) = (names.split_off(names.len() - CHUNK), item.path.clone());
            let directory = Arc::clone(directory);
            scope.spawn(move |scope| self.chunk(scope, &directory, &path, chunk, hides));
        }
        if self.entries(scope, directory, &item.path, names, hides)? || touched {
            self.found().touched.insert(item.path.clone());
        }
        let mut body = body(Kind::Directory, &item);
        body.opaque = item.marks.opaque;
        let below = if hides { None } else { self.lower.lookup(&item.path) };
        body.parent_only = below.is_some_and(|found| same_apart_from_time(&body, &found.entry));
        self.found().kept.push(Kept { path: item.path, body, inode: None });
        Ok(())
    }

    /// A part of a large directory.
    fn chunk<'s>(
        &'s self,
        scope: &rayon::Scope<'s>,
        directory: &Arc<OwnedFd>,
        path: &[u8],
        names: Vec<Vec<u8>>,
        hides: bool,
    ) {
        let removed = self.entries(scope, directory, path, names, hides);
        let mut found = self.found();
        match removed {
            Ok(true) => drop(found.touched.insert(path.to_vec())),
            Ok(false) => {}
            Err(error) => drop(found.failed.get_or_insert(error)),
        }
    }

    /// Handles entries of a directory; tells whether any was removed from it.
    fn entries<'s>(
        &'s self,
        scope: &rayon::Scope<'s>,
        directory: &Arc<OwnedFd>,
        path: &[u8],
        names: Vec<Vec<u8>>,
        hides: bool,
    ) -> Result<bool> {
        let mut removed = false;
        for name in names {
            let child = self.item(directory.as_fd(), path::join(path, &name))?;
            match kind(&child) {
                Some(Kind::Directory) => {
                    let parent = Arc::clone(directory);
                    scope.spawn(move |scope| self.descend(scope, &parent, child, hides));
                }
                kind => removed |= !self.leaf(directory.as_fd(), kind, child, hides)?,
            }
        }
        Ok(removed)
    }

    /// Opens a subdirectory; without the right to read everything, its owner takes the right first.
    fn descend<'s>(&'s self, scope: &rayon::Scope<'s>, parent: &OwnedFd, item: Item, hidden: bool) {
        let name = path::split(&item.path).1;
        let open = || openat(parent, name, DIRECTORY, rustix::fs::Mode::empty());
        let mut touched = false;
        let opened = match open() {
            Err(Errno::ACCESS) => {
                touched = true;
                rustix::fs::chmodat(parent, name, rustix::fs::Mode::RWXU, AtFlags::empty()).and_then(|()| open())
            }
            answer => answer,
        };
        match opened.at("open", &self.shown(&item.path)) {
            Ok(directory) => self.enter(scope, Arc::new(directory), item, hidden, touched),
            Err(error) => drop(self.found().failed.get_or_insert(error)),
        }
    }

    fn item(&self, parent: BorrowedFd<'_>, path: Vec<u8>) -> Result<Item> {
        if path.len() > path::LONGEST {
            let reason = "it has more than 4095 bytes, which no tool could unpack";
            return Err(Error::BadPath { path: shown(&path), reason });
        }
        let (name, flags) = (path::split(&path).1, AtFlags::SYMLINK_NOFOLLOW);
        let status = statx(parent, name, flags, StatxFlags::BASIC_STATS).at("examine", &self.shown(&path))?;
        let (xattrs, marks) = xattrs::read(parent, name, self.mode).at("read the xattrs of", &self.shown(&path))?;
        match marks.refers_elsewhere {
            Some(xattr) => Err(Error::RefusedUpper { path: self.shown(&path), xattr }),
            None => Ok(Item { path, status, xattrs, marks }),
        }
    }

    /// Takes a non-directory into the layer, or out of the upper directory if it means nothing; false then.
    fn leaf(&self, parent: BorrowedFd<'_>, kind: Option<Kind>, item: Item, hidden: bool) -> Result<bool> {
        let name = path::split(&item.path).1;
        let unlink = || unlinkat(parent, name, AtFlags::empty());
        let remove = || fault::run(Operation::Remove, unlink).at("remove", &self.shown(&item.path));
        let body = match kind {
            None => return remove().map(|()| false),
            Some(Kind::Whiteout) if hidden || self.lower.lookup(&item.path).is_none() => {
                return remove().map(|()| false);
            }
            Some(Kind::Whiteout) => Body::whiteout(),
            Some(kind) => {
                let mut body = body(kind, &item);
                if kind == Kind::Symlink {
                    let target = rustix::fs::readlinkat(parent, name, Vec::new());
                    body.set_target(target.at("read the link", &self.shown(&item.path))?.to_bytes());
                }
                if !hidden && self.is_unchanged(parent, &item.path, &body)? {
                    return remove().map(|()| false);
                }
                body
            }
        };
        let device = rustix::fs::makedev(item.status.stx_dev_major, item.status.stx_dev_minor);
        // All whiteouts of a mount are one inode, which means nothing.
        let linked = body.kind != Kind::Whiteout && item.status.stx_nlink > 1;
        let inode = linked.then_some((device, item.status.stx_ino));
        self.found().kept.push(Kept { path: item.path, body, inode });
        Ok(true)
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
        let above = match openat(parent, path::split(path).1, flags, rustix::fs::Mode::empty()) {
            Err(Errno::ACCESS) => return Ok(false),
            answer => File::from(answer.at("open", &self.shown(path))?),
        };
        copy::equal(above, self.lower.open(&below)?).at("compare", &self.shown(path))
    }

    fn found(&self) -> std::sync::MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shown(&self, path: &[u8]) -> PathBuf {
        full(self.fs, path)
    }
}

/// Removes directories that equal the lower layers' and have nothing in them, the deepest first, and gives those
/// that were touched on the way their mode and time back.
fn drop_unchanged_directories(
    fs: &Path,
    root: &OwnedFd,
    kept: &mut Vec<Kept>,
    touched: &mut HashSet<Vec<u8>>,
) -> Result<()> {
    let mut stays = vec![true; kept.len()];
    let mut following: Option<usize> = None;
    for at in (0..kept.len()).rev() {
        let Kept { path, body, .. } = &kept[at];
        let filled = following.is_some_and(|next| path::is_within(&kept[next].path, path));
        if body.kind == Kind::Directory && body.parent_only && !filled && !path.is_empty() {
            let (parent, name) = path::split(path);
            let parent_directory = beneath::open_directory(root.as_fd(), parent).at("open", &full(fs, parent))?;
            let remove = || unlinkat(parent_directory, name, AtFlags::REMOVEDIR);
            fault::run(Operation::Remove, remove).at("remove", &full(fs, path))?;
            touched.insert(parent.to_vec());
            stays[at] = false;
            continue;
        }
        following = Some(at);
        if touched.contains(path) {
            let directory = beneath::open_directory(root.as_fd(), path).at("open", &full(fs, path))?;
            rustix::fs::fchmod(&directory, rustix::fs::Mode::from_raw_mode(body.mode.into()))
                .and_then(|()| rustix::fs::futimens(&directory, &times(body.mtime)))
                .at("set the time of", &full(fs, path))?;
        }
    }
    let mut stays = stays.into_iter();
    kept.retain(|_| stays.next().unwrap_or(true));
    Ok(())
}

fn full(fs: &Path, path: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    fs.join(std::ffi::OsStr::from_bytes(path))
}

/// `None` for what no layer holds: sockets.
fn kind(item: &Item) -> Option<Kind> {
    kind_on_disk(&item.status, &item.marks)
}

/// What an entry of a layer's directory is; `None` for sockets.
pub(crate) fn kind_on_disk(status: &Statx, marks: &Marks) -> Option<Kind> {
    match FileType::from_raw_mode(status.stx_mode.into()) {
        FileType::RegularFile if marks.whiteout && status.stx_size == 0 => Some(Kind::Whiteout),
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
        Kind::File => {
            body.size = status.stx_size;
            // One with several names is stamped when no more of them go.
            body.stamp = if status.stx_nlink > 1 { 0 } else { stamp::of_file(status) };
        }
        Kind::Directory if item.path.is_empty() => body.stamp = stamp::of_root(status),
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

/// Stamps files with several names, now that no further name goes.
fn stamp_links(root: &OwnedFd, kept: &mut [Kept]) -> Result<(), Errno> {
    for each in kept.iter_mut().filter(|each| each.inode.is_some() && each.body.kind == Kind::File) {
        let file = beneath::open(root.as_fd(), &each.path, OFlags::PATH)?;
        each.body.stamp = stamp::of_open(&file)?;
    }
    Ok(())
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
