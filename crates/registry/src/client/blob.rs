//! Blobs as streams: checked while they come, taken up again where a connection broke.

use std::sync::Arc;

use bytes::Bytes;
use kiln_oci::{Descriptor, Hasher, Reference};
use reqwest::StatusCode;
use reqwest::header::{CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};

use super::request;
use crate::Error;
use crate::transport::{self, Endpoint, Open, Pauses, Transport, Trouble};

/// So many bytes since the last failure count as getting further, and failures are counted anew.
const PROGRESS: u64 = 1 << 20;

/// The bytes of a blob, checked while they come.
#[derive(Debug)]
pub struct BlobStream {
    transport: Arc<Transport>,
    reference: Reference,
    descriptor: Descriptor,
    state: State,
    received: u64,
    pauses: Pauses,
    /// [`BlobStream::received`] at the last failure.
    mark: u64,
}

enum State {
    /// Bytes are expected.
    Running { hasher: Hasher, body: Option<Box<Body>> },
    /// All bytes came and were right.
    Verified,
    /// An error was returned.
    Failed,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            State::Running { .. } => "Running",
            State::Verified => "Verified",
            State::Failed => "Failed",
        })
    }
}

/// A connection that delivers the blob, or the rest of it.
struct Body {
    open: Open,
    host: String,
    /// Bytes still to come that we have already: the server does not do ranges.
    skip: u64,
}

impl BlobStream {
    pub(super) async fn start(
        transport: Arc<Transport>,
        reference: Reference,
        descriptor: Descriptor,
    ) -> Result<Self, Error> {
        let hasher = descriptor.digest.hasher().ok_or_else(|| Error::UnsupportedDigest(descriptor.digest.clone()))?;
        let body = Some(Box::new(open(&transport, &reference, &descriptor, 0).await?));
        let pauses = Pauses::new(transport.config.retry);
        let state = State::Running { hasher, body };
        Ok(BlobStream { transport, reference, descriptor, state, received: 0, pauses, mark: 0 })
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
            Ok(None) => self.state = State::Verified,
            Err(_) => self.state = State::Failed,
        }
        next
    }

    /// Bytes handed out so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    async fn advance(&mut self) -> Result<Option<Bytes>, Error> {
        let stall = self.transport.config.timeouts.stall;
        let (hasher, body) = match &mut self.state {
            State::Verified => return Ok(None),
            State::Failed => return Err(Error::AlreadyFailed(self.descriptor.digest.clone())),
            State::Running { hasher, body } => (hasher, body),
        };
        loop {
            let current = match body {
                Some(current) => current,
                None => {
                    let rest = open(&self.transport, &self.reference, &self.descriptor, self.received).await?;
                    body.insert(Box::new(rest))
                }
            };
            let trouble = match transport::chunk(&mut current.open.response, stall).await {
                Ok(Some(mut piece)) => {
                    piece = after_skip(piece, &mut current.skip);
                    if piece.is_empty() {
                        continue;
                    }
                    self.received += piece.len() as u64;
                    if self.received > self.descriptor.size {
                        return Err(wrong_size(&self.descriptor, &current.host, self.received));
                    }
                    hasher.update(&piece);
                    return Ok(Some(piece));
                }
                Ok(None) => None,
                Err(trouble) => Some(trouble),
            };
            if self.received == self.descriptor.size {
                return verify(hasher, &self.descriptor, &current.host).map(|()| None);
            }
            if self.received >= self.mark + PROGRESS {
                self.pauses = Pauses::new(self.transport.config.retry);
            }
            self.mark = self.received;
            let host = std::mem::take(&mut current.host);
            *body = None;
            let pause = pause(&mut self.pauses, trouble, &host, &self.descriptor, self.received)?;
            tokio::time::sleep(pause).await;
        }
    }
}

/// How long to wait after a body broke off; `None` stands for a body that ended, only too early.
fn pause(
    pauses: &mut Pauses,
    trouble: Option<Trouble>,
    host: &str,
    descriptor: &Descriptor,
    received: u64,
) -> Result<std::time::Duration, Error> {
    let ended_early = trouble.is_none();
    let trouble = trouble.unwrap_or_else(Trouble::ended_early);
    pauses.after(trouble, host, &descriptor.digest.to_string()).map_err(|error| {
        if !ended_early {
            return error;
        }
        let (host, digest) = (host.to_owned(), descriptor.digest.clone());
        Error::Truncated { host, digest, expected: descriptor.size, received }
    })
}

/// What remains of `piece` after the bytes that we have already.
fn after_skip(piece: Bytes, skip: &mut u64) -> Bytes {
    let known = usize::try_from(*skip).unwrap_or(usize::MAX).min(piece.len());
    *skip -= known as u64;
    piece.slice(known..)
}

fn verify(hasher: &Hasher, descriptor: &Descriptor, host: &str) -> Result<(), Error> {
    let actual = hasher.clone().finish();
    if actual == descriptor.digest {
        return Ok(());
    }
    Err(Error::DigestMismatch { host: host.to_owned(), expected: descriptor.digest.clone(), actual })
}

fn wrong_size(descriptor: &Descriptor, host: &str, actual: u64) -> Error {
    let digest = descriptor.digest.clone();
    Error::SizeMismatch { host: host.to_owned(), digest, expected: descriptor.size, actual }
}

/// Asks the mirrors and the registry for a blob from `offset` on.
async fn open(
    transport: &Arc<Transport>,
    reference: &Reference,
    descriptor: &Descriptor,
    offset: u64,
) -> Result<Body, Error> {
    request::first(transport, reference, |endpoint| open_at(transport, endpoint, reference, descriptor, offset)).await
}

async fn open_at(
    transport: &Arc<Transport>,
    endpoint: Endpoint,
    reference: &Reference,
    descriptor: &Descriptor,
    offset: u64,
) -> Result<Body, Error> {
    let mut call = request::get(&endpoint, reference, &format!("blobs/{}", descriptor.digest));
    if offset > 0 {
        let range = HeaderValue::from_str(&format!("bytes={offset}-")).map_err(|e| Error::Setup(e.to_string()))?;
        call.headers.insert(RANGE, range);
    }
    let open = transport.open(&call).await?;
    let host = endpoint.host();
    match open.response.status() {
        StatusCode::PARTIAL_CONTENT if offset > 0 => {
            let found = content_range(open.response.headers());
            if found.is_some_and(|(start, total)| start == offset && total.is_none_or(|t| t == descriptor.size)) {
                return Ok(Body { open, host, skip: 0 });
            }
            Err(Error::Protocol { host, detail: "it sent another part of the blob than was asked for".into() })
        }
        StatusCode::OK => match open.response.content_length() {
            Some(length) if length != descriptor.size => Err(wrong_size(descriptor, &host, length)),
            _ => Ok(Body { open, host, skip: offset }),
        },
        _ => Err(request::failed(transport, &call, open.response).await),
    }
}

/// The first position and the size of the whole, of `bytes FIRST-LAST/SIZE`; the size may be unknown.
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (positions, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = positions.split_once('-')?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    Some((first.parse().ok()?, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_RANGE, text.parse().unwrap());
            content_range(&headers)
        };
        assert_eq!(of("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(of("bytes 5-9/*"), Some((5, None)));
        for text in ["bytes */10", "5-9/10", "bytes 5-9", "bytes x-9/10", "bytes 5-9/y", ""] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
