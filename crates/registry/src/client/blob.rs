//! Blobs as streams: checked while they come, taken up again where a connection broke.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kiln_oci::{Descriptor, Hasher, Reference};

use super::Client;
use super::ranges::{self, Body, wrong_size};
use crate::Error;
use crate::transport::{self, PROGRESS, Pace, Pauses, Transport, Trouble};

/// The bytes of a blob or of a part of it, as they come.
#[derive(Debug)]
pub struct BlobStream {
    transport: Arc<Transport>,
    reference: Reference,
    descriptor: Descriptor,
    state: State,
    /// What the caller gets, of the bytes of the blob.
    wanted: Range<u64>,
    /// Where the next piece begins.
    position: u64,
    pace: Pace,
    pauses: Pauses,
    /// [`BlobStream::position`] at the last failure.
    mark: u64,
    /// Hosts whose connections broke without bringing much.
    useless: Vec<String>,
}

enum State {
    /// Bytes are expected.
    Running { check: Check, body: Option<Box<Body>> },
    /// All bytes came and were right.
    Done,
    /// An error was returned.
    Failed,
}

/// What is known of the bytes at their end.
enum Check {
    /// The digest of the whole blob.
    Digest(Box<Hasher>),
    /// That they are as many as were asked for.
    Length,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            State::Running { .. } => "Running",
            State::Done => "Done",
            State::Failed => "Failed",
        })
    }
}

impl Client {
    /// Starts to fetch a blob of the repository of `reference`. The stream counts against the host's limit
    /// ([`crate::Config::connections_per_host`]) while it lives.
    ///
    /// # Errors
    /// No connection, no permission, no such blob, another size than the descriptor's.
    pub async fn blob(&self, reference: &Reference, descriptor: &Descriptor) -> Result<BlobStream, Error> {
        let unsupported = || Error::UnsupportedDigest(descriptor.digest.clone());
        self.blob_after(reference, descriptor, descriptor.digest.hasher().ok_or_else(unsupported)?).await
    }

    /// Starts to fetch what follows the bytes that went into `known`, which must be one of the blob's digest's kind.
    /// The digest of the whole is checked at the end; if it is wrong, so may be the bytes that were known.
    ///
    /// # Errors
    /// As [`Client::blob`]; more known bytes than the blob has.
    pub async fn blob_after(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        known: Hasher,
    ) -> Result<BlobStream, Error> {
        let wanted = known.length()..descriptor.size;
        BlobStream::start(self, reference, descriptor, wanted, Check::Digest(Box::new(known))).await
    }

    /// Starts to fetch a part of a blob. Only its length is checked: whoever puts parts together checks the digest of
    /// the whole.
    ///
    /// # Errors
    /// As [`Client::blob`]; [`Error::NoRanges`] where the registry gives only the whole; a part that is none.
    pub async fn blob_part(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        part: Range<u64>,
    ) -> Result<BlobStream, Error> {
        BlobStream::start(self, reference, descriptor, part, Check::Length).await
    }
}

impl BlobStream {
    async fn start(
        client: &Client,
        reference: &Reference,
        descriptor: &Descriptor,
        wanted: Range<u64>,
        check: Check,
    ) -> Result<Self, Error> {
        if wanted.start > wanted.end || wanted.end > descriptor.size {
            let detail = format!("{} has no bytes from {} to {}", descriptor.digest, wanted.start, wanted.end);
            return Err(Error::Setup(detail));
        }
        let transport = client.transport.clone();
        // Of an empty part there is nothing to ask, but an empty blob may be missing.
        let is_nothing = wanted.is_empty() && descriptor.size > 0;
        let body = match is_nothing {
            true => None,
            false => Some(Box::new(ranges::open(&[], &transport, reference, descriptor, wanted.clone()).await?)),
        };
        Ok(BlobStream {
            pace: Pace::new(transport.config.timeouts.stall),
            pauses: Pauses::new(transport.config.retry),
            transport,
            reference: reference.clone(),
            descriptor: descriptor.clone(),
            state: State::Running { check, body },
            position: wanted.start,
            mark: wanted.start,
            useless: Vec::new(),
            wanted,
        })
    }

    /// The next piece; `None` at the end, and only then the bytes are known to be the right ones. A broken
    /// connection is taken up again where it broke. May be dropped while it waits; nothing is lost.
    ///
    /// # Errors
    /// Wrong digest or size, or a connection that breaks each time; then every further call fails as well.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let next = self.advance().await;
        match &next {
            Ok(Some(_)) => {}
            Ok(None) => self.state = State::Done,
            Err(_) => self.state = State::Failed,
        }
        next
    }

    /// Bytes handed out so far.
    pub fn received(&self) -> u64 {
        self.position - self.wanted.start
    }

    async fn advance(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let (check, body) = match &mut self.state {
                State::Done => return Ok(None),
                State::Failed => return Err(Error::AlreadyFailed(self.descriptor.digest.clone())),
                State::Running { check, body } => (check, body),
            };
            let current = match body {
                Some(current) => current,
                None if self.position == self.wanted.end => {
                    return check.verify(&self.descriptor, self.reference.domain()).map(|()| None);
                }
                None => {
                    let rest = self.position..self.wanted.end;
                    let rest = ranges::open(&self.useless, &self.transport, &self.reference, &self.descriptor, rest);
                    let rest = rest.await?;
                    body.insert(Box::new(rest))
                }
            };
            let trouble = match transport::chunk(&mut current.open.response, &mut self.pace).await {
                Ok(Some(mut piece)) => {
                    piece = after_skip(piece, &mut current.skip);
                    if piece.is_empty() {
                        continue;
                    }
                    self.position += piece.len() as u64;
                    if self.position > self.wanted.end {
                        return Err(wrong_size(&self.descriptor, &current.host, self.position));
                    }
                    check.update(&piece);
                    return Ok(Some(piece));
                }
                Ok(None) => None,
                Err(trouble) => Some(trouble),
            };
            if self.position == self.wanted.end {
                return check.verify(&self.descriptor, &current.host).map(|()| None);
            }
            let host = std::mem::take(&mut current.host);
            *body = None;
            tokio::time::sleep(self.broken_off(trouble, &host)?).await;
        }
    }

    /// How long to wait after a body broke off; `None` stands for a body that ended, only too early.
    fn broken_off(&mut self, trouble: Option<Trouble>, host: &str) -> Result<Duration, Error> {
        if self.position >= self.mark + PROGRESS {
            self.pauses.further();
        } else if !self.useless.iter().any(|known| known == host) {
            self.useless.push(host.to_owned());
        }
        self.mark = self.position;
        self.pace = Pace::new(self.transport.config.timeouts.stall);
        let ended_early = trouble.is_none();
        let trouble = trouble.unwrap_or_else(Trouble::ended_early);
        let digest = &self.descriptor.digest;
        self.pauses.after(trouble, host, &digest.to_string()).map_err(|error| {
            if !ended_early {
                return error;
            }
            let (host, digest) = (host.to_owned(), digest.clone());
            Error::Truncated { host, digest, expected: self.descriptor.size, received: self.position }
        })
    }
}

impl Check {
    fn update(&mut self, piece: &[u8]) {
        if let Check::Digest(hasher) = self {
            hasher.update(piece);
        }
    }

    fn verify(&self, descriptor: &Descriptor, host: &str) -> Result<(), Error> {
        let Check::Digest(hasher) = self else { return Ok(()) };
        let actual = hasher.clone().finish();
        if actual == descriptor.digest {
            return Ok(());
        }
        Err(Error::DigestMismatch { host: host.to_owned(), expected: descriptor.digest.clone(), actual })
    }
}

/// What remains of `piece` after the bytes that we have already.
fn after_skip(piece: Bytes, skip: &mut u64) -> Bytes {
    let known = usize::try_from(*skip).unwrap_or(usize::MAX).min(piece.len());
    *skip -= known as u64;
    piece.slice(known..)
}
