//! The bodies of requests. Those of blobs are read while they are sent, piece by piece.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::stream;
use reqwest::Body;
use tokio::task::JoinHandle;

/// How many bytes of a blob are read at once; twice as many are in memory.
const PIECE: usize = 256 << 10;

/// How many of them are handed on at once: so finely it is seen whether the peer takes any.
const SLICE: usize = 32 << 10;

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
    /// These bytes of a blob.
    Blob(Arc<dyn BlobSource>, Range<u64>),
}

impl Payload {
    /// The body, and how many of its bytes were taken so far.
    pub(crate) fn body(&self) -> (Body, Arc<AtomicU64>) {
        let sent = Arc::new(AtomicU64::new(0));
        let body = match self {
            Payload::Empty => Body::default(),
            Payload::Document(bytes) => Body::from(bytes.clone()),
            Payload::Blob(source, part) => streamed(source.clone(), part.clone(), sent.clone()),
        };
        (body, sent)
    }
}

/// A part of a blob that is being sent; the next piece is read while one is on its way.
struct Reading {
    source: Arc<dyn BlobSource>,
    /// What was read and not yet taken.
    piece: Bytes,
    /// What is being read.
    next: Option<JoinHandle<io::Result<Bytes>>>,
    /// Where that begins, and where all ends.
    rest: Range<u64>,
    sent: Arc<AtomicU64>,
}

impl Reading {
    fn start(source: Arc<dyn BlobSource>, rest: Range<u64>, sent: Arc<AtomicU64>) -> Self {
        Reading { source, piece: Bytes::new(), next: None, rest, sent }
    }

    /// Begins to read what follows, if anything does.
    fn read_on(&self) -> Option<JoinHandle<io::Result<Bytes>>> {
        let length = usize::try_from(self.rest.end.saturating_sub(self.rest.start)).unwrap_or(PIECE).min(PIECE);
        let (source, offset) = (self.source.clone(), self.rest.start);
        (length > 0).then(|| tokio::task::spawn_blocking(move || source.read_at(offset, length)))
    }

    async fn slice(mut self) -> io::Result<Option<(Bytes, Self)>> {
        if self.piece.is_empty()
            && let Some(reading) = self.next.take().or_else(|| self.read_on())
        {
            self.piece = reading.await.map_err(io::Error::other)??;
            self.rest.start += self.piece.len() as u64;
            self.next = if self.piece.is_empty() { None } else { self.read_on() };
        }
        let slice = self.piece.split_to(SLICE.min(self.piece.len()));
        self.sent.fetch_add(slice.len() as u64, Ordering::Relaxed);
        Ok((!slice.is_empty()).then_some((slice, self)))
    }
}

fn streamed(source: Arc<dyn BlobSource>, part: Range<u64>, sent: Arc<AtomicU64>) -> Body {
    Body::wrap_stream(stream::try_unfold(Reading::start(source, part, sent), Reading::slice))
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Payload::Empty => f.write_str("Empty"),
            Payload::Document(_) => f.write_str("Document(…)"),
            Payload::Blob(_, part) => write!(f, "Blob({part:?})"),
        }
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

    #[tokio::test]
    async fn a_part_of_a_blob_is_sent_in_slices() {
        let bytes: Bytes = (0..600_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        let mut reading = Reading::start(Arc::new(bytes.clone()), 1000..500_000, Arc::default());
        let (mut sent, counted) = (Vec::new(), reading.sent.clone());
        while let Some((slice, next)) = reading.slice().await.unwrap() {
            assert!(slice.len() <= SLICE);
            sent.extend_from_slice(&slice);
            assert_eq!(counted.load(Ordering::Relaxed), sent.len() as u64);
            reading = next;
        }
        assert_eq!(sent, bytes[1000..500_000]);
    }
}
