//! Blobs: getting and deleting them.

use std::sync::Arc;

use http::header::{ACCEPT_RANGES, CACHE_CONTROL, CONTENT_RANGE, CONTENT_TYPE};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use kiln_oci::Digest;

use super::answer::{With, empty};
use super::flow::{self, blocking};
use super::hooks::Wanted;
use super::names::Repository;
use super::ranges::{self, Part};
use super::refusal::{Code, Refusal};
use super::registry::{Handled, Registry};

/// What is under a digest never changes.
const FOR_EVER: &str = "max-age=31536000, immutable";

/// `GET` and `HEAD`.
pub(super) async fn get(registry: &Arc<Registry>, head: &Parts, repository: &Repository, digest: &Digest) -> Handled {
    let size = match size(registry, repository, digest).await? {
        Some(size) => size,
        None => {
            registry.bring(head, repository, Wanted::Blob(digest)).await?;
            size(registry, repository, digest).await?.ok_or_else(|| unknown(digest))?
        }
    };
    let headers = &head.headers;
    let basic = |status| {
        ranges::tagged(empty(status), digest)
            .with(CACHE_CONTROL, FOR_EVER)
            .with(ACCEPT_RANGES, "bytes")
            .with(CONTENT_TYPE, "application/octet-stream")
    };
    if ranges::is_known(headers, digest) {
        return Ok(basic(StatusCode::NOT_MODIFIED));
    }
    if head.method == Method::HEAD {
        return Ok(basic(StatusCode::OK).with_length(size));
    }
    let (answer, part) = match ranges::wanted(headers, size, digest) {
        Part::Whole => (basic(StatusCode::OK).with_length(size), None),
        Part::Some(part) => {
            let range = format!("bytes {}-{}/{size}", part.start, part.end - 1);
            let answer = basic(StatusCode::PARTIAL_CONTENT).with_length(part.end - part.start);
            (answer.with(CONTENT_RANGE, range), Some(part))
        }
        Part::None => {
            let refusal = Refusal::new(Code::SizeInvalid, "the blob ends before the range begins").about(size);
            let answer = refusal.with_status(StatusCode::RANGE_NOT_SATISFIABLE).into_answer();
            return Ok(answer.with(CONTENT_RANGE, format!("bytes */{size}")));
        }
    };
    let (storage, of, wanted) = (Arc::clone(&registry.storage), repository.clone(), digest.clone());
    let bytes = blocking(move || storage.read_blob(&of, &wanted, part)).await?.ok_or_else(|| unknown(digest))?;
    let (head, _) = answer.into_parts();
    let registry = Arc::clone(registry);
    Ok(Response::from_parts(head, flow::out(bytes, move |error| registry.tell(error))))
}

/// `DELETE`.
pub(super) async fn delete(registry: &Arc<Registry>, repository: &Repository, digest: &Digest) -> Handled {
    let (storage, of, gone) = (Arc::clone(&registry.storage), repository.clone(), digest.clone());
    match blocking(move || storage.delete_blob(&of, &gone)).await? {
        true => Ok(empty(StatusCode::ACCEPTED).with_length(0)),
        false => Err(unknown(digest).into()),
    }
}

async fn size(
    registry: &Arc<Registry>,
    repository: &Repository,
    digest: &Digest,
) -> Result<Option<u64>, super::storage::StorageError> {
    let (storage, of, wanted) = (Arc::clone(&registry.storage), repository.clone(), digest.clone());
    blocking(move || storage.blob(&of, &wanted)).await
}

fn unknown(digest: &Digest) -> Refusal {
    Refusal::new(Code::BlobUnknown, "the repository does not hold the blob").about(digest)
}
