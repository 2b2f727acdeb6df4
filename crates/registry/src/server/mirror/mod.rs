//! A registry that has what another one has: it asks there for what it lacks, and keeps it.
//!
//! What a tag means is asked each time; what has a digest is asked for once. While the other registry cannot be
//! reached, what was fetched before is served. Nothing is served that was not checked against its digest, but for the
//! beginnings of blobs that are on their way: those do not come to an end if they turn out to be wrong.

mod address;
mod flight;
mod follow;
mod queue;

use std::sync::Arc;

use http::request::Parts;
use http::{Method, StatusCode};
use kiln_oci::{Digest, Reference};

pub use address::{MirrorAddress, MirrorAddressError};

use self::flight::{Failed, Flights};
use self::queue::Queue;
use super::answer::Answer;
use super::document;
use super::flow::blocking;
use super::hooks::{Hooked, Upstream, Wanted};
use super::names::{ManifestName, Repository, Tag};
use super::refusal::{Code, Refusal};
use super::storage::{NewManifest, Storage, Stored};
use crate::{Client, Document, Error};

/// Told of what could not be had from the other registry, and why.
pub type ReportUpstream = dyn Fn(&Error) + Send + Sync;

/// The other registry, and where what comes from it is kept.
#[derive(Clone)]
pub struct Mirror {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    domain: String,
    storage: Arc<dyn Storage>,
    report: Box<ReportUpstream>,
    flights: Flights,
    /// Who asks for the same manifest waits for the first.
    manifests: Queue,
}

/// An error is an answer in place of the storage's.
type Outcome<T = ()> = Result<T, Box<Answer>>;

impl Mirror {
    /// Keeps what `client` gets from the registry at `address` in `storage`.
    pub fn new(
        client: Client,
        address: &MirrorAddress,
        storage: Arc<dyn Storage>,
        report: Box<ReportUpstream>,
    ) -> Self {
        let (flights, manifests) = (Flights::default(), Queue::default());
        let domain = address.domain.clone();
        Mirror { shared: Arc::new(Shared { client, domain, storage, report, flights, manifests }) }
    }
}

impl Upstream for Mirror {
    fn bring<'a>(
        &'a self,
        request: &'a Parts,
        repository: &'a Repository,
        wanted: Wanted<'a>,
    ) -> Hooked<'a, Result<(), Answer>> {
        Box::pin(async move {
            let brought = match wanted {
                Wanted::Tag(tag) => self.shared.bring_tag(repository, tag).await,
                Wanted::Manifest(digest) => self.shared.bring_manifest(repository, digest).await,
                Wanted::Blob(digest) => self.bring_blob(request, repository, digest).await,
                Wanted::Referrers(subject) => self.shared.bring_referrers(repository, subject).await,
            };
            brought.map_err(|answer| *answer)
        })
    }

    fn tags<'a>(&'a self, repository: &'a Repository) -> Hooked<'a, Result<Option<Vec<String>>, Answer>> {
        Box::pin(async move { self.shared.tags(repository).await.map_err(|answer| *answer) })
    }
}

impl Mirror {
    async fn bring_blob(&self, request: &Parts, repository: &Repository, digest: &Digest) -> Outcome {
        let shared = &self.shared;
        if request.method == Method::HEAD {
            return shared.size(repository, digest).await;
        }
        let flight = shared.flights.join(shared, repository, digest);
        let is_whole = !request.headers.contains_key(http::header::RANGE);
        if is_whole {
            return follow::answer(shared, repository, digest, flight).await;
        }
        match flight.landed().await {
            Ok(()) | Err(Failed::Unknown) => Ok(()),
            Err(failed) => Err(unavailable(&failed)),
        }
    }
}

impl Shared {
    fn reference(&self, repository: &Repository) -> Outcome<Reference> {
        let text = format!("{}/{repository}", self.domain);
        text.parse()
            .map_err(|_| Refusal::new(Code::NameInvalid, "invalid repository name").about(text).into_answer().into())
    }

    /// Makes the storage's tag mean what it means elsewhere.
    async fn bring_tag(&self, repository: &Repository, tag: &Tag) -> Outcome {
        let _turn = self.manifests.wait(format!("{repository}:{tag}")).await;
        let name = ManifestName::Tag(tag.clone());
        let known = self.known(repository, &name).await?;
        let reference = self.reference(repository)?;
        let Ok(reference) = reference.with_tag(tag.as_str()) else { return Ok(()) };
        match self.client.head(&reference).await {
            Ok(found) if known.as_ref() == Some(&found.digest) => Ok(()),
            Ok(found) => match self.client.resolve(&reference.with_digest(found.digest)).await {
                Ok(document) => self.keep(repository, document, Some(tag)).await,
                Err(error) => self.without(error, known.is_some()),
            },
            Err(Error::NotFound { .. }) => {
                let tag = tag.clone();
                self.stored(repository, move |storage, of| storage.delete_tag(of, &tag)).await.map(drop)
            }
            Err(error) => self.without(error, known.is_some()),
        }
    }

    /// Answers with the size of a blob, which need not be fetched for that.
    async fn size(&self, repository: &Repository, digest: &Digest) -> Outcome {
        match self.client.blob_size(&self.reference(repository)?, digest).await {
            Ok(size) => Err(follow::head(digest, size).into()),
            Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => self.without(error, false),
        }
    }

    async fn bring_manifest(&self, repository: &Repository, digest: &Digest) -> Outcome {
        let _turn = self.manifests.wait(format!("{repository}@{digest}")).await;
        if self.known(repository, &ManifestName::Digest(digest.clone())).await?.is_some() {
            return Ok(());
        }
        match self.client.resolve(&self.reference(repository)?.with_digest(digest.clone())).await {
            Ok(document) => self.keep(repository, document, None).await,
            Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => self.without(error, false),
        }
    }

    async fn bring_referrers(&self, repository: &Repository, subject: &Digest) -> Outcome {
        let reference = self.reference(repository)?;
        let found = match self.client.referrers(&reference, subject, None).await {
            Ok(found) => found,
            Err(Error::NotFound { .. }) => return Ok(()),
            Err(error) => return self.without(error, true),
        };
        for descriptor in found {
            self.bring_manifest(repository, &descriptor.digest).await?;
        }
        Ok(())
    }

    async fn tags(&self, repository: &Repository) -> Outcome<Option<Vec<String>>> {
        match self.client.tags(&self.reference(repository)?).await {
            Ok(tags) => Ok(Some(tags)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => self.without(error, true).map(|()| None),
        }
    }

    /// What the storage has under a name.
    async fn known(&self, repository: &Repository, name: &ManifestName) -> Outcome<Option<Digest>> {
        let name = name.clone();
        let facts = self.stored(repository, move |storage, of| storage.manifest(of, &name)).await?;
        Ok(facts.map(|facts| facts.digest))
    }

    async fn keep(&self, repository: &Repository, document: Document, tag: Option<&Tag>) -> Outcome {
        let Document { descriptor, raw, .. } = document;
        let name = ManifestName::Digest(descriptor.digest);
        let read = document::read(raw.to_vec(), Some(descriptor.media_type.as_str()), &name);
        let manifest = NewManifest { is_partial: true, ..read.map_err(|refusal| Box::new(refusal.into_answer()))? };
        let tag = tag.cloned();
        self.stored(repository, move |storage, of| storage.put_manifest(of, &manifest, tag.as_ref())).await.map(drop)
    }

    /// What to do without the other registry: the storage answers if it can.
    fn without(&self, error: Error, can: bool) -> Outcome {
        (self.report)(&error);
        if can { Ok(()) } else { Err(unavailable(&Failed::of(&error))) }
    }

    async fn stored<T: Send + 'static>(
        &self,
        repository: &Repository,
        work: impl FnOnce(&dyn Storage, &Repository) -> Stored<T> + Send + 'static,
    ) -> Outcome<T> {
        let (storage, of) = (Arc::clone(&self.storage), repository.clone());
        blocking(move || work(&*storage, &of)).await.map_err(|error| Refusal::from(&error).into_answer().into())
    }
}

/// The answer to who asks for what cannot be had at the moment.
fn unavailable(failed: &Failed) -> Box<Answer> {
    let refusal = match failed {
        Failed::Busy => Refusal::new(Code::TooManyRequests, "the registry that this one mirrors wants fewer requests"),
        Failed::Denied => Refusal::new(Code::Denied, "the registry that this one mirrors denies access"),
        Failed::Stored(refusal) => refusal.clone(),
        Failed::Unknown | Failed::Away => {
            Refusal::new(Code::Unknown, "the registry that this one mirrors cannot be reached")
                .with_status(StatusCode::BAD_GATEWAY)
        }
    };
    refusal.into_answer().into()
}
