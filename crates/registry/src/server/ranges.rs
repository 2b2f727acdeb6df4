//! Parts of things: which bytes of a blob a client wants, which bytes of an upload it sends.

use std::ops::Range;

use http::HeaderMap;
use http::header::{CONTENT_RANGE, ETAG, IF_NONE_MATCH, IF_RANGE, RANGE};
use kiln_oci::Digest;

use super::answer::{Answer, With};

/// Which part of a blob an answer has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it.
    Whole,
    /// These bytes.
    Some(Range<u64>),
    /// What was asked for lies beyond its end.
    None,
}

/// The part that a request asks for of `size` bytes. What makes no sense, and several parts at once, mean the whole.
pub(super) fn wanted(headers: &HeaderMap, size: u64, digest: &Digest) -> Part {
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    let Some(range) = text(RANGE).and_then(|range| range.strip_prefix("bytes=")) else { return Part::Whole };
    if text(IF_RANGE).is_some_and(|condition| condition != tag(digest)) {
        return Part::Whole;
    }
    let Some((first, last)) = range.split_once('-') else { return Part::Whole };
    match (number(first.trim()), number(last.trim())) {
        (Some(first), _) if last.trim().is_empty() => part(first, size, size),
        (Some(first), Some(last)) if first <= last => part(first, last.saturating_add(1).min(size), size),
        (None, Some(0)) if first.trim().is_empty() => Part::None,
        (None, Some(count)) if first.trim().is_empty() => part(size.saturating_sub(count), size, size),
        _ => Part::Whole,
    }
}

fn part(start: u64, end: u64, size: u64) -> Part {
    if start >= size { Part::None } else { Part::Some(start..end) }
}

/// Digits only: Rust would take a sign, too.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Which bytes of an upload a request says that it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) first: u64,
    pub(super) length: u64,
}

/// Reads `first-last`, also with what HTTP puts around it; `None` if the header is not there, an error if it makes no
/// sense.
pub(super) fn chunk(headers: &HeaderMap) -> Result<Option<Chunk>, ()> {
    let Some(value) = headers.get(CONTENT_RANGE) else { return Ok(None) };
    let text = value.to_str().map_err(drop)?;
    let text = text.strip_prefix("bytes").unwrap_or(text).trim_start_matches([' ', '=']);
    let text = text.split('/').next().unwrap_or_default();
    let (first, last) = text.split_once('-').ok_or(())?;
    let (first, last) = (number(first.trim()).ok_or(())?, number(last.trim()).ok_or(())?);
    let length = last.checked_sub(first).and_then(|length| length.checked_add(1)).ok_or(())?;
    Ok(Some(Chunk { first, length }))
}

/// How the specification writes the bytes that an upload has: the last one's number, 0 also for none.
pub(super) fn so_far(size: u64) -> String {
    format!("0-{}", size.saturating_sub(1))
}

/// What identifies content for caches.
pub(super) fn tag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

/// Whether the client has it already.
pub(super) fn is_known(headers: &HeaderMap, digest: &Digest) -> bool {
    let conditions = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = conditions.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|condition| condition == "*" || condition.trim_start_matches("W/") == tag(digest))
}

/// An answer with what identifies its content.
pub(super) fn tagged(answer: Answer, digest: &Digest) -> Answer {
    answer.with(super::answer::CONTENT_DIGEST, digest.to_string()).with(ETAG, tag(digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: http::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn parts_of_a_blob() {
        let digest = Digest::of(b"x");
        let check = |range: &str, part: Part| assert_eq!(wanted(&headers(RANGE, range), 10, &digest), part, "{range}");
        check("bytes=0-", Part::Some(0..10));
        check("bytes=3-5", Part::Some(3..6));
        check("bytes=9-9", Part::Some(9..10));
        check("bytes=5-99", Part::Some(5..10));
        check("bytes=-3", Part::Some(7..10));
        check("bytes=-30", Part::Some(0..10));
        check("bytes=10-", Part::None);
        check("bytes=-0", Part::None);
        check("bytes=18446744073709551615-", Part::None);
        for nonsense in ["bytes=", "bytes=-", "bytes=5-3", "bytes=0-1,3-4", "bytes=+1-2", "lines=1-2", "bytes=a-b"] {
            check(nonsense, Part::Whole);
        }
        let mut other = headers(RANGE, "bytes=1-2");
        other.insert(IF_RANGE, "\"else\"".parse().unwrap());
        assert_eq!(wanted(&other, 10, &digest), Part::Whole);
        other.insert(IF_RANGE, tag(&digest).parse().unwrap());
        assert_eq!(wanted(&other, 10, &digest), Part::Some(1..3));
        assert_eq!(wanted(&headers(RANGE, "bytes=0-"), 0, &digest), Part::None);
    }

    #[test]
    fn chunks_of_an_upload() {
        let check = |text: &str, first: u64, length: u64| {
            assert_eq!(chunk(&headers(CONTENT_RANGE, text)), Ok(Some(Chunk { first, length })), "{text}");
        };
        check("0-9", 0, 10);
        check("bytes 5-5/*", 5, 1);
        check("bytes=5-6", 5, 2);
        for nonsense in ["", "x", "5", "5-", "-5", "6-5", "0-18446744073709551615"] {
            assert_eq!(chunk(&headers(CONTENT_RANGE, nonsense)), Err(()), "{nonsense}");
        }
        assert_eq!(chunk(&HeaderMap::new()), Ok(None));
        assert_eq!((so_far(0), so_far(1), so_far(10)), ("0-0".into(), "0-0".into(), "0-9".into()));
    }

    #[test]
    fn who_has_it_need_not_get_it() {
        let digest = Digest::of(b"x");
        let check =
            |value: &str, known| assert_eq!(is_known(&headers(IF_NONE_MATCH, value), &digest), known, "{value}");
        check("*", true);
        check(&tag(&digest), true);
        check(&format!("\"a\", W/{}", tag(&digest)), true);
        check("\"a\"", false);
    }
}
