//! One layer against its index: every entry, every byte, and nothing besides.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;
use rustix::fs::{AtFlags, OFlags, Statx, StatxFlags, openat, readlinkat, statx};
use rustix::io::Errno;

use super::disk::{Disk, Held};
use super::report::LISTED;
use crate::content::digest_of;
use crate::error::shown;
use crate::index::{Entry, Index};
use crate::layers::{Layer, TOUCHED};
use crate::metadata::{Device, FileDigest, Kind, Timestamp};
use crate::upper::kind_on_disk;
use crate::xattrs::{self, Marks};
use crate::{beneath, path, stamp};

/// What a layer turned out to be.
#[derive(Debug, Default)]
pub(super) struct LayerState {
    /// Entry and problem, at most [`LISTED`].
    pub(super) damage: Vec<(String, String)>,
    /// How many more there are.
    pub(super) more: u64,
    /// Digests of files that had none.
    pub(super) learnt: Vec<(u32, FileDigest)>,
    pub(super) entries: u64,
    pub(super) bytes: u64,
    /// Files without a digest, and nothing but size and time to compare.
    pub(super) unknown: u64,
    /// Files without a digest that have not been touched since they came.
    pub(super) untouched: u64,
    /// Entries that may not be looked into.
    pub(super) closed: u64,
}

/// A layer being checked.
struct Check<'a> {
    layer: &'a Layer,
    index: &'a Index,
    disk: &'a Disk,
    root: Arc<OwnedFd>,
    stamps: bool,
    /// Told of the bytes that were read.
    advance: &'a (dyn Fn(u64) + Sync),
    state: Mutex<LayerState>,
    bytes: AtomicU64,
}

/// An entry as it is on disk.
struct OnDisk {
    status: Statx,
    xattrs: crate::Xattrs,
    marks: Marks,
}

/// Compares everything in the layer's directory with `index`; the directories of a layer in parallel.
pub(super) fn compare(
    layer: &Layer,
    index: &Index,
    disk: &Disk,
    advance: &(dyn Fn(u64) + Sync),
) -> crate::Result<LayerState> {
    let root = layer.fs()?;
    let stamps = stamp::counts(index, &*root);
    let (state, bytes) = (Mutex::default(), AtomicU64::new(0));
    let check = Check { layer, index, disk, root, stamps, advance, state, bytes };
    check.root();
    let directories: Vec<u32> =
        index.entries().filter(|entry| entry.kind() == Kind::Directory).map(|entry| entry.position()).collect();
    directories.par_iter().for_each(|&position| check.directory(index.at(position)));
    check.links();
    let mut state = check.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    state.entries = index.len() as u64;
    state.bytes = check.bytes.into_inner();
    state.damage.sort();
    Ok(state)
}

impl Check<'_> {
    fn damaged(&self, path: &[u8], problem: impl Into<String>) {
        let mut state = self.state();
        if state.damage.len() < LISTED {
            state.damage.push((shown(path), problem.into()));
        } else {
            state.more += 1;
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, LayerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What cannot be had: closed to this user, or broken.
    fn refused(&self, path: &[u8], action: &str, errno: Errno) {
        match errno {
            Errno::ACCESS | Errno::PERM => self.state().closed += 1,
            errno => self.damaged(path, format!("it cannot be {action}: {errno}")),
        }
    }

    fn root(&self) {
        let Some(entry) = self.index.get("") else { return self.damaged(b"", "its index has no root") };
        match on_disk(self.root.as_fd(), b"", self.layer.mode()) {
            Ok(found) => self.metadata(&entry, &found),
            Err(errno) => self.refused(b"", "examined", errno),
        }
    }

    /// What is in a directory, against what shall be.
    fn directory(&self, entry: Entry<'_>) {
        let opened = beneath::open_directory(self.root.as_fd(), entry.path());
        let directory = match opened {
            Ok(directory) => directory,
            // Its parent's job says so.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return,
            Err(errno) => return self.refused(entry.path(), "opened", errno),
        };
        let mut there = match beneath::names(&directory) {
            Ok(names) => names,
            Err(errno) => return self.refused(entry.path(), "listed", errno),
        };
        there.sort_unstable();
        for child in self.index.children(&entry) {
            match there.binary_search_by(|name| name.as_slice().cmp(child.name())) {
                Ok(at) => {
                    there.remove(at);
                    self.entry(directory.as_fd(), &child);
                }
                Err(_) if child.kind() == Kind::Whiteout && entry.opaque() => {}
                Err(_) => self.damaged(child.path(), "it is missing"),
            }
        }
        for name in there {
            self.damaged(&path::join(entry.path(), &name), "it does not belong there");
        }
    }

    fn entry(&self, parent: BorrowedFd<'_>, entry: &Entry<'_>) {
        let found = match on_disk(parent, entry.name(), self.layer.mode()) {
            Ok(found) => found,
            Err(errno) => return self.refused(entry.path(), "examined", errno),
        };
        let kind = kind_on_disk(&found.status, &found.marks);
        let stands_for_device = matches!(entry.kind(), Kind::CharacterDevice | Kind::BlockDevice)
            && kind == Some(Kind::File)
            && found.status.stx_size == 0
            && !self.disk.holds_devices();
        if kind != Some(entry.kind()) && !stands_for_device {
            return self.damaged(entry.path(), "it is of another kind");
        }
        match entry.kind() {
            Kind::Whiteout => return,
            Kind::File => self.file(parent, entry, &found.status),
            Kind::Symlink => self.link(parent, entry),
            Kind::CharacterDevice | Kind::BlockDevice if !stands_for_device => {
                let (major, minor) = (found.status.stx_rdev_major, found.status.stx_rdev_minor);
                if entry.device() != (Device { major, minor }) {
                    self.damaged(entry.path(), "it is another device");
                }
            }
            _ => {}
        }
        self.metadata(entry, &found);
    }

    fn link(&self, parent: BorrowedFd<'_>, entry: &Entry<'_>) {
        match readlinkat(parent, entry.name(), Vec::new()) {
            Ok(target) if target.to_bytes() == entry.target() => {}
            Ok(_) => self.damaged(entry.path(), "it leads somewhere else"),
            Err(errno) => self.refused(entry.path(), "read", errno),
        }
    }

    /// Mode, owner, times, xattrs.
    fn metadata(&self, entry: &Entry<'_>, found: &OnDisk) {
        if entry.kind() == Kind::Directory && found.marks.opaque != entry.opaque() {
            self.damaged(entry.path(), "what it hides of the layers below is marked otherwise");
        }
        let mtime = Timestamp { seconds: found.status.stx_mtime.tv_sec, nanoseconds: found.status.stx_mtime.tv_nsec };
        if mtime != entry.mtime() && !entry.parent_only() {
            self.damaged(entry.path(), "its time of change differs");
        }
        let mut wanted = Held { mode: entry.mode(), uid: entry.uid(), gid: entry.gid(), xattrs: entry.xattrs() };
        let mode = u32::from(found.status.stx_mode) & 0o7777;
        let is = Held { mode, uid: found.status.stx_uid, gid: found.status.stx_gid, xattrs: found.xattrs.clone() };
        if is == wanted {
            return;
        }
        // The disk, or this user's rights, may not have been able to hold it.
        if let Some(held) = self.disk.held(entry.kind(), &entry.metadata()) {
            wanted = held;
        }
        if is.mode != wanted.mode {
            self.damaged(entry.path(), format!("its mode is {:o} instead of {:o}", is.mode, wanted.mode));
        }
        if (is.uid, is.gid) != (wanted.uid, wanted.gid) {
            let problem = format!("its owner is {}:{} instead of {}:{}", is.uid, is.gid, wanted.uid, wanted.gid);
            self.damaged(entry.path(), problem);
        }
        if is.xattrs != wanted.xattrs {
            self.damaged(entry.path(), "its extended attributes differ");
        }
    }

    fn file(&self, parent: BorrowedFd<'_>, entry: &Entry<'_>, status: &Statx) {
        if status.stx_size != entry.size() {
            return self.damaged(entry.path(), format!("it has {} bytes instead of {}", status.stx_size, entry.size()));
        }
        if entry.size() == 0 {
            return;
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(parent, entry.name(), flags, rustix::fs::Mode::empty()) {
            Ok(file) => File::from(file),
            Err(errno) => return self.refused(entry.path(), "opened", errno),
        };
        let touched = self.stamps && file.metadata().is_ok_and(|status| stamp::is_touched(entry, &status));
        let digest = match digest_of(file, self.layer) {
            Ok(digest) => digest,
            Err(error) => return self.damaged(entry.path(), error.to_string()),
        };
        self.bytes.fetch_add(entry.size(), Ordering::Relaxed);
        (self.advance)(entry.size());
        match entry.digest() {
            Some(known) if known == digest => {}
            Some(_) => self.damaged(entry.path(), "its bytes differ"),
            None if touched => self.damaged(entry.path(), TOUCHED),
            None => {
                let mut state = self.state();
                state.learnt.push((entry.position(), digest));
                if self.stamps && entry.stamp() != 0 { state.untouched += 1 } else { state.unknown += 1 }
            }
        }
    }

    /// Names of one file in the index must be names of one file on disk.
    fn links(&self) {
        let mut first: HashMap<u32, (u64, Entry<'_>)> = HashMap::new();
        for entry in self.index.entries() {
            let Some(group) = entry.link_group() else { continue };
            let flags = OFlags::PATH;
            let Ok(file) = beneath::open(self.root.as_fd(), entry.path(), flags) else { continue };
            let Ok(status) = statx(&file, c"", AtFlags::EMPTY_PATH, StatxFlags::INO) else { continue };
            let (inode, name) = *first.entry(group).or_insert((status.stx_ino, entry));
            if inode != status.stx_ino {
                self.damaged(entry.path(), format!("it is no longer the same file as {:?}", shown(name.path())));
            }
        }
    }
}

fn on_disk(parent: BorrowedFd<'_>, name: &[u8], mode: crate::Mode) -> Result<OnDisk, Errno> {
    let flags = if name.is_empty() { AtFlags::EMPTY_PATH } else { AtFlags::SYMLINK_NOFOLLOW };
    let status = statx(parent, name, flags, StatxFlags::BASIC_STATS)?;
    let (xattrs, marks) = xattrs::read(parent, name, mode)?;
    Ok(OnDisk { status, xattrs, marks })
}
