//! Content-addressed bytes.
use crate::*;
use kiln_oci::Digest;
use std::io;

/// The blobs of a store.
pub struct Blobs<'a> {
    pub(crate) store: &'a Store,
}

/// A blob that the store holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// SHA-256 of the bytes.
    pub digest: Digest,
    /// How many there are.
    pub size: u64,
}

/// Bytes on their way in. Dropped without `commit`, they are gone.
pub struct BlobWriter {}

/// Bytes on their way out: the last read fails if they do not have their digest.
pub struct BlobReader {}

impl Blobs<'_> {
    /// Starts a new blob.
    pub fn create(&self) -> Result<BlobWriter> {
        todo!()
    }
    /// Stores bytes that are in memory.
    pub fn insert(&self, _bytes: &[u8]) -> Result<Blob> {
        todo!()
    }
    /// Reads a blob from its beginning; the digest is verified at its end.
    pub fn open(&self, _digest: &Digest) -> Result<BlobReader> {
        todo!()
    }
    /// A whole small blob, verified. Fails if it is longer than `limit` bytes.
    pub fn read(&self, _digest: &Digest, _limit: u64) -> Result<Vec<u8>> {
        todo!()
    }
    /// Whether the store holds the blob.
    pub fn contains(&self, _digest: &Digest) -> Result<bool> {
        todo!()
    }
    /// The blob's size in bytes, or `None` if the store does not hold it.
    pub fn size(&self, _digest: &Digest) -> Result<Option<u64>> {
        todo!()
    }
    /// Deletes a blob, if it is there.
    pub fn remove(&self, _digest: &Digest) -> Result<()> {
        todo!()
    }
}

impl BlobWriter {
    /// Puts the bytes in their place. `expected` (sha256 or sha512) and `size` are verified if given; the blob is kept under the expected digest, or else under its SHA-256.
    pub fn commit(self, _expected: Option<&Digest>, _size: Option<u64>) -> Result<Blob> {
        todo!()
    }
}
impl io::Write for BlobWriter {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        todo!()
    }
    fn flush(&mut self) -> io::Result<()> {
        todo!()
    }
}
impl BlobReader {
    /// The blob's size in bytes.
    pub fn size(&self) -> u64 {
        todo!()
    }
}
impl io::Read for BlobReader {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        todo!()
    }
}
