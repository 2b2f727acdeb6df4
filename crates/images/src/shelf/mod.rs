//! The registry's storage in a store: what is pushed lands among the store's blobs, and what the store has already is
//! only linked.

#[cfg(test)]
mod tests;

use std::io;
use std::ops::Range;

use kiln_oci::{Algorithm, Digest};
use kiln_registry::server::{
    Bytes, Finished, ManifestFacts, ManifestName, NewManifest, Placed, Referrer, Repository, Storage, StorageError,
    Stored, Tag, Upload, WantedReferrers,
};
use kiln_store::{
    BlobReader, NewRegistryManifest, RegistryManifest, RegistryReferrer, RegistryReferrers, RegistryUpload, Store,
};

/// A store as a registry's storage.
#[derive(Debug, Clone)]
pub struct Shelf {
    store: Store,
}

impl Shelf {
    /// The registry of a store. Everything in the store is put on the disk first.
    ///
    /// # Errors
    /// What the disk refuses.
    pub fn open(store: Store) -> Result<Self, kiln_store::Error> {
        store.registry().begin()?;
        Ok(Shelf { store })
    }
}

impl Shelf {
    /// The store's error, for the server. What proved damaged is taken out of use, so that it is missing from then on and
    /// can be pushed again.
    fn failed(&self, error: &kiln_store::Error) -> StorageError {
        use kiln_store::Error::{ChangedBlob, DamagedBlob};
        let mut failed = in_words(error);
        if matches!(error, DamagedBlob { .. } | ChangedBlob { .. }) {
            failed.message.push_str(&drop_damage(&self.store));
        }
        failed
    }
}

impl Shelf {
    fn outgoing(&self, reader: BlobReader) -> Bytes {
        Bytes { length: reader.size(), reader: Box::new(Outgoing { store: self.store.clone(), reader }) }
    }
}

/// Takes out of use what was found damaged; tells so, or why not, as the end of a sentence.
fn drop_damage(store: &Store) -> String {
    match store.drop_damage() {
        Ok(_) => "; it was dropped and must be pushed again".to_owned(),
        Err(error) => format!("; it could not be dropped: {}", in_words(&error).message),
    }
}

/// A blob on its way out.
struct Outgoing {
    store: Store,
    reader: BlobReader,
}

impl io::Read for Outgoing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => {
                io::Error::new(io::ErrorKind::InvalidData, format!("{error}{}", drop_damage(&self.store)))
            }
            _ => error,
        })
    }
}

/// The store's error with everything that led to it, for the server's log.
fn in_words(error: &kiln_store::Error) -> StorageError {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        // Many of the store's errors tell their cause themselves.
        let text = cause.to_string();
        if !message.contains(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
        source = cause.source();
    }
    StorageError { message, is_full: error.is_full_disk() }
}

impl Storage for Shelf {
    fn blob(&self, repository: &Repository, digest: &Digest) -> Stored<Option<u64>> {
        self.store.registry().blob(repository.as_str(), digest).map_err(|error| self.failed(&error))
    }

    fn read_blob(&self, repository: &Repository, digest: &Digest, part: Option<Range<u64>>) -> Stored<Option<Bytes>> {
        let (registry, repository) = (self.store.registry(), repository.as_str());
        let opened = match part {
            None => registry.open_blob(repository, digest).map(|reader| reader.map(|reader| self.outgoing(reader))),
            Some(part) => registry.open_part(repository, digest, &part).map(|reader| {
                let length = part.end - part.start;
                reader.map(|reader| Bytes { length, reader: Box::new(reader) })
            }),
        };
        opened.map_err(|error| self.failed(&error))
    }

    fn mount(&self, repository: &Repository, digest: &Digest, from: Option<&Repository>) -> Stored<bool> {
        let from = from.map(Repository::as_str);
        self.store.registry().mount(repository.as_str(), digest, from).map_err(|error| self.failed(&error))
    }

    fn delete_blob(&self, repository: &Repository, digest: &Digest) -> Stored<bool> {
        self.store.registry().delete_blob(repository.as_str(), digest).map_err(|error| self.failed(&error))
    }

    fn begin_upload(&self, repository: &Repository) -> Stored<String> {
        self.store.registry().begin_upload(repository.as_str()).map_err(|error| self.failed(&error))
    }

    fn upload(&self, repository: &Repository, id: &str) -> Stored<Option<u64>> {
        self.store.registry().upload(repository.as_str(), id).map_err(|error| self.failed(&error))
    }

    fn read_upload(&self, repository: &Repository, id: &str) -> Stored<Option<Box<dyn io::Read + Send>>> {
        let opened = self.store.registry().read_upload(repository.as_str(), id);
        opened.map(|file| file.map(|file| Box::new(file) as Box<_>)).map_err(|error| self.failed(&error))
    }

    fn resume_upload(
        &self,
        repository: &Repository,
        id: &str,
        algorithm: Algorithm,
    ) -> Stored<Option<Box<dyn Upload>>> {
        let resumed = self.store.registry().resume_upload(repository.as_str(), id, algorithm);
        let boxed = |upload| Box::new(Incoming(upload)) as Box<dyn Upload>;
        resumed.map(|upload| upload.map(boxed)).map_err(|error| self.failed(&error))
    }

    fn cancel_upload(&self, repository: &Repository, id: &str) -> Stored<bool> {
        self.store.registry().cancel_upload(repository.as_str(), id).map_err(|error| self.failed(&error))
    }

    fn manifest(&self, repository: &Repository, name: &ManifestName) -> Stored<Option<ManifestFacts>> {
        let registry = self.store.registry();
        let found = match name {
            ManifestName::Tag(tag) => registry.tagged(repository.as_str(), tag.as_str()),
            ManifestName::Digest(digest) => registry.manifest(repository.as_str(), digest),
        };
        found.map(|manifest| manifest.map(facts)).map_err(|error| self.failed(&error))
    }

    fn read_manifest(&self, repository: &Repository, digest: &Digest) -> Stored<Option<Bytes>> {
        let opened = self.store.registry().open_manifest(repository.as_str(), digest);
        opened.map(|reader| reader.map(|reader| self.outgoing(reader))).map_err(|error| self.failed(&error))
    }

    fn put_manifest(&self, repository: &Repository, manifest: &NewManifest, tag: Option<&Tag>) -> Stored<Placed> {
        let annotations = match manifest.annotations.is_empty() {
            true => None,
            false => Some(serde_json::to_string(&manifest.annotations).map_err(|error| StorageError {
                message: format!("the annotations of {} cannot be written: {error}", manifest.digest),
                is_full: false,
            })?),
        };
        let new = NewRegistryManifest {
            bytes: &manifest.bytes,
            digest: &manifest.digest,
            media_type: &manifest.media_type,
            blobs: &manifest.blobs,
            manifests: &manifest.manifests,
            is_partial: manifest.is_partial,
            subject: manifest.subject.as_ref(),
            artifact_type: manifest.artifact_type.as_deref(),
            annotations: annotations.as_deref(),
        };
        let placed = self.store.registry().put_manifest(repository.as_str(), &new, tag.map(Tag::as_str));
        let missing = placed.map_err(|error| self.failed(&error))?;
        Ok(if missing.is_empty() { Placed::Done } else { Placed::Lacks(missing) })
    }

    fn delete_manifest(&self, repository: &Repository, digest: &Digest) -> Stored<bool> {
        self.store.registry().delete_manifest(repository.as_str(), digest).map_err(|error| self.failed(&error))
    }

    fn delete_tag(&self, repository: &Repository, tag: &Tag) -> Stored<bool> {
        self.store.registry().delete_tag(repository.as_str(), tag.as_str()).map_err(|error| self.failed(&error))
    }

    fn tags(&self, repository: &Repository, after: Option<&str>, limit: usize) -> Stored<Option<Vec<String>>> {
        let registry = self.store.registry();
        let found = registry.tags(repository.as_str(), after, limit).map_err(|error| self.failed(&error))?;
        if found.is_empty() && !registry.is_repository(repository.as_str()).map_err(|error| self.failed(&error))? {
            return Ok(None);
        }
        Ok(Some(found.into_iter().map(|tag| tag.name).collect()))
    }

    fn repositories(&self, after: Option<&str>, limit: usize) -> Stored<Vec<String>> {
        self.store.registry().repositories(after, limit).map_err(|error| self.failed(&error))
    }

    fn referrers(&self, wanted: &WantedReferrers<'_>, limit: usize) -> Stored<Vec<Referrer>> {
        let wanted = RegistryReferrers {
            repository: wanted.repository.as_str(),
            subject: wanted.subject,
            artifact_type: wanted.artifact_type,
            after: wanted.after,
        };
        let found = self.store.registry().referrers(&wanted, limit).map_err(|error| self.failed(&error))?;
        Ok(found.into_iter().map(referrer).collect())
    }
}

/// An upload of the store.
struct Incoming(RegistryUpload);

impl Upload for Incoming {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn append(&mut self, bytes: &[u8]) -> Stored<()> {
        self.0.append(bytes).map_err(|error| in_words(&error))
    }

    fn finish(self: Box<Self>, digest: &Digest) -> Stored<Finished> {
        let is_right = self.0.finish(digest).map_err(|error| in_words(&error))?;
        Ok(if is_right { Finished::Blob } else { Finished::OtherDigest })
    }
}

fn facts(manifest: RegistryManifest) -> ManifestFacts {
    ManifestFacts { digest: manifest.digest, media_type: manifest.media_type, size: manifest.size }
}

fn referrer(found: RegistryReferrer) -> Referrer {
    Referrer { facts: facts(found.manifest), artifact_type: found.artifact_type, annotations: found.annotations }
}
