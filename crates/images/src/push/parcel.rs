//! What is sent: an image, or several platforms of one, with every document known before the first byte goes.

use std::collections::BTreeSet;

use kiln_oci::{Descriptor, ImageConfig, Reference};
use kiln_progress::Task;
use kiln_store::{Image, ImageLayer, NewImage, Store};

use crate::export::{ExportError, ExportOptions, Exported, ImageContent, Parts, Whole};

/// An image, or several platforms of one, made ready: every document is known, and every blob is in the store or can be
/// had elsewhere.
#[derive(Clone, Debug)]
pub struct Parcel {
    pub(super) whole: Whole,
}

impl Parcel {
    /// Packs images that were just built.
    ///
    /// # Errors
    /// All that packing can meet.
    pub fn of_contents(
        store: &Store,
        images: &[ImageContent],
        options: &ExportOptions,
        task: &Task,
    ) -> Result<Parcel, ExportError> {
        Ok(Parcel { whole: Whole::of_contents(store, images, options, task)? })
    }

    /// Packs images of the store, one a platform, with the manifests that they came with or were kept with. `known` is
    /// what they go by together ([`kiln_store::Images::root`]): it is sent as it is if it lists these images and no
    /// others.
    ///
    /// # Errors
    /// All that packing can meet.
    pub fn of_images(store: &Store, images: &[Image], known: Option<&Descriptor>) -> Result<Parcel, ExportError> {
        Ok(Parcel { whole: Whole::of_images(store, images, known)? })
    }

    /// The manifest, or the index of several platforms.
    pub fn descriptor(&self) -> &Descriptor {
        &self.whole.root
    }

    /// What there is to tell of it.
    pub fn exported(&self) -> Exported {
        self.whole.exported()
    }

    /// The layers, bottom first, each once.
    pub(super) fn layers(&self) -> Vec<Descriptor> {
        let mut seen = BTreeSet::new();
        let all = self.whole.parts.iter().flat_map(|part| &part.layers);
        all.filter(|layer| seen.insert(layer.digest.clone())).cloned().collect()
    }

    /// Remembers, where the store has the images, what the registry of `name` has of them now: their manifests, the
    /// index if `name` means them here too, and that its repository has the layers. A later push sends just this, and
    /// of an image that takes a layer of it, that layer is not sent.
    pub(super) fn remember(&self, store: &Store, name: &Reference) -> Result<(), ExportError> {
        let mut held = true;
        for part in &self.whole.parts {
            held &= remember_manifest(store, part)?;
        }
        if held {
            let layers = self.layers().into_iter().filter(|layer| layer.media_type.is_distributable());
            let layers: Vec<_> = layers.map(|layer| layer.digest).collect();
            store.origins().add(&name.name(), &layers)?;
        }
        let name = name.with_default_tag().to_string();
        let named = store.images().platforms(&name)?;
        let is_part = |image: &Image| self.whole.parts.iter().any(|part| part.config_descriptor.digest == image.id);
        if named.len() == self.whole.parts.len() && named.iter().all(is_part) {
            store.blobs().insert(self.whole.root_bytes())?;
            let known = store.images().root(&name)?;
            if known.is_none_or(|known| known.digest != self.whole.root.digest) {
                store.images().set_root(&name, &self.whole.root)?;
            }
        }
        Ok(())
    }
}

/// Completes the store's image, if there is one; tells whether there is.
fn remember_manifest(store: &Store, part: &Parts) -> Result<bool, ExportError> {
    let Some(image) = store.images().get(&part.config_descriptor.digest)? else { return Ok(false) };
    let config = ImageConfig::parse(&part.config).map_err(|source| ExportError::Document { what: "config", source })?;
    let diff_ids = config.rootfs.diff_ids;
    if image.manifest.as_ref() == Some(&part.descriptor.digest) || diff_ids.len() != part.layers.len() {
        return Ok(true);
    }
    let layers = diff_ids.into_iter().zip(&part.layers).zip(&image.layers);
    let layers =
        layers.map(|((diff_id, blob), known)| ImageLayer { diff_id, layer: known.layer, blob: Some(blob.clone()) });
    let manifest = store.blobs().insert(&part.manifest)?.digest;
    let (id, platform, layers) = (image.id.clone(), image.platform.clone(), layers.collect());
    store.images().insert(&NewImage { id, platform, manifest: Some(manifest), layers })?;
    Ok(true)
}
