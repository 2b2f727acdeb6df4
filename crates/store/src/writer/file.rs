//! One regular file on its way into a layer.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::{LayerWriter, Place};
use crate::copy;
use crate::error::{At, Error, Result, named};
use crate::fault::{self, Operation};
use crate::index::Body;
use crate::metadata::{FileDigest, Kind, Metadata};
use crate::stamp;

/// Longer holes are not hashed at once: it would take longer than writing what is around them.
const LONG_HOLE: u64 = 1 << 30;

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
    writer: &'a LayerWriter,
    place: Place,
    metadata: Metadata,
    file: File,
    size: u64,
    ends_in_hole: bool,
    hasher: Option<Box<blake3::Hasher>>,
    finished: bool,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Bytes.
    pub size: u64,
    /// Their digest, if it was wanted.
    pub digest: Option<FileDigest>,
}

impl<'a> FileWriter<'a> {
    pub(super) fn create(writer: &'a LayerWriter, place: Place, metadata: Metadata, hashing: Hashing) -> Result<Self> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (directory, mode) = (&place.parent.directory, Mode::RUSR | Mode::WUSR);
        let create = || rustix::fs::openat(directory, place.name(), flags, mode);
        let file = fault::run(Operation::Create, create).at("create", &writer.shown(&place.path))?;
        let hasher = (hashing == Hashing::Now).then(Box::default);
        Ok(Self { writer, place, metadata, file: file.into(), size: 0, ends_in_hole: false, hasher, finished: false })
    }

    /// Appends all of `source` from its beginning, holes kept; returns the bytes appended.
    pub fn copy_from_file(&mut self, source: &File) -> Result<u64> {
        let copied = copy::copy(source, &self.file, self.hasher.as_deref_mut())
            .at("copy to", &self.writer.shown(&self.place.path))?;
        self.size += copied;
        Ok(copied)
    }

    /// Appends zeros that take no room on the disk. A file with a very long hole gets its digest later.
    pub fn hole(&mut self, length: u64) -> Result<()> {
        let shown = self.writer.shown(&self.place.path);
        let too_large = || Error::io("write", &shown, Errno::FBIG);
        self.size = self.size.checked_add(length).filter(|&size| i64::try_from(size).is_ok()).ok_or_else(too_large)?;
        fault::run(Operation::Write, || self.file.seek(SeekFrom::Start(self.size))).at("write", &shown)?;
        self.ends_in_hole = true;
        if length > LONG_HOLE {
            self.hasher = None;
        }
        if let Some(hasher) = &mut self.hasher {
            io::copy(&mut io::repeat(0).take(length), hasher).at("hash", &shown)?;
        }
        Ok(())
    }

    /// Starts again with an empty file, for a source that moved while it was copied.
    pub fn restart(&mut self) -> Result<()> {
        let shown = self.writer.shown(&self.place.path);
        fault::run(Operation::Write, || self.file.set_len(0)).at("empty", &shown)?;
        self.file.rewind().at("rewind", &shown)?;
        self.size = 0;
        self.ends_in_hole = false;
        if let Some(hasher) = &mut self.hasher {
            hasher.reset();
        }
        Ok(())
    }

    /// Applies the metadata and takes the file into the layer.
    pub fn finish(mut self) -> Result<Written> {
        self.take_in()
    }

    /// The same with other metadata than at creation, for instance as found when the copy ended.
    pub fn finish_with(mut self, metadata: &Metadata) -> Result<Written> {
        self.metadata = metadata.clone();
        self.take_in()
    }

    fn take_in(&mut self) -> Result<Written> {
        if self.ends_in_hole {
            let grow = || self.file.set_len(self.size);
            fault::run(Operation::Write, grow).at("write", &self.writer.shown(&self.place.path))?;
        }
        self.apply().at("set the metadata of", &self.writer.shown(&self.place.path))?;
        let digest = self.hasher.as_ref().map(|hasher| FileDigest(*hasher.finalize().as_bytes()));
        let mut body = Body::new(Kind::File, &self.metadata);
        body.size = self.size;
        body.digest = digest;
        if digest.is_none() {
            let shown = self.writer.shown(&self.place.path);
            body.stamp = stamp::of_open(&self.file).at("examine", &shown)?;
        }
        let mut state = self.writer.state();
        if state.tree.get(&self.place.path).is_some() {
            return Err(Error::io("create", self.writer.shown(&self.place.path), Errno::EXIST));
        }
        state.tree.insert(&self.place.path, body);
        self.finished = true;
        Ok(Written { size: self.size, digest })
    }

    fn apply(&self) -> Result<(), Errno> {
        self.writer.apply(self.file.as_fd(), &self.metadata)
    }
}

impl Write for FileWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = fault::run(Operation::Write, || self.file.write(bytes));
        let count = written.map_err(|error| named("write", &self.writer.shown(&self.place.path), error))?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&bytes[..count]);
        }
        self.size += count as u64;
        self.ends_in_hole = false;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for FileWriter<'_> {
    fn drop(&mut self) {
        if !self.finished {
            // Left behind it would go with the session; a layer is never committed with it, because commit needs
            // the writer for itself.
            let (directory, name) = (&self.place.parent.directory, self.place.name());
            let _ = fault::run(Operation::Remove, || rustix::fs::unlinkat(directory, name, AtFlags::empty()));
        }
    }
}
