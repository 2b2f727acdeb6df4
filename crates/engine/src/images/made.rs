//! Images that the engine makes itself: of a container's files, of a flat archive.

use std::io::Read;

use kiln_oci::{ContainerConfig, Digest, HistoryEntry, ImageConfig, Platform, Reference};
use kiln_store::{ImageLayer, NewImage, Timestamp};

use crate::{Engine, Error, moment};

/// What the caller of `import` says.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// The image's name; none without.
    pub name: Option<Reference>,
    /// The remark in the image's history.
    pub message: String,
    /// What the image is for.
    pub platform: Platform,
    /// How it runs.
    pub config: ContainerConfig,
}

impl Engine {
    /// Makes an image of one layer of a tar archive, in any known compression.
    ///
    /// # Errors
    /// What is no archive.
    pub fn import<R: Read + Send>(&self, archive: R, options: ImportOptions) -> Result<Digest, Error> {
        let layer = kiln_images::flat::layer(&self.store, archive)?;
        let now = moment::text(Timestamp::now());
        let step = HistoryEntry { created: Some(now.clone()), comment: Some(options.message), ..Default::default() };
        let config = ImageConfig {
            created: Some(now),
            architecture: options.platform.architecture,
            variant: options.platform.variant,
            os: options.platform.os,
            config: Some(options.config),
            history: vec![step],
            ..ImageConfig::default()
        };
        self.keep_image(config, vec![layer], options.name.as_ref())
    }

    /// Puts an image into the store; its config gets the diff ids of `layers`. Tells its id.
    pub(crate) fn keep_image(
        &self,
        mut config: ImageConfig,
        layers: Vec<ImageLayer>,
        name: Option<&Reference>,
    ) -> Result<Digest, Error> {
        config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id.clone()).collect();
        let bytes = config.to_bytes().map_err(|source| Error::Damaged { what: "the new image".into(), source })?;
        let id = self.store.blobs().insert(&bytes)?.digest;
        let image = NewImage { id, platform: config.platform(), manifest: None, layers };
        let image = self.store.images().insert(&image)?;
        if let Some(name) = name {
            self.store.images().tag(&name.with_default_tag().to_string(), &image.id)?;
        }
        Ok(image.id)
    }
}
