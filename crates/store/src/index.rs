//! What is in a layer: sorted entries.
use crate::*;

/// The entries of a layer, sorted by path component by component: a directory comes right before what is in it.
#[derive(Debug)]
pub struct Index {}

/// One entry of an index.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    _index: &'a Index,
    _position: u32,
}

impl Index {
    /// How many entries, the root included.
    pub fn len(&self) -> usize {
        todo!()
    }
    /// Whether there is nothing but an unchanged root.
    pub fn is_empty(&self) -> bool {
        todo!()
    }
    /// All entries in order, the root (path "") first.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        std::iter::empty()
    }
    /// The entry at exactly this path.
    pub fn get(&self, _path: impl AsRef<[u8]>) -> Option<Entry<'_>> {
        todo!()
    }
    /// The entries directly in a directory.
    pub fn children<'a>(&'a self, _directory: &Entry<'a>) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        std::iter::empty()
    }
    /// Bytes that it takes in memory.
    pub fn memory(&self) -> usize {
        todo!()
    }
}

impl<'a> Entry<'a> {
    /// Path from the layer's root, no leading or trailing slash; empty for the root.
    pub fn path(&self) -> &'a [u8] {
        todo!()
    }
    /// The last component.
    pub fn name(&self) -> &'a [u8] {
        todo!()
    }
    /// What it is.
    pub fn kind(&self) -> Kind {
        todo!()
    }
    /// Permission bits, at most `0o7777`.
    pub fn mode(&self) -> u32 {
        todo!()
    }
    /// Owner.
    pub fn uid(&self) -> u32 {
        todo!()
    }
    /// Group.
    pub fn gid(&self) -> u32 {
        todo!()
    }
    /// Bytes of a regular file, 0 otherwise.
    pub fn size(&self) -> u64 {
        todo!()
    }
    /// Last change of the contents.
    pub fn mtime(&self) -> Timestamp {
        todo!()
    }
    /// Extended attributes, sorted by name.
    pub fn xattrs(&self) -> Xattrs {
        todo!()
    }
    /// One extended attribute.
    pub fn xattr(&self, _name: &[u8]) -> Option<&'a [u8]> {
        todo!()
    }
    /// All of mode, owner, time and xattrs.
    pub fn metadata(&self) -> Metadata {
        todo!()
    }
    /// The target of a symlink, empty otherwise.
    pub fn target(&self) -> &'a [u8] {
        todo!()
    }
    /// The number of a device, 0:0 otherwise.
    pub fn device(&self) -> Device {
        todo!()
    }
    /// BLAKE3 of a regular file, if known.
    pub fn digest(&self) -> Option<FileDigest> {
        todo!()
    }
    /// Only there because something below it changed; equal to what the lower layers have.
    pub fn parent_only(&self) -> bool {
        todo!()
    }
    /// A directory that hides the lower layers' directory of the same path.
    pub fn opaque(&self) -> bool {
        todo!()
    }
    /// Entries with the same number are names of one file; the first in order stands for it.
    pub fn link_group(&self) -> Option<u32> {
        todo!()
    }
}
