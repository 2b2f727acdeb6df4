//! Blobs on their way into the storage, each fetched once however many ask for it. Who asked may go away: the blob
//! arrives all the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt;
use kiln_oci::{Descriptor, Digest, MediaType, Reference};
use tokio::sync::watch;

use super::super::flow::blocking;
use super::super::names::Repository;
use super::super::refusal::{Code, Refusal};
use super::super::storage::{Finished, StorageError, Upload};
use super::Shared;
use crate::{BlobStream, Error};

/// Bytes that are put into the storage at once.
const PIECE: usize = 256 * 1024;

/// How far a blob is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing is known yet.
    Asked,
    /// So many of its bytes are in this upload.
    Flying { upload: String, size: u64, here: u64 },
    /// The storage has it.
    Landed,
    /// It cannot be had.
    Failed(Failed),
}

/// Why something cannot be had.
#[derive(Debug, Clone)]
pub(super) enum Failed {
    /// The other registry does not have it either.
    Unknown,
    /// It wants to be left alone.
    Busy,
    /// It wants other credentials.
    Denied,
    /// It cannot be reached, or sends nonsense.
    Away,
    /// What came cannot be kept.
    Stored(Refusal),
}

impl PartialEq for Failed {
    fn eq(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl Eq for Failed {}

impl Failed {
    pub(super) fn of(error: &Error) -> Failed {
        match error {
            Error::NotFound { .. } => Failed::Unknown,
            Error::RateLimited { .. } => Failed::Busy,
            Error::Denied { .. } => Failed::Denied,
            _ => Failed::Away,
        }
    }
}

/// A blob that somebody waits for.
#[derive(Debug, Clone)]
pub(super) struct Flight(pub(super) watch::Receiver<Progress>);

impl Flight {
    /// Waits for its end.
    pub(super) async fn landed(mut self) -> Result<(), Failed> {
        let is_over = |progress: &Progress| matches!(progress, Progress::Landed | Progress::Failed(_));
        match self.0.wait_for(is_over).await.as_deref() {
            Ok(Progress::Landed) => Ok(()),
            Ok(Progress::Failed(failed)) => Err(failed.clone()),
            _ => Err(Failed::Away),
        }
    }
}

/// The blobs that are on their way.
#[derive(Debug, Default)]
pub(super) struct Flights {
    under_way: Mutex<HashMap<(Repository, Digest), watch::Receiver<Progress>>>,
}

impl Flights {
    /// The blob's flight; one begins if there is none.
    pub(super) fn join(&self, shared: &Arc<Shared>, repository: &Repository, digest: &Digest) -> Flight {
        let key = (repository.clone(), digest.clone());
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(progress) = under_way.get(&key) {
            return Flight(progress.clone());
        }
        let (progress, watched) = watch::channel(Progress::Asked);
        under_way.insert(key.clone(), watched.clone());
        let ticket = Ticket { shared: Arc::clone(shared), key, progress };
        tokio::spawn(ticket.fly());
        Flight(watched)
    }
}

/// The right to fetch a blob; when it goes, whatever became of it, the flight is over.
struct Ticket {
    shared: Arc<Shared>,
    key: (Repository, Digest),
    progress: watch::Sender<Progress>,
}

/// How a flight ends before its end.
enum Crash {
    Elsewhere(Error),
    Here(StorageError),
    OtherDigest,
}

impl From<Error> for Crash {
    fn from(error: Error) -> Self {
        Crash::Elsewhere(error)
    }
}

impl From<StorageError> for Crash {
    fn from(error: StorageError) -> Self {
        Crash::Here(error)
    }
}

impl Ticket {
    async fn fly(self) {
        let end = match self.fetch().await {
            Ok(()) => Progress::Landed,
            Err(Crash::Elsewhere(error)) => {
                (self.shared.report)(&error);
                Progress::Failed(Failed::of(&error))
            }
            Err(Crash::Here(error)) => Progress::Failed(Failed::Stored(Refusal::from(&error))),
            Err(Crash::OtherDigest) => {
                Progress::Failed(Failed::Stored(Refusal::new(Code::Unknown, "the bytes have another digest")))
            }
        };
        self.progress.send_replace(end);
    }

    async fn fetch(&self) -> Result<(), Crash> {
        let (repository, digest) = &self.key;
        let Ok(reference) = self.shared.reference(repository) else { return Ok(()) };
        let size = self.shared.client.blob_size(&reference, digest).await?;
        // The repository there has it, and another one here may have it already.
        let (storage, of, wanted) = (Arc::clone(&self.shared.storage), repository.clone(), digest.clone());
        if blocking(move || storage.mount(&of, &wanted, None)).await? {
            return Ok(());
        }
        let (storage, of, kind) = (Arc::clone(&self.shared.storage), repository.clone(), digest.algorithm());
        let begun = blocking(move || {
            let id = storage.begin_upload(&of)?;
            Ok(storage.resume_upload(&of, &id, kind)?.map(|upload| (id, upload)))
        });
        let Some((id, upload)) = begun.await? else { return Err(gone().into()) };
        self.progress.send_replace(Progress::Flying { upload: id.clone(), size, here: 0 });
        let flown = self.transfer(&reference, size, upload, &id).await;
        if flown.is_err() {
            let (storage, of) = (Arc::clone(&self.shared.storage), repository.clone());
            blocking(move || storage.cancel_upload(&of, &id)).await?;
        }
        flown
    }

    async fn transfer(
        &self,
        reference: &Reference,
        size: u64,
        mut upload: Box<dyn Upload>,
        id: &str,
    ) -> Result<(), Crash> {
        let digest = &self.key.1;
        let descriptor = Descriptor::new(MediaType::parse("application/octet-stream"), digest.clone(), size);
        let mut stream = self.shared.client.blob(reference, &descriptor).await?;
        while let Some(pieces) = gathered(&mut stream).await? {
            upload = blocking(move || {
                pieces.iter().try_for_each(|piece| upload.append(piece))?;
                Ok(upload)
            })
            .await?;
            self.progress.send_replace(Progress::Flying { upload: id.to_owned(), size, here: upload.size() });
        }
        let wanted = digest.clone();
        match blocking(move || upload.finish(&wanted)).await? {
            Finished::Blob => Ok(()),
            Finished::OtherDigest => Err(Crash::OtherDigest),
        }
    }
}

/// What has come by now, but at least something; `None` at the end.
async fn gathered(stream: &mut BlobStream) -> Result<Option<Vec<Bytes>>, Error> {
    let Some(first) = stream.chunk().await? else { return Ok(None) };
    let mut length = first.len();
    let mut pieces = vec![first];
    while length < PIECE {
        match stream.chunk().now_or_never() {
            Some(Ok(Some(piece))) => {
                length += piece.len();
                pieces.push(piece);
            }
            Some(Err(error)) => return Err(error),
            // A stream that has ended says so again.
            Some(Ok(None)) | None => break,
        }
    }
    Ok(Some(pieces))
}

fn gone() -> StorageError {
    StorageError { message: "an upload that was just begun is gone".into(), is_full: false }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.shared.flights.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
        self.progress.send_if_modified(|progress| {
            let is_open = matches!(progress, Progress::Asked | Progress::Flying { .. });
            if is_open {
                *progress = Progress::Failed(Failed::Away);
            }
            is_open
        });
    }
}
