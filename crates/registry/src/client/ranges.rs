//! Asking for a blob, or for a part of one.

use std::ops::Range;
use std::sync::Arc;

use kiln_oci::{Descriptor, Reference};
use reqwest::StatusCode;
use reqwest::header::{CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};

use super::request;
use crate::Error;
use crate::hosts::Purpose;
use crate::transport::{Endpoint, Open, Transport};

/// A connection that delivers what was asked for.
pub(super) struct Body {
    pub(super) open: Open,
    pub(super) host: String,
    /// Bytes that come before those that were asked for: the server does not do ranges.
    pub(super) skip: u64,
}

/// Asks the mirrors, without the `useless` ones, and the registry for the bytes of a blob in `wanted`. Where those reach
/// to its end, a server that knows no ranges will do, too.
pub(super) async fn open(
    useless: &[String],
    transport: &Arc<Transport>,
    reference: &Reference,
    descriptor: &Descriptor,
    wanted: Range<u64>,
) -> Result<Body, Error> {
    let ask = |endpoint| open_at(transport, endpoint, reference, descriptor, wanted.clone());
    request::first_besides(useless, transport, reference, Purpose::Pull, ask).await
}

async fn open_at(
    transport: &Arc<Transport>,
    endpoint: Endpoint,
    reference: &Reference,
    descriptor: &Descriptor,
    wanted: Range<u64>,
) -> Result<Body, Error> {
    let mut call = request::get(&endpoint, reference, &format!("blobs/{}", descriptor.digest));
    let is_part = wanted != (0..descriptor.size);
    if is_part {
        call.headers.insert(RANGE, range(&wanted, descriptor.size)?);
    }
    let open = transport.open(&call).await?;
    let host = endpoint.host();
    match open.response.status() {
        StatusCode::PARTIAL_CONTENT if is_part => match content_range(open.response.headers()) {
            Some((_, Some(total))) if total != descriptor.size => Err(wrong_size(descriptor, &host, total)),
            Some((Some(start), _)) if start == wanted.start => Ok(Body { open, host, skip: 0 }),
            _ => Err(Error::Protocol { host, detail: "it sent another part of the blob than was asked for".into() }),
        },
        StatusCode::RANGE_NOT_SATISFIABLE => match content_range(open.response.headers()) {
            Some((_, Some(total))) if total != descriptor.size => Err(wrong_size(descriptor, &host, total)),
            _ => Err(request::failed(transport, &call, open.response).await),
        },
        StatusCode::OK if wanted.end < descriptor.size => Err(Error::NoRanges { host }),
        StatusCode::OK => match open.response.content_length() {
            Some(length) if length != descriptor.size => Err(wrong_size(descriptor, &host, length)),
            _ => Ok(Body { open, host, skip: wanted.start }),
        },
        _ => Err(request::failed(transport, &call, open.response).await),
    }
}

/// The error for more or fewer bytes of a blob than its descriptor says.
pub(super) fn wrong_size(descriptor: &Descriptor, host: &str, actual: u64) -> Error {
    let digest = descriptor.digest.clone();
    Error::SizeMismatch { host: host.to_owned(), digest, expected: descriptor.size, actual }
}

/// The header that asks for `wanted` of `size` bytes.
fn range(wanted: &Range<u64>, size: u64) -> Result<HeaderValue, Error> {
    let last = if wanted.end < size { wanted.end.saturating_sub(1).to_string() } else { String::new() };
    HeaderValue::from_str(&format!("bytes={}-{last}", wanted.start)).map_err(|e| Error::Setup(e.to_string()))
}

/// The first position and the size of the whole, of `bytes FIRST-LAST/SIZE`; either may be unknown.
fn content_range(headers: &HeaderMap) -> Option<(Option<u64>, Option<u64>)> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (positions, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let first = if positions == "*" { None } else { Some(positions.split_once('-')?.0.parse().ok()?) };
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    Some((first, total))
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
        assert_eq!(of("bytes 5-9/10"), Some((Some(5), Some(10))));
        assert_eq!(of("bytes 5-9/*"), Some((Some(5), None)));
        assert_eq!(of("bytes */10"), Some((None, Some(10))));
        for text in ["5-9/10", "bytes 5-9", "bytes x-9/10", "bytes 5-9/y", ""] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    #[test]
    fn ranges_name_their_last_byte_unless_it_is_that_of_the_blob() {
        assert_eq!(range(&(5..10), 20).unwrap(), "bytes=5-9");
        assert_eq!(range(&(5..20), 20).unwrap(), "bytes=5-");
    }
}
