//! One tar with the blobs of images, the index of an OCI layout, and the list of a docker archive.
//!
//! Every entry has the same owner, mode and time, and they come sorted: equal images, equal bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use kiln_oci::{Descriptor, Digest, Index, MediaType, Reference};
use kiln_progress::Task;
use kiln_store::{Metadata, Store, Timestamp};

use super::{AnnotationTarget, ExportError, ExportOptions, Exported, Parts, Whole, annotations};
use crate::layout::{self, DockerImage};
use crate::tar::{Entry, EntryKind, TarWriter};

/// Everything that goes into an archive.
#[derive(Default)]
pub(crate) struct Listing {
    /// Documents that are blobs.
    pub(super) documents: BTreeMap<Digest, Vec<u8>>,
    /// Blobs that are copied from the store, with their sizes.
    pub(super) stored: BTreeMap<Digest, u64>,
    pub(super) index: Vec<Descriptor>,
    docker: Vec<DockerImage>,
}

impl Listing {
    /// One image, or several platforms of one, under `names`; see [`Listing::add`].
    pub(crate) fn of(whole: &Whole, names: &[Reference], created: Option<&str>) -> (Listing, Exported) {
        let mut listing = Listing::default();
        let exported = listing.add(whole, names, created);
        (listing, exported)
    }

    /// Adds an image, or several platforms of one, under names of its own. `created` is what its entry says of that,
    /// RFC 3339; without, what the first config says.
    pub(crate) fn add(&mut self, whole: &Whole, names: &[Reference], created: Option<&str>) -> Exported {
        let Whole { root, index, parts } = whole;
        if let Some(raw) = index {
            self.documents.insert(root.digest.clone(), raw.clone());
        }
        for part in parts {
            self.add_blobs(part);
        }
        let first_created = || parts.first().and_then(|part| part.created.as_deref());
        self.add_index_entries(root, names, created.or_else(first_created));
        whole.exported()
    }

    /// Lists an image, whose blobs were added, in `manifest.json`.
    pub(crate) fn add_docker_image(&mut self, part: &Parts, names: &[Reference]) {
        let with_tag = |name: &Reference| name.with_default_tag();
        let tagged = names.iter().map(with_tag).filter(|name| name.tag().is_some());
        self.docker.push(DockerImage {
            config: layout::blob_path(&part.config_descriptor.digest),
            repo_tags: tagged.map(|name| name.familiar()).collect(),
            layers: part.layers.iter().map(|layer| layout::blob_path(&layer.digest)).collect(),
        });
    }

    fn add_blobs(&mut self, part: &Parts) {
        let config = part.config_descriptor.digest.clone();
        self.documents.insert(config, part.config.clone());
        self.documents.insert(part.descriptor.digest.clone(), part.manifest.clone());
        let layers = part.layers.iter().map(|layer| (layer.digest.clone(), layer.size));
        self.stored.extend(layers);
    }

    fn add_index_entries(&mut self, descriptor: &Descriptor, names: &[Reference], created: Option<&str>) {
        let mut entry = descriptor.clone();
        if let Some(created) = created {
            entry.annotations.insert(layout::CREATED.to_owned(), created.to_owned());
        }
        if names.is_empty() {
            self.index.push(entry);
            return;
        }
        for name in names {
            let name = name.with_default_tag();
            let mut named = entry.clone();
            named.annotations.insert(layout::IMAGE_NAME.to_owned(), name.to_string());
            if let Some(tag) = name.tag() {
                named.annotations.insert(layout::REF_NAME.to_owned(), tag.to_owned());
            }
            self.index.push(named);
        }
    }
}

/// What names the whole export: the manifest, or an index of platforms, with its bytes.
pub(super) fn root(parts: &[Parts], options: &ExportOptions) -> Result<(Descriptor, Option<Vec<u8>>), ExportError> {
    let several = match parts {
        [one] => return Ok((one.descriptor.clone(), None)),
        several => several,
    };
    let mut index = Index::new(several.iter().map(|part| part.descriptor.clone()).collect());
    let is_docker = |part: &Parts| part.descriptor.media_type == MediaType::DockerManifest;
    index.annotations = annotations::of(&options.annotations, AnnotationTarget::Index, None);
    if index.annotations.is_empty() && several.iter().all(is_docker) && !several.is_empty() {
        index.media_type = Some(MediaType::DockerManifestList);
    }
    let media_type = index.media_type.clone().unwrap_or(MediaType::OciIndex);
    let raw = to_json(&index, "index")?;
    let mut descriptor = Descriptor::new(media_type, Digest::of(&raw), raw.len() as u64);
    descriptor.annotations = annotations::of(&options.annotations, AnnotationTarget::IndexDescriptor, None);
    Ok((descriptor, Some(raw)))
}

/// Writes the archive. `output` is flushed.
pub(crate) fn write_archive<W: Write>(
    output: W,
    store: &Store,
    listing: &Listing,
    task: &Task,
) -> Result<(), ExportError> {
    let mut archive = Archive { tar: TarWriter::new(output), written: 0, task };
    let digests: BTreeSet<&Digest> = listing.documents.keys().chain(listing.stored.keys()).collect();
    archive.directory("blobs/")?;
    let mut algorithm = "";
    for digest in digests {
        if digest.algorithm().as_str() != algorithm {
            algorithm = digest.algorithm().as_str();
            archive.directory(&format!("blobs/{algorithm}/"))?;
        }
        let path = layout::blob_path(digest);
        match listing.documents.get(digest) {
            Some(bytes) => archive.file(&path, bytes)?,
            None => archive.stored(&path, store, digest)?,
        }
    }
    archive.file(layout::INDEX, &to_json(&Index::new(listing.index.clone()), "index")?)?;
    if !listing.docker.is_empty() {
        archive.file(layout::DOCKER_MANIFEST, &to_json(&listing.docker, "image list")?)?;
    }
    archive.file(layout::MARKER, layout::MARKER_CONTENT)?;
    let mut output = archive.tar.finish().map_err(ExportError::Write)?;
    output.flush().map_err(ExportError::Write)
}

struct Archive<'a, W> {
    tar: TarWriter<W>,
    written: u64,
    task: &'a Task,
}

impl<W: Write> Archive<'_, W> {
    fn directory(&mut self, path: &str) -> Result<(), ExportError> {
        let metadata = Metadata::root_owned(0o755, Timestamp::default());
        self.append(path, EntryKind::Directory, metadata, 0)
    }

    fn file(&mut self, path: &str, bytes: &[u8]) -> Result<(), ExportError> {
        self.header(path, bytes.len() as u64)?;
        self.content(bytes)
    }

    /// Copies a blob, which the store verifies while it is read.
    fn stored(&mut self, path: &str, store: &Store, digest: &Digest) -> Result<(), ExportError> {
        let blob = store.blobs().open(digest)?;
        self.header(path, blob.size())?;
        let failed = |source| ExportError::from(PackedBlob(path, source));
        for piece in blob.pieces().map_err(failed)? {
            self.content(&piece.map_err(failed)?)?;
        }
        Ok(())
    }

    fn header(&mut self, path: &str, size: u64) -> Result<(), ExportError> {
        let metadata = Metadata::root_owned(0o444, Timestamp::default());
        self.append(path, EntryKind::File, metadata, size)
    }

    fn append(&mut self, path: &str, kind: EntryKind, metadata: Metadata, size: u64) -> Result<(), ExportError> {
        let entry = Entry { path: path.as_bytes().to_vec(), kind, metadata, size, offset: 0 };
        self.tar.append(&entry).map_err(ExportError::Write)
    }

    fn content(&mut self, bytes: &[u8]) -> Result<(), ExportError> {
        self.tar.write_all(bytes).map_err(ExportError::Write)?;
        self.written += bytes.len() as u64;
        self.task.progress(self.written, None);
        Ok(())
    }
}

/// A blob of the store that cannot be read, and its path in the archive.
struct PackedBlob<'a>(&'a str, io::Error);

impl From<PackedBlob<'_>> for ExportError {
    fn from(PackedBlob(path, source): PackedBlob<'_>) -> ExportError {
        crate::pack::PackError::Read { path: path.to_owned(), source }.into()
    }
}

pub(super) fn to_json<T: serde::Serialize>(value: &T, what: &'static str) -> Result<Vec<u8>, ExportError> {
    serde_json::to_vec(value).map_err(|source| ExportError::Document { what, source })
}
