//! Puts entries into a new layer, by path beneath its root.
use crate::*;
use std::fs::File;
use std::io;

/// Writes the entries of a new layer. Paths are relative to the layer's root (a leading `/` is dropped, `..` refused).
/// Symlinks among the parents are followed only if this writer made them, and never out of the root.
/// An entry replaces what was there, a directory merges with a directory. `Sync`: threads may write at once.
pub struct LayerWriter {}

/// Whether a file's digest is wanted at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hashing {
    /// While the bytes pass.
    Now,
    /// When somebody asks for it; copying may leave the bytes to the kernel.
    Later,
}

/// A regular file on its way into a layer. Dropped without `finish`, it is gone.
pub struct FileWriter<'a> {
    _writer: &'a LayerWriter,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Bytes.
    pub size: u64,
    /// Their digest, if it was wanted.
    pub digest: Option<FileDigest>,
}

impl LayerWriter {
    /// A directory; the root itself if the path is empty. Its metadata is applied at commit.
    pub fn directory(&self, _path: impl AsRef<[u8]>, _metadata: &Metadata) -> Result<()> {
        todo!()
    }
    /// A regular file.
    pub fn file(&self, _path: impl AsRef<[u8]>, _metadata: &Metadata, _hashing: Hashing) -> Result<FileWriter<'_>> {
        todo!()
    }
    /// A symbolic link to `target` (any bytes without NUL).
    pub fn symlink(&self, _path: impl AsRef<[u8]>, _target: &[u8], _metadata: &Metadata) -> Result<()> {
        todo!()
    }
    /// Another name for a non-directory that this writer made.
    pub fn hard_link(&self, _path: impl AsRef<[u8]>, _existing: impl AsRef<[u8]>) -> Result<()> {
        todo!()
    }
    /// A device. Recorded even where the disk cannot hold it. `kind` is CharacterDevice or BlockDevice; 0:0 is refused.
    pub fn device(&self, _path: impl AsRef<[u8]>, _kind: Kind, _device: Device, _metadata: &Metadata) -> Result<()> {
        todo!()
    }
    /// A named pipe.
    pub fn fifo(&self, _path: impl AsRef<[u8]>, _metadata: &Metadata) -> Result<()> {
        todo!()
    }
    /// Hides what lower layers have under this path, and drops what this writer put there.
    pub fn whiteout(&self, _path: impl AsRef<[u8]>) -> Result<()> {
        todo!()
    }
    /// Makes a directory hide the lower layers' directory of the same path.
    pub fn opaque(&self, _path: impl AsRef<[u8]>) -> Result<()> {
        todo!()
    }
    /// Links the regular file of the same path from an older layer, if it is there with exactly this metadata, and digest if given. False if not, and then nothing happened.
    pub fn link_from(
        &self,
        _older: &Layer,
        _path: impl AsRef<[u8]>,
        _metadata: &Metadata,
        _digest: Option<FileDigest>,
    ) -> Result<bool> {
        todo!()
    }
    /// What this writer put under this path (following no symlink).
    pub fn kind(&self, _path: impl AsRef<[u8]>) -> Option<Kind> {
        todo!()
    }
    /// The target of a symlink that this writer made.
    pub fn link_target(&self, _path: impl AsRef<[u8]>) -> Option<Vec<u8>> {
        todo!()
    }
    /// Removes what this writer put under this path, with everything below; without a whiteout.
    pub fn remove(&self, _path: impl AsRef<[u8]>) -> Result<()> {
        todo!()
    }
    /// Applies the directories' metadata, writes the index and puts the layer in its place.
    pub fn commit(self) -> Result<Layer> {
        todo!()
    }
}

impl FileWriter<'_> {
    /// Appends all of `source` from its beginning, holes kept; returns the bytes appended.
    pub fn copy_from_file(&mut self, _source: &File) -> Result<u64> {
        todo!()
    }
    /// Starts again with an empty file, for a source that moved while it was copied.
    pub fn restart(&mut self) -> Result<()> {
        todo!()
    }
    /// Applies the metadata and takes the file into the layer.
    pub fn finish(self) -> Result<Written> {
        todo!()
    }
    /// The same with other metadata than at creation, for instance as found when the copy ended.
    pub fn finish_with(self, _metadata: &Metadata) -> Result<Written> {
        todo!()
    }
}

impl io::Write for FileWriter<'_> {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        todo!()
    }
    fn flush(&mut self) -> io::Result<()> {
        todo!()
    }
}
