//! Look-ups across layers, over their indexes, without a mount: what an overlay mount of them would show.
//!
//! It knows indexes only; nothing here looks at a disk but `open` and `read_small`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use crate::error::{At, Error, Result, shown};
use crate::index::{Entry, Index};
use crate::layers::Layer;
use crate::metadata::Kind;
use crate::path;
use crate::verified::FileReader;

/// As many symbolic links as the kernel follows in one path.
const MOST_LINKS: u32 = 40;

/// A root file system: layers, bottom first. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Union {
    layers: Arc<[Layer]>,
    indexes: Arc<[Arc<Index>]>,
}

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
    pub fn new(layers: Vec<Layer>) -> Result<Self> {
        let indexes = layers.iter().map(Layer::index).collect::<Result<_>>()?;
        Ok(Self { layers: layers.into(), indexes })
    }

    /// The layers, bottom first.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// What is at this very path: no symlink is followed, not even among the parents.
    pub fn lookup(&self, path: impl AsRef<[u8]>) -> Option<Found<'_>> {
        let path = path::normal(path.as_ref()).ok()?;
        if path.is_empty() {
            return self.root();
        }
        for layer in (0..self.indexes.len()).rev() {
            let index = &self.indexes[layer];
            if let Some(entry) = index.get(&path) {
                return (entry.kind() != Kind::Whiteout).then(|| self.told(Found { layer, entry }));
            }
            if hides_below(index, &path) {
                return None;
            }
        }
        None
    }

    /// Follows symlinks as a process inside would, `..` stopping at the root. Components that do not exist are kept as
    /// they are. `follow_last`: also if the last component is a symlink.
    pub fn resolve(&self, path: impl AsRef<[u8]>, follow_last: bool) -> Result<Resolved<'_>> {
        let original = path.as_ref();
        let mut rest: VecDeque<Vec<u8>> = path::components(original).map(<[u8]>::to_vec).collect();
        let mut resolved = Vec::new();
        let mut links = 0;
        while let Some(component) = rest.pop_front() {
            if component == b".." {
                resolved = path::split(&resolved).0.to_vec();
                continue;
            }
            let next = path::join(&resolved, &component);
            let link = match self.lookup(&next) {
                Some(found) if found.entry.kind() == Kind::Symlink => found.entry,
                _ => {
                    resolved = next;
                    continue;
                }
            };
            // A trailing slash asks for a directory, so it follows too.
            if rest.is_empty() && !follow_last && !original.ends_with(b"/") {
                resolved = next;
                break;
            }
            links += 1;
            if links > MOST_LINKS {
                return Err(Error::SymlinkLoop { path: shown(original) });
            }
            if link.target().starts_with(b"/") {
                resolved.clear();
            }
            for part in path::components(link.target()).rev() {
                rest.push_front(part.to_vec());
            }
        }
        let path = path::normal(&resolved)?;
        let found = self.lookup(&path);
        Ok(Resolved { path, found })
    }

    /// The entries of a directory (path without symlinks), sorted by name. Empty if there is no such directory.
    pub fn children(&self, path: impl AsRef<[u8]>) -> Vec<Found<'_>> {
        path::normal(path.as_ref()).map(|path| self.merged(&self.parts(&path))).unwrap_or_default()
    }

    /// The entry at a path and everything below it, parents before children, sorted.
    pub fn walk(&self, path: impl AsRef<[u8]>) -> Vec<Found<'_>> {
        let Ok(path) = path::normal(path.as_ref()) else { return Vec::new() };
        let Some(top) = self.lookup(&path) else { return Vec::new() };
        let mut all = vec![top];
        let parts = self.parts(&path);
        let mut open = vec![(self.merged(&parts).into_iter(), parts)];
        while let Some((children, parts)) = open.last_mut() {
            let Some(child) = children.next() else {
                open.pop();
                continue;
            };
            all.push(child);
            if child.entry.kind() == Kind::Directory {
                let below = self.parts_below(parts, child.entry.name());
                open.push((self.merged(&below).into_iter(), below));
            }
        }
        all
    }

    /// Directories that do not look as their uppermost layer has them on disk, because it only implies them: a mount,
    /// which knows nothing of that, would show them otherwise.
    pub fn implied_directories(&self) -> Vec<Found<'_>> {
        let mut found = BTreeMap::new();
        for (layer, index) in self.indexes.iter().enumerate() {
            for implied in index.entries().filter(Entry::implied) {
                let shown = self.lookup(implied.path()).filter(|shown| shown.layer < layer);
                found.extend(shown.map(|shown| (implied.path(), shown)));
            }
        }
        found.into_values().collect()
    }

    /// Directories that a single layer shows and in which it hides names that nobody has: a mount, which hides names
    /// only where it merges directories, would list those.
    pub fn idle_whiteouts(&self) -> Vec<Vec<u8>> {
        let mut found: BTreeSet<Vec<u8>> = BTreeSet::new();
        for index in &*self.indexes {
            for entry in index.entries().filter(|entry| entry.kind() == Kind::Whiteout) {
                let directory = path::split(entry.path()).0;
                if !directory.is_empty() && !found.contains(directory) && self.parts(directory).len() == 1 {
                    found.insert(directory.to_vec());
                }
            }
        }
        found.into_iter().collect()
    }

    /// Opens a regular file. Fails if its size is not the index's.
    pub fn open(&self, found: &Found<'_>) -> Result<File> {
        self.layers[found.layer].open(found.entry.path())
    }

    /// Opens a regular file whose bytes leave the store: the last read fails if they do not have the index's digest.
    pub fn reader(&self, found: &Found<'_>) -> Result<FileReader> {
        self.layers[found.layer].reader(found.entry.path())
    }

    /// A whole small file by path, symlinks followed. `None` if there is none; an error if it is not a regular file
    /// or longer than `limit` bytes.
    pub fn read_small(&self, path: impl AsRef<[u8]>, limit: u64) -> Result<Option<Vec<u8>>> {
        let resolved = self.resolve(path, true)?;
        let Some(found) = resolved.found else { return Ok(None) };
        let size = found.entry.size();
        if size > limit {
            return Err(Error::TooLarge { path: shown(&resolved.path), size, limit });
        }
        let mut bytes = Vec::with_capacity(size as usize);
        let place = self.layers[found.layer].fs_path();
        self.open(&found)?.take(limit).read_to_end(&mut bytes).at("read a file of", &place)?;
        Ok(Some(bytes))
    }

    /// The topmost root that a layer means to set.
    fn root(&self) -> Option<Found<'_>> {
        let roots = || {
            let all = self.indexes.iter().enumerate().rev();
            all.filter_map(|(layer, index)| Some(Found { layer, entry: index.get("")? }))
        };
        roots().find(|found| !found.entry.parent_only()).or_else(|| roots().next())
    }

    /// The directories that are merged at a path, top first.
    fn parts(&self, path: &[u8]) -> Vec<Found<'_>> {
        let mut parts = Vec::new();
        for layer in (0..self.indexes.len()).rev() {
            let index = &self.indexes[layer];
            match index.get(path) {
                Some(entry) if entry.kind() == Kind::Directory => {
                    parts.push(Found { layer, entry });
                    if entry.opaque() {
                        break;
                    }
                }
                Some(_) => break,
                None => {}
            }
            if hides_below(index, path) {
                break;
            }
        }
        parts
    }

    /// What the merged directories show, sorted by name.
    fn merged<'a>(&'a self, parts: &[Found<'a>]) -> Vec<Found<'a>> {
        let entries = |part: &Found<'a>| {
            let layer = part.layer;
            self.indexes[layer].children(&part.entry).map(move |entry| Found { layer, entry })
        };
        let visible = |found: &Found<'_>| found.entry.kind() != Kind::Whiteout;
        if let [only] = parts {
            return entries(only).filter(visible).collect();
        }
        let mut by_name: BTreeMap<&[u8], Found<'a>> = BTreeMap::new();
        for found in parts.iter().flat_map(entries) {
            by_name.entry(found.entry.name()).or_insert(found);
        }
        by_name.into_values().filter(visible).map(|found| self.told(found)).collect()
    }

    /// The same, or for a directory that its layer only implies, the one whose layer says what it is like.
    fn told<'a>(&'a self, found: Found<'a>) -> Found<'a> {
        if !found.entry.implied() {
            return found;
        }
        self.parts(found.entry.path()).into_iter().find(|part| !part.entry.implied()).unwrap_or(found)
    }

    /// The same as `parts` of a subdirectory, found from its parent's.
    fn parts_below<'a>(&'a self, parts: &[Found<'a>], name: &[u8]) -> Vec<Found<'a>> {
        let mut below = Vec::new();
        for part in parts {
            let layer = part.layer;
            match self.indexes[layer].get(path::join(part.entry.path(), name)) {
                Some(entry) if entry.kind() == Kind::Directory => {
                    below.push(Found { layer, entry });
                    if entry.opaque() {
                        break;
                    }
                }
                Some(_) => break,
                None => {}
            }
        }
        below
    }
}

/// Whether an ancestor of `path` in this layer keeps lower layers from showing there.
fn hides_below(index: &Index, path: &[u8]) -> bool {
    path::ancestors(path)
        .filter_map(|ancestor| index.get(ancestor))
        .any(|ancestor| ancestor.kind() != Kind::Directory || ancestor.opaque())
}

#[cfg(test)]
#[path = "union_tests.rs"]
mod tests;
