//! The images of an OCI archive: what its index names, nested indexes followed.

use kiln_oci::{Descriptor, Digest, Index, ManifestOrIndex, Platform, Reference};
use kiln_progress::Task;
use kiln_store::Store;

use super::archive::Spool;
use super::{LoadError, Loaded, docker, parse};
use crate::import::{DOCUMENT_LIMIT, Described, ImportError, choose, is_attestation};
use crate::layout;

/// Indexes within indexes, at most.
const MAX_DEPTH: usize = 4;

/// Loads what `index.json` names. Names that only `manifest.json` gives count too.
pub(super) fn load_archive(
    store: &Store,
    spool: &Spool,
    platform: &Platform,
    task: &Task,
) -> Result<Vec<Loaded>, LoadError> {
    let raw = spool.document(layout::INDEX).unwrap_or_default();
    let index: Index = parse(raw, layout::INDEX)?;
    let mut loaded: Vec<Loaded> = Vec::new();
    for entry in wanted(&index, platform) {
        let manifest = resolve(store, entry, platform)?;
        let described = Described::read(store, &manifest).map_err(|error| missing(error, layout::INDEX))?;
        described.unpack(store, task)?;
        let image = described.insert(store)?;
        let mut names: Vec<String> = name_of(entry).into_iter().collect();
        if names.is_empty() {
            names = docker::names_of(spool, &image.id)?;
        }
        add(store, &mut loaded, image.id, names)?;
    }
    Ok(loaded)
}

/// Names an image, and lists it once however often the index has it.
pub(super) fn add(store: &Store, loaded: &mut Vec<Loaded>, id: Digest, names: Vec<String>) -> Result<(), LoadError> {
    for name in &names {
        store.images().tag(name, &id)?;
    }
    match loaded.iter_mut().find(|known| known.id == id) {
        Some(known) => {
            for name in names {
                if !known.names.contains(&name) {
                    known.names.push(name);
                }
            }
        }
        None => loaded.push(Loaded { names, id }),
    }
    Ok(())
}

/// The entries to load: all images; where several platforms stand side by side under the same name,
/// the one that fits.
fn wanted<'a>(index: &'a Index, platform: &'a Platform) -> Vec<&'a Descriptor> {
    let images: Vec<&Descriptor> = index.manifests.iter().filter(|entry| !is_attestation(entry)).collect();
    let rivals = |entry: &Descriptor| {
        let same_name = images.iter().filter(|other| name_of(other) == name_of(entry));
        same_name.filter(|other| other.platform.is_some()).count()
    };
    let fits = |entry: &Descriptor| entry.platform.as_ref().is_none_or(|has| platform.accepts(has));
    let chosen: Vec<&Descriptor> = images.iter().copied().filter(|entry| rivals(entry) < 2 || fits(entry)).collect();
    if chosen.is_empty() { images } else { chosen }
}

/// Follows indexes to the digest of the manifest for `platform`.
fn resolve(store: &Store, entry: &Descriptor, platform: &Platform) -> Result<Digest, LoadError> {
    let mut at = entry.clone();
    for _ in 0..MAX_DEPTH {
        let raw =
            store.blobs().read(&at.digest, DOCUMENT_LIMIT).map_err(|error| missing(error.into(), layout::INDEX))?;
        match document(&raw, &at.digest)? {
            ManifestOrIndex::Manifest(_) => return Ok(at.digest),
            ManifestOrIndex::Index(index) => at = choose(&index.manifests, platform)?.clone(),
        }
    }
    Err(ImportError::NoPlatform { wanted: Box::new(platform.clone()), available: Vec::new() }.into())
}

/// Reads a manifest or an index.
pub(super) fn document(raw: &[u8], digest: &Digest) -> Result<ManifestOrIndex, LoadError> {
    ManifestOrIndex::parse(raw)
        .map_err(|source| ImportError::Document { what: "manifest or index", digest: digest.clone(), source }.into())
}

/// A blob that is missing is a file that is missing in the archive.
fn missing(error: ImportError, named_by: &str) -> LoadError {
    match error {
        ImportError::Store(kiln_store::Error::MissingBlob(digest)) => {
            LoadError::MissingFile { path: layout::blob_path(&digest), named_by: named_by.to_owned() }
        }
        other => other.into(),
    }
}

/// The full name that an index entry gives its image. A bare tag is no name.
pub(super) fn name_of(entry: &Descriptor) -> Option<String> {
    let full = entry.annotations.get(layout::IMAGE_NAME);
    let reference = || entry.annotations.get(layout::REF_NAME).filter(|name| name.contains(['/', ':']));
    let name: Reference = full.or_else(reference)?.parse().ok()?;
    Some(name.with_default_tag().to_string())
}
