//! Uploads of blobs: at once, in chunks, or not at all because another repository holds the blob.

use std::sync::Arc;

use http::header::{CONTENT_LENGTH, HeaderName, LOCATION, RANGE};
use http::{HeaderMap, StatusCode};
use kiln_oci::{Algorithm, Digest};

use super::answer::{Answer, CONTENT_DIGEST, With, empty};
use super::flow::{self, Broken, blocking};
use super::names::Repository;
use super::ranges::{self, Chunk};
use super::refusal::{Code, Refusal};
use super::registry::{Asked, Handled, Registry, Stop};
use super::route::{parameter, parse_digest};
use super::storage::{Finished, Upload};

const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");

/// `POST`: mounts a blob, takes one at once, or begins an upload.
pub(super) async fn begin(registry: &Arc<Registry>, asked: &mut Asked, repository: &Repository) -> Handled {
    let query = asked.query();
    let (mount, from) = (parameter(query, "mount"), parameter(query, "from"));
    let digest = parameter(query, "digest").map(|text| parse_digest(&text)).transpose()?;
    if let Some(wanted) = mount
        && let Some(answer) = mounted(registry, repository, parse_digest(&wanted)?, from).await?
    {
        return Ok(answer);
    }
    let (storage, of) = (Arc::clone(&registry.storage), repository.clone());
    let id = blocking(move || storage.begin_upload(&of)).await?;
    match digest {
        Some(digest) => put(registry, asked, repository, &id, digest).await,
        None => Ok(going_on(StatusCode::ACCEPTED, repository, &id, 0)),
    }
}

/// Answers if the blob could be mounted.
async fn mounted(
    registry: &Arc<Registry>,
    repository: &Repository,
    digest: Digest,
    from: Option<String>,
) -> Result<Option<Answer>, Stop> {
    let other = from.as_deref().map(Repository::parse);
    if other == Some(None) {
        // There is no such repository: nothing to mount.
        return Ok(None);
    }
    let (storage, of, wanted) = (Arc::clone(&registry.storage), repository.clone(), digest.clone());
    let is_there = blocking(move || storage.mount(&of, &wanted, other.flatten().as_ref())).await?;
    Ok(is_there.then(|| created(repository, &digest)))
}

/// `GET`: how far an upload is.
pub(super) async fn status(registry: &Arc<Registry>, repository: &Repository, id: &str) -> Handled {
    registry.turns.settle(id).await;
    let (storage, of, upload) = (Arc::clone(&registry.storage), repository.clone(), id.to_owned());
    let size = blocking(move || storage.upload(&of, &upload)).await?.ok_or_else(|| unknown(id))?;
    Ok(going_on(StatusCode::NO_CONTENT, repository, id, size))
}

/// `DELETE`: gives an upload up.
pub(super) async fn cancel(registry: &Arc<Registry>, repository: &Repository, id: &str) -> Handled {
    let _turn = registry.turns.take(id).await;
    let (storage, of, upload) = (Arc::clone(&registry.storage), repository.clone(), id.to_owned());
    match blocking(move || storage.cancel_upload(&of, &upload)).await? {
        true => Ok(empty(StatusCode::NO_CONTENT)),
        false => Err(unknown(id).into()),
    }
}

/// `PATCH`: a chunk.
pub(super) async fn append(registry: &Arc<Registry>, asked: &mut Asked, repository: &Repository, id: &str) -> Handled {
    let sent = Sent::of(&asked.head.headers)?;
    let end = End { repository: repository.clone(), id: id.to_owned(), digest: None };
    take_in(registry, asked, sent, end).await
}

/// `PUT`: the last chunk, or nothing more.
pub(super) async fn finish(registry: &Arc<Registry>, asked: &mut Asked, repository: &Repository, id: &str) -> Handled {
    let missing = || Refusal::new(Code::DigestInvalid, "the digest of the blob is missing");
    let digest = parse_digest(&parameter(asked.query(), "digest").ok_or_else(missing)?)?;
    put(registry, asked, repository, id, digest).await
}

async fn put(
    registry: &Arc<Registry>,
    asked: &mut Asked,
    repository: &Repository,
    id: &str,
    digest: Digest,
) -> Handled {
    if digest.hasher().is_none() {
        return Err(Refusal::new(Code::DigestInvalid, "unsupported digest algorithm").about(digest).into());
    }
    let sent = Sent::of(&asked.head.headers)?;
    let end = End { repository: repository.clone(), id: id.to_owned(), digest: Some(digest) };
    take_in(registry, asked, sent, end).await
}

/// What a request says of its body.
#[derive(Debug, Clone, Copy)]
struct Sent {
    chunk: Option<Chunk>,
    length: Option<u64>,
}

impl Sent {
    fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let invalid = |message| Refusal::new(Code::BlobUploadInvalid, message);
        let chunk = ranges::chunk(headers).map_err(|()| invalid("the Content-Range makes no sense"))?;
        let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        match (chunk, length) {
            (Some(chunk), Some(length)) if chunk.length != length => {
                Err(Refusal::new(Code::SizeInvalid, "Content-Range and Content-Length disagree"))
            }
            _ => Ok(Sent { chunk, length }),
        }
    }

    /// How many bytes there must be.
    fn expected(&self) -> Option<u64> {
        self.length.or(self.chunk.map(|chunk| chunk.length))
    }
}

/// Where the body of a request goes.
struct End {
    repository: Repository,
    id: String,
    /// What comes of it, if it is the last.
    digest: Option<Digest>,
}

/// Takes a body in. It goes on if the connection's own task ends: the storage is never left in the middle of a write.
async fn take_in(registry: &Arc<Registry>, asked: &mut Asked, sent: Sent, end: End) -> Handled {
    let mut turn = registry.turns.take(&end.id).await;
    let (storage, of, id) = (Arc::clone(&registry.storage), end.repository.clone(), end.id.clone());
    let algorithm = end.digest.as_ref().map_or(Algorithm::Sha256, Digest::algorithm);
    let upload = blocking(move || storage.resume_upload(&of, &id, algorithm)).await?.ok_or_else(|| unknown(&end.id))?;
    let before = upload.size();
    if sent.chunk.is_some_and(|chunk| chunk.first != before) {
        return Ok(out_of_order(&end, before));
    }
    let body = asked.take_body();
    let task = async move {
        let (upload, result) = flow::into_upload(body, upload, Box::pin(turn.ended())).await;
        let upload = whole(upload, result, before, sent)?;
        let size = upload.size();
        match &end.digest {
            None => Ok(going_on(StatusCode::ACCEPTED, &end.repository, &end.id, size)),
            Some(digest) => finished(upload, &end.repository, digest).await,
        }
    };
    tokio::spawn(task).await.unwrap_or_else(|_| Err(Refusal::new(Code::Unknown, "the registry ends").into()))
}

/// The upload, if all of the body came.
fn whole(
    upload: Option<Box<dyn Upload>>,
    result: Result<(), Broken>,
    before: u64,
    sent: Sent,
) -> Result<Box<dyn Upload>, Stop> {
    let broken = || Refusal::new(Code::BlobUploadInvalid, "the body did not come to its end");
    match (upload, result) {
        (_, Err(Broken::Storage(error))) => Err(error.into()),
        (None, _) | (_, Err(Broken::Sender)) => Err(broken().into()),
        (Some(upload), Ok(())) => match sent.expected() {
            Some(expected) if before + expected != upload.size() => {
                Err(Refusal::new(Code::SizeInvalid, "the body has another length than was said").into())
            }
            _ => Ok(upload),
        },
    }
}

async fn finished(upload: Box<dyn Upload>, repository: &Repository, digest: &Digest) -> Handled {
    let wanted = digest.clone();
    match blocking(move || upload.finish(&wanted)).await? {
        Finished::Blob => Ok(created(repository, digest)),
        Finished::OtherDigest => {
            Err(Refusal::new(Code::DigestInvalid, "the bytes have another digest").about(digest).into())
        }
    }
}

fn created(repository: &Repository, digest: &Digest) -> Answer {
    empty(StatusCode::CREATED)
        .with(LOCATION, format!("/v2/{repository}/blobs/{digest}"))
        .with(CONTENT_DIGEST, digest.to_string())
        .with_length(0)
}

fn going_on(status: StatusCode, repository: &Repository, id: &str, size: u64) -> Answer {
    let answer = empty(status)
        .with(LOCATION, format!("/v2/{repository}/blobs/uploads/{id}"))
        .with(RANGE, ranges::so_far(size))
        .with(UPLOAD_ID, id);
    // An answer of status 204 must not have one.
    if status == StatusCode::NO_CONTENT { answer } else { answer.with_length(0) }
}

fn out_of_order(end: &End, size: u64) -> Answer {
    let refusal = Refusal::new(Code::BlobUploadInvalid, "the chunk does not begin where the upload ends").about(size);
    refusal
        .with_status(StatusCode::RANGE_NOT_SATISFIABLE)
        .into_answer()
        .with(LOCATION, format!("/v2/{}/blobs/uploads/{}", end.repository, end.id))
        .with(RANGE, ranges::so_far(size))
        .with(UPLOAD_ID, &end.id)
}

fn unknown(id: &str) -> Refusal {
    Refusal::new(Code::BlobUploadUnknown, "there is no such upload").about(id)
}
