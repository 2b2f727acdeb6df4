//! Which image a name means, and what it consists of.

use std::collections::HashSet;

use kiln_oci::{Digest, ImageConfig, Platform, Reference};
use kiln_store::{Image, ImageLayer, Layer};

use crate::{Engine, Error};

/// More than any config that is one.
const CONFIG_LIMIT: u64 = 16 << 20;
/// The remark in the history of what a build made.
const BUILT: &str = "buildkit.dockerfile.v0";

impl Engine {
    /// The image that `name` means: a reference (`latest` where it has no tag), an id, or an
    /// unambiguous beginning of one.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`] where there is none.
    pub fn find_image(&self, name: &str) -> Result<Image, Error> {
        let reference = name.parse::<Reference>().ok();
        if let Some(reference) = &reference
            && let Some(image) = self.image_by_reference(reference)?
        {
            return Ok(image);
        }
        let hex = name.strip_prefix("sha256:").unwrap_or(name);
        if is_id_prefix(hex) {
            let wanted = if hex.len() == 64 { format!("sha256:{hex}") } else { hex.to_owned() };
            if let Some(image) = self.store.images().resolve(&wanted)? {
                return Ok(image);
            }
        }
        if name.len() < 64 {
            // Docker refuses what is no reference before it looks.
            name.parse::<Reference>().map_err(Error::ImageName)?;
        }
        Err(Error::NoSuchImage(reference.map_or_else(|| name.into(), |r| r.with_default_tag().familiar())))
    }

    /// The same, but of a name's images the one for `platform`.
    ///
    /// # Errors
    /// [`Error::NoSuchPlatform`] where the image is there, but not for that platform.
    pub fn find_image_for(&self, name: &str, platform: Option<&Platform>) -> Result<Image, Error> {
        let found = self.find_image(name)?;
        let Some(platform) = platform else { return Ok(found) };
        let full = name.parse::<Reference>().ok().map(|reference| reference.with_default_tag());
        let full = full.map(|full| full.to_string()).filter(|full| found.has_name(full));
        let name_or_id = full.unwrap_or_else(|| found.id.to_string());
        let fitting = self.store.images().resolve_for(&name_or_id, platform)?;
        fitting.ok_or_else(|| {
            let reference = name.parse::<Reference>().ok().filter(|_| !is_id_prefix(name));
            let name = reference.map_or_else(|| name.into(), |reference| reference.with_default_tag().familiar());
            Error::NoSuchPlatform { name, platform: platform.to_string() }
        })
    }

    fn image_by_reference(&self, reference: &Reference) -> Result<Option<Image>, Error> {
        let images = self.store.images();
        if let Some(image) = images.resolve(&reference.with_default_tag().to_string())? {
            return Ok(Some(image));
        }
        let Some(digest) = reference.digest() else { return Ok(None) };
        match images.resolve(&digest.to_string())? {
            Some(image) => Ok(Some(image)),
            None => self.image_by_root(reference, digest),
        }
    }

    /// The image of a name in the reference's repository that stands for the index `digest`.
    fn image_by_root(&self, reference: &Reference, digest: &Digest) -> Result<Option<Image>, Error> {
        let images = self.store.images();
        let in_repository =
            |name: &&String| name.parse::<Reference>().is_ok_and(|name| name.name() == reference.name());
        for image in images.list()? {
            for name in image.names.iter().filter(in_repository) {
                if images.root(name)?.is_some_and(|root| root.digest == *digest) {
                    return Ok(Some(image));
                }
            }
        }
        Ok(None)
    }

    /// The config of an image.
    ///
    /// # Errors
    /// A config that is missing or damaged.
    pub fn image_config(&self, image: &Image) -> Result<ImageConfig, Error> {
        let bytes = self.store.blobs().read(&image.id, CONFIG_LIMIT)?;
        ImageConfig::parse(&bytes).map_err(|source| Error::Damaged { what: format!("image {}", image.id), source })
    }

    /// The image that a container was made from whose commit gave `image`, if it is here still: told by its layers and
    /// its history, with which the other one begins.
    pub(crate) fn parent(&self, image: &Image, config: &ImageConfig) -> Result<Option<Image>, Error> {
        let Some((newest, before)) = config.history.split_last().filter(|(_, before)| !before.is_empty()) else {
            return Ok(None);
        };
        let was_built = newest.comment.as_deref() == Some(BUILT);
        if was_built || image.manifest.is_some() {
            return Ok(None);
        }
        for other in self.store.images().list()? {
            if other.id == image.id || other.layers.len() > image.layers.len() {
                continue;
            }
            let known = self.image_config(&other)?;
            if known.history == before && config.rootfs.diff_ids.starts_with(&known.rootfs.diff_ids) {
                return Ok(Some(other));
            }
        }
        Ok(None)
    }

    /// The layers of an image, bottom first; those whose blobs are here but not unpacked yet are
    /// unpacked.
    ///
    /// # Errors
    /// [`Error::NotUnpacked`] where a layer has to be pulled first.
    pub fn image_layers(&self, image: &Image) -> Result<Vec<Layer>, Error> {
        image.layers.iter().map(|layer| self.image_layer(image, layer)).collect()
    }

    fn image_layer(&self, image: &Image, wanted: &ImageLayer) -> Result<Layer, Error> {
        let layers = self.store.layers();
        if let Some(id) = wanted.layer
            && let Some(layer) = layers.get(id)?
        {
            return Ok(layer);
        }
        if let Some(layer) = layers.by_diff_id(&wanted.diff_id)? {
            return Ok(layer);
        }
        let missing = || Error::NotUnpacked { image: image.id.to_string(), diff_id: wanted.diff_id.to_string() };
        let blob = wanted.blob.as_ref().ok_or_else(missing)?;
        if !self.store.blobs().contains(&blob.digest)? {
            return Err(missing());
        }
        let bytes = self.store.blobs().open(&blob.digest)?;
        Ok(kiln_images::unpack::layer(&self.store, bytes, Some(&wanted.diff_id))?.layer)
    }

    /// Bytes of each layer of an image, bottom first: of files where it is unpacked, of the blob
    /// otherwise.
    pub(crate) fn layer_sizes(&self, image: &Image) -> Result<Vec<u64>, Error> {
        let size = |layer: &ImageLayer| -> Result<u64, Error> {
            match layer.layer.map(|id| self.store.layers().get(id)).transpose()?.flatten() {
                Some(unpacked) => unpacked_size(&unpacked),
                None => Ok(layer.blob.as_ref().map_or(0, |blob| blob.size)),
            }
        };
        image.layers.iter().map(size).collect()
    }
}

/// Bytes of a layer's files; names of one file count once.
fn unpacked_size(layer: &Layer) -> Result<u64, Error> {
    let index = layer.index()?;
    let mut groups = HashSet::new();
    let counted = index.entries().filter(|entry| entry.link_group().is_none_or(|group| groups.insert(group)));
    Ok(counted.map(|entry| entry.size()).sum())
}

fn is_id_prefix(hex: &str) -> bool {
    (1..=64).contains(&hex.len()) && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Names as people write them, sorted; what cannot be parsed stays as it is.
pub(crate) fn familiar_names(image: &Image) -> Vec<String> {
    let mut names: Vec<String> = image.names.iter().map(|name| familiar(name)).collect();
    names.sort();
    names
}

pub(crate) fn familiar(name: &str) -> String {
    name.parse::<Reference>().map_or_else(|_| name.to_owned(), |reference| reference.familiar())
}
