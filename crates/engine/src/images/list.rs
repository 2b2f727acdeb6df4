//! Images as `images` shows them, and giving them names.

use std::collections::{BTreeMap, BTreeSet};

use kiln_oci::{Digest, Reference};
use kiln_store::Image;

use super::find::familiar_names;
use crate::{Engine, Error, moment};

/// An image, for one or more lines of `images`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSummary {
    /// The digest of the config.
    pub id: Digest,
    /// `REPOSITORY:TAG`, as people write it, sorted; empty for an untagged image.
    pub tags: Vec<String>,
    /// `REPOSITORY@DIGEST` of a pulled image.
    pub digests: Vec<String>,
    /// When it was built, seconds since 1970; `None` where the config does not say.
    pub created: Option<i64>,
    /// Bytes of its layers.
    pub size: u64,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// How many containers were made from it.
    pub containers: usize,
}

impl Engine {
    /// All images, newest first. A name for several platforms is one image: that which the name means by itself.
    ///
    /// # Errors
    /// What the store says.
    pub fn images(&self) -> Result<Vec<ImageSummary>, Error> {
        let containers = self.store.containers().list()?;
        let mut images = Vec::new();
        let shown = |image: &Image| !image.names.is_empty() || !image.is_named();
        for image in self.store.images().list()?.into_iter().filter(shown) {
            let config = self.image_config(&image)?;
            images.push(ImageSummary {
                tags: familiar_names(&image),
                digests: self.repository_digests(&image)?,
                created: config.created.as_deref().and_then(moment::seconds),
                size: self.layer_sizes(&image)?.iter().sum(),
                labels: config.container().labels,
                containers: containers.iter().filter(|c| c.image.as_ref() == Some(&image.id)).count(),
                id: image.id,
            });
        }
        images.sort_by_key(|image| std::cmp::Reverse(image.created));
        Ok(images)
    }

    /// Gives the image `source`, for all platforms that it has, the further name `target`.
    ///
    /// # Errors
    /// No such image, or a target that is no name.
    pub fn tag(&self, source: &str, target: &str) -> Result<(), Error> {
        let reference: Reference =
            target.parse().map_err(|source| Error::TargetReference { text: target.into(), source })?;
        let image = self.find_image(source)?;
        let full = source.parse::<Reference>().ok().map(|source| source.with_default_tag().to_string());
        let (images, target) = (self.store.images(), reference.with_default_tag().to_string());
        let full = full.filter(|full| image.has_name(full));
        let (ids, root) = match full {
            Some(full) => {
                let platforms = images.platforms(&full)?;
                (platforms.into_iter().map(|image| image.id).collect(), images.root(&full)?)
            }
            None => (vec![image.id], None),
        };
        images.tag_all(&target, &ids)?;
        if let Some(root) = root {
            images.set_root(&target, &root)?;
        }
        Ok(())
    }
}

impl Engine {
    /// `REPOSITORY@DIGEST` for every repository that names an image: the digest of what the name stands for, an index or
    /// the manifest, where it is known.
    pub(super) fn repository_digests(&self, image: &Image) -> Result<Vec<String>, Error> {
        let mut digests = BTreeSet::new();
        for name in image.names.iter().chain(&image.names_by_platform) {
            let Ok(reference) = name.parse::<Reference>() else { continue };
            let root = self.store.images().root(name)?.map(|root| root.digest).or_else(|| image.manifest.clone());
            digests.extend(root.map(|digest| format!("{}@{digest}", reference.familiar_name())));
        }
        Ok(digests.into_iter().collect())
    }
}
