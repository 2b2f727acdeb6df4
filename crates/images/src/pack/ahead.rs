//! Reads the small files of a layer ahead of the archive that they go into, in several threads.
//!
//! What is written and the files' bytes come out in the order in which they went in. Memory is bounded: hardly
//! more batches than threads are under way at once.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSliceMut, Read, Write};
use std::ops::Range;
use std::sync::mpsc::{Receiver, sync_channel};

use kiln_store::{Entry, FileDigest, Layer, LayerFiles};

use super::{PackError, copy_content};
use crate::workers::pool;

/// A batch that has so many bytes is read.
const BATCH_BYTES: usize = 512 * 1024;
/// A batch that has so many files is read, too.
const BATCH_FILES: usize = 256;
/// Files that are larger go through without being read ahead.
const LARGE: u64 = 256 * 1024;
/// Batches beyond one a thread that wait for their turn to be written.
const WAITING: usize = 2;

/// Passes bytes and files of a layer on to `W`. [`ReadAhead::finish`] must be called.
pub(super) struct ReadAhead<W> {
    inner: W,
    layer: Layer,
    batch: Batch,
    under_way: VecDeque<Receiver<Result<Vec<u8>, PackError>>>,
}

/// A piece of the archive in which the bytes of some files are still to be read.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    files: Vec<Slot>,
}

/// The place of a file's bytes in a batch.
struct Slot {
    at: Range<usize>,
    path: Vec<u8>,
    digest: Option<FileDigest>,
}

impl<W: Write> ReadAhead<W> {
    pub(super) fn new(inner: W, layer: &Layer) -> ReadAhead<W> {
        ReadAhead { inner, layer: layer.clone(), batch: Batch::default(), under_way: VecDeque::new() }
    }

    /// Passes on the bytes of a regular file of the layer, compared with its entry.
    pub(super) fn file(&mut self, entry: &Entry<'_>) -> Result<(), PackError> {
        if entry.size() > LARGE {
            self.drain()?;
            let file = self.layer.open(entry.path())?;
            return copy_content(file, &self.layer, entry, &mut self.inner, PackError::Write);
        }
        let start = self.batch.bytes.len();
        self.batch.bytes.resize(start + entry.size() as usize, 0);
        let at = start..self.batch.bytes.len();
        self.batch.files.push(Slot { at, path: entry.path().to_vec(), digest: entry.digest() });
        if self.batch.bytes.len() >= BATCH_BYTES || self.batch.files.len() >= BATCH_FILES {
            self.read_batch()?;
        }
        Ok(())
    }

    /// Passes on what is left and returns the stream behind, not flushed.
    pub(super) fn finish(mut self) -> Result<W, PackError> {
        self.drain()?;
        Ok(self.inner)
    }

    /// Hands the batch to the pool; waits for the oldest one if too many are under way.
    fn read_batch(&mut self) -> Result<(), PackError> {
        let pool = pool().map_err(PackError::Write)?;
        while self.under_way.len() >= pool.current_num_threads() + WAITING {
            self.write_oldest()?;
        }
        let (batch, layer) = (std::mem::take(&mut self.batch), self.layer.clone());
        let (sender, receiver) = sync_channel(1);
        pool.spawn(move || {
            // The receiver is gone only if the archive was given up.
            let _ = sender.send(batch.read(&layer));
        });
        self.under_way.push_back(receiver);
        Ok(())
    }

    /// Writes the oldest batch that is under way; false if there is none.
    fn write_oldest(&mut self) -> Result<bool, PackError> {
        let Some(receiver) = self.under_way.pop_front() else { return Ok(false) };
        let gone = |_| PackError::Write(io::Error::other("a reading thread ended early"));
        let bytes = receiver.recv().map_err(gone)??;
        self.inner.write_all(&bytes).map_err(PackError::Write)?;
        Ok(true)
    }

    fn drain(&mut self) -> Result<(), PackError> {
        while self.write_oldest()? {}
        let bytes = std::mem::take(&mut self.batch).read(&self.layer)?;
        self.inner.write_all(&bytes).map_err(PackError::Write)
    }
}

impl<W: Write> Write for ReadAhead<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.batch.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    /// Does nothing: what is behind gets whole batches.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Batch {
    /// Reads the files into their places.
    fn read(mut self, layer: &Layer) -> Result<Vec<u8>, PackError> {
        if !self.files.is_empty() {
            let mut files = layer.files()?;
            for slot in self.files {
                slot.read(&mut files, &mut self.bytes)?;
            }
        }
        Ok(self.bytes)
    }
}

impl Slot {
    fn read(self, files: &mut LayerFiles, bytes: &mut [u8]) -> Result<(), PackError> {
        let shown = || String::from_utf8_lossy(&self.path).into_owned();
        let mut file = files.open(&self.path)?;
        if self.digest.is_none() {
            files.compare(&self.path, &file)?;
        }
        let damaged = |what| PackError::Store(files.damaged(&self.path, what));
        let place = bytes.get_mut(self.at).unwrap_or_default();
        let count = read_whole(&mut file, place).map_err(|source| match source.kind() {
            io::ErrorKind::IsADirectory => damaged("it is not a regular file"),
            _ => PackError::Read { path: shown(), source },
        })?;
        if count > place.len() {
            return Err(damaged("it is longer than when it was made"));
        }
        if count < place.len() {
            return Err(damaged("it is shorter than when it was made"));
        }
        match self.digest {
            Some(digest) if blake3::hash(place) != digest.0 => Err(damaged("its bytes are not those that were stored")),
            _ => Ok(()),
        }
    }
}

/// Reads a file, at most one byte more than `place` takes; returns how many bytes it has. A read of a regular file
/// brings less than was asked for only at its end, so that one read is enough.
fn read_whole(file: &mut File, place: &mut [u8]) -> io::Result<usize> {
    let mut beyond = [0];
    loop {
        match file.read_vectored(&mut [IoSliceMut::new(place), IoSliceMut::new(&mut beyond)]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            answer => return answer,
        }
    }
}
