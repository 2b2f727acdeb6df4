//! Bytes between a connection, where nothing may block, and the storage, where everything does.
//!
//! One piece is on its way in or out of the storage while the next is moved over the network; so much memory a
//! transfer takes, whatever its length.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use super::answer::{Body, streamed};
use super::storage::{self, StorageError, Stored, Upload};

/// Bytes that are moved at once.
const PIECE: usize = 128 * 1024;

/// How long a sender may send nothing.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Runs what blocks where it may.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(broken(&error)))
}

fn broken(error: &tokio::task::JoinError) -> StorageError {
    StorageError { message: format!("a thread of the registry broke down: {error}"), is_full: false }
}

/// A body out of the storage. `tell` hears why it breaks off, if it does; the client sees no more than that.
pub(super) fn out(bytes: storage::Bytes, tell: impl Fn(&StorageError) + Send + 'static) -> Body {
    let storage::Bytes { length, reader } = bytes;
    let first = (length > 0).then(|| read(reader, length));
    streamed(stream::unfold((first, length, tell), |(next, left, tell)| async move {
        let (reader, piece) = match next?.await {
            Ok((reader, piece)) => (Some(reader), piece),
            Err(error) => (None, Err(io::Error::other(broken(&error)))),
        };
        match (reader, piece) {
            (Some(reader), Ok(piece)) => {
                let left = left - piece.len() as u64;
                let next = (left > 0).then(|| read(reader, left));
                Some((Ok(piece), (next, left, tell)))
            }
            (_, piece) => {
                let error = piece.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
                tell(&StorageError { message: error.to_string(), is_full: false });
                Some((Err(error), (None, 0, tell)))
            }
        }
    }))
}

type Reading = JoinHandle<(Box<dyn Read + Send>, io::Result<Bytes>)>;

fn read(mut reader: Box<dyn Read + Send>, left: u64) -> Reading {
    tokio::task::spawn_blocking(move || {
        let mut piece = vec![0; PIECE.min(usize::try_from(left).unwrap_or(PIECE))];
        let read = reader.read_exact(&mut piece).map(|()| Bytes::from(piece));
        (reader, read)
    })
}

/// Why a body did not come to its end.
#[derive(Debug)]
pub(super) enum Broken {
    /// The sender went away, sent nothing for long, or somebody else goes on with the upload.
    Sender,
    /// The storage failed.
    Storage(StorageError),
}

/// Puts a body into an upload, until its end or until `stopped`. What came before a failure is in the upload.
pub(super) async fn into_upload(
    mut body: Body,
    upload: Box<dyn Upload>,
    mut stopped: impl Future<Output = ()> + Unpin,
) -> (Option<Box<dyn Upload>>, Result<(), Broken>) {
    let mut feed = Feed::Idle(upload);
    let mut gathered = Vec::new();
    let mut size = 0;
    loop {
        let frame = tokio::select! {
            frame = tokio::time::timeout(PATIENCE, body.frame()) => frame,
            () = &mut stopped => break feed.end(gathered, Some(Broken::Sender)).await,
        };
        match frame {
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    size += data.len();
                    gathered.push(data);
                }
            }
            Ok(None) => break feed.end(gathered, None).await,
            Ok(Some(Err(_))) | Err(_) => break feed.end(gathered, Some(Broken::Sender)).await,
        }
        if size >= PIECE {
            size = 0;
            feed = match feed.append(std::mem::take(&mut gathered)).await {
                Ok(feed) => feed,
                Err(error) => break (None, Err(Broken::Storage(error))),
            };
        }
    }
}

type Appending = JoinHandle<Stored<Box<dyn Upload>>>;

/// An upload, or the thread that is appending to it.
enum Feed {
    Idle(Box<dyn Upload>),
    Appending(Appending),
}

impl Feed {
    /// Appends beside what the caller does next.
    async fn append(self, pieces: Vec<Bytes>) -> Stored<Feed> {
        let mut upload = self.wait().await?;
        Ok(Feed::Appending(tokio::task::spawn_blocking(move || {
            pieces.iter().try_for_each(|piece| upload.append(piece)).map(|()| upload)
        })))
    }

    async fn wait(self) -> Stored<Box<dyn Upload>> {
        match self {
            Feed::Idle(upload) => Ok(upload),
            Feed::Appending(task) => task.await.unwrap_or_else(|error| Err(broken(&error))),
        }
    }

    async fn end(self, rest: Vec<Bytes>, why: Option<Broken>) -> (Option<Box<dyn Upload>>, Result<(), Broken>) {
        let appended = async { self.append(rest).await?.wait().await };
        match appended.await {
            Ok(upload) => (Some(upload), why.map_or(Ok(()), Err)),
            Err(error) => (None, Err(Broken::Storage(error))),
        }
    }
}

/// How long a body may be for any number of them to be in memory at once.
const SMALL: usize = 64 * 1024;

/// A whole body, and the right to have one that is not small in memory.
pub(super) type Whole = (Vec<u8>, Option<OwnedSemaphorePermit>);

/// A whole body of at most `limit` bytes; `None` if it is longer, of which the rest is not read. One that is not small waits for one of `places`.
pub(super) async fn whole(body: &mut Body, limit: usize, places: &Arc<Semaphore>) -> Result<Option<Whole>, Broken> {
    let (mut bytes, mut place) = (Vec::new(), None);
    loop {
        match tokio::time::timeout(PATIENCE, body.frame()).await {
            Ok(Some(Ok(frame))) => {
                let data = frame.into_data().unwrap_or_default();
                let length = bytes.len() + data.len();
                if length > limit {
                    return Ok(None);
                }
                if length > SMALL && place.is_none() {
                    place = Some(Arc::clone(places).acquire_owned().await.map_err(|_| Broken::Sender)?);
                }
                bytes.extend_from_slice(&data);
            }
            Ok(None) => return Ok(Some((bytes, place))),
            Ok(Some(Err(_))) | Err(_) => return Err(Broken::Sender),
        }
    }
}
