//! One blob from the network to the disk: kept as it is, and unpacked in the same pass where its files are wanted.
//!
//! What came before a connection or a process broke off stays in the store, and the next download of the blob, from
//! wherever, goes on behind it. The digest of the whole is computed on the way; where it is wrong, nothing stays.

use std::io::{self, Read, Write};

use bytes::Bytes;
use kiln_oci::{Descriptor, Digest, Reference};
use kiln_progress::Task;
use kiln_registry::Client;
use kiln_store::{BlobWriter, Store};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::feed::{Feed, Source};
use super::{PullError, blocking};
use crate::import::ImportError;
use crate::unpack::{self, UnpackError};

/// Pieces of the network that may wait for the disk.
const WAITING: usize = 16;

/// Of a layer that proves bad, so many bytes are still fetched to see whether they are what was promised.
const REST: u64 = 64 << 20;

/// What shall come of the bytes besides the blob.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    /// The layer with this diff id.
    Layer(Digest),
    /// Nothing.
    Blob,
}

/// A blob that is wanted.
pub(super) struct Download<'a> {
    pub(super) store: &'a Store,
    pub(super) client: &'a Client,
    pub(super) blob: &'a Descriptor,
    pub(super) wanted: Wanted,
    pub(super) task: &'a Task,
}

/// What comes from the network.
enum Piece {
    Bytes(Bytes),
    /// All bytes came.
    End,
}

impl Download<'_> {
    /// Fetches it from the first of the repositories that gives it, or else from the addresses that its descriptor
    /// names.
    pub(super) async fn anywhere(&self, repositories: &[Reference], diff_id: &Digest) -> Result<(), PullError> {
        let mut last = None;
        for repository in repositories {
            let source = Source::Repository(self.client.clone(), repository.clone());
            match self.at(source).await {
                Err(error) if error.is_of_its_source() => last = Some(error),
                other => return other,
            }
        }
        let urls = self.blob.urls.iter().filter(|_| !self.blob.media_type.is_distributable());
        for url in urls {
            match self.at(Source::Web(self.client.clone(), url.clone())).await {
                Err(error) if error.is_of_its_source() => last = Some(error),
                other => return other,
            }
        }
        Err(last.unwrap_or_else(|| PullError::NowhereToBeHad { diff_id: diff_id.clone() }))
    }

    /// Fetches it from one place. A beginning that an earlier process left is used; if it may be what is wrong, the blob
    /// is fetched as a whole.
    async fn at(&self, source: Source) -> Result<(), PullError> {
        let writer = self.begun().await?;
        let was_begun = writer.size() > 0;
        match self.through(Feed::new(source.clone(), self.blob), writer).await {
            Err(error) if was_begun && error.is_of_bytes() => {
                let writer = self.begun().await?;
                self.through(Feed::new(source, self.blob), writer).await
            }
            other => other,
        }
    }

    async fn begun(&self) -> Result<BlobWriter, PullError> {
        let (store, blob) = (self.store.clone(), self.blob.clone());
        blocking(move || {
            if blob.digest.hasher().is_none() {
                return Err(kiln_registry::Error::UnsupportedDigest(blob.digest).into());
            }
            let mut writer = store.blobs().resume(&blob.digest, blob.size)?;
            writer.keep_for_later(true);
            Ok(writer)
        })
        .await
    }

    async fn through(&self, mut feed: Feed, mut writer: BlobWriter) -> Result<(), PullError> {
        if let Err(error) = feed.open(writer.size()).await {
            writer.keep_for_later(!error.is_of_bytes());
            return Err(error);
        }
        let (sender, receiver) = channel(WAITING);
        let (store, blob, wanted) = (self.store.clone(), self.blob.clone(), self.wanted.clone());
        let disk = tokio::task::spawn_blocking(move || receive(&store, writer, receiver, &blob, &wanted));
        let network = self.forward(&mut feed, sender).await;
        let disk = disk.await.map_err(|_| PullError::GivenUp)?;
        // When the network fails the disk fails too, and knows less about why.
        network?;
        disk.map_err(|error| feed.blamed(error))
    }

    /// Hands the pieces on until the end, or until nobody wants them any more.
    async fn forward(&self, feed: &mut Feed, sender: Sender<Piece>) -> Result<(), PullError> {
        while let Some(bytes) = feed.next().await? {
            self.task.progress(feed.position(), Some(self.blob.size));
            if sender.send(Piece::Bytes(bytes)).await.is_err() {
                return Ok(());
            }
        }
        // A receiver that is gone has its own error.
        let _ = sender.send(Piece::End).await;
        Ok(())
    }
}

/// Writes what comes, behind what is there, and unpacks all of it.
fn receive(
    store: &Store,
    writer: BlobWriter,
    receiver: Receiver<Piece>,
    blob: &Descriptor,
    wanted: &Wanted,
) -> Result<(), PullError> {
    let before = writer.written()?;
    let (current, state) = (Bytes::new(), State::Open);
    let mut pieces = Pieces { before: Some(before), receiver, current, copy: writer, state, unwritten: None };
    let staged = match wanted {
        Wanted::Layer(diff_id) => unpack::staged(store, &mut pieces, Some(diff_id)).map(Some),
        Wanted::Blob => Ok(None),
    };
    if let Some(error) = pieces.unwritten.take() {
        return Err(error.into());
    }
    let bad = |source| PullError::from(ImportError::Unpack { digest: blob.digest.clone(), source: Box::new(source) });
    let is_worth_the_rest = |error: &UnpackError| !is_of_disk(error) && blob.size - pieces.copy.size() <= REST;
    if let Err(error) = staged.as_ref()
        && !is_worth_the_rest(error)
    {
        pieces.copy.keep_for_later(pieces.state == State::BrokenOff);
        return staged.map(drop).map_err(bad);
    }
    // A layer may be bad because its bytes are others than promised: that is told rather.
    if let Err(error) = io::copy(&mut pieces, &mut io::sink()) {
        pieces.copy.keep_for_later(pieces.state == State::BrokenOff);
        let unwritten = pieces.unwritten.take();
        return Err(unwritten.map_or_else(|| bad(staged.err().unwrap_or(UnpackError::Read(error))), PullError::from));
    }
    // The blob first: a layer that is there is not downloaded again, and an image is told by its blobs.
    let is_right = pieces.copy.hasher(&blob.digest).is_some_and(|hasher| hasher.finish() == blob.digest);
    match staged {
        Err(error) if is_right => {
            pieces.copy.keep_for_later(false);
            Err(bad(error))
        }
        staged => {
            pieces.copy.commit(Some(&blob.digest), Some(blob.size))?;
            match staged.map_err(bad)? {
                Some(staged) => staged.keep(store).map(drop).map_err(bad),
                None => Ok(()),
            }
        }
    }
}

/// How far the download is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// All bytes came.
    Ended,
    /// There will be no more, and some are missing.
    BrokenOff,
    /// Some came that could not be kept.
    Lossy,
}

/// The bytes that are there and the network's pieces as one stream; what comes is kept as a blob as well.
struct Pieces<R> {
    before: Option<R>,
    receiver: Receiver<Piece>,
    current: Bytes,
    copy: BlobWriter,
    state: State,
    /// Why the blob could not be written, which who unpacks cannot tell from bad bytes.
    unwritten: Option<kiln_store::Error>,
}

impl<R> Pieces<R> {
    fn keep(&mut self, piece: &[u8]) -> io::Result<()> {
        let Err(error) = self.copy.write_all(piece) else { return Ok(()) };
        self.state = State::Lossy;
        self.copy.keep_for_later(false);
        self.unwritten = Some(error.downcast::<kiln_store::Error>()?);
        Err(lost())
    }
}

fn lost() -> io::Error {
    io::Error::other("the blob cannot be written")
}

impl<R: Read> Read for Pieces<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(before) = &mut self.before {
            let count = before.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            self.before = None;
        }
        while self.current.is_empty() {
            match self.state {
                State::Ended => return Ok(0),
                State::Lossy => return Err(lost()),
                State::Open | State::BrokenOff => {}
            }
            match self.receiver.blocking_recv() {
                Some(Piece::Bytes(piece)) => {
                    self.keep(&piece)?;
                    self.current = piece;
                }
                Some(Piece::End) => self.state = State::Ended,
                None => {
                    self.state = State::BrokenOff;
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the download broke off"));
                }
            }
        }
        let count = self.current.len().min(buffer.len());
        let piece = self.current.split_to(count);
        if let Some(part) = buffer.get_mut(..count) {
            part.copy_from_slice(&piece);
        }
        Ok(count)
    }
}

/// Whether the disk failed, rather than what was to be put on it.
pub(super) fn is_of_disk(error: &UnpackError) -> bool {
    match error {
        UnpackError::Store(error) => error.is_of_disk(),
        UnpackError::Write { .. } => true,
        _ => false,
    }
}
