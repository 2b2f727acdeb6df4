//! Puts entries into a new layer, by path beneath its root, whatever the paths say.
//!
//! Every entry is made through the descriptor of its parent, which is opened beneath the layer's root without
//! following any symbolic link. What was asked for is recorded in the index, what the disk can hold of it is put on
//! the disk. Directories get their metadata at commit, when nothing changes in them any more.

mod directories;
mod file;
#[cfg(test)]
mod tests;
mod unchanged;

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, StatxFlags, statx};
use rustix::io::Errno;

pub use file::{FileWriter, Hashing, Written};

use crate::beneath;
use crate::error::{At, Error, Result, shown};
use crate::fault::{self, Operation};
use crate::index::{Body, Index, Tree};
use crate::layers::Layer;
use crate::metadata::{Device, FileDigest, Kind, Metadata};
use crate::path;
use crate::staged::{StagedLayer, apply, times};
use crate::stamp;
use crate::union::Union;
use crate::xattrs;

/// Writes the entries of a new layer.
///
/// Paths are relative to the layer's root (a leading `/` is dropped, `..` refused). Symlinks among the parents are
/// followed only if this writer made them, and never out of the root. An entry replaces what was there, but a
/// directory merges with a directory. Threads may write at once, best in different directories.
#[derive(Debug)]
pub struct LayerWriter {
    staged: StagedLayer,
    lower: Option<Union>,
    implies_parents: bool,
    root: OwnedFd,
    state: Mutex<State>,
}

/// What becomes of parent directories that nobody puts into the layer.
#[derive(Debug)]
pub(crate) enum Parents {
    /// They are made.
    Made,
    /// They are as in these lower layers; made where those have none.
    AsIn(Union),
    /// They are as in lower layers that are not known yet.
    Implied,
}

#[derive(Debug)]
struct State {
    tree: Tree,
    next_link_group: u32,
    /// Parents as they were named, resolved and opened; emptied when a directory or symlink goes.
    parents: HashMap<Vec<u8>, Parent>,
}

/// A directory of the layer, open.
#[derive(Debug, Clone)]
struct Parent {
    path: Vec<u8>,
    directory: Arc<OwnedFd>,
}

/// The place of an entry to be made.
struct Place {
    parent: Parent,
    path: Vec<u8>,
}

impl Place {
    fn name(&self) -> &[u8] {
        path::split(&self.path).1
    }
}

impl LayerWriter {
    pub(crate) fn new(staged: StagedLayer, parents: Parents) -> Result<Self> {
        let fs = staged.fs_path();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(fs, flags, Mode::empty()).at("open", fs)?;
        let mut tree = Tree::default();
        let mut body = Body::new(Kind::Directory, staged.root());
        body.parent_only = true;
        tree.insert(b"", body);
        let state = Mutex::new(State { tree, next_link_group: 1, parents: HashMap::new() });
        let implies_parents = matches!(parents, Parents::Implied);
        let lower = match parents {
            Parents::AsIn(lower) => Some(lower),
            Parents::Made | Parents::Implied => None,
        };
        Ok(Self { staged, lower, implies_parents, root, state })
    }

    /// A regular file with this metadata; its bytes go into the answer.
    pub fn file(&self, path: impl AsRef<[u8]>, metadata: &Metadata, hashing: Hashing) -> Result<FileWriter<'_>> {
        let place = self.place(path.as_ref())?;
        self.clear(&place, Kind::File)?;
        FileWriter::create(self, place, metadata.clone(), hashing)
    }

    /// A symbolic link to `target` (any bytes without NUL, not empty).
    pub fn symlink(&self, path: impl AsRef<[u8]>, target: &[u8], metadata: &Metadata) -> Result<()> {
        let place = self.place(path.as_ref())?;
        if target.is_empty() || target.contains(&0) || target.len() > 4095 {
            let reason = "its target is empty, too long or has a NUL byte";
            return Err(Error::BadPath { path: shown(&place.path), reason });
        }
        self.clear(&place, Kind::Symlink)?;
        let make = || rustix::fs::symlinkat(target, &place.parent.directory, place.name());
        fault::run(Operation::Create, make).at("create", &self.shown(&place.path))?;
        let metadata = Metadata { mode: 0o777, ..metadata.clone() };
        let mut body = Body::new(Kind::Symlink, &metadata);
        body.set_target(target);
        self.finish_special(&place, &metadata, body)
    }

    /// Another name for a non-directory that this writer made.
    pub fn hard_link(&self, path: impl AsRef<[u8]>, existing: impl AsRef<[u8]>) -> Result<()> {
        let (place, source) = (self.place(path.as_ref())?, self.place(existing.as_ref())?);
        if place.path == source.path {
            return Ok(());
        }
        let missing = || Error::MissingEntry { path: shown(&source.path) };
        match self.state().tree.get(&source.path).ok_or_else(missing)?.kind {
            Kind::Directory | Kind::Whiteout => {
                return Err(Error::WrongKind { path: shown(&source.path), wanted: "a file" });
            }
            _ => {}
        }
        self.clear(&place, Kind::File)?;
        let (from, to) = (&source.parent.directory, &place.parent.directory);
        let link = || rustix::fs::linkat(from, source.name(), to, place.name(), AtFlags::empty());
        match fault::run(Operation::Create, link) {
            Ok(()) => {}
            Err(Errno::MLINK) => return self.copy_entry(&source, &place),
            Err(errno) => return Err(Error::io("link", self.shown(&place.path), errno)),
        }
        let mut state = self.state();
        let next = state.next_link_group;
        let body = state.tree.get_mut(&source.path).ok_or_else(missing)?;
        if body.link_group == 0 {
            body.link_group = next;
        }
        body.stamp = 0;
        let body = body.clone();
        if body.link_group == next {
            state.next_link_group += 1;
        }
        state.tree.insert(&place.path, body);
        Ok(())
    }

    /// A device; `kind` is `CharacterDevice` or `BlockDevice`. Recorded even where the disk cannot hold it. Number
    /// 0:0 is refused, because it is a whiteout.
    pub fn device(&self, path: impl AsRef<[u8]>, kind: Kind, device: Device, metadata: &Metadata) -> Result<()> {
        let place = self.place(path.as_ref())?;
        let file_type = match kind {
            _ if device == Device::default() => {
                let reason = "a device 0:0 would be taken for a deletion";
                return Err(Error::BadPath { path: shown(&place.path), reason });
            }
            Kind::CharacterDevice => FileType::CharacterDevice,
            Kind::BlockDevice => FileType::BlockDevice,
            _ => return Err(Error::WrongKind { path: shown(&place.path), wanted: "a device" }),
        };
        self.clear(&place, kind)?;
        let number = rustix::fs::makedev(device.major, device.minor);
        let (parent, name, mode) = (&place.parent.directory, place.name(), Mode::RUSR | Mode::WUSR);
        match fault::run(Operation::Create, || rustix::fs::mknodat(parent, name, file_type, mode, number)) {
            // An empty file hides what lies below; the index knows better.
            Err(Errno::PERM) => rustix::fs::mknodat(parent, name, FileType::RegularFile, mode, 0),
            answer => answer,
        }
        .at("create", &self.shown(&place.path))?;
        let mut body = Body::new(kind, metadata);
        body.set_device(device);
        self.finish_special(&place, metadata, body)
    }

    /// A named pipe.
    pub fn fifo(&self, path: impl AsRef<[u8]>, metadata: &Metadata) -> Result<()> {
        let place = self.place(path.as_ref())?;
        self.clear(&place, Kind::Fifo)?;
        let mode = Mode::RUSR | Mode::WUSR;
        let make = || rustix::fs::mknodat(&place.parent.directory, place.name(), FileType::Fifo, mode, 0);
        fault::run(Operation::Create, make).at("create", &self.shown(&place.path))?;
        self.finish_special(&place, metadata, Body::new(Kind::Fifo, metadata))
    }

    /// Hides what lower layers have under this path, and drops what this writer put there. Where the lower layers
    /// are known and have nothing, there is no whiteout: a mount would list it in directories that are not merged.
    pub fn whiteout(&self, path: impl AsRef<[u8]>) -> Result<()> {
        let path = path::normal(path.as_ref())?;
        if self.lower.as_ref().is_some_and(|lower| lower.lookup(&path).is_none()) {
            return if self.kind(&path).is_some() { self.remove(&path) } else { Ok(()) };
        }
        let place = self.place(&path)?;
        self.clear(&place, Kind::Whiteout)?;
        let (parent, name) = (&place.parent.directory, place.name());
        let make = || rustix::fs::mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), 0);
        fault::run(Operation::Create, make).at("create a whiteout at", &self.shown(&place.path))?;
        self.state().tree.insert(&place.path, Body::whiteout());
        Ok(())
    }

    /// Links the regular file of the same path from an older layer, if it is there with exactly this metadata, and
    /// digest if given. False if not, and then nothing happened.
    pub fn link_from(
        &self,
        older: &Layer,
        path: impl AsRef<[u8]>,
        metadata: &Metadata,
        digest: Option<FileDigest>,
    ) -> Result<bool> {
        let place = self.place(path.as_ref())?;
        let index = older.index()?;
        let Some(entry) = index.get(&place.path) else { return Ok(false) };
        let same = entry.kind() == Kind::File
            && entry.size() > 0
            && entry.link_group().is_none()
            // A further name changes the stamp, by which an unhashed file is known.
            && entry.digest().is_some()
            && entry.metadata() == *metadata
            && (digest.is_none() || entry.digest() == digest);
        if !same || self.state().tree.get(&place.path).is_some() {
            return Ok(false);
        }
        let (from, to) = (older.fs()?, &place.parent.directory);
        let link = || rustix::fs::linkat(&*from, &*place.path, to, place.name(), AtFlags::empty());
        let linked = fault::run(Operation::Create, link);
        match linked {
            Ok(()) => {}
            Err(Errno::MLINK | Errno::PERM | Errno::XDEV | Errno::EXIST | Errno::NOENT) => return Ok(false),
            Err(errno) => return Err(Error::io("link", self.shown(&place.path), errno)),
        }
        // The size on disk is looked at: a damaged file is copied anew instead.
        let status = rustix::fs::statat(to, place.name(), AtFlags::SYMLINK_NOFOLLOW);
        let status = status.at("examine", &self.shown(&place.path))?;
        if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile || status.st_size as u64 != entry.size() {
            let remove = || rustix::fs::unlinkat(to, place.name(), AtFlags::empty());
            fault::run(Operation::Remove, remove).at("remove", &self.shown(&place.path))?;
            return Ok(false);
        }
        self.staged.shares_with(older.id());
        self.state().tree.insert(&place.path, Body { stamp: 0, ..entry.body() });
        Ok(true)
    }

    /// What this writer put under this path (following no symlink).
    pub fn kind(&self, path: impl AsRef<[u8]>) -> Option<Kind> {
        let path = path::normal(path.as_ref()).ok()?;
        self.state().tree.get(&path).map(|body| body.kind)
    }

    /// The target of a symlink that this writer made.
    pub fn link_target(&self, path: impl AsRef<[u8]>) -> Option<Vec<u8>> {
        let path = path::normal(path.as_ref()).ok()?;
        let state = self.state();
        let body = state.tree.get(&path).filter(|body| body.kind == Kind::Symlink)?;
        Some(body.target().to_vec())
    }

    /// Removes what this writer put under this path, with everything below; without a whiteout.
    pub fn remove(&self, path: impl AsRef<[u8]>) -> Result<()> {
        let place = self.place(path.as_ref())?;
        self.delete(&place)
    }

    /// Takes out what the lower layers show already, applies the directories' metadata, writes the index and puts
    /// the layer in its place.
    pub fn commit(self) -> Result<Layer> {
        self.drop_unchanged()?;
        self.finish_directories()?;
        let Self { staged, state, root, .. } = self;
        let mut tree = state.into_inner().unwrap_or_else(PoisonError::into_inner).tree;
        let status = statx(&root, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).at("examine", staged.fs_path())?;
        if let Some(body) = tree.get_mut(b"") {
            body.stamp = stamp::of_root(&status);
        }
        stamp_links(&root, &mut tree).at("examine a file in", staged.fs_path())?;
        let index = Index::encode(tree.len(), tree.into_entries());
        let index = index.ok_or_else(|| Error::io("index", staged.fs_path(), Errno::FBIG))?;
        staged.install(index)
    }

    /// Applies the directories' metadata and hands the tree back, for a mount: it becomes no layer.
    pub fn into_staged(self) -> Result<StagedLayer> {
        self.finish_directories()?;
        Ok(self.staged)
    }

    /// Makes room for an entry that is no directory.
    fn clear(&self, place: &Place, kind: Kind) -> Result<()> {
        if place.path.is_empty() {
            return Err(Error::WrongKind { path: "/".into(), wanted: "replaceable" });
        }
        let there = self.state().tree.get(&place.path).map(|body| body.kind);
        match there {
            None => Ok(()),
            Some(_) if kind == Kind::Directory => Ok(()),
            Some(_) => self.delete(place),
        }
    }

    fn delete(&self, place: &Place) -> Result<()> {
        let Some(kind) = self.state().tree.get(&place.path).map(|body| body.kind) else { return Ok(()) };
        let (parent, name) = (&place.parent.directory, place.name());
        if kind == Kind::Directory {
            let trash = self.staged.store().session.fresh_path();
            let remove = || rustix::fs::renameat(parent, name, rustix::fs::CWD, &trash);
            fault::run(Operation::Rename, remove).at("remove", &self.shown(&place.path))?;
            crate::remove::tree(&trash)?;
        } else {
            let remove = || rustix::fs::unlinkat(parent, name, AtFlags::empty());
            fault::run(Operation::Remove, remove).at("remove", &self.shown(&place.path))?;
        }
        let mut state = self.state();
        state.tree.remove(&place.path);
        if matches!(kind, Kind::Directory | Kind::Symlink) {
            state.parents.clear();
        }
        Ok(())
    }

    /// Metadata of an entry that is not opened, then its place in the index.
    fn finish_special(&self, place: &Place, metadata: &Metadata, body: Body) -> Result<()> {
        let (parent, name) = (place.parent.directory.as_fd(), place.name());
        self.apply_special(parent, name, metadata, body.kind).at("set the metadata of", &self.shown(&place.path))?;
        self.state().tree.insert(&place.path, body);
        Ok(())
    }

    fn apply_special(
        &self,
        parent: std::os::fd::BorrowedFd<'_>,
        name: &[u8],
        metadata: &Metadata,
        kind: Kind,
    ) -> Result<(), Errno> {
        use rustix::fs::{Gid, Uid};
        let (mode, nofollow) = (self.staged.store().mode, AtFlags::SYMLINK_NOFOLLOW);
        let (uid, gid) = (Uid::from_raw(metadata.uid), Gid::from_raw(metadata.gid));
        let own = || rustix::fs::chownat(parent, name, Some(uid), Some(gid), nofollow);
        match fault::run(Operation::SetMetadata, own) {
            Err(Errno::PERM | Errno::INVAL) if mode == crate::Mode::Rootless => {}
            answer => answer?,
        }
        if kind != Kind::Symlink {
            // This writer just made it, and it is no symlink.
            rustix::fs::chmodat(parent, name, Mode::from_raw_mode(metadata.mode), AtFlags::empty())?;
        }
        xattrs::write_at(parent, name, &metadata.xattrs, mode)?;
        rustix::fs::utimensat(parent, name, &times(metadata.mtime), nofollow)
    }

    /// Where an inode can take no more names: a second file with the same content.
    fn copy_entry(&self, source: &Place, place: &Place) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&source.parent.directory, source.name(), flags, Mode::empty())
            .at("open", &self.shown(&source.path))?;
        let metadata = self.state().tree.get(&source.path).map(Body::metadata).unwrap_or_default();
        let mut copy = self.file(&place.path, &metadata, Hashing::Later)?;
        copy.copy_from_file(&file.into())?;
        copy.finish().map(drop)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shown(&self, path: &[u8]) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        self.staged.fs_path().join(std::ffi::OsStr::from_bytes(path))
    }

    fn apply(&self, file: std::os::fd::BorrowedFd<'_>, metadata: &Metadata) -> Result<(), Errno> {
        apply(file, metadata, self.staged.store().mode)
    }
}

/// Stamps unhashed files with several names, now that no more names come or go.
fn stamp_links(root: &OwnedFd, tree: &mut Tree) -> Result<(), Errno> {
    let linked = |body: &Body| body.kind == Kind::File && body.link_group != 0 && body.digest.is_none();
    let paths: Vec<Vec<u8>> = tree.iter().filter(|(_, body)| linked(body)).map(|(path, _)| path).collect();
    for path in paths {
        let stamp = stamp::of_open(&beneath::open(root.as_fd(), &path, OFlags::PATH)?)?;
        if let Some(body) = tree.get_mut(&path) {
            body.stamp = stamp;
        }
    }
    Ok(())
}
