//! A blob of the store as the body of an upload, verified while it is read.

use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use kiln_oci::Digest;
use kiln_progress::Task;
use kiln_registry::BlobSource;
use kiln_store::{BlobReader, Store};

/// Opened when the first bytes are wanted, and again when an upload begins anew.
pub struct StoredBlob {
    store: Store,
    digest: Digest,
    reader: Mutex<Option<(BlobReader, u64)>>,
    observed: Option<(Task, u64)>,
}

impl StoredBlob {
    /// A blob that the store holds.
    pub fn new(store: Store, digest: Digest) -> StoredBlob {
        StoredBlob { store, digest, reader: Mutex::new(None), observed: None }
    }

    /// The same, and `task` is told how far it was read, of `size` bytes.
    #[must_use]
    pub fn observed(self, task: Task, size: u64) -> StoredBlob {
        StoredBlob { observed: Some((task, size)), ..self }
    }

    /// A reader that stands at `offset`.
    fn reader_at(&self, offset: u64, open: Option<(BlobReader, u64)>) -> io::Result<BlobReader> {
        if let Some((reader, at)) = open
            && at == offset
        {
            return Ok(reader);
        }
        let mut reader = self.store.blobs().open(&self.digest).map_err(io::Error::other)?;
        io::copy(&mut (&mut reader).take(offset), &mut io::sink())?;
        Ok(reader)
    }
}

impl BlobSource for StoredBlob {
    fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let mut slot = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let mut reader = self.reader_at(offset, slot.take())?;
        let mut bytes = Vec::with_capacity(length);
        (&mut reader).take(length as u64).read_to_end(&mut bytes)?;
        let end = offset + bytes.len() as u64;
        if let Some((task, size)) = &self.observed {
            task.progress(end, Some(*size));
        }
        *slot = Some((reader, end));
        Ok(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestStore;

    #[test]
    fn an_upload_may_begin_anew() {
        let test = TestStore::new();
        let digest = test.store.blobs().insert(b"abcdef").unwrap().digest;
        let blob = StoredBlob::new(test.store.clone(), digest);
        for (offset, length, expected) in [(0, 4, "abcd"), (4, 4, "ef"), (6, 4, ""), (0, 2, "ab"), (3, 2, "de")] {
            assert_eq!(blob.read_at(offset, length).unwrap(), expected);
        }
    }
}
