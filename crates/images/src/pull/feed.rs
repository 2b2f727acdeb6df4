//! The bytes of a blob in their order, from one place: over one connection, or where the blob is large in segments that
//! come over several at once. A segment that is ahead waits in memory, so that only few are.
//!
//! Nothing is verified here but lengths.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;
use kiln_oci::{Descriptor, Reference};
use kiln_registry::{BlobStream, Client, WebAnswer, retries};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinSet;

use super::PullError;

/// Blobs of which more than this is missing come in segments, in bytes.
const LARGE: u64 = 32 << 20;
/// How long a segment is, in bytes.
const SEGMENT: u64 = 3 << 20;
/// Segments of a blob that come at the same time, once the first has shown that the place gives parts.
const AT_ONCE: usize = 3;
/// One blob of the process at a time comes so: the segments are what memory a pull takes.
static SEGMENTED: Semaphore = Semaphore::const_new(1);

/// A place that has the blob.
#[derive(Clone)]
pub(super) enum Source {
    /// A repository of a registry.
    Repository(Client, Reference),
    /// A web server.
    Web(Client, String),
}

/// The bytes of a blob as they come.
pub(super) struct Feed {
    source: Source,
    blob: Descriptor,
    position: u64,
    state: State,
}

enum State {
    Closed,
    Plain(Stream),
    Segmented(Segments),
}

enum Stream {
    Registry(Box<BlobStream>),
    Web { answer: Box<WebAnswer>, skip: u64 },
}

/// What comes over several connections.
struct Segments {
    /// Those that were asked for, in order.
    coming: VecDeque<Receiver<Result<Bytes, PullError>>>,
    /// Ended with this.
    tasks: JoinSet<()>,
    /// Where the first begins that nobody asked for yet.
    next: u64,
    /// How many may come at once.
    width: usize,
    _turn: SemaphorePermit<'static>,
}

impl Feed {
    pub(super) fn new(source: Source, blob: &Descriptor) -> Feed {
        Feed { source, blob: blob.clone(), position: 0, state: State::Closed }
    }

    /// Where in the blob the next byte is.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Asks for the bytes from `offset` on.
    pub(super) async fn open(&mut self, offset: u64) -> Result<(), PullError> {
        self.position = offset;
        let left = self.blob.size.saturating_sub(offset);
        self.state = match (&self.source, SEGMENTED.try_acquire()) {
            (Source::Repository(..), Ok(turn)) if left > LARGE => {
                let mut segments =
                    Segments { coming: VecDeque::new(), tasks: JoinSet::new(), next: offset, width: 1, _turn: turn };
                segments.ask(&self.source, &self.blob);
                State::Segmented(segments)
            }
            _ => State::Plain(Stream::open(&self.source, &self.blob, offset..self.blob.size).await?),
        };
        Ok(())
    }

    /// The next piece; `None` when there are as many as the blob has.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, PullError> {
        let piece = match &mut self.state {
            State::Closed => None,
            State::Plain(stream) => stream.chunk().await?,
            State::Segmented(segments) => match segments.chunk(&self.source, &self.blob).await {
                Err(PullError::Registry(kiln_registry::Error::NoRanges { .. })) => {
                    let rest = self.position..self.blob.size;
                    let mut stream = Stream::open(&self.source, &self.blob, rest).await?;
                    let piece = stream.chunk().await?;
                    self.state = State::Plain(stream);
                    piece
                }
                piece => piece?,
            },
        };
        let count = piece.as_ref().map_or(0, |piece| piece.len() as u64);
        self.position += count;
        if self.position > self.blob.size || (count == 0 && self.position < self.blob.size) {
            return Err(self.wrong_size());
        }
        Ok(piece)
    }

    fn wrong_size(&self) -> PullError {
        let (host, digest) = (self.host(), self.blob.digest.clone());
        kiln_registry::Error::SizeMismatch { host, digest, expected: self.blob.size, actual: self.position }.into()
    }

    fn host(&self) -> String {
        match &self.source {
            Source::Repository(_, reference) => reference.domain().to_owned(),
            Source::Web(_, url) => url.clone(),
        }
    }

    /// Says who sent the bytes that proved wrong.
    pub(super) fn blamed(&self, error: PullError) -> PullError {
        match error {
            PullError::Store(kiln_store::Error::DigestMismatch { expected, actual }) => {
                kiln_registry::Error::DigestMismatch { host: self.host(), expected, actual }.into()
            }
            other => other,
        }
    }
}

impl Segments {
    /// Asks for as many segments as may come at once.
    fn ask(&mut self, source: &Source, blob: &Descriptor) {
        while self.coming.len() < self.width && self.next < blob.size {
            let end = blob.size.min(self.next + SEGMENT);
            // Whoever sends must not wait for those before it, since they may wait for its connection.
            let (sender, receiver) = channel(SEGMENT as usize >> 10);
            let (source, blob, part) = (source.clone(), blob.clone(), self.next..end);
            self.tasks.spawn(retries::inherited(segment(source, blob, part, sender)));
            self.coming.push_back(receiver);
            self.next = end;
        }
    }

    async fn chunk(&mut self, source: &Source, blob: &Descriptor) -> Result<Option<Bytes>, PullError> {
        while let Some(first) = self.coming.front_mut() {
            if let Some(piece) = first.recv().await {
                if piece.is_ok() && self.width < AT_ONCE {
                    self.width = AT_ONCE;
                    self.ask(source, blob);
                }
                return piece.map(Some);
            }
            self.coming.pop_front();
            self.ask(source, blob);
        }
        Ok(None)
    }
}

async fn segment(source: Source, blob: Descriptor, part: Range<u64>, sender: Sender<Result<Bytes, PullError>>) {
    let mut stream = match Stream::open(&source, &blob, part).await {
        Ok(stream) => stream,
        // Whoever does not listen any more has ended.
        Err(error) => return sender.send(Err(error)).await.unwrap_or_default(),
    };
    loop {
        let piece = match stream.chunk().await {
            Ok(Some(piece)) => Ok(piece),
            Ok(None) => return,
            Err(error) => Err(error),
        };
        let is_last = piece.is_err();
        if sender.send(piece).await.is_err() || is_last {
            return;
        }
    }
}

impl Stream {
    async fn open(source: &Source, blob: &Descriptor, part: Range<u64>) -> Result<Stream, PullError> {
        match source {
            Source::Repository(client, reference) => {
                Ok(Stream::Registry(Box::new(client.blob_part(reference, blob, part).await?)))
            }
            Source::Web(client, url) => {
                let range = format!("bytes={}-", part.start);
                let headers = [("range", range.as_str())];
                let answer = client.web_get(url, if part.start > 0 { &headers } else { &[] }).await?;
                let skip = match answer.status() {
                    200 => part.start,
                    206 if part.start > 0 => 0,
                    status => return Err(PullError::Refused { url: url.clone(), status }),
                };
                Ok(Stream::Web { answer: Box::new(answer), skip })
            }
        }
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, PullError> {
        match self {
            Stream::Registry(stream) => Ok(stream.chunk().await?),
            Stream::Web { answer, skip } => loop {
                let Some(mut piece) = answer.chunk().await? else { return Ok(None) };
                let known = usize::try_from(*skip).unwrap_or(usize::MAX).min(piece.len());
                *skip -= known as u64;
                let piece = piece.split_off(known);
                if !piece.is_empty() {
                    return Ok(Some(piece));
                }
            },
        }
    }
}
