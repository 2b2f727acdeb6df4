//! From a manifest whose blobs are in the store to an image with unpacked layers.
//!
//! Does not know where the blobs came from: archive, directory or registry.

use std::collections::HashSet;

use kiln_oci::{Descriptor, Digest, ImageConfig, Manifest, Platform};
use kiln_progress::{Outcome, Task};
use kiln_store::{Image, ImageLayer, NewImage, Store};
use rayon::prelude::*;

use crate::unpack::{self, UnpackError};

/// Larger manifests, indexes and configs than this are not read, in bytes.
pub(crate) const DOCUMENT_LIMIT: u64 = 8 << 20;

/// Why an image whose blobs are here cannot be taken in.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The store failed, or a blob is missing or damaged.
    #[error(transparent)]
    Store(#[from] kiln_store::Error),
    /// A manifest, index or config cannot be read.
    #[error("the {what} {digest} is malformed: {source}")]
    Document {
        /// Which kind of document.
        what: &'static str,
        /// The document.
        digest: Digest,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// Manifest and config disagree.
    #[error("the image is inconsistent: its manifest has {layers} layers, its config {diff_ids} diff ids")]
    LayerCount {
        /// Layers in the manifest.
        layers: usize,
        /// Diff ids in the config.
        diff_ids: usize,
    },
    /// A layer of a kind that is no file system.
    #[error("layer {digest} has the media type {media_type}, which is no image layer")]
    NotALayer {
        /// The layer's blob.
        digest: Digest,
        /// Its media type.
        media_type: String,
    },
    /// An index has nothing for the platform.
    #[error("the image is not available for {}; it has {}", wanted, list(available))]
    NoPlatform {
        /// The platform that was asked for.
        wanted: Box<Platform>,
        /// Platforms that the index has.
        available: Vec<Platform>,
    },
    /// A layer cannot be unpacked.
    #[error("cannot unpack layer {digest}: {source}")]
    Unpack {
        /// The layer's blob.
        digest: Digest,
        /// Why.
        source: Box<UnpackError>,
    },
}

fn list(platforms: &[Platform]) -> String {
    let names: Vec<String> = platforms.iter().map(ToString::to_string).collect();
    if names.is_empty() { "no platform at all".to_owned() } else { names.join(", ") }
}

/// What a manifest and its config say.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    /// Digest of the manifest, if it came with one.
    pub(crate) manifest: Option<Digest>,
    /// Digest of the config: the image's id.
    pub(crate) id: Digest,
    /// What the config says that it runs on.
    pub(crate) platform: Platform,
    /// Diff ids, bottom first.
    pub(crate) diff_ids: Vec<Digest>,
    /// The layers' blobs, bottom first.
    pub(crate) layers: Vec<Descriptor>,
}

impl Described {
    /// Checks manifest and config against each other.
    pub(crate) fn new(
        manifest_digest: Option<Digest>,
        id: Digest,
        layers: Vec<Descriptor>,
        config: &[u8],
    ) -> Result<Described, ImportError> {
        let config = ImageConfig::parse(config).map_err(|source| ImportError::Document {
            what: "image config",
            digest: id.clone(),
            source,
        })?;
        let platform = config.platform();
        let diff_ids = config.rootfs.diff_ids;
        if diff_ids.len() != layers.len() {
            return Err(ImportError::LayerCount { layers: layers.len(), diff_ids: diff_ids.len() });
        }
        if let Some(layer) = layers.iter().find(|layer| !layer.media_type.is_layer()) {
            let media_type = layer.media_type.as_str().to_owned();
            return Err(ImportError::NotALayer { digest: layer.digest.clone(), media_type });
        }
        Ok(Described { manifest: manifest_digest, id, platform, diff_ids, layers })
    }

    /// Reads manifest and config from the store's blobs.
    pub(crate) fn read(store: &Store, manifest: &Digest) -> Result<Described, ImportError> {
        let raw = store.blobs().read(manifest, DOCUMENT_LIMIT)?;
        let parsed = parse_manifest(&raw, manifest)?;
        let config = store.blobs().read(&parsed.config.digest, DOCUMENT_LIMIT)?;
        Described::new(Some(manifest.clone()), parsed.config.digest, parsed.layers, &config)
    }

    /// Adds the image to the store; layers that are unpacked there are named, others not.
    pub(crate) fn insert(self, store: &Store) -> Result<Image, ImportError> {
        let mut layers = Vec::new();
        for (diff_id, blob) in self.diff_ids.into_iter().zip(self.layers) {
            let layer = store.layers().by_diff_id(&diff_id)?.map(|layer| layer.id());
            layers.push(ImageLayer { diff_id, layer, blob: Some(blob) });
        }
        let image = NewImage { id: self.id, platform: self.platform, manifest: self.manifest, layers };
        Ok(store.images().insert(&image)?)
    }

    /// Unpacks every layer that is not there yet from its blob, several at once.
    pub(crate) fn unpack(&self, store: &Store, task: &Task) -> Result<(), ImportError> {
        let mut seen = HashSet::new();
        let pairs = self.diff_ids.iter().zip(&self.layers);
        let distinct: Vec<_> = pairs.filter(|(diff_id, _)| seen.insert(*diff_id)).collect();
        distinct.into_par_iter().try_for_each(|(diff_id, blob)| {
            let part = task.part(format!("unpacking {}", blob.digest.short()));
            part.start();
            let result = unpack_blob(store, blob, diff_id);
            part.finish(match &result {
                Ok(()) => Outcome::Done,
                Err(error) => Outcome::Failed(error.to_string()),
            });
            result
        })
    }
}

/// Unpacks one layer from its blob in the store, unless the layer is there.
pub(crate) fn unpack_blob(store: &Store, blob: &Descriptor, diff_id: &Digest) -> Result<(), ImportError> {
    if store.layers().by_diff_id(diff_id)?.is_some() {
        return Ok(());
    }
    let reader = store.blobs().open(&blob.digest)?;
    unpack::layer(store, reader, Some(diff_id))
        .map_err(|source| ImportError::Unpack { digest: blob.digest.clone(), source: Box::new(source) })?;
    Ok(())
}

/// Reads a manifest.
pub(crate) fn parse_manifest(raw: &[u8], digest: &Digest) -> Result<Manifest, ImportError> {
    serde_json::from_slice(raw).map_err(|source| ImportError::Document {
        what: "manifest",
        digest: digest.clone(),
        source,
    })
}

/// The entry of an index that is for `platform`; entries of other things than images are passed by.
pub(crate) fn choose<'a>(manifests: &'a [Descriptor], platform: &Platform) -> Result<&'a Descriptor, ImportError> {
    let images = || manifests.iter().filter(|entry| !is_attestation(entry));
    let fitting = images().filter_map(|entry| Some((platform.rank(entry.platform.as_ref()?)?, entry)));
    let best = fitting.min_by_key(|(rank, _)| *rank).map(|(_, entry)| entry);
    let untold = || images().find(|entry| entry.platform.is_none());
    best.or_else(untold).ok_or_else(|| ImportError::NoPlatform {
        wanted: Box::new(platform.clone()),
        available: images().filter_map(|entry| entry.platform.clone()).collect(),
    })
}

/// Whether an index entry is BuildKit's statement about an image, not an image.
pub(crate) fn is_attestation(entry: &Descriptor) -> bool {
    entry.annotations.contains_key("vnd.docker.reference.type")
}
