//! The documents and blobs that an image consists of, made ready in the store before any is
//! written out: an archive names sizes and digests before it holds the bytes.

use std::collections::HashMap;

use kiln_oci::{Descriptor, Digest, ImageConfig, Manifest, MediaType, Platform};
use kiln_progress::Task;
use kiln_store::{Image, ImageLayer, Layer, Store, Union};
use rayon::prelude::*;

use super::{AnnotationTarget, ContentLayer, ExportError, ExportOptions, ImageContent, MediaTypes, annotations};
use crate::import;
use crate::pack::{self, PackedLayer};

/// Larger configs and manifests than this are not read.
pub(super) const DOCUMENT_LIMIT: u64 = 8 << 20;

/// One image, ready to be written.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    /// Bytes of the manifest.
    pub(crate) manifest: Vec<u8>,
    /// The manifest's own descriptor, with the platform.
    pub(crate) descriptor: Descriptor,
    /// Bytes of the config.
    pub(crate) config: Vec<u8>,
    /// The config's descriptor.
    pub(crate) config_descriptor: Descriptor,
    /// Descriptors of the layers, bottom first; their blobs are in the store.
    pub(crate) layers: Vec<Descriptor>,
    /// `created` of the config.
    pub(crate) created: Option<String>,
}

/// The blobs of layers that came from elsewhere, by diff id: what was pulled is passed on as it is.
///
/// # Errors
/// A store that cannot be read.
pub fn known_blobs(store: &Store) -> Result<HashMap<Digest, Descriptor>, ExportError> {
    let mut known = HashMap::new();
    for image in store.images().list()? {
        for layer in image.layers {
            if let Some(blob) = layer.blob
                && store.blobs().contains(&blob.digest)?
            {
                known.insert(layer.diff_id, blob);
            }
        }
    }
    Ok(known)
}

/// Makes images that were just built ready; several layers at once.
pub(crate) fn of_contents(
    store: &Store,
    images: &[ImageContent],
    options: &ExportOptions,
    task: &Task,
) -> Result<Vec<Parts>, ExportError> {
    options.check(images.len())?;
    let known = known_blobs(store)?;
    let mut parts = Vec::new();
    for image in images {
        let packing = task.part("packing layers");
        packing.start();
        let layers = pack_all(store, &known, &image.layers, options);
        packing.finish(outcome(&layers));
        let layers = layers?;
        let mut config = image.config.clone();
        config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id.clone()).collect();
        let raw = config.to_bytes().map_err(|source| ExportError::Document { what: "config", source })?;
        let layers = layers.into_iter().map(|layer| layer.descriptor).collect();
        parts.push(Parts::new(raw, layers, Some(&image.platform), config.created, options)?);
    }
    Ok(parts)
}

fn outcome<T>(result: &Result<T, ExportError>) -> kiln_progress::Outcome {
    match result {
        Ok(_) => kiln_progress::Outcome::Done,
        Err(error) => kiln_progress::Outcome::Failed(error.to_string()),
    }
}

fn pack_all(
    store: &Store,
    known: &HashMap<Digest, Descriptor>,
    layers: &[ContentLayer],
    options: &ExportOptions,
) -> Result<Vec<PackedLayer>, ExportError> {
    let one = |(position, layer): (usize, &ContentLayer)| -> Result<PackedLayer, ExportError> {
        let layer = match layer {
            ContentLayer::Here(layer) => layer,
            ContentLayer::Elsewhere(layer) => {
                return Ok(PackedLayer { diff_id: layer.diff_id.clone(), descriptor: layer.blob.clone() });
            }
        };
        if let Some(diff_id) = layer.diff_id()?
            && let Some(descriptor) = known.get(&diff_id)
        {
            let packed = PackedLayer { diff_id, descriptor: descriptor.clone() };
            let is_wanted = oci_layer(descriptor.clone()).media_type == options.format.media_type();
            if is_wanted || !options.force_format {
                return Ok(packed);
            }
            return Ok(pack::compressed_anew(store, layer, packed, options.format)?);
        }
        let lower = Union::new(held(layers.get(..position).unwrap_or_default()))?;
        Ok(pack::blob(store, layer, &lower, options.format, options.newest)?)
    };
    layers.par_iter().enumerate().map(one).collect()
}

/// Those of `layers` that the store holds.
pub(super) fn held(layers: &[ContentLayer]) -> Vec<Layer> {
    let here = |layer: &ContentLayer| match layer {
        ContentLayer::Here(layer) => Some(layer.clone()),
        ContentLayer::Elsewhere(_) => None,
    };
    layers.iter().filter_map(here).collect()
}

impl Parts {
    fn new(
        config: Vec<u8>,
        layers: Vec<Descriptor>,
        platform: Option<&Platform>,
        created: Option<String>,
        options: &ExportOptions,
    ) -> Result<Parts, ExportError> {
        let mut config_descriptor = Descriptor::new(MediaType::OciConfig, Digest::of(&config), config.len() as u64);
        let mut layers: Vec<Descriptor> = layers.into_iter().map(oci_layer).collect();
        let annotations = |target| annotations::of(&options.annotations, target, platform);
        let mut media_type = MediaType::OciManifest;
        let has_zstd = layers.iter().any(|layer| layer.media_type == MediaType::OciLayerZstd);
        let annotated = annotations(AnnotationTarget::Manifest);
        if options.media_types == MediaTypes::Docker && annotated.is_empty() && !has_zstd {
            media_type = MediaType::DockerManifest;
            config_descriptor.media_type = MediaType::DockerConfig;
            layers = layers.into_iter().map(docker_layer).collect();
        }
        let mut manifest = Manifest::new(config_descriptor.clone(), layers.clone());
        manifest.media_type = Some(media_type.clone());
        manifest.annotations = annotated;
        let manifest =
            serde_json::to_vec(&manifest).map_err(|source| ExportError::Document { what: "manifest", source })?;
        let mut descriptor = Descriptor::new(media_type, Digest::of(&manifest), manifest.len() as u64);
        descriptor.platform = platform.cloned();
        descriptor.annotations = annotations(AnnotationTarget::ManifestDescriptor);
        Ok(Parts { manifest, descriptor, config, config_descriptor, layers, created })
    }

    /// Makes an image of the store ready: with the manifest `known`, if all of that is here, or else with one of its
    /// own.
    pub(super) fn of_image(
        store: &Store,
        image: &Image,
        known: Option<&Digest>,
        options: &ExportOptions,
    ) -> Result<Parts, ExportError> {
        let raw = store.blobs().read(&image.id, DOCUMENT_LIMIT)?;
        let config = ImageConfig::parse(&raw).map_err(|source| ExportError::Document { what: "config", source })?;
        if let Some(known) = known
            && let Some(parts) = Parts::as_pulled(store, image, known, &raw, &config)?
        {
            return Ok(parts);
        }
        if config.rootfs.diff_ids.len() != image.layers.len() {
            let (diff_ids, layers) = (config.rootfs.diff_ids.len(), image.layers.len());
            return Err(ExportError::LayerCount { diff_ids, layers });
        }
        let mut layers = Vec::new();
        for position in 0..image.layers.len() {
            layers.push(stored_layer(store, &image.layers, position, options)?);
        }
        Parts::new(raw, layers, Some(&config.platform()), config.created, options)
    }

    /// The image with a manifest that it has already; `None` if a piece of it is not in the store.
    fn as_pulled(
        store: &Store,
        image: &Image,
        digest: &Digest,
        raw_config: &[u8],
        config: &ImageConfig,
    ) -> Result<Option<Parts>, ExportError> {
        if !store.blobs().contains(digest)? {
            return Ok(None);
        }
        let raw = store.blobs().read(digest, DOCUMENT_LIMIT)?;
        let manifest: Manifest =
            serde_json::from_slice(&raw).map_err(|source| ExportError::Document { what: "manifest", source })?;
        for (blob, layer) in manifest.layers.iter().zip(&image.layers) {
            if !store.blobs().contains(&blob.digest)? && !is_elsewhere(store, layer)? {
                return Ok(None);
            }
        }
        let media_type = manifest.media_type.clone().unwrap_or(MediaType::OciManifest);
        let mut descriptor = Descriptor::new(media_type, digest.clone(), raw.len() as u64);
        descriptor.platform = Some(config.platform());
        Ok(Some(Parts {
            manifest: raw,
            descriptor,
            config: raw_config.to_vec(),
            config_descriptor: manifest.config,
            layers: manifest.layers,
            created: config.created.clone(),
        }))
    }
}

/// The blob of one layer of a stored image: kept from the pull, or packed now.
fn stored_layer(
    store: &Store,
    layers: &[ImageLayer],
    position: usize,
    options: &ExportOptions,
) -> Result<Descriptor, ExportError> {
    let Some(wanted) = layers.get(position) else {
        return Err(ExportError::LayerCount { diff_ids: position, layers: layers.len() });
    };
    if let Some(blob) = &wanted.blob
        && (store.blobs().contains(&blob.digest)? || is_elsewhere(store, wanted)?)
    {
        return Ok(blob.clone());
    }
    let layer = unpacked(store, wanted)?;
    let below = if pack::stands_alone(&layer)? { &[] } else { layers.get(..position).unwrap_or_default() };
    let below: Result<Vec<Layer>, ExportError> = below.iter().map(|layer| unpacked(store, layer)).collect();
    let packed = pack::blob(store, &layer, &Union::new(below?)?, options.format, None)?;
    Ok(packed.descriptor)
}

/// Whether the store does not hold the layer, but knows where it can be had.
fn is_elsewhere(store: &Store, wanted: &ImageLayer) -> Result<bool, ExportError> {
    let Some(blob) = &wanted.blob else { return Ok(false) };
    let is_known = !store.origins().of(&blob.digest)?.is_empty();
    Ok(is_known && store.layers().by_diff_id(&wanted.diff_id)?.is_none())
}

fn unpacked(store: &Store, wanted: &ImageLayer) -> Result<Layer, ExportError> {
    let by_id = wanted.layer.map(|id| store.layers().get(id)).transpose()?.flatten();
    let layer = match by_id {
        Some(layer) => Some(layer),
        None => store.layers().by_diff_id(&wanted.diff_id)?,
    };
    if let Some(layer) = layer {
        return Ok(layer);
    }
    let missing = || ExportError::MissingLayer { diff_id: wanted.diff_id.clone() };
    let blob = wanted.blob.as_ref().ok_or_else(missing)?;
    if !store.blobs().contains(&blob.digest)? {
        return Err(missing());
    }
    import::unpack_blob(store, blob, &wanted.diff_id)?;
    store.layers().by_diff_id(&wanted.diff_id)?.ok_or_else(missing)
}

/// The same layer with OCI's media type, whatever docker called it.
fn oci_layer(mut layer: Descriptor) -> Descriptor {
    layer.media_type = match layer.media_type {
        MediaType::DockerLayer => MediaType::OciLayer,
        MediaType::DockerLayerGzip => MediaType::OciLayerGzip,
        MediaType::DockerForeignLayer => MediaType::OciForeignLayerGzip,
        other => other,
    };
    layer
}

/// The same layer with Docker's media type, where it has one.
fn docker_layer(mut layer: Descriptor) -> Descriptor {
    layer.media_type = match layer.media_type {
        MediaType::OciLayer => MediaType::DockerLayer,
        MediaType::OciLayerGzip => MediaType::DockerLayerGzip,
        MediaType::OciForeignLayerGzip => MediaType::DockerForeignLayer,
        other => other,
    };
    layer
}
