//! A source of bytes that remembers why it could not deliver, so that an upload which ended because of it is not
//! taken for a broken connection and tried again.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::BlobSource;

/// A source that must have exactly `size` bytes.
pub(super) struct Watched {
    source: Arc<dyn BlobSource>,
    size: u64,
    complaint: Mutex<Option<String>>,
}

impl Watched {
    pub(super) fn new(source: Arc<dyn BlobSource>, size: u64) -> Arc<Watched> {
        Arc::new(Watched { source, size, complaint: Mutex::default() })
    }

    /// What went wrong here and not on the way.
    pub(super) fn complaint(&self) -> Option<String> {
        self.complaint.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn checked(&self, offset: u64, length: usize) -> Result<Bytes, String> {
        let piece = self.source.read_at(offset, length).map_err(|e| e.to_string())?;
        let end = offset + piece.len() as u64;
        if end > self.size {
            return Err(format!("it has more than its {} bytes", self.size));
        }
        if piece.is_empty() && end < self.size {
            return Err(format!("it has only {end} of its {} bytes", self.size));
        }
        if end == self.size && !piece.is_empty() {
            // Only who reads on knows that there is no more, and has what the source checks at its end.
            return self.checked(end, 1).map(|_| piece);
        }
        Ok(piece)
    }
}

impl BlobSource for Watched {
    fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        self.checked(offset, length).map_err(|detail| {
            *self.complaint.lock().unwrap_or_else(PoisonError::into_inner) = Some(detail.clone());
            io::Error::other(detail)
        })
    }
}
