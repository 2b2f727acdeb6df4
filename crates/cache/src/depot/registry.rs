//! A depot in a registry: entries are manifests of one repository.
//!
//! The protocol has no conditional write, so that nothing that several writers change can be relied on, neither a tag
//! nor the index of referrers that clients keep under a tag where the registry does not. Therefore each entry has a tag
//! of its own, `TAG-kiln-ID`, and the list of tags is the list of entries: one request, which names even their digests.
//! `TAG` itself is put on the newest as well, for people and tools, and for registries that refuse to list tags.
//!
//! Deleting a manifest removes its tags; the blobs go when the registry tidies up. A registry that does not delete
//! keeps folded entries, which readers leave out.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kiln_oci::{Descriptor, Digest, MediaType, Reference};
use kiln_registry::{Client, Document, Error as RegistryError, Sent};
use tokio::sync::OnceCell;

use super::{AtTag, Entry, EntryId, Error, Fetch, Parcel, Put, Result};

/// The longest tag that registries accept.
const TAG_LIMIT: usize = 128;

/// How many characters follow the tag of the depot in that of an entry.
const SUFFIX: usize = "-kiln-".len() + 10 + 1 + 64;

/// How long a writer waits before it tries again to publish, and when it gives up.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(800);

/// A depot in a registry.
#[derive(Clone)]
pub(super) struct Repository(Arc<Place>);

struct Place {
    client: Client,
    /// The client for a registry that the user declared insecure, once it is known how it speaks.
    insecure: Option<OnceCell<Client>>,
    /// With a tag, or with the digest of the only entry to read.
    reference: Reference,
    /// What the tags of entries begin with.
    prefix: String,
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Repository({})", self.0.reference)
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.reference.familiar())
    }
}

impl Repository {
    pub(super) fn new(client: Client, reference: &Reference, insecure: bool) -> Repository {
        let reference = reference.with_default_tag();
        let prefix = prefix(reference.tag().unwrap_or("latest"));
        Repository(Arc::new(Place { client, insecure: insecure.then(OnceCell::new), reference, prefix }))
    }

    async fn client(&self) -> std::result::Result<&Client, RegistryError> {
        match &self.0.insecure {
            None => Ok(&self.0.client),
            Some(cell) => cell.get_or_try_init(|| self.0.client.insecure_for(&self.0.reference)).await,
        }
    }

    fn failed(&self, source: RegistryError) -> Error {
        Error::Registry { depot: self.to_string(), source: Box::new(source) }
    }

    /// The entries that have tags. A repository that does not exist has none, and one that refuses to list them is
    /// asked for its one tag instead ([`Repository::at_tag`]).
    pub(super) async fn names(&self) -> Result<Vec<EntryId>> {
        if self.0.reference.digest().is_some() {
            return Ok(Vec::new());
        }
        match self.tags().await {
            Ok(tags) => Ok(tags.iter().filter_map(|tag| self.entry_of(tag)).collect()),
            Err(RegistryError::NotFound { .. } | RegistryError::Denied { .. } | RegistryError::Status { .. }) => {
                Ok(Vec::new())
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    async fn tags(&self) -> std::result::Result<Vec<String>, RegistryError> {
        self.client().await?.tags(&self.0.reference).await
    }

    async fn resolve(&self, reference: &Reference) -> std::result::Result<Document, RegistryError> {
        self.client().await?.resolve(reference).await
    }

    /// The client, its error as one of this depot.
    async fn connected(&self) -> Result<&Client> {
        self.client().await.map_err(|e| self.failed(e))
    }

    fn entry_of(&self, tag: &str) -> Option<EntryId> {
        tag.strip_prefix(&self.0.prefix)?.parse().ok()
    }

    fn tag_of(&self, id: &EntryId) -> String {
        format!("{}{id}", self.0.prefix)
    }

    /// What the reference itself names.
    pub(super) async fn at_tag(&self) -> Result<Option<AtTag>> {
        match self.resolve(&self.0.reference).await {
            Ok(document) => Ok(Some(AtTag::of(&document.raw, &document.descriptor))),
            Err(RegistryError::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    pub(super) async fn manifest(&self, id: &EntryId) -> Result<Bytes> {
        let reference = self.0.reference.with_digest(id.digest.clone());
        let document = self.resolve(&reference).await.map_err(|e| self.failed(e))?;
        Ok(document.raw)
    }

    pub(super) async fn fetch(&self, descriptor: &Descriptor) -> Result<Fetch> {
        let stream = self.connected().await?.blob(&self.0.reference, descriptor).await.map_err(|e| self.failed(e))?;
        Ok(Fetch::registry(self.to_string(), stream))
    }

    pub(super) async fn holds(&self, digest: &Digest) -> Result<bool> {
        self.connected().await?.has_blob(&self.0.reference, digest).await.map_err(|e| self.failed(e))
    }

    pub(super) async fn put(&self, parcel: &Parcel) -> Result<Put> {
        let own = &self.0.reference;
        let elsewhere = parcel.elsewhere.as_ref();
        let from = elsewhere.filter(|other| other.domain() == own.domain() && other.path() != own.path());
        let from = from.map(Reference::path);
        let sent = self.connected().await?.push_blob(own, &parcel.descriptor, from, parcel.source.clone()).await;
        match sent.map_err(|e| self.failed(e))? {
            Sent::Existed => Ok(Put::Held),
            Sent::Mounted(_) => Ok(Put::Mounted),
            Sent::Uploaded => Ok(Put::Sent),
        }
    }

    pub(super) async fn publish(&self, entry: &Entry, manifest: Bytes) -> Result<()> {
        self.tag_patiently(&self.tag_of(&entry.id), &manifest).await.map_err(|e| self.failed(e))?;
        let Some(tag) = self.0.reference.tag() else { return Ok(()) };
        match self.tag(tag, manifest).await {
            // Where tags cannot be moved this one stays; readers have the other.
            Ok(()) | Err(RegistryError::Denied { .. } | RegistryError::Status { .. }) => Ok(()),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// A registry that gets the same blob from several writers at once may for a moment not find it: Debian's then says
    /// that it is unknown, or has another digest.
    async fn tag_patiently(&self, tag: &str, manifest: &Bytes) -> std::result::Result<(), RegistryError> {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.tag(tag, manifest.clone()).await {
                Err(RegistryError::Status { status: 400 | 404, .. } | RegistryError::NotFound { .. })
                    if pause <= LONGEST_PAUSE => {}
                answer => return answer,
            }
            tokio::time::sleep(jittered(pause)).await;
            pause *= 2;
        }
    }

    async fn tag(&self, tag: &str, manifest: Bytes) -> std::result::Result<(), RegistryError> {
        let reference = self.0.reference.with_tag(tag).map_err(|e| RegistryError::Setup(format!("{tag}: {e}")))?;
        self.client().await?.push_manifest(&reference, MediaType::OciManifest, manifest).await.map(|_| ())
    }

    pub(super) async fn retire(&self, ids: &[EntryId]) -> Result<usize> {
        let tags = self.tags().await.map_err(|e| self.failed(e))?;
        let mut gone = 0;
        for id in ids {
            let (name, own) = (format!("-kiln-{id}"), self.tag_of(id));
            // Deleting removes every tag of the manifest, those of copies of this depot as well.
            if tags.iter().any(|tag| tag.ends_with(&name) && *tag != own) {
                continue;
            }
            match self.connected().await?.delete_manifest(&self.0.reference.with_digest(id.digest.clone())).await {
                Ok(()) => gone += 1,
                Err(RegistryError::Denied { .. } | RegistryError::Status { .. }) => return Ok(gone),
                Err(error) => return Err(self.failed(error)),
            }
        }
        Ok(gone)
    }
}

/// Between half of a pause and all of it, so that those who wait do not come back together.
fn jittered(pause: Duration) -> Duration {
    let mut random = [0];
    // Without random numbers they come back together.
    let _ = getrandom::fill(&mut random);
    pause / 2 + pause * u32::from(random[0]) / 512
}

/// What the tags of a depot's entries begin with: its tag, which is shortened if theirs would become too long.
fn prefix(tag: &str) -> String {
    if tag.len() + SUFFIX <= TAG_LIMIT {
        return format!("{tag}-kiln-");
    }
    let short: String = tag.chars().take(30).collect();
    let digest = Digest::of(tag.as_bytes());
    format!("{short}-{}-kiln-", digest.short())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tag_of_an_entry_is_short_enough_and_of_one_depot_only() {
        let id = EntryId { created: 1_700_000_000, digest: Digest::of(b"") };
        let long = "a".repeat(TAG_LIMIT);
        let tags = ["latest", &long, &long[1..], &long[..47], &long[..48]];
        let named: Vec<String> = tags.iter().map(|tag| format!("{}{id}", prefix(tag))).collect();
        assert!(named.iter().all(|tag| tag.len() <= TAG_LIMIT), "{named:?}");
        let distinct: std::collections::BTreeSet<_> = named.iter().collect();
        assert_eq!(distinct.len(), tags.len());
    }
}
