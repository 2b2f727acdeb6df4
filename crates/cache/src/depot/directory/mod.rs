//! A depot in a directory: an OCI image layout, which skopeo and its like can read and copy.
//!
//! `index.json` lists each entry under the name `TAG-kiln-ID` and the newest once more under `TAG`. It is replaced by
//! a rename, under a lock on `index.json.lock`; blobs come by a rename from `ingest/`. A reader takes no lock.

mod index;
mod layout;
mod sweep;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kiln_oci::{Descriptor, Digest};

use super::unite::AtTag;
use super::{ENTRY_LIMIT, Entry, EntryId, Error, Fetch, Parcel, Put, Result};
use layout::Layout;

/// A depot in a directory.
#[derive(Clone, Debug)]
pub(super) struct Directory(Arc<Place>);

/// Where it is and what it is called there.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    tag: String,
    only: Option<Digest>,
}

impl Directory {
    pub(super) fn new(path: PathBuf, tag: &str, only: Option<Digest>) -> Directory {
        Directory(Arc::new(Place { path, tag: tag.to_owned(), only }))
    }

    /// Does something with the directory on a thread that may block; `None` if there is no directory.
    async fn with<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Place, &Layout) -> Result<T> + Send + 'static,
    ) -> Result<Option<T>> {
        let place = Arc::clone(&self.0);
        blocking(move || match Layout::open(&place.path)? {
            Some(layout) => act(&place, &layout).map(Some),
            None => Ok(None),
        })
        .await
    }

    /// The same for a writer: what is missing is created.
    async fn creating<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Place, &Layout) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let place = Arc::clone(&self.0);
        blocking(move || act(&place, &Layout::create(&place.path)?)).await
    }

    pub(super) async fn names(&self) -> Result<Vec<EntryId>> {
        let names = self.with(|place, layout| Ok(index::entries(&layout.index()?, &place.tag)));
        let mut names = names.await?.unwrap_or_default();
        names.retain(|id| self.0.only.as_ref().is_none_or(|only| *only == id.digest));
        Ok(names)
    }

    pub(super) async fn at_tag(&self) -> Result<Option<AtTag>> {
        let found = self.with(|place, layout| index::at_tag(layout, &place.tag)).await?.flatten();
        let is_wanted = |found: &AtTag| match found {
            AtTag::Entry(id) => self.0.only.as_ref().is_none_or(|only| *only == id.digest),
            AtTag::Foreign(_) => true,
        };
        Ok(found.filter(is_wanted))
    }

    pub(super) async fn manifest(&self, id: &EntryId) -> Result<Bytes> {
        let digest = id.digest.clone();
        let read = self.with(move |_, layout| layout.document(&digest, ENTRY_LIMIT)).await?;
        read.ok_or_else(|| self.missing(&id.digest))
    }

    pub(super) async fn fetch(&self, descriptor: &Descriptor) -> Result<Fetch> {
        let wanted = descriptor.clone();
        let file = self.with(move |_, layout| layout.blob(&wanted)).await?.flatten();
        Fetch::file(self.to_string(), descriptor, file.ok_or_else(|| self.missing(&descriptor.digest))?)
    }

    pub(super) async fn holds(&self, descriptor: &Descriptor, grace: Duration) -> Result<bool> {
        let wanted = descriptor.clone();
        Ok(self.with(move |_, layout| layout.keep(&wanted, grace / 2)).await?.unwrap_or(false))
    }

    pub(super) async fn put(&self, parcel: &Parcel, grace: Duration) -> Result<Put> {
        let parcel = parcel.clone();
        self.creating(move |_, layout| {
            if layout.keep(&parcel.descriptor, grace / 2)? {
                return Ok(Put::Held);
            }
            layout.write_blob(&parcel.descriptor, &*parcel.source).map(|()| Put::Sent)
        })
        .await
    }

    pub(super) async fn publish(&self, entry: &Entry, manifest: Bytes) -> Result<()> {
        let entry = entry.clone();
        self.creating(move |place, layout| {
            let id = &entry.id;
            layout.write_document(&id.digest, &manifest)?;
            let locked = layout.lock()?;
            // A blob may have been swept just when this writer found that it was there.
            for blob in entry.blobs.iter().chain([&entry.records]) {
                if layout.blob(blob)?.is_none() {
                    return Err(Error::Missing { depot: layout.name(), digest: blob.digest.clone() });
                }
            }
            locked.change_index(|list| index::add(list, &place.tag, id, manifest.len() as u64))
        })
        .await
    }

    pub(super) async fn retire(&self, ids: &[EntryId], grace: Duration) -> Result<usize> {
        let ids = ids.to_vec();
        self.creating(move |place, layout| {
            let locked = layout.lock()?;
            let mut gone = 0;
            locked.change_index(|list| gone = index::remove(list, &place.tag, &ids))?;
            sweep::sweep(layout, grace)?;
            Ok(gone)
        })
        .await
    }

    fn missing(&self, digest: &Digest) -> Error {
        Error::Missing { depot: self.to_string(), digest: digest.clone() }
    }
}

impl fmt::Display for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.path.display())
    }
}

/// Runs `act` on a thread that may block.
async fn blocking<T: Send + 'static>(act: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(act).await {
        Ok(answer) => answer,
        Err(failure) if failure.is_panic() => std::panic::resume_unwind(failure.into_panic()),
        Err(_) => Err(Error::Stopped),
    }
}
