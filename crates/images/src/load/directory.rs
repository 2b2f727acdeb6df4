//! An OCI layout as a directory. Every file is opened beneath it, through no symlink that leads out.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use kiln_oci::{Descriptor, Index, ManifestOrIndex, Platform};
use kiln_store::Store;
use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::archive::store_file;
use super::{LoadError, Selector, oci, parse};
use crate::import::{DOCUMENT_LIMIT, ImportError, choose, is_attestation, parse_manifest};
use crate::layout;

/// An open layout directory.
pub(super) struct Layout {
    directory: OwnedFd,
    place: String,
    index: Index,
}

impl Layout {
    /// Opens the directory and reads its index.
    pub(super) fn open(path: &Path) -> Result<Layout, LoadError> {
        let place = path.display().to_string();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|error| LoadError::Read { place: place.clone(), source: error.into() })?;
        let raw = match read_small(&directory, layout::INDEX) {
            Err(LoadError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(LoadError::NoImage { place });
            }
            other => other?,
        };
        Ok(Layout { directory, place, index: parse(&raw, layout::INDEX)? })
    }

    /// The index entry that is meant.
    pub(super) fn select(&self, selector: &Selector) -> Result<Descriptor, LoadError> {
        let images: Vec<&Descriptor> = self.index.manifests.iter().filter(|entry| !is_attestation(entry)).collect();
        let tagged = |tag: &str| images.iter().copied().find(|entry| has_tag(entry, tag));
        let (found, wanted) = match selector {
            Selector::Default => match images.as_slice() {
                [only] => (Some(*only), "latest".to_owned()),
                _ => (tagged("latest"), "latest".to_owned()),
            },
            Selector::Tag(tag) => (tagged(tag), tag.clone()),
            Selector::Digest(digest) => {
                (images.iter().copied().find(|entry| entry.digest == *digest), digest.to_string())
            }
        };
        let named = |entry: &&Descriptor| match entry.annotations.get(layout::REF_NAME) {
            Some(tag) => tag.clone(),
            None => entry.digest.to_string(),
        };
        found.cloned().ok_or_else(|| LoadError::NoSuchImage {
            wanted,
            place: self.place.clone(),
            available: images.iter().map(named).collect::<Vec<_>>().join(", "),
        })
    }

    /// Follows indexes to the manifest for `platform`, which is then a blob of the store.
    pub(super) fn fetch_manifest(
        &self,
        store: &Store,
        chosen: &Descriptor,
        platform: &Platform,
    ) -> Result<Descriptor, LoadError> {
        let mut at = chosen.clone();
        for _ in 0..4 {
            self.fetch(store, &at)?;
            let raw = store.blobs().read(&at.digest, DOCUMENT_LIMIT)?;
            match oci::document(&raw, &at.digest)? {
                ManifestOrIndex::Manifest(_) => return Ok(at),
                ManifestOrIndex::Index(index) => at = choose(&index.manifests, platform)?.clone(),
            }
        }
        Err(ImportError::NoPlatform { wanted: Box::new(platform.clone()), available: Vec::new() }.into())
    }

    /// Copies config and layers of a manifest into the store, as far as they are not there.
    pub(super) fn fetch_image(&self, store: &Store, manifest: &Descriptor) -> Result<(), LoadError> {
        let raw = store.blobs().read(&manifest.digest, DOCUMENT_LIMIT)?;
        let parsed = parse_manifest(&raw, &manifest.digest)?;
        self.fetch(store, &parsed.config)?;
        for layer in &parsed.layers {
            self.fetch(store, layer)?;
        }
        Ok(())
    }

    fn fetch(&self, store: &Store, blob: &Descriptor) -> Result<(), LoadError> {
        store.leases().pin_blobs(std::slice::from_ref(&blob.digest))?;
        if store.blobs().contains(&blob.digest)? {
            return Ok(());
        }
        let path = layout::blob_path(&blob.digest);
        let mut file = match open_beneath(&self.directory, &path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(LoadError::MissingFile { path, named_by: self.place.clone() });
            }
            other => other.map_err(|source| LoadError::Read { place: path.clone(), source })?,
        };
        store_file(store, &path, Some(&blob.digest), &mut file)?;
        Ok(())
    }
}

fn has_tag(entry: &Descriptor, tag: &str) -> bool {
    let annotation = entry.annotations.get(layout::REF_NAME);
    annotation.is_some_and(|name| name == tag || name.rsplit_once(':').is_some_and(|(_, last)| last == tag))
}

fn open_beneath(directory: &OwnedFd, path: &str) -> io::Result<File> {
    // NONBLOCK, so that a named pipe in place of a file does not hold us up.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let file = File::from(rustix::fs::openat2(directory, path, flags, Mode::empty(), resolve)?);
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file")),
    }
}

fn read_small(directory: &OwnedFd, path: &str) -> Result<Vec<u8>, LoadError> {
    let failed = |source| LoadError::Read { place: path.to_owned(), source };
    let file = open_beneath(directory, path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    if size > DOCUMENT_LIMIT {
        return Err(LoadError::DocumentTooLarge { place: path.to_owned(), size });
    }
    let mut raw = Vec::new();
    file.take(DOCUMENT_LIMIT).read_to_end(&mut raw).map_err(failed)?;
    Ok(raw)
}
