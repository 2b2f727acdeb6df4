//! The images of a docker archive: what its `manifest.json` names.

use std::io::Write;

use kiln_oci::{Descriptor, Digest, MediaType, Reference};
use kiln_progress::Task;
use kiln_store::{Blob, Store};

use super::archive::Spool;
use super::{LoadError, Loaded, oci, parse};
use crate::compression::Compression;
use crate::import::{DOCUMENT_LIMIT, Described};
use crate::layout::{DOCKER_MANIFEST, DockerImage};
use crate::unpack::{Limits, bounded};

/// Loads every image of `manifest.json`.
pub(super) fn load_archive(store: &Store, spool: &Spool, task: &Task) -> Result<Vec<Loaded>, LoadError> {
    let mut loaded = Vec::new();
    for image in images(spool)? {
        let config = file(spool, &image.config)?;
        let raw = store.blobs().read(&config.digest, DOCUMENT_LIMIT)?;
        let mut layers = Vec::new();
        for path in &image.layers {
            layers.push(layer(store, file(spool, path)?, path)?);
        }
        let described = Described::new(None, config.digest.clone(), layers, &raw)?;
        described.unpack(store, task)?;
        let taken = described.insert(store)?;
        oci::add(store, &mut loaded, &[taken], full_names(&image))?;
    }
    Ok(loaded)
}

/// The names that `manifest.json`, if there is one, gives the image with this config.
pub(super) fn names_of(spool: &Spool, id: &Digest) -> Result<Vec<String>, LoadError> {
    let mut names = Vec::new();
    for image in images(spool)? {
        if spool.file(&image.config).is_some_and(|config| config.digest == *id) {
            names.extend(full_names(&image));
        }
    }
    Ok(names)
}

fn images(spool: &Spool) -> Result<Vec<DockerImage>, LoadError> {
    match spool.document(DOCKER_MANIFEST) {
        Some(raw) => parse(raw, DOCKER_MANIFEST),
        None => Ok(Vec::new()),
    }
}

fn full_names(image: &DockerImage) -> Vec<String> {
    let parsed = image.repo_tags.iter().filter_map(|name| name.parse::<Reference>().ok());
    parsed.map(|name| name.with_default_tag().to_string()).collect()
}

fn file<'a>(spool: &'a Spool, path: &str) -> Result<&'a Blob, LoadError> {
    spool
        .file(path)
        .ok_or_else(|| LoadError::MissingFile { path: path.to_owned(), named_by: DOCKER_MANIFEST.to_owned() })
}

/// Describes a layer by its content. Compressions that no layer may have are taken off.
fn layer(store: &Store, blob: &Blob, path: &str) -> Result<Descriptor, LoadError> {
    let failed = |source| LoadError::Read { place: path.to_owned(), source };
    let mut plain = bounded(store.blobs().open(&blob.digest)?, Limits::settled()).map_err(failed)?;
    let media_type = match plain.compression() {
        Compression::Identity => MediaType::OciLayer,
        Compression::Gzip => MediaType::OciLayerGzip,
        Compression::Zstd => MediaType::OciLayerZstd,
        Compression::Bzip2 | Compression::Xz => {
            let mut output = store.blobs().create()?;
            std::io::copy(&mut plain, &mut output).and_then(|_| output.flush()).map_err(failed)?;
            let blob = output.commit(None, None)?;
            store.leases().pin_blobs(std::slice::from_ref(&blob.digest))?;
            return Ok(Descriptor::new(MediaType::OciLayer, blob.digest, blob.size));
        }
    };
    Ok(Descriptor::new(media_type, blob.digest.clone(), blob.size))
}
