//! Answers: their bodies, and the headers that most of them have.

use std::io;

use bytes::Bytes;
use futures_util::StreamExt;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Frame;

/// A body, of a request or of an answer.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What a client gets.
pub type Answer = Response<Body>;

/// The digest of what a request was about.
pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// An answer without a body, and without a length of one.
pub(super) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *answer.status_mut() = status;
    answer
}

/// An answer with a whole body.
pub(super) fn whole(status: StatusCode, media_type: &str, bytes: Vec<u8>) -> Answer {
    let length = bytes.len() as u64;
    let mut answer = Response::new(Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed_unsync());
    *answer.status_mut() = status;
    answer.with(CONTENT_TYPE, media_type).with_length(length)
}

/// A JSON document.
pub(super) fn json(status: StatusCode, document: &serde_json::Value) -> Answer {
    whole(status, "application/json", document.to_string().into_bytes())
}

/// A body of pieces.
pub(super) fn streamed(pieces: impl futures_util::Stream<Item = io::Result<Bytes>> + Send + 'static) -> Body {
    StreamBody::new(pieces.map(|piece| piece.map(Frame::data))).boxed_unsync()
}

/// Headers, one after the other.
pub(super) trait With {
    /// The same with a header. A value that cannot be one is left out.
    fn with(self, name: HeaderName, value: impl AsRef<str>) -> Self;

    /// The same with the length of a body, which a `HEAD` request is told without it.
    fn with_length(self, length: u64) -> Self;
}

impl With for Answer {
    fn with(mut self, name: HeaderName, value: impl AsRef<str>) -> Self {
        if let Ok(value) = HeaderValue::from_str(value.as_ref()) {
            self.headers_mut().insert(name, value);
        }
        self
    }

    fn with_length(self, length: u64) -> Self {
        self.with(CONTENT_LENGTH, length.to_string())
    }
}
