//! Pushing blobs: at once and in chunks.

use kiln_tests::http::{Request, Response};

use crate::peer::{Content, Peer, Repository, closing};
use crate::requirements;

requirements! {
    (Must, post_begins_an_upload, "A POST to `blobs/uploads/` answers 202 and has `Location`."),
    (Must, each_upload_has_a_session_of_its_own, "The `Location` has a UUID which names this upload and no other."),
    (Must, put_finishes_an_upload, "A PUT of the whole blob to `Location`, with `digest`, answers 201."),
    (Must, finished_upload_says_where_the_blob_is, "The answer to the closing PUT has `Location`, from which the blob can be pulled."),
    (Must, empty_blob_can_be_pushed, "A blob of no bytes can be pushed and pulled."),
    (Must, put_of_another_digest_is_refused, "Content that does not match `digest` is refused with 400, and is not there afterwards."),
    (Must, put_without_digest_is_refused, "The closing PUT must have `digest`: without it, or with something else for it, it answers 400."),
    (May, single_post_pushes_or_begins, "A single POST with `digest` and body answers 201 with the blob's `Location`; a registry that cannot do that SHOULD answer 202 and begin an upload."),
    (Kiln, single_post_pushes, "A single POST with `digest` and body pushes the blob."),
    (Kiln, single_post_of_another_digest_is_refused, "A single POST whose body does not match `digest` answers 400, and pushes nothing."),
    (Must, chunk_is_accepted, "A PATCH of a chunk with `Content-Range` answers 202 with `Location` and `Range: 0-END`."),
    (Must, chunks_in_order_make_the_blob, "Chunks one after another, closed by a PUT with `digest` of the whole, make the blob; the PUT answers 201 with its `Location`."),
    (Must, last_chunk_may_come_with_the_put, "The last chunk may be the body of the closing PUT."),
    (Must, first_chunk_begins_at_zero, "A first chunk that does not begin at 0 answers 416."),
    (Must, chunk_with_a_gap_is_416, "A chunk that leaves bytes out answers 416, and the upload goes on where it was."),
    (Must, chunk_sent_twice_is_416, "A chunk that was already taken answers 416, and the upload goes on where it was."),
    (Must, closing_chunk_out_of_order_is_416, "A closing PUT whose chunk is out of order answers 416."),
    (Must, range_of_a_chunk_follows_the_grammar, "A `Content-Range` that is not FIRST-LAST is refused."),
    (Must, range_of_a_chunk_is_as_long_as_the_chunk, "A `Content-Range` of another length than the body's is refused."),
    (Must, chunks_of_another_digest_are_refused, "Chunks that together do not match `digest` are refused with 400."),
    (Must, status_of_an_upload, "A GET of an upload answers 204 with `Location` and `Range: 0-END`."),
    (Must, status_after_a_refused_chunk, "After a 416 a GET of the upload tells where to go on, and going on there finishes the blob."),
    (Must, status_of_a_new_upload, "A GET of an upload that has no bytes answers 204 with `Location` and `Range`."),
    (Must, unknown_upload_is_404, "An upload that does not exist answers 404, whether it is asked for, added to or closed."),
    (Must, finished_upload_is_gone, "An upload that was closed answers 404."),
    (Should, least_chunk_is_a_number, "If a registry has a least size of chunks, it tells it as `OCI-Chunk-Min-Length`."),
    (Kiln, streamed_upload, "A PATCH without `Content-Range`, of a length that is not told, as docker sends it, is taken."),
    (Kiln, cancelled_upload_is_gone, "A DELETE of an upload answers 204, and the upload is gone."),
    (Kiln, upload_belongs_to_its_repository, "An upload is not found under another repository's name."),
    (Kiln, broken_chunk_keeps_what_came, "When the connection breaks in the middle of a chunk, a GET tells how much came, and the upload can go on there."),
}

/// One chunk, with the range that it has from `first` on.
fn chunk(target: &str, first: usize, bytes: &[u8]) -> Request {
    let range = format!("{first}-{}", first + bytes.len() - 1);
    let patch = Request::new("PATCH", target).header("Content-Type", "application/octet-stream");
    patch.header("Content-Range", &range).body(bytes)
}

/// Closes an upload with nothing more.
fn close(target: &str, digest: &str) -> Request {
    Request::new("PUT", &closing(target, digest))
}

#[track_caller]
fn pulled(repository: &Repository<'_>, blob: &Content) {
    let answer = repository.peer.expect(200, &repository.get_blob(&blob.digest));
    assert!(answer.body == blob.bytes, "{} other bytes", answer.body.len());
}

#[track_caller]
fn assert_range(answer: &Response, last: usize) {
    let range = answer.header("range").unwrap_or_else(|| panic!("no Range: {answer}"));
    assert_eq!(range.trim_start_matches("bytes="), format!("0-{last}"), "{answer}");
}

fn post_begins_an_upload(peer: &Peer) {
    peer.repository().begin_upload();
}

fn each_upload_has_a_session_of_its_own(peer: &Peer) {
    let repository = peer.repository();
    let uuid = |target: &str| {
        let is_uuid = |word: &&str| {
            let lengths: Vec<usize> = word.split('-').map(str::len).collect();
            lengths == [8, 4, 4, 4, 12] && word.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
        };
        let found = target.split(['/', '?', '=', '&']).find(is_uuid);
        found.unwrap_or_else(|| panic!("no UUID in {target}")).to_owned()
    };
    let (one, other) = (repository.begin_upload(), repository.begin_upload());
    assert_ne!(uuid(&one), uuid(&other));
}

fn put_finishes_an_upload(peer: &Peer) {
    peer.repository().push_blob(&Content::layer(b"some bytes"));
}

fn finished_upload_says_where_the_blob_is(peer: &Peer) {
    let repository = peer.repository();
    let blob = Content::layer(b"some bytes");
    let done = repository.push_blob(&blob);
    let answer = peer.expect(200, &Request::new("GET", &peer.target(&done)));
    assert!(answer.body == blob.bytes, "{answer}");
}

fn empty_blob_can_be_pushed(peer: &Peer) {
    let repository = peer.repository();
    let blob = Content::layer(b"");
    repository.push_blob(&blob);
    pulled(&repository, &blob);
    let head = peer.expect(200, &repository.head_blob(&blob.digest));
    assert_eq!(head.header("content-length"), Some("0"), "{head}");
}

fn put_of_another_digest_is_refused(peer: &Peer) {
    let repository = peer.repository();
    let (blob, other) = (Content::layer(b"some bytes"), Content::layer(b"same bytes"));
    let target = repository.begin_upload();
    peer.expect(400, &close(&target, &blob.digest).body(&other.bytes));
    peer.expect(404, &repository.head_blob(&blob.digest));
    peer.expect(404, &repository.head_blob(&other.digest));
}

fn put_without_digest_is_refused(peer: &Peer) {
    let repository = peer.repository();
    let target = repository.begin_upload();
    peer.expect(400, &Request::new("PUT", &target).body(b"some bytes"));
    for digest in ["nonsense", "sha256:1234", "md5:1234"] {
        let target = repository.begin_upload();
        peer.expect(400, &close(&target, digest).body(b"some bytes"));
    }
}

#[track_caller]
fn single_post(repository: &Repository<'_>, digest: &str, bytes: &[u8]) -> Response {
    let post = repository.request("POST", &format!("blobs/uploads/?digest={digest}"));
    repository.peer.send(&post.header("Content-Type", "application/octet-stream").body(bytes))
}

fn single_post_pushes_or_begins(peer: &Peer) {
    let repository = peer.repository();
    let blob = Content::layer(b"some bytes");
    let posted = single_post(&repository, &blob.digest, &blob.bytes);
    let target = peer.target(&posted);
    match posted.status {
        201 => {
            let answer = peer.expect(200, &Request::new("GET", &target));
            assert!(answer.body == blob.bytes, "{answer}");
        }
        202 => drop(peer.expect(201, &close(&target, &blob.digest).body(&blob.bytes))),
        _ => panic!("{posted}"),
    }
    pulled(&repository, &blob);
}

fn single_post_pushes(peer: &Peer) {
    let repository = peer.repository();
    let blob = Content::large(1_000_000);
    let posted = single_post(&repository, &blob.digest, &blob.bytes);
    assert_eq!(posted.status, 201, "{posted}");
    pulled(&repository, &blob);
}

fn single_post_of_another_digest_is_refused(peer: &Peer) {
    let repository = peer.repository();
    let blob = Content::layer(b"some bytes");
    let posted = single_post(&repository, &blob.digest, b"other bytes");
    assert_eq!(posted.status, 400, "{posted}");
    peer.expect(404, &repository.head_blob(&blob.digest));
}

fn chunk_is_accepted(peer: &Peer) {
    let repository = peer.repository();
    let begun = peer.expect(202, &repository.request("POST", "blobs/uploads/").header("Content-Length", "0"));
    let answer = peer.expect(202, &chunk(&peer.target(&begun), 0, b"some bytes"));
    peer.target(&answer);
    assert_range(&answer, 9);
}

fn chunks_in_order_make_the_blob(peer: &Peer) {
    let repository = peer.repository();
    let blob = Content::large(300_000);
    let mut target = repository.begin_upload();
    for (number, bytes) in blob.bytes.chunks(100_000).enumerate() {
        let answer = peer.expect(202, &chunk(&target, number * 100_000, bytes));
        assert_range(&answer, (number + 1) * 100_000 - 1);
        target = peer.target(&answer);
    }
    let done = peer.expect(201, &close(&target, &blob.digest));
    let answer = peer.expect(200, &Request::new("GET", &peer.target(&done)));
    assert!(answer.body == blob.bytes, "{} other bytes", answer.body.len());
}

fn last_chunk_may_come_with_the_put(peer: &Peer) {
    let repository = peer.repository();
    let blob = Content::large(1000);
    let target = peer.target(&peer.expect(202, &chunk(&repository.begin_upload(), 0, &blob.bytes[..600])));
    let last = close(&target, &blob.digest).header("Content-Range", "600-999").body(&blob.bytes[600..]);
    peer.expect(201, &last);
    pulled(&repository, &blob);
}

fn first_chunk_begins_at_zero(peer: &Peer) {
    peer.expect(416, &chunk(&peer.repository().begin_upload(), 3, b"some bytes"));
}

/// Takes the first part of a blob, refuses `wrong`, and must then take the rest.
#[track_caller]
fn refused_and_resumed(peer: &Peer, first: usize, bytes: &[u8]) {
    let repository = peer.repository();
    let blob = Content::large(2000);
    let target = peer.target(&peer.expect(202, &chunk(&repository.begin_upload(), 0, &blob.bytes[..700])));
    peer.expect(416, &chunk(&target, first, bytes));
    let target = peer.target(&peer.expect(202, &chunk(&target, 700, &blob.bytes[700..])));
    peer.expect(201, &close(&target, &blob.digest));
    pulled(&repository, &blob);
}

fn chunk_with_a_gap_is_416(peer: &Peer) {
    refused_and_resumed(peer, 701, b"some bytes");
}

fn chunk_sent_twice_is_416(peer: &Peer) {
    refused_and_resumed(peer, 0, &Content::large(2000).bytes[..700]);
    refused_and_resumed(peer, 699, b"some bytes");
}

fn closing_chunk_out_of_order_is_416(peer: &Peer) {
    let repository = peer.repository();
    let blob = Content::large(1000);
    let target = peer.target(&peer.expect(202, &chunk(&repository.begin_upload(), 0, &blob.bytes[..600])));
    let last = close(&target, &blob.digest).header("Content-Range", "601-999").body(&blob.bytes[601..]);
    peer.expect(416, &last);
    peer.expect(404, &repository.head_blob(&blob.digest));
}

fn range_of_a_chunk_follows_the_grammar(peer: &Peer) {
    for range in ["x-y", "0", "9-0", "-9", "0-9-9", "0-99999999999999999999999"] {
        let target = peer.repository().begin_upload();
        let patch = Request::new("PATCH", &target).header("Content-Range", range).body(b"some bytes");
        let answer = peer.send(&patch);
        assert!([400, 416].contains(&answer.status), "{range}: {answer}");
    }
}

fn range_of_a_chunk_is_as_long_as_the_chunk(peer: &Peer) {
    for range in ["0-3", "0-20"] {
        let target = peer.repository().begin_upload();
        let patch = Request::new("PATCH", &target).header("Content-Range", range).body(b"some bytes");
        let answer = peer.send(&patch);
        assert!([400, 416].contains(&answer.status), "{range}: {answer}");
    }
}

fn chunks_of_another_digest_are_refused(peer: &Peer) {
    let repository = peer.repository();
    let blob = Content::layer(b"other bytes");
    let target = peer.target(&peer.expect(202, &chunk(&repository.begin_upload(), 0, b"some bytes")));
    peer.expect(400, &close(&target, &blob.digest));
    peer.expect(404, &repository.head_blob(&blob.digest));
}

fn status_of_an_upload(peer: &Peer) {
    let target = peer.target(&peer.expect(202, &chunk(&peer.repository().begin_upload(), 0, b"some bytes")));
    let answer = peer.expect(204, &Request::new("GET", &target));
    peer.target(&answer);
    assert_range(&answer, 9);
}

fn status_after_a_refused_chunk(peer: &Peer) {
    let repository = peer.repository();
    let blob = Content::large(1000);
    let target = peer.target(&peer.expect(202, &chunk(&repository.begin_upload(), 0, &blob.bytes[..600])));
    peer.expect(416, &chunk(&target, 900, &blob.bytes[900..]));
    let answer = peer.expect(204, &Request::new("GET", &target));
    assert_range(&answer, 599);
    let target = peer.target(&peer.expect(202, &chunk(&peer.target(&answer), 600, &blob.bytes[600..])));
    peer.expect(201, &close(&target, &blob.digest));
    pulled(&repository, &blob);
}

fn status_of_a_new_upload(peer: &Peer) {
    let answer = peer.expect(204, &Request::new("GET", &peer.repository().begin_upload()));
    peer.target(&answer);
    assert!(answer.header("range").is_some(), "{answer}");
}

/// Everything that one can do with an upload finds none.
#[track_caller]
fn assert_no_upload(peer: &Peer, target: &str) {
    let blob = Content::layer(b"some bytes");
    peer.expect(404, &Request::new("GET", target));
    peer.expect(404, &chunk(target, 0, &blob.bytes));
    peer.expect(404, &close(target, &blob.digest).body(&blob.bytes));
}

fn unknown_upload_is_404(peer: &Peer) {
    let repository = peer.repository();
    repository.push_image("latest", "a");
    assert_no_upload(peer, &repository.path("blobs/uploads/6b3c9a93-af5d-473f-a4ff-9710022185cd"));
}

fn finished_upload_is_gone(peer: &Peer) {
    let target = peer.repository().begin_upload();
    let blob = Content::layer(b"all of it");
    peer.expect(201, &close(&target, &blob.digest).body(&blob.bytes));
    assert_no_upload(peer, &target);
}

fn least_chunk_is_a_number(peer: &Peer) {
    let begun = peer.expect(202, &peer.repository().request("POST", "blobs/uploads/"));
    if let Some(least) = begun.header("oci-chunk-min-length") {
        least.parse::<u64>().unwrap_or_else(|e| panic!("{e}: {begun}"));
    }
}

fn streamed_upload(peer: &Peer) {
    let repository = peer.repository();
    let blob = Content::large(200_000);
    let (first, second) = blob.bytes.split_at(150_000);
    let patch = Request::new("PATCH", &repository.begin_upload()).streamed(first);
    let answer = peer.expect(202, &patch);
    assert_range(&answer, 149_999);
    let answer = peer.expect(202, &Request::new("PATCH", &peer.target(&answer)).body(second));
    assert_range(&answer, 199_999);
    peer.expect(201, &close(&peer.target(&answer), &blob.digest));
    pulled(&repository, &blob);
}

fn cancelled_upload_is_gone(peer: &Peer) {
    let target = peer.target(&peer.expect(202, &chunk(&peer.repository().begin_upload(), 0, b"some bytes")));
    peer.expect(204, &Request::new("DELETE", &target));
    assert_no_upload(peer, &target);
    peer.expect(404, &Request::new("DELETE", &target));
}

fn upload_belongs_to_its_repository(peer: &Peer) {
    let (repository, other) = (peer.repository(), peer.repository());
    other.push_image("latest", "a");
    let target = repository.begin_upload().replace(&repository.name, &other.name);
    peer.expect(404, &Request::new("GET", &target));
}

fn broken_chunk_keeps_what_came(peer: &Peer) {
    let repository = peer.repository();
    let blob = Content::large(500_000);
    let target = peer.target(&peer.expect(202, &chunk(&repository.begin_upload(), 0, &blob.bytes[..1000])));
    let partial =
        Request::new("PATCH", &target).header("Content-Range", "1000-499999").body(&blob.bytes[1000..200_000]);
    peer.server().send_and_break(&partial, 499_000).expect("the connection until it was broken");
    // Whoever is quick asks before the server has looked at what was sent last, and is then told to look again.
    let mut is_taken = false;
    for _ in 0..100 {
        let answer = peer.expect(204, &Request::new("GET", &target));
        let range = answer.header("range").expect("a range").trim_start_matches("bytes=").to_owned();
        let last: usize = range.trim_start_matches("0-").parse().expect("a number");
        assert!((999..200_000).contains(&last), "{answer}");
        let rest = peer.send(&chunk(&peer.target(&answer), last + 1, &blob.bytes[last + 1..]));
        assert!([202, 416].contains(&rest.status), "{rest}");
        is_taken = rest.status == 202;
        if is_taken {
            break;
        }
    }
    assert!(is_taken, "no chunk was taken");
    peer.expect(201, &close(&target, &blob.digest));
    pulled(&repository, &blob);
}
