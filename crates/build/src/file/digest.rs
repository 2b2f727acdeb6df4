//! The digest of a selection: what a cache key of a copy covers.
//!
//! Names, kinds, contents, modes, link targets, owners, capabilities and which names are of one file count, times
//! never; everything in a directory of the user's is root's. The mode of a directory that is itself a source counts for a mount, which shows it, and not
//! for a copy, which makes one of its own.

use std::collections::HashMap;

use kiln_store::{FileDigest, Kind};

use super::{Selected, Selection};
use crate::tree::Node;

/// A file's bytes and mode, as they count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) digest: FileDigest,
    pub(crate) mode: u32,
}

impl Selection {
    /// The digest of what is selected; `content` tells of every regular file.
    pub(crate) fn digest<E>(&self, mut content: impl FnMut(&Node) -> Result<Counted, E>) -> Result<[u8; 32], E> {
        let mut hasher = SelectionHasher { hasher: blake3::Hasher::new_derive_key("kiln selection 2") };
        hasher.number(self.sources.len() as u64);
        for selected in &self.sources {
            hasher.source(selected, self.mounted, &mut content)?;
        }
        Ok(*hasher.hasher.finalize().as_bytes())
    }

    /// Whether a source that is a directory counts itself.
    pub(crate) fn counts_roots(&self) -> bool {
        self.mounted
    }

    /// All regular files that are selected.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Node> {
        self.sources
            .iter()
            .flat_map(|selected| std::iter::once(&selected.root).chain(&selected.below))
            .filter(|node| node.kind == Kind::File)
    }
}

/// What stands in the place of a kind, before the entry itself, for another name of an earlier file.
const OTHER_NAME: u64 = u64::MAX;

struct SelectionHasher {
    hasher: blake3::Hasher,
}

impl SelectionHasher {
    fn source<E>(
        &mut self,
        selected: &Selected,
        mounted: bool,
        content: &mut impl FnMut(&Node) -> Result<Counted, E>,
    ) -> Result<(), E> {
        self.bytes(&selected.name);
        self.number(selected.parents.len() as u64);
        for (path, node) in &selected.parents {
            self.bytes(path);
            self.entry(node, None);
        }
        match selected.root.kind {
            Kind::Directory if mounted => self.entry(&selected.root, None),
            Kind::Directory => self.number(0),
            Kind::File => {
                let counted = content(&selected.root)?;
                self.entry(&selected.root, Some(counted));
            }
            _ => self.entry(&selected.root, None),
        }
        self.number(selected.below.len() as u64);
        let mut first_names = HashMap::new();
        for (place, (path, node)) in selected.contents().enumerate() {
            self.bytes(path);
            if let Some(link) = node.link() {
                self.other_name(*first_names.entry(link).or_insert(place), place);
            }
            let counted = if node.kind == Kind::File { Some(content(node)?) } else { None };
            self.entry(node, counted);
        }
        Ok(())
    }

    /// A file with several names counts as the first of them that is selected.
    fn other_name(&mut self, first: usize, place: usize) {
        if first != place {
            self.number(OTHER_NAME);
            self.number(first as u64);
        }
    }

    fn entry(&mut self, node: &Node, counted: Option<Counted>) {
        self.number(1 + node.kind as u64);
        self.number(u64::from(counted.map_or(node.mode, |counted| counted.mode)));
        self.number(u64::from(node.uid));
        self.number(u64::from(node.gid));
        self.bytes(node.capability().unwrap_or_default());
        match node.kind {
            Kind::File => self.bytes(&counted.map(|counted| counted.digest.0).unwrap_or_default()),
            Kind::Symlink => self.bytes(node.target()),
            Kind::CharacterDevice | Kind::BlockDevice => {
                self.number(u64::from(node.device().major));
                self.number(u64::from(node.device().minor));
            }
            Kind::Directory | Kind::Fifo | Kind::Whiteout => {}
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.hasher.update(bytes);
    }

    fn number(&mut self, number: u64) {
        self.hasher.update(&number.to_le_bytes());
    }
}
