//! Reading what a registry answers: bodies with limits, and error documents.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Response, StatusCode};
use serde::Deserialize;

use super::failure;
use super::pace::Pace;
use super::retry::Trouble;
use crate::Error;

/// How much of an error's body is read, in bytes.
const ERROR_BODY_LIMIT: u64 = 64 << 10;

/// How much of an error's text is shown, in characters.
const SHOWN_LIMIT: usize = 300;

/// An answer that was read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: StatusCode,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// The body.
    pub(crate) body: Bytes,
}

/// The next piece of a body.
pub(crate) async fn chunk(response: &mut Response, pace: &mut Pace) -> Result<Option<Bytes>, Trouble> {
    let length = |piece: &Result<Option<Bytes>, _>| match piece {
        Ok(Some(bytes)) => bytes.len(),
        // The end is no trickle.
        _ => usize::MAX,
    };
    pace.wait(response.chunk(), length).await?.map_err(failure::sorted)
}

/// Reads a body of at most `limit` bytes.
pub(crate) async fn whole(
    mut response: Response,
    limit: u64,
    stall: Duration,
    (host, what): (&str, &str),
) -> Result<Answer, Trouble> {
    let too_large = || Error::TooLarge { host: host.to_owned(), what: what.to_owned(), limit };
    if response.content_length().is_some_and(|length| length > limit) {
        return Err(too_large().into());
    }
    let (mut body, mut pace) = (Vec::new(), Pace::new(stall));
    while let Some(piece) = chunk(&mut response, &mut pace).await? {
        body.extend_from_slice(&piece);
        if body.len() as u64 > limit {
            return Err(too_large().into());
        }
    }
    Ok(Answer { status: response.status(), headers: response.headers().clone(), body: body.into() })
}

/// What an answer that is an error says, as far as it can be read.
pub(crate) async fn complaint(response: Response, stall: Duration) -> String {
    match whole(response, ERROR_BODY_LIMIT, stall, ("", "")).await {
        Ok(answer) => said(&answer.body),
        Err(_) => String::new(),
    }
}

/// The text of an error document (OCI distribution specification, "Error codes"), or of a token server's;
/// shortened, on one line.
pub(crate) fn said(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Document {
        #[serde(default)]
        errors: Vec<Entry>,
        details: Option<String>,
    }
    #[derive(Deserialize)]
    struct Entry {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let text = match serde_json::from_slice::<Document>(body) {
        Ok(document) => {
            let entries = document.errors.iter().map(|e| if e.message.is_empty() { &e.code } else { &e.message });
            entries.chain(&document.details).map(String::as_str).collect::<Vec<_>>().join("; ")
        }
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    printable.take(SHOWN_LIMIT).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_documents_are_read_and_made_harmless() {
        assert_eq!(said(br#"{"errors":[{"code":"DENIED","message":"no\u001b[31m"},{"code":"X"}]}"#), "no [31m; X");
        assert_eq!(said(b"plain\r\ntext"), "plain  text");
        assert_eq!(said(&[b'x'; 10_000]).len(), SHOWN_LIMIT);
    }
}
