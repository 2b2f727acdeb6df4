//! One upload of a blob: whole where the registry takes that, in pieces where it does not, and taken up again from
//! what the registry has when a connection broke.

use std::sync::Arc;
use std::time::Duration;

use kiln_oci::{Descriptor, Reference};
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RANGE};
use reqwest::{Method, Response, StatusCode, Url};

use super::begin::{Beginning, Begun};
use super::push::{Sent, push_call};
use super::request;
use super::watched::Watched;
use crate::Error;
use crate::transport::{Call, Endpoint, PROGRESS, Pauses, Payload, Transport, Trouble};

/// How large a piece may be, in bytes, for who refused a larger one.
const SMALLER: [u64; 4] = [64 << 20, 8 << 20, 1 << 20, 512 << 10];

/// A registry that was given so many bytes may take a second longer to say that it has them.
const CHECKED_PER_SECOND: u64 = 16 << 20;

/// How long a registry may take to forget an upload that has failed.
const FAREWELL: Duration = Duration::from_secs(5);

/// What an upload needs from begin to end.
pub(super) struct Upload<'a> {
    pub(super) transport: &'a Transport,
    pub(super) endpoint: &'a Endpoint,
    pub(super) reference: &'a Reference,
    pub(super) descriptor: &'a Descriptor,
    pub(super) source: Arc<Watched>,
    /// How many bytes one request may bring at most.
    pub(super) piece: Option<u64>,
}

/// What the registry calls an upload that is under way.
#[derive(Clone, Debug)]
pub(super) struct Session {
    /// Where the next request goes.
    pub(super) address: Url,
    /// How many bytes a piece must have at least, the last excepted.
    pub(super) least: u64,
    /// How many bytes the registry has.
    offset: u64,
    /// Whether a request came to no good end, so that the two above may be outdated.
    doubtful: bool,
}

impl Session {
    /// One that has no bytes yet.
    pub(super) fn new(address: Url, least: u64) -> Session {
        Session { address, least, offset: 0, doubtful: false }
    }
}

impl Upload<'_> {
    /// Sends the blob, or finds that it need not be sent.
    ///
    /// # Errors
    /// What lasts, and what happens again and again without getting further.
    pub(super) async fn run(mut self, mut beginning: Beginning<'_>) -> Result<Sent, Error> {
        let (host, what) = (self.endpoint.host(), self.descriptor.digest.to_string());
        let mut pauses = Pauses::new(self.transport.config.retry);
        let (mut session, mut furthest) = (None, 0);
        loop {
            let trouble = match self.attempt(&mut session, &mut beginning).await {
                Ok(sent) => return Ok(sent),
                Err(trouble) => trouble,
            };
            if let Some(detail) = self.source.complaint() {
                self.cancel(session).await;
                return Err(Error::Source { digest: self.descriptor.digest.clone(), detail });
            }
            if let Some(session) = &mut session {
                session.doubtful = true;
                if session.offset >= furthest + PROGRESS {
                    furthest = session.offset;
                    pauses.further();
                }
            }
            if is_too_large(&trouble) && self.take_smaller_pieces() {
                continue;
            }
            match pauses.after(trouble, &host, &what) {
                Ok(pause) => tokio::time::sleep(pause).await,
                Err(error @ (Error::Interrupted { .. } | Error::Unreachable { .. })) => return Err(error),
                Err(error) => {
                    self.cancel(session).await;
                    return Err(error);
                }
            }
        }
    }

    /// From where it stands to the end, unless something happens.
    async fn attempt(&self, session: &mut Option<Session>, beginning: &mut Beginning<'_>) -> Result<Sent, Trouble> {
        if let Some(known) = session.as_mut().filter(|known| known.doubtful)
            && !self.ask(known).await?
        {
            *session = None;
            if self.is_there().await? {
                return Ok(Sent::Uploaded);
            }
        }
        let known = match session {
            Some(known) => known,
            None => match beginning.begin(self).await? {
                Begun::There(sent) => return Ok(sent),
                Begun::Open(fresh) => session.insert(fresh),
            },
        };
        let size = self.descriptor.size;
        if known.offset == 0 && self.piece(known) >= size {
            return self.finish(known, Payload::Blob(self.source.clone(), 0..size), size).await;
        }
        while known.offset < size {
            self.send_piece(known).await?;
        }
        self.finish(known, Payload::Empty, 0).await
    }

    /// How many bytes the next request brings at most.
    fn piece(&self, session: &Session) -> u64 {
        self.piece.unwrap_or(u64::MAX).max(session.least).max(1)
    }

    /// Asks how far the upload came; `false` if the registry knows nothing of it any more, or nothing of use.
    async fn ask(&self, session: &mut Session) -> Result<bool, Trouble> {
        let call = self.call(Method::GET, &session.address);
        let response = self.transport.attempt(&call).await?;
        if !matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::ACCEPTED | StatusCode::OK) {
            return Ok(false);
        }
        // Of an upload without bytes it is said `0-0`, as of one with a single byte.
        let Some(offset) = received(response.headers()).filter(|offset| (2..=self.descriptor.size).contains(offset))
        else {
            return Ok(false);
        };
        if let Some(address) = location(&response) {
            session.address = address;
        }
        (session.offset, session.doubtful) = (offset, false);
        Ok(true)
    }

    async fn send_piece(&self, session: &mut Session) -> Result<(), Trouble> {
        let (start, size) = (session.offset, self.descriptor.size);
        let end = size.min(start.saturating_add(self.piece(session)));
        let mut call = self.call(Method::PATCH, &session.address);
        self.fill(&mut call, Payload::Blob(self.source.clone(), start..end), end - start);
        let range = HeaderValue::from_str(&format!("{start}-{}", end - 1));
        call.headers.insert(CONTENT_RANGE, range.map_err(|e| Error::Setup(e.to_string()))?);
        let response = self.transport.attempt(&call).await?;
        match response.status() {
            StatusCode::ACCEPTED | StatusCode::NO_CONTENT | StatusCode::CREATED => {}
            // It has more or fewer bytes than we know, or has forgotten the upload.
            StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::NOT_FOUND => return Err(Trouble::out_of_step()),
            _ => return Err(request::failed(self.transport, &call, response).await.into()),
        }
        let offset = received(response.headers()).unwrap_or(end);
        if offset <= start || offset > end {
            return Err(Trouble::out_of_step());
        }
        if let Some(address) = location(&response) {
            session.address = address;
        }
        session.offset = offset;
        Ok(())
    }

    /// Says that with this `payload` it is whole.
    async fn finish(&self, session: &Session, payload: Payload, length: u64) -> Result<Sent, Trouble> {
        let mut address = session.address.clone();
        address.query_pairs_mut().append_pair("digest", &self.descriptor.digest.to_string());
        let mut call = self.call(Method::PUT, &address);
        self.fill(&mut call, payload, length);
        call.patience = Duration::from_secs(self.descriptor.size / CHECKED_PER_SECOND);
        let response = self.transport.attempt(&call).await?;
        match response.status() {
            StatusCode::CREATED | StatusCode::NO_CONTENT => Ok(Sent::Uploaded),
            StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::NOT_FOUND => Err(Trouble::out_of_step()),
            _ => Err(request::failed(self.transport, &call, response).await.into()),
        }
    }

    /// Whether the blob is in the repository: the answer that said so may have been lost.
    async fn is_there(&self) -> Result<bool, Trouble> {
        let path = format!("blobs/{}", self.descriptor.digest);
        let call = Call { method: Method::HEAD, ..push_call(self.endpoint, self.reference, &path) };
        Ok(self.transport.attempt(&call).await?.status() == StatusCode::OK)
    }

    /// Lets the registry forget what was sent; it forgets by itself, only later.
    async fn cancel(&self, session: Option<Session>) {
        if let Some(session) = session {
            let call = self.call(Method::DELETE, &session.address);
            let _ = tokio::time::timeout(FAREWELL, self.transport.attempt(&call)).await;
        }
    }

    fn call(&self, method: Method, address: &Url) -> Call<'_> {
        let (path, what) = (address.to_string(), self.descriptor.digest.to_string());
        Call { method, path, what, ..push_call(self.endpoint, self.reference, "") }
    }

    fn fill(&self, call: &mut Call<'_>, payload: Payload, length: u64) {
        call.payload = payload;
        call.headers.insert(CONTENT_LENGTH, length.into());
        call.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    }

    /// Whether there are smaller pieces than those that were refused.
    fn take_smaller_pieces(&mut self) -> bool {
        let refused = self.piece.unwrap_or(u64::MAX).min(self.descriptor.size);
        let smaller = SMALLER.into_iter().find(|size| *size < refused);
        self.piece = smaller.or(self.piece);
        smaller.is_some()
    }
}

fn is_too_large(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Final(Error::Status { status: 413, .. }))
}

/// The address that an answer names, relative to the one that was asked.
pub(super) fn location(response: &Response) -> Option<Url> {
    let text = response.headers().get(LOCATION)?.to_str().ok()?;
    response.url().join(text).ok()
}

/// How many bytes a registry has that says `0-LAST`.
fn received(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(RANGE)?.to_str().ok()?;
    let (first, last) = text.trim_start_matches("bytes=").split_once('-')?;
    if first != "0" {
        return None;
    }
    last.parse::<u64>().ok()?.checked_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_registry_has_is_read() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RANGE, text.parse().unwrap());
            received(&headers)
        };
        assert_eq!(of("0-0"), Some(1));
        assert_eq!(of("0-1023"), Some(1024));
        assert_eq!(of("bytes=0-9"), Some(10));
        for text in ["1-9", "0-", "9", "0-18446744073709551615", ""] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
