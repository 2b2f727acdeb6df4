//! What is in a layer: its entries, sorted by path.
//!
//! The index is the truth about owners, modes, xattrs and devices, whatever the disk could hold. In memory it is the
//! file's own bytes (see `format.rs`), so reading one is a single read and an entry costs about 110 bytes and its
//! path. It does not know where the layer's files are.

mod format;
mod tree;

use std::cmp::Ordering;

use crate::metadata::{Metadata, Xattrs};
use crate::path;

pub use format::Index;
pub(crate) use tree::{Body, Tree};

/// One entry of an index.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    index: &'a Index,
    position: u32,
}

impl Index {
    /// Whether there is nothing but an unchanged root.
    pub fn is_empty(&self) -> bool {
        self.len() == 0 || (self.len() == 1 && self.at(0).parent_only())
    }

    /// All entries in order, the root (path "") first.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = Entry<'_>> {
        (0..self.len() as u32).map(|position| self.at(position))
    }

    /// The entry at exactly this path.
    pub fn get(&self, path: impl AsRef<[u8]>) -> Option<Entry<'_>> {
        let path = trimmed(path.as_ref());
        let position = self.search(path);
        let entry = (position < self.len() as u32).then(|| self.at(position))?;
        (entry.path() == path).then_some(entry)
    }

    /// The entries directly in a directory, sorted by name.
    pub fn children<'a>(&'a self, directory: &Entry<'a>) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        let end = directory.subtree_end();
        let mut next = directory.position + 1;
        std::iter::from_fn(move || {
            let entry = (next < end).then(|| self.at(next))?;
            next = entry.subtree_end();
            Some(entry)
        })
    }

    /// Everything below a directory, parents before children; without the directory.
    pub fn descendants<'a>(&'a self, directory: &Entry<'a>) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        (directory.position + 1..directory.subtree_end()).map(|position| self.at(position))
    }

    pub(crate) fn at(&self, position: u32) -> Entry<'_> {
        Entry { index: self, position }
    }

    /// The first entry that is not before `path`.
    fn search(&self, path: &[u8]) -> u32 {
        let (mut low, mut high) = (0, self.len() as u32);
        while low < high {
            let middle = low + (high - low) / 2;
            match path::compare(self.at(middle).path(), path) {
                Ordering::Less => low = middle + 1,
                _ => high = middle,
            }
        }
        low
    }
}

impl<'a> Entry<'a> {
    /// The last component.
    pub fn name(&self) -> &'a [u8] {
        path::split(self.path()).1
    }

    /// Extended attributes as a program inside the container sees them.
    pub fn xattrs(&self) -> Xattrs {
        self.xattr_list().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
    }

    /// One extended attribute.
    pub fn xattr(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.xattr_list().find(|(each, _)| *each == name).map(|(_, value)| value)
    }

    /// All of mode, owner, time and xattrs.
    pub fn metadata(&self) -> Metadata {
        Metadata { mode: self.mode(), uid: self.uid(), gid: self.gid(), mtime: self.mtime(), xattrs: self.xattrs() }
    }

    /// Whether something below this directory is in the layer.
    pub fn has_descendants(&self) -> bool {
        self.subtree_end() > self.position + 1
    }

    /// Where in the index it stands.
    pub fn position(&self) -> u32 {
        self.position
    }

    /// Everything of the entry but its path.
    pub(crate) fn body(&self) -> Body {
        let mut body = Body::new(self.kind(), &self.metadata());
        body.size = self.size();
        body.digest = self.digest();
        body.parent_only = self.parent_only();
        body.opaque = self.opaque();
        body.opaque_mark = self.opaque_mark();
        body.implied = self.implied();
        body.link_group = self.link_group().unwrap_or(0);
        body.stamp = self.stamp();
        body.set_target(self.target());
        body.set_device(self.device());
        body
    }
}

impl std::fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:o} {}:{}", self.kind(), self.mode(), self.uid(), self.gid())?;
        write!(f, " {:?}", String::from_utf8_lossy(self.path()))
    }
}

fn trimmed(path: &[u8]) -> &[u8] {
    let start = path.iter().position(|&byte| byte != b'/').unwrap_or(path.len());
    let end = path.iter().rposition(|&byte| byte != b'/').map_or(start, |last| last + 1);
    &path[start..end]
}

/// The metadata that two entries are compared by, apart from time. Xattrs `user.*` do not count, because no
/// image has them, but for the marks of an overlay within.
pub(crate) fn same_apart_from_time(body: &Body, entry: &Entry<'_>) -> bool {
    let lasts = |name: &[u8]| !name.starts_with(b"user.") || name.starts_with(b"user.overlay.");
    let xattrs = body.xattrs().map(|(name, value)| (name.as_slice(), value.as_slice()));
    body.kind == entry.kind()
        && u32::from(body.mode) == entry.mode()
        && (body.uid, body.gid) == (entry.uid(), entry.gid())
        && (body.size, body.device()) == (entry.size(), entry.device())
        && body.target() == entry.target()
        && xattrs.filter(|(name, _)| lasts(name)).eq(entry.xattr_list().filter(|(name, _)| lasts(name)))
}
