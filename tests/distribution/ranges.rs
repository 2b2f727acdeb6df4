//! Parts of blobs, as RFC 9110 has them.

use kiln_tests::http::Response;

use crate::peer::{Content, Peer};
use crate::requirements;

requirements! {
    (Should, range_in_the_middle, "A `Range` within a blob answers 206 with these bytes and `Content-Range`."),
    (Should, range_to_the_end, "A `Range` without an end, or with one beyond the blob's, goes to the blob's end."),
    (Should, range_of_the_last_bytes, "A suffix `Range` answers 206 with the last bytes."),
    (Should, range_beyond_the_end_is_416, "A `Range` that begins beyond the blob's end answers 416 and tells the size."),
    (Should, ranges_are_announced, "The answer to a HEAD or GET of a blob says `Accept-Ranges: bytes`."),
    (May, other_units_are_passed_over, "A `Range` in another unit, or one that makes no sense, is passed over: the answer is 200 and whole, or 416."),
    (Kiln, range_of_an_old_validator_is_whole, "`If-Range` with another validator than the blob's answers 200 with the whole blob."),
}

fn blob() -> Content {
    Content::large(100_000)
}

#[track_caller]
fn ranged(peer: &Peer, blob: &Content, range: &str, headers: &[(&str, &str)]) -> Response {
    let repository = peer.named("conformance/ranges");
    repository.push_blob(blob);
    let mut request = repository.get_blob(&blob.digest).header("Range", range);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    peer.send(&request)
}

#[track_caller]
fn assert_part(answer: &Response, blob: &Content, first: usize, last: usize) {
    assert_eq!(answer.status, 206, "{answer}");
    assert!(answer.body == blob.bytes[first..=last], "{} other bytes: {:?}", answer.body.len(), answer.headers);
    let range = format!("bytes {first}-{last}/{}", blob.bytes.len());
    assert_eq!(answer.header("content-range"), Some(range.as_str()));
    assert_eq!(answer.header("content-length"), Some((last + 1 - first).to_string().as_str()));
}

fn range_in_the_middle(peer: &Peer) {
    let blob = blob();
    assert_part(&ranged(peer, &blob, "bytes=1000-50000", &[]), &blob, 1000, 50_000);
    assert_part(&ranged(peer, &blob, "bytes=0-0", &[]), &blob, 0, 0);
}

fn range_to_the_end(peer: &Peer) {
    let blob = blob();
    assert_part(&ranged(peer, &blob, "bytes=99999-", &[]), &blob, 99_999, 99_999);
    assert_part(&ranged(peer, &blob, "bytes=0-", &[]), &blob, 0, 99_999);
    assert_part(&ranged(peer, &blob, "bytes=70000-123456789", &[]), &blob, 70_000, 99_999);
}

fn range_of_the_last_bytes(peer: &Peer) {
    let blob = blob();
    assert_part(&ranged(peer, &blob, "bytes=-300", &[]), &blob, 99_700, 99_999);
}

fn range_beyond_the_end_is_416(peer: &Peer) {
    let answer = ranged(peer, &blob(), "bytes=100000-", &[]);
    assert_eq!(answer.status, 416, "{answer}");
    assert_eq!(answer.header("content-range"), Some("bytes */100000"), "{answer}");
}

fn ranges_are_announced(peer: &Peer) {
    let repository = peer.repository();
    let blob = blob();
    repository.push_blob(&blob);
    for request in [repository.head_blob(&blob.digest), repository.get_blob(&blob.digest)] {
        let answer = peer.expect(200, &request);
        assert_eq!(answer.header("accept-ranges"), Some("bytes"), "{:?}", answer.headers);
    }
}

fn other_units_are_passed_over(peer: &Peer) {
    let blob = blob();
    for range in ["lines=1-2", "bytes=5-2", "bytes=x-y"] {
        let answer = ranged(peer, &blob, range, &[]);
        let whole = answer.status == 200 && answer.body == blob.bytes;
        assert!(whole || answer.status == 416, "{range}: {:?}", answer.headers);
    }
}

fn range_of_an_old_validator_is_whole(peer: &Peer) {
    let blob = blob();
    let answer = ranged(peer, &blob, "bytes=5-9", &[("If-Range", "\"of something else\"")]);
    assert!(answer.status == 200 && answer.body == blob.bytes, "{:?}", answer.headers);
}
