//! Where entries land: the base as it looks with what the new layer holds already.

use kiln_store::{Kind, LayerWriter, Metadata, Union};

use super::FileError;
use crate::tree::{components, join, lossy, resolve_with};

/// A new layer over its base.
pub(super) struct Destination<'a> {
    pub(super) writer: &'a LayerWriter,
    pub(super) base: &'a Union,
}

impl Destination<'_> {
    /// What is at this very path.
    pub(super) fn kind(&self, path: &[u8]) -> Option<Kind> {
        if path.is_empty() {
            return Some(Kind::Directory);
        }
        match self.writer.kind(path) {
            Some(Kind::Whiteout) => None,
            Some(kind) => Some(kind),
            None => self.base.lookup(path).map(|found| found.entry.kind()),
        }
    }

    /// Where a path leads, symlinks followed beneath the root, the last one too.
    pub(super) fn resolve(&self, path: &[u8]) -> Result<Vec<u8>, FileError> {
        let link = |at: &[u8]| match self.writer.kind(at) {
            Some(Kind::Symlink) => self.writer.link_target(at),
            Some(_) => None,
            None => {
                let found = self.base.lookup(at)?;
                (found.entry.kind() == Kind::Symlink).then(|| found.entry.target().to_vec())
            }
        };
        Ok(resolve_with(path, link)?)
    }

    /// Makes the directories of a path that are missing; tells whether the last one was.
    pub(super) fn make_directories(&self, path: &[u8], metadata: &Metadata) -> Result<bool, FileError> {
        let mut made = false;
        let mut at = Vec::new();
        for name in components(path) {
            at = join(&at, name);
            made = match self.kind(&at) {
                Some(Kind::Directory) => false,
                Some(_) => return Err(FileError::NotADirectory(lossy(&at))),
                None => {
                    self.writer.directory(&at, metadata)?;
                    true
                }
            };
        }
        Ok(made)
    }
}

/// The directory that holds a path.
pub(super) fn parent(path: &[u8]) -> &[u8] {
    path.iter().rposition(|c| *c == b'/').map_or(b"", |at| &path[..at])
}
