//! Directories of a new layer: finding and making the parents of an entry, and their metadata at the end.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::Mode;
use rustix::io::Errno;

use super::{LayerWriter, Parent, Place};
use crate::beneath;
use crate::error::{At, Error, Result, shown};
use crate::fault::{self, Operation};
use crate::index::Body;
use crate::metadata::{Kind, Metadata, Timestamp};
use crate::path;
use crate::xattrs;

/// How many open parents are remembered.
const OPEN_PARENTS: usize = 128;
/// As many symbolic links as the kernel follows in one path.
const MOST_LINKS: u32 = 40;

impl LayerWriter {
    /// A directory; the root itself if the path is empty. Its metadata is applied at commit.
    pub fn directory(&self, path: impl AsRef<[u8]>, metadata: &Metadata) -> Result<()> {
        let normal = path::normal(path.as_ref())?;
        let body = Body::new(Kind::Directory, metadata);
        if normal.is_empty() {
            self.state().tree.insert(b"", body);
            return Ok(());
        }
        let place = self.place(&normal)?;
        self.make_directory(&place, body)
    }

    /// Makes a directory hide the lower layers' directory of the same path; makes it if it is missing.
    pub fn opaque(&self, path: impl AsRef<[u8]>) -> Result<()> {
        let normal = path::normal(path.as_ref())?;
        let at = if normal.is_empty() { normal } else { self.place(&normal)?.path };
        let there = self.state().tree.get(&at).map(|body| body.kind);
        if there != Some(Kind::Directory) {
            self.directory(&at, &Metadata::root_owned(0o755, Timestamp::now()))?;
        }
        if let Some(body) = self.state().tree.get_mut(&at) {
            body.opaque = true;
            (body.parent_only, body.implied) = (false, false);
        }
        Ok(())
    }

    /// The same for an archive that has a mark for it: the mark is written again when the layer becomes a tar, with the
    /// whiteouts that were put beside it, which then hide nothing.
    pub fn opaque_mark(&self, path: impl AsRef<[u8]>) -> Result<()> {
        self.opaque(&path)?;
        let normal = path::normal(path.as_ref())?;
        let at = if normal.is_empty() { normal } else { self.place(&normal)?.path };
        if let Some(body) = self.state().tree.get_mut(&at) {
            body.opaque_mark = true;
        }
        Ok(())
    }

    /// Whether this writer made a directory that hides what lower layers have in it.
    pub fn is_opaque(&self, path: impl AsRef<[u8]>) -> bool {
        let Ok(path) = path::normal(path.as_ref()) else { return false };
        self.state().tree.get(&path).is_some_and(|body| body.opaque)
    }

    /// The parent directory of an entry, made if missing, through symlinks of this layer.
    pub(super) fn place(&self, path: &[u8]) -> Result<Place> {
        let path = path::normal(path)?;
        let (parent, name) = path::split(&path);
        let known = self.state().parents.get(parent).cloned();
        let parent = match known {
            Some(parent) => parent,
            None => self.open_parent(parent)?,
        };
        let path = path::join(&parent.path, name);
        Ok(Place { parent, path })
    }

    fn open_parent(&self, named: &[u8]) -> Result<Parent> {
        let path = self.resolve_parent(named)?;
        let directory = beneath::open_directory(self.root.as_fd(), &path).at("open", &self.shown(&path))?;
        let parent = Parent { path, directory: Arc::new(directory) };
        let mut state = self.state();
        if state.parents.len() >= OPEN_PARENTS {
            state.parents.clear();
        }
        state.parents.insert(named.to_vec(), parent.clone());
        Ok(parent)
    }

    /// Follows the symlinks that this layer has, `..` in them stopping at the root, and makes what is missing.
    fn resolve_parent(&self, named: &[u8]) -> Result<Vec<u8>> {
        let mut rest: VecDeque<Vec<u8>> = path::components(named).map(<[u8]>::to_vec).collect();
        let (mut resolved, mut links) = (Vec::new(), 0);
        while let Some(component) = rest.pop_front() {
            if component == b".." {
                resolved = path::split(&resolved).0.to_vec();
                continue;
            }
            let next = path::join(&resolved, &component);
            let target = {
                let state = self.state();
                match state.tree.get(&next) {
                    Some(body) if body.kind == Kind::Symlink => Some(body.target().to_vec()),
                    Some(body) if body.kind == Kind::Directory => None,
                    Some(body) if body.kind != Kind::Whiteout => {
                        return Err(Error::WrongKind { path: shown(&next), wanted: "a directory" });
                    }
                    _ => {
                        drop(state);
                        self.make_missing(&next)?;
                        None
                    }
                }
            };
            let Some(target) = target else {
                resolved = next;
                continue;
            };
            links += 1;
            if links > MOST_LINKS {
                return Err(Error::SymlinkLoop { path: shown(named) });
            }
            if target.starts_with(b"/") {
                resolved.clear();
            }
            for part in path::components(&target).rev() {
                rest.push_front(part.to_vec());
            }
        }
        path::normal(&resolved)
    }

    /// A parent that nobody asked for: as the lower layers have it, or 0755 and root's.
    fn make_missing(&self, path: &[u8]) -> Result<()> {
        let below = self.lower.as_ref().and_then(|lower| lower.lookup(path));
        let whiteout = self.state().tree.get(path).is_some();
        let body = match below.filter(|found| found.entry.kind() == Kind::Directory && !whiteout) {
            Some(found) => {
                let mut body = Body::new(Kind::Directory, &found.entry.metadata());
                body.parent_only = true;
                body
            }
            None if self.implies_parents && !whiteout => {
                let mut body = Body::new(Kind::Directory, &Metadata::root_owned(0o755, Timestamp::default()));
                (body.parent_only, body.implied) = (true, true);
                body
            }
            None => Body::new(Kind::Directory, &Metadata::root_owned(0o755, Timestamp::now())),
        };
        let place = self.place(path)?;
        self.make_directory(&place, body)
    }

    fn make_directory(&self, place: &Place, mut body: Body) -> Result<()> {
        let there = self.state().tree.get(&place.path).map(|each| (each.kind, each.opaque, each.opaque_mark));
        match there {
            Some((Kind::Directory, opaque, mark)) => {
                // Of two threads that need the same missing parent, the second changes nothing.
                if !body.parent_only {
                    (body.opaque, body.opaque_mark) = (opaque, mark);
                    self.state().tree.insert(&place.path, body);
                }
                return Ok(());
            }
            Some(_) => {
                // What was here hid a lower directory; so must the directory that takes its place.
                self.delete(place)?;
                body.opaque = true;
            }
            None => {}
        }
        let make = || rustix::fs::mkdirat(&place.parent.directory, place.name(), Mode::RWXU);
        match fault::run(Operation::MakeDirectory, make) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(Error::io("create", self.shown(&place.path), errno)),
        }
        self.state().tree.insert(&place.path, body);
        Ok(())
    }

    /// Takes whiteouts out of opaque directories: they hide nothing, and a mount would list them there. Beside a mark
    /// they stay in the index.
    fn drop_idle_whiteouts(&self) -> Result<()> {
        let (mut idle, mut kept) = (Vec::new(), Vec::new());
        let mut opaque: Option<Vec<u8>> = None;
        let mut marked: Option<Vec<u8>> = None;
        for (path, body) in self.state().tree.iter() {
            if opaque.as_ref().is_some_and(|directory| !path::is_within(&path, directory)) {
                opaque = None;
            }
            if body.opaque_mark {
                marked = Some(path.clone());
            }
            if body.kind == Kind::Whiteout && opaque.is_some() {
                let is_marked = marked.as_deref() == Some(path::split(&path).0);
                if is_marked { &mut kept } else { &mut idle }.push(path);
            } else if body.opaque && opaque.is_none() {
                opaque = Some(path);
            }
        }
        idle.iter().chain(&kept).try_for_each(|path| self.remove(path))?;
        let mut state = self.state();
        kept.iter().for_each(|path| state.tree.insert(path, Body::whiteout()));
        Ok(())
    }

    /// Applies owner, mode, xattrs and times of all directories, the deepest first.
    pub(super) fn finish_directories(&self) -> Result<()> {
        self.drop_idle_whiteouts()?;
        let state = self.state();
        let mode = self.staged.store().mode;
        for (path, body) in state.tree.iter().rev() {
            if body.kind != Kind::Directory {
                continue;
            }
            let directory = beneath::open_directory(self.root.as_fd(), &path).at("open", &self.shown(&path))?;
            if body.opaque {
                xattrs::mark_opaque(&directory, mode).at("mark opaque", &self.shown(&path))?;
            }
            self.apply(directory.as_fd(), &body.metadata()).at("set the metadata of", &self.shown(&path))?;
        }
        Ok(())
    }
}
