//! Manifests: getting, putting and deleting them.

use std::sync::Arc;

use http::header::{CONTENT_TYPE, HeaderName, LOCATION};
use http::request::Parts;
use http::{Method, Response, StatusCode};

use super::answer::{Answer, CONTENT_DIGEST, With, empty};
use super::document;
use super::flow::{self, Broken, blocking};
use super::hooks::Wanted;
use super::names::{ManifestName, Repository};
use super::ranges;
use super::refusal::{Code, Refusal};
use super::registry::{Asked, Handled, Registry, Stop};
use super::storage::{ManifestFacts, NewManifest, Placed, StorageError};

/// Tells a client that the registry lists the manifest among its subject's referrers.
const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

/// How much of what a manifest lacks is told.
const MOST_NAMED: usize = 100;

/// `GET` and `HEAD`.
pub(super) async fn get(registry: &Arc<Registry>, head: &Parts, repository: &Repository, text: &str) -> Handled {
    let name = ManifestName::parse(text).ok_or_else(|| unknown(text))?;
    let facts = found(registry, head, repository, &name).await?.ok_or_else(|| unknown(text))?;
    let tagged = |answer: Answer| ranges::tagged(answer, &facts.digest).with(CONTENT_TYPE, &facts.media_type);
    if ranges::is_known(&head.headers, &facts.digest) {
        return Ok(tagged(empty(StatusCode::NOT_MODIFIED)));
    }
    if head.method == Method::HEAD {
        return Ok(tagged(empty(StatusCode::OK)).with_length(facts.size));
    }
    let (storage, of, digest) = (Arc::clone(&registry.storage), repository.clone(), facts.digest.clone());
    let bytes = blocking(move || storage.read_manifest(&of, &digest)).await?.ok_or_else(|| unknown(text))?;
    let (head, _) = tagged(empty(StatusCode::OK)).with_length(bytes.length).into_parts();
    let registry = Arc::clone(registry);
    Ok(Response::from_parts(head, flow::out(bytes, move |error| registry.tell(error))))
}

/// What the name means, also upstream.
async fn found(
    registry: &Arc<Registry>,
    head: &Parts,
    repository: &Repository,
    name: &ManifestName,
) -> Result<Option<ManifestFacts>, Stop> {
    match name {
        ManifestName::Tag(tag) => registry.bring(head, repository, Wanted::Tag(tag)).await?,
        ManifestName::Digest(digest) => {
            if let Some(facts) = facts(registry, repository, name).await? {
                return Ok(Some(facts));
            }
            registry.bring(head, repository, Wanted::Manifest(digest)).await?;
        }
    }
    Ok(facts(registry, repository, name).await?)
}

async fn facts(
    registry: &Arc<Registry>,
    repository: &Repository,
    name: &ManifestName,
) -> Result<Option<ManifestFacts>, StorageError> {
    let (storage, of, name) = (Arc::clone(&registry.storage), repository.clone(), name.clone());
    blocking(move || storage.manifest(&of, &name)).await
}

/// `PUT`.
pub(super) async fn put(registry: &Arc<Registry>, asked: &mut Asked, repository: &Repository, text: &str) -> Handled {
    let invalid = || Refusal::new(Code::ManifestInvalid, "neither a tag nor a digest").about(text);
    let name = ManifestName::parse(text).ok_or_else(invalid)?;
    let content_type = asked.head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut body = asked.take_body();
    let read = flow::whole(&mut body, document::LARGEST, &registry.places).await;
    asked.body = Some(body);
    let (bytes, _place) = match read {
        Ok(Some(whole)) => whole,
        Ok(None) => {
            let message = format!("a manifest has at most {} bytes here", document::LARGEST);
            return Err(Refusal::new(Code::SizeInvalid, message).with_status(StatusCode::PAYLOAD_TOO_LARGE).into());
        }
        Err(Broken::Sender) => return Err(Refusal::new(Code::ManifestInvalid, "the body did not end").into()),
        Err(Broken::Storage(error)) => return Err(error.into()),
    };
    let manifest = document::read(bytes, content_type.as_deref(), &name)?;
    place(registry, repository, manifest, name).await
}

async fn place(
    registry: &Arc<Registry>,
    repository: &Repository,
    manifest: NewManifest,
    name: ManifestName,
) -> Handled {
    let (digest, subject) = (manifest.digest.clone(), manifest.subject.clone());
    let (storage, of) = (Arc::clone(&registry.storage), repository.clone());
    let placed = blocking(move || {
        let tag = match &name {
            ManifestName::Tag(tag) => Some(tag),
            ManifestName::Digest(_) => None,
        };
        storage.put_manifest(&of, &manifest, tag)
    });
    if let Placed::Lacks(missing) = placed.await? {
        let refusal = Refusal::new(Code::ManifestBlobUnknown, "the repository does not hold what the manifest names");
        return Err(missing.iter().take(MOST_NAMED).fold(refusal, Refusal::about).into());
    }
    let answer = empty(StatusCode::CREATED)
        .with(LOCATION, format!("/v2/{repository}/manifests/{digest}"))
        .with(CONTENT_DIGEST, digest.to_string())
        .with_length(0);
    Ok(match subject {
        Some(subject) => answer.with(SUBJECT, subject.to_string()),
        None => answer,
    })
}

/// `DELETE`: a manifest with its tags, or a tag only.
pub(super) async fn delete(registry: &Arc<Registry>, repository: &Repository, text: &str) -> Handled {
    let name = ManifestName::parse(text).ok_or_else(|| unknown(text))?;
    let (storage, of) = (Arc::clone(&registry.storage), repository.clone());
    let gone = blocking(move || match &name {
        ManifestName::Tag(tag) => storage.delete_tag(&of, tag),
        ManifestName::Digest(digest) => storage.delete_manifest(&of, digest),
    });
    match gone.await? {
        true => Ok(empty(StatusCode::ACCEPTED).with_length(0)),
        false => Err(unknown(text).into()),
    }
}

fn unknown(name: &str) -> Refusal {
    Refusal::new(Code::ManifestUnknown, "the repository does not hold the manifest").about(name)
}
