//! Look-ups across layers, over their indexes, without a mount.
use crate::*;
use std::fs::File;

/// A root file system: layers, bottom first. Shows what an overlay mount of them would show. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Union {}

/// An entry and the layer that shows it.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// The layer's place in the union, 0 is the bottom.
    pub layer: usize,
    /// The entry in that layer's index.
    pub entry: Entry<'a>,
}

/// Where a path leads.
#[derive(Clone, Debug)]
pub struct Resolved<'a> {
    /// The path with symlinks and `..` resolved beneath the root; without leading slash.
    pub path: Vec<u8>,
    /// What is there, if anything.
    pub found: Option<Found<'a>>,
}

impl Union {
    /// Reads the layers' indexes.
    pub fn new(_layers: Vec<Layer>) -> Result<Self> {
        todo!()
    }
    /// The layers, bottom first.
    pub fn layers(&self) -> &[Layer] {
        todo!()
    }
    /// What is at this very path: no symlink is followed, not even among the parents.
    pub fn lookup(&self, _path: impl AsRef<[u8]>) -> Option<Found<'_>> {
        todo!()
    }
    /// Follows symlinks as a process inside would, `..` stopping at the root. Components that do not exist are kept as they are.
    pub fn resolve(&self, _path: impl AsRef<[u8]>, _follow_last: bool) -> Result<Resolved<'_>> {
        todo!()
    }
    /// The entries of a directory (path without symlinks), sorted by name. Empty if there is no such directory.
    pub fn children(&self, _path: impl AsRef<[u8]>) -> Vec<Found<'_>> {
        todo!()
    }
    /// The entry at a path and everything below it, parents before children, sorted.
    pub fn walk(&self, _path: impl AsRef<[u8]>) -> Vec<Found<'_>> {
        todo!()
    }
    /// Opens a regular file.
    pub fn open(&self, _found: &Found<'_>) -> Result<File> {
        todo!()
    }
    /// A whole small file by path, symlinks followed. `None` if there is none.
    pub fn read_small(&self, _path: impl AsRef<[u8]>, _limit: u64) -> Result<Option<Vec<u8>>> {
        todo!()
    }
}
