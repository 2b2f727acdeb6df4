//! The bodies of requests. Those of blobs are read while they are sent, piece by piece.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::stream;
use reqwest::Body;

/// How many bytes of a blob are in memory at once.
const PIECE: usize = 256 << 10;

/// The bytes of a blob to send; they may be asked for several times, after a broken connection.
pub trait BlobSource: Send + Sync {
    /// Up to `length` bytes from `offset` on; none at the end. May block.
    ///
    /// # Errors
    /// What reading met; the upload ends.
    fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes>;
}

impl BlobSource for Bytes {
    fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len());
        Ok(self.slice(start..start.saturating_add(length).min(self.len())))
    }
}

impl BlobSource for std::fs::File {
    fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let mut buffer = vec![0; length];
        let read = std::os::unix::fs::FileExt::read_at(self, &mut buffer, offset)?;
        buffer.truncate(read);
        Ok(buffer.into())
    }
}

/// The body of a request, to be sent as often as needed.
#[derive(Clone)]
pub(crate) enum Payload {
    /// Nothing.
    Empty,
    /// A small document.
    Document(Bytes),
    /// A blob.
    Blob(Arc<dyn BlobSource>),
}

impl Payload {
    /// The body, and how many of its bytes were taken so far.
    pub(crate) fn body(&self) -> (Body, Arc<AtomicU64>) {
        let sent = Arc::new(AtomicU64::new(0));
        let body = match self {
            Payload::Empty => Body::default(),
            Payload::Document(bytes) => Body::from(bytes.clone()),
            Payload::Blob(source) => streamed(source.clone(), sent.clone()),
        };
        (body, sent)
    }
}

fn streamed(source: Arc<dyn BlobSource>, sent: Arc<AtomicU64>) -> Body {
    Body::wrap_stream(stream::try_unfold((source, sent), async |(source, sent)| {
        let offset = sent.load(Ordering::Relaxed);
        let reading = source.clone();
        let piece = tokio::task::spawn_blocking(move || reading.read_at(offset, PIECE)).await;
        let piece = piece.map_err(io::Error::other)??;
        sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
        io::Result::Ok((!piece.is_empty()).then_some((piece, (source, sent))))
    }))
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Payload::Empty => "Empty",
            Payload::Document(_) => "Document(…)",
            Payload::Blob(_) => "Blob(…)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_files_are_read_by_position() {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, b"abcdef").unwrap();
        let sources: [&dyn BlobSource; 2] = [&Bytes::from_static(b"abcdef"), &file];
        for source in sources {
            assert_eq!(source.read_at(2, 3).unwrap(), "cde");
            assert_eq!(source.read_at(4, 10).unwrap(), "ef");
            assert_eq!(source.read_at(6, 10).unwrap(), "");
            assert_eq!(source.read_at(1 << 40, 1).unwrap(), "");
        }
    }
}
