//! One entry after the other into the store's layer writer, whiteouts in both spellings included.

use std::io::{self, Read, Write};

use kiln_store::{Hashing, Kind, LayerWriter, Metadata, Timestamp};

use super::limits::{Allowance, Limits};
use super::paths::{self, Climbing, Name};
use super::{UnpackError, shown};
use crate::tar::{Entry, EntryKind, TarReader};

/// Unpacks all entries of an image layer.
pub(super) fn unpack_layer(tar: impl Read, writer: &LayerWriter) -> Result<(), UnpackError> {
    let mut reader = TarReader::new(tar);
    let put = Put::new(writer);
    let mut allowance = Allowance::new(Limits::settled());
    while let Some(entry) = reader.next_entry()? {
        allowance.take(&entry)?;
        let path = paths::clean(&entry.path, Climbing::Refused)?;
        match paths::classify(path)? {
            Name::Ignored => {}
            Name::Whiteout(path) => put.hide(&path)?,
            Name::Opaque(path) => put.hide_children(&path)?,
            Name::Plain(path) => {
                let target = match &entry.kind {
                    EntryKind::HardLink { target } => paths::clean(target, Climbing::Refused)?,
                    _ => Vec::new(),
                };
                put.entry(&path, &target, &entry, &mut reader)?;
            }
        }
    }
    Ok(())
}

/// Puts entries into a writer at paths that were made safe.
///
/// What takes the place of a whiteout hides the lower layers as well: the writer sees to that.
pub(super) struct Put<'a> {
    writer: &'a LayerWriter,
}

impl<'a> Put<'a> {
    pub(super) fn new(writer: &'a LayerWriter) -> Put<'a> {
        Put { writer }
    }

    /// A whiteout: it speaks of lower layers only, so what this archive put there stays.
    pub(super) fn hide(&self, path: &[u8]) -> Result<(), UnpackError> {
        match self.writer.kind(path) {
            None => self.writer.whiteout(path)?,
            Some(Kind::Directory) => self.writer.opaque(path)?,
            Some(_) => {}
        }
        Ok(())
    }

    /// An opaque directory: nothing that lower layers have in it shows.
    pub(super) fn hide_children(&self, path: &[u8]) -> Result<(), UnpackError> {
        Ok(self.writer.opaque(path)?)
    }

    /// An entry of its own; `target` is the safe path of a hard link's target.
    pub(super) fn entry<R: Read>(
        &self,
        path: &[u8],
        target: &[u8],
        entry: &Entry,
        reader: &mut TarReader<R>,
    ) -> Result<(), UnpackError> {
        if path.is_empty() && entry.kind != EntryKind::Directory {
            let reason = "the root can only be a directory";
            return Err(UnpackError::BadName { path: shown(&entry.path), reason });
        }
        let (writer, metadata) = (self.writer, &entry.metadata);
        match &entry.kind {
            EntryKind::Directory => writer.directory(path, metadata)?,
            EntryKind::File => write_file(writer, path, metadata, reader)?,
            EntryKind::Symlink { target } => writer.symlink(path, target, &of_symlink(metadata))?,
            EntryKind::HardLink { .. } => self.hard_link(path, target, entry)?,
            EntryKind::Fifo => writer.fifo(path, metadata)?,
            EntryKind::BlockDevice(device) => writer.device(path, Kind::BlockDevice, *device, metadata)?,
            EntryKind::CharacterDevice(device) if device.major == 0 && device.minor == 0 => {
                let reason = "a character device 0:0 would delete what lies below it";
                return Err(UnpackError::BadName { path: shown(&entry.path), reason });
            }
            EntryKind::CharacterDevice(device) => {
                writer.device(path, Kind::CharacterDevice, *device, metadata)?;
            }
        }
        Ok(())
    }

    fn hard_link(&self, path: &[u8], target: &[u8], entry: &Entry) -> Result<(), UnpackError> {
        if path == target {
            return Ok(());
        }
        self.writer.hard_link(path, target).map_err(|error| match (error, &entry.kind) {
            (kiln_store::Error::MissingEntry { .. }, EntryKind::HardLink { target }) => {
                UnpackError::DanglingHardLink { path: shown(&entry.path), target: shown(target) }
            }
            (other, _) => UnpackError::Store(other),
        })
    }
}

/// What a directory is that an archive only implies.
pub(super) fn implied_directory() -> Metadata {
    Metadata::root_owned(0o755, Timestamp::default())
}

fn of_symlink(metadata: &Metadata) -> Metadata {
    Metadata { mode: 0o777, ..metadata.clone() }
}

fn write_file<R: Read>(
    writer: &LayerWriter,
    path: &[u8],
    metadata: &Metadata,
    reader: &mut TarReader<R>,
) -> Result<(), UnpackError> {
    let mut file = writer.file(path, metadata, Hashing::Now)?;
    let mut buffer = [0; 64 * 1024];
    loop {
        let hole = reader.skip_hole();
        if hole > 0 {
            file.hole(hole)?;
        }
        let count = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(UnpackError::Read(error)),
        };
        let written = file.write_all(buffer.get(..count).unwrap_or_default());
        written.map_err(|source| UnpackError::Write { path: shown(path), source })?;
    }
    file.finish()?;
    Ok(())
}
