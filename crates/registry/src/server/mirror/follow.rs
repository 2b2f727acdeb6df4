//! A blob that is served while it comes.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::header::{ACCEPT_RANGES, CONTENT_TYPE};
use http::{Response, StatusCode};
use kiln_oci::Digest;
use tokio::sync::watch;

use super::super::answer::{Answer, With, empty, streamed};
use super::super::flow::blocking;
use super::super::names::Repository;
use super::super::ranges;
use super::flight::{Failed, Flight, Progress};
use super::{Outcome, Shared, unavailable};

/// Bytes that are sent at once.
const PIECE: u64 = 128 * 1024;

/// Answers with a blob's bytes as they come. Once the storage has the blob it is left to the storage.
pub(super) async fn answer(
    shared: &Arc<Shared>,
    repository: &Repository,
    digest: &Digest,
    Flight(mut progress): Flight,
) -> Outcome {
    let begun =
        progress.wait_for(|progress| !matches!(progress, Progress::Asked)).await.map(|progress| progress.clone());
    let (upload, size) = match begun {
        Ok(Progress::Flying { upload, size, .. }) => (upload, size),
        Ok(Progress::Failed(Failed::Unknown) | Progress::Landed) => return Ok(()),
        Ok(Progress::Failed(failed)) => return Err(unavailable(&failed)),
        Ok(Progress::Asked) | Err(_) => return Err(unavailable(&Failed::Away)),
    };
    let (storage, of) = (Arc::clone(&shared.storage), repository.clone());
    let opened = blocking(move || storage.read_upload(&of, &upload)).await;
    let Ok(Some(reader)) = opened else {
        // It landed in this very moment, or will.
        return match Flight(progress).landed().await {
            Ok(()) | Err(Failed::Unknown) => Ok(()),
            Err(failed) => Err(unavailable(&failed)),
        };
    };
    let (head, _) = self::head(digest, size).into_parts();
    let follower = Follower { reader, position: 0, size, progress };
    let pieces = stream::unfold(Some(follower), |follower| async move {
        match follower?.next().await {
            Ok(None) => None,
            Ok(Some((piece, rest))) => Some((Ok(piece), Some(rest))),
            Err(error) => Some((Err(error), None)),
        }
    });
    Err(Response::from_parts(head, streamed(pieces)).into())
}

/// The head of an answer with the whole blob.
pub(super) fn head(digest: &Digest, size: u64) -> Answer {
    ranges::tagged(empty(StatusCode::OK), digest)
        .with(ACCEPT_RANGES, "bytes")
        .with(CONTENT_TYPE, "application/octet-stream")
        .with_length(size)
}

/// Somebody who reads what has come so far.
struct Follower {
    reader: Box<dyn Read + Send>,
    position: u64,
    size: u64,
    progress: watch::Receiver<Progress>,
}

impl Follower {
    /// The next piece and the follower behind it; `None` at the end.
    async fn next(mut self) -> io::Result<Option<(Bytes, Follower)>> {
        loop {
            let available = self.available()?;
            if self.position == self.size && available == self.size {
                return Ok(None);
            }
            if self.position < available {
                let length = (available - self.position).min(PIECE);
                let (reader, piece) = read(self.reader, length).await?;
                self.reader = reader;
                if !piece.is_empty() {
                    self.position += piece.len() as u64;
                    return Ok(Some((piece, self)));
                }
                if available == self.size {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            self.progress.changed().await.map_err(io::Error::other)?;
        }
    }

    /// Bytes that may be sent: all but the last until it is known that they are right.
    fn available(&mut self) -> io::Result<u64> {
        match &*self.progress.borrow_and_update() {
            Progress::Asked => Ok(0),
            Progress::Flying { here, .. } => Ok((*here).min(self.size.saturating_sub(1))),
            Progress::Landed => Ok(self.size),
            Progress::Failed(_) => Err(io::Error::other("the blob did not come to its end")),
        }
    }
}

async fn read(mut reader: Box<dyn Read + Send>, length: u64) -> io::Result<(Box<dyn Read + Send>, Bytes)> {
    let task = tokio::task::spawn_blocking(move || {
        let mut piece = vec![0; usize::try_from(length).unwrap_or_default()];
        let count = reader.read(&mut piece)?;
        piece.truncate(count);
        Ok((reader, Bytes::from(piece)))
    });
    task.await.map_err(io::Error::other)?
}
