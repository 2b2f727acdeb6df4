//! What says something about a manifest: signatures, attestations and the like, which name it as their subject. A
//! registry lists them, or a tag made of the subject's digest does, which clients then keep up to date.

use bytes::Bytes;
use kiln_oci::{Descriptor, Digest, Index, ManifestOrIndex, MediaType, Reference};
use reqwest::header::{ACCEPT, HeaderValue};

use super::manifest::Document;
use super::{Client, request};
use crate::Error;

/// How long the two parts of such a tag may be.
const ALGORITHM_LENGTH: usize = 32;
const HASH_LENGTH: usize = 64;

impl Client {
    /// The manifests in the repository of `reference` whose subject is `subject`; of one type of artefact, or all.
    ///
    /// # Errors
    /// No connection, no permission, a list that is none.
    pub async fn referrers(
        &self,
        reference: &Reference,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, Error> {
        let mut found = match self.listed_referrers(reference, subject, artifact_type).await? {
            Some(listed) => listed,
            None => self.tagged_referrers(reference, subject).await?.manifests,
        };
        // Whether the registry left out the others, it need not say.
        found.retain(|entry| artifact_type.is_none_or(|wanted| entry.artifact_type.as_deref() == Some(wanted)));
        Ok(found)
    }

    /// What the registry lists; `None` from one that does not.
    async fn listed_referrers(
        &self,
        reference: &Reference,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Option<Vec<Descriptor>>, Error> {
        let endpoint = self.own_endpoint(reference).await?;
        let mut call = request::get(&endpoint, reference, &format!("referrers/{subject}"));
        call.headers.insert(ACCEPT, HeaderValue::from_static("application/vnd.oci.image.index.v1+json"));
        if let Some(wanted) = artifact_type {
            call.path = endpoint.with_query(&call.path, "artifactType", wanted);
        }
        let mut all = Vec::new();
        let pages = self.pages(call, |page| {
            let index: Index = serde_json::from_slice(&page.body).map_err(|e| Error::Protocol {
                host: endpoint.host(),
                detail: format!("its list of referrers: {e}"),
            })?;
            all.extend(index.manifests);
            Ok(())
        });
        match pages.await {
            Ok(()) => Ok(Some(all)),
            Err(Error::NotFound { .. } | Error::Status { status: 405, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn tagged_referrers(&self, reference: &Reference, subject: &Digest) -> Result<Index, Error> {
        let tagged = referrers_tag(reference, subject)?;
        match self.resolve(&tagged).await {
            Ok(Document { content: ManifestOrIndex::Index(index), .. }) => Ok(*index),
            Ok(_) => Err(Error::InvalidManifest {
                reference: Box::new(tagged),
                detail: "it should be the list of what refers to a manifest, and is an image".into(),
            }),
            Err(Error::NotFound { .. }) => Ok(Index::new(Vec::new())),
            Err(error) => Err(error),
        }
    }

    /// Adds the manifest `added` to the list that a tag keeps of what refers to `subject`.
    pub(super) async fn list_referrer(
        &self,
        reference: &Reference,
        subject: &Digest,
        added: Descriptor,
    ) -> Result<(), Error> {
        let mut index = self.tagged_referrers(reference, subject).await?;
        if index.manifests.iter().any(|entry| entry.digest == added.digest) {
            return Ok(());
        }
        index.manifests.push(added);
        self.push_referrers(reference, subject, &index).await
    }

    /// Deletes the manifest `digest`, and takes it out of the list of what refers to its subject where the registry
    /// does not keep that.
    ///
    /// # Errors
    /// No connection, no permission, no such manifest, a registry that does not delete.
    pub async fn delete_referrer(&self, reference: &Reference, digest: &Digest) -> Result<(), Error> {
        let own = reference.with_digest(digest.clone());
        let subject = subject(&self.resolve(&own).await?.content).map(|subject| subject.digest.clone());
        self.delete_manifest(&own).await?;
        let Some(subject) = subject else { return Ok(()) };
        if self.listed_referrers(reference, &subject, None).await?.is_some() {
            return Ok(());
        }
        let mut index = self.tagged_referrers(reference, &subject).await?;
        let before = index.manifests.len();
        index.manifests.retain(|entry| entry.digest != *digest);
        if index.manifests.len() == before {
            return Ok(());
        }
        self.push_referrers(reference, &subject, &index).await
    }

    async fn push_referrers(&self, reference: &Reference, subject: &Digest, index: &Index) -> Result<(), Error> {
        let raw = serde_json::to_vec(index).map_err(|e| Error::Setup(format!("a list of referrers: {e}")))?;
        let tagged = referrers_tag(reference, subject)?;
        self.put_manifest(&tagged, MediaType::OciIndex, Bytes::from(raw)).await.map(|_| ())
    }
}

/// What a manifest or index says something about.
fn subject(content: &ManifestOrIndex) -> Option<&Descriptor> {
    match content {
        ManifestOrIndex::Manifest(manifest) => manifest.subject.as_ref(),
        ManifestOrIndex::Index(index) => index.subject.as_ref(),
    }
}

/// For a document that refers to another: that one's digest, and the document as its list names it.
pub(super) fn entry(raw: &[u8], descriptor: &Descriptor) -> Option<(Digest, Descriptor)> {
    let content = ManifestOrIndex::parse(raw).ok()?;
    let subject = subject(&content)?.digest.clone();
    let (artifact_type, annotations) = match content {
        ManifestOrIndex::Manifest(manifest) => {
            let config = manifest.config.media_type.as_str().to_owned();
            (Some(manifest.artifact_type.unwrap_or(config)), manifest.annotations)
        }
        ManifestOrIndex::Index(index) => (index.artifact_type, index.annotations),
    };
    Some((subject, Descriptor { artifact_type, annotations, ..descriptor.clone() }))
}

/// The tag under which the list lies that a client keeps.
fn referrers_tag(reference: &Reference, subject: &Digest) -> Result<Reference, Error> {
    let algorithm: String = subject.algorithm().as_str().chars().take(ALGORITHM_LENGTH).collect();
    let hash: String = subject.hex().chars().take(HASH_LENGTH).collect();
    let tag = format!("{algorithm}-{hash}");
    reference.with_tag(&tag).map_err(|e| Error::Setup(format!("{tag}: {e}")))
}
