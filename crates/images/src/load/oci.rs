//! The images of an OCI archive: what its index names, nested indexes followed.

use std::collections::HashSet;

use kiln_oci::{Descriptor, Digest, Index, Manifest, ManifestOrIndex, Platform, Reference};
use kiln_progress::Task;
use kiln_store::{Image, Store};

use super::archive::Spool;
use super::{LoadError, Loaded, docker, parse};
use crate::import::{DOCUMENT_LIMIT, Described, ImportError, choose, is_attestation};
use crate::layout;

/// Indexes within indexes, at most.
const MAX_DEPTH: usize = 4;

/// Images that share their names: one, or one for each of several platforms.
#[derive(Default)]
struct Group {
    names: Vec<String>,
    manifests: Vec<Digest>,
    /// The entries of the archive's own index.
    entries: Vec<Descriptor>,
}

impl Group {
    /// The index that the names stand for, where the archive has one.
    fn index(&self) -> Option<Descriptor> {
        let [entry] = &self.entries[..] else { return None };
        let mut index = entry.clone();
        // Those are the archive's, not the image's.
        index
            .annotations
            .retain(|key, _| ![layout::IMAGE_NAME, layout::REF_NAME, layout::CREATED].contains(&key.as_str()));
        index.media_type.is_index().then_some(index)
    }
}

/// Loads what `index.json` names. Names that only `manifest.json` gives count too.
pub(super) fn load_archive(
    store: &Store,
    spool: &Spool,
    platform: Option<&Platform>,
    task: &Task,
) -> Result<Vec<Loaded>, LoadError> {
    let raw = spool.document(layout::INDEX).unwrap_or_default();
    let index: Index = parse(raw, layout::INDEX)?;
    let mut loaded: Vec<Loaded> = Vec::new();
    for mut group in groups(store, &index, platform)? {
        let mut images = Vec::new();
        for manifest in &group.manifests {
            let described = Described::read(store, manifest).map_err(|error| missing(error, layout::INDEX))?;
            described.unpack(store, task)?;
            images.push(described.insert(store)?);
        }
        if group.names.is_empty() {
            for image in &images {
                group.names.extend(docker::names_of(spool, &image.id)?);
            }
        }
        add(store, &mut loaded, &images, group.names.clone())?;
        if let Some(index) = group.index() {
            group.names.iter().try_for_each(|name| store.images().set_root(name, &index))?;
        }
    }
    Ok(loaded)
}

/// Names images, one a platform, and lists them once however often the index has them. Without a name each stands
/// for itself.
pub(super) fn add(
    store: &Store,
    loaded: &mut Vec<Loaded>,
    images: &[Image],
    names: Vec<String>,
) -> Result<(), LoadError> {
    if names.is_empty() && images.len() > 1 {
        return images.iter().try_for_each(|image| add(store, loaded, std::slice::from_ref(image), Vec::new()));
    }
    let ids: Vec<Digest> = images.iter().map(|image| image.id.clone()).collect();
    for name in &names {
        store.images().tag_all(name, &ids)?;
    }
    let host = Platform::host();
    let first = images.iter().min_by_key(|image| host.rank(&image.platform).unwrap_or(usize::MAX));
    let Some(id) = first.map(|image| image.id.clone()) else { return Ok(()) };
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

/// The images to load, by name: those that are for `platform`, or all that the archive holds.
fn groups(store: &Store, index: &Index, platform: Option<&Platform>) -> Result<Vec<Group>, LoadError> {
    let mut groups: Vec<Group> = Vec::new();
    for entry in wanted(index, platform) {
        let name = name_of(entry);
        let manifests = match platform {
            Some(platform) => vec![resolve(store, entry, platform)?],
            None => all_held(store, entry)?,
        };
        let rival = |group: &&mut Group| name.as_ref().is_some_and(|name| group.names.contains(name));
        match groups.iter_mut().find(rival) {
            Some(group) => {
                group.manifests.extend(manifests);
                group.entries.push(entry.clone());
            }
            None => groups.push(Group { names: name.into_iter().collect(), manifests, entries: vec![entry.clone()] }),
        }
    }
    Ok(groups)
}

/// The entries to load: all images; where several platforms stand side by side under the same name and one is
/// asked for, the one that fits.
fn wanted<'a>(index: &'a Index, platform: Option<&Platform>) -> Vec<&'a Descriptor> {
    let images: Vec<&Descriptor> = index.manifests.iter().filter(|entry| !is_attestation(entry)).collect();
    let Some(platform) = platform else { return images };
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
        match read(store, &at)? {
            ManifestOrIndex::Manifest(_) => return Ok(at.digest),
            ManifestOrIndex::Index(index) => at = choose(&index.manifests, platform)?.clone(),
        }
    }
    Err(ImportError::NoPlatform { wanted: Box::new(platform.clone()), available: Vec::new() }.into())
}

/// Follows indexes to the manifests of which everything is here: an archive may have been written without some of
/// the platforms. Where nothing is whole, what this machine would need is what is missing.
fn all_held(store: &Store, entry: &Descriptor) -> Result<Vec<Digest>, LoadError> {
    let (mut held, mut seen) = (Vec::new(), HashSet::new());
    let mut level = vec![entry.clone()];
    for _ in 0..MAX_DEPTH {
        let mut below = Vec::new();
        for at in std::mem::take(&mut level) {
            let is_there = at.digest == entry.digest || store.blobs().contains(&at.digest)?;
            if !is_there || !seen.insert(at.digest.clone()) {
                continue;
            }
            match read(store, &at)? {
                ManifestOrIndex::Manifest(manifest) if is_whole(store, &manifest)? => held.push(at.digest),
                ManifestOrIndex::Manifest(_) => {}
                ManifestOrIndex::Index(index) => {
                    below.extend(index.manifests.into_iter().filter(|each| !is_attestation(each)));
                }
            }
        }
        level = below;
    }
    if held.is_empty() { Ok(vec![resolve(store, entry, &Platform::host())?]) } else { Ok(held) }
}

fn is_whole(store: &Store, manifest: &Manifest) -> Result<bool, LoadError> {
    for blob in manifest.layers.iter().chain([&manifest.config]) {
        if !store.blobs().contains(&blob.digest)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn read(store: &Store, entry: &Descriptor) -> Result<ManifestOrIndex, LoadError> {
    let raw = store.blobs().read(&entry.digest, DOCUMENT_LIMIT);
    document(&raw.map_err(|error| missing(error.into(), layout::INDEX))?, &entry.digest)
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
