//! Making an image of a container.

use kiln_images::export::{self, ExportError};
use kiln_oci::{ContainerConfig, Digest, HistoryEntry, ImageConfig, Platform, Reference};
use kiln_store::{ImageLayer, Layer, Timestamp, Union};

use super::record::Container;
use super::settings::Settings;
use crate::{Engine, Error, moment};

/// What the caller of `commit` says.
#[derive(Clone, Debug, Default)]
pub struct CommitOptions {
    /// The image's name; none without.
    pub name: Option<Reference>,
    /// `--author`.
    pub author: String,
    /// `--message`.
    pub message: String,
}

impl Engine {
    /// What an image of the container would say of how it runs, before any changes.
    ///
    /// # Errors
    /// No such container.
    pub fn config_for_commit(&self, name: &str) -> Result<ContainerConfig, Error> {
        Ok(image_config(&self.container(name)?.settings))
    }

    /// Makes an image of a container's files, which runs as `config` says. Nobody should write to them meanwhile.
    ///
    /// # Errors
    /// No such container, or one that went meanwhile; files that cannot be copied.
    pub fn commit(&self, name: &str, config: ContainerConfig, options: &CommitOptions) -> Result<Digest, Error> {
        let container = self.container(name)?;
        let mut layers = self.container_layers(&container)?;
        let changes = self.changes(&container, &Union::new(layers.clone())?)?;
        let base = self.base_of(&container)?;
        let now = moment::text(Timestamp::now());
        let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let mut history = base.history;
        history.push(HistoryEntry {
            created: Some(now.clone()),
            created_by: Some(container.args().join(" ")),
            author: given(&options.author),
            comment: given(&options.message),
            empty_layer: changes.is_none(),
        });
        layers.extend(changes);
        let config = ImageConfig {
            created: Some(now),
            author: given(&options.author),
            architecture: base.architecture,
            variant: base.variant,
            os: base.os,
            config: Some(config),
            history,
            ..ImageConfig::default()
        };
        let layers = self.image_layers_of(&layers)?;
        self.keep_image(config, layers, options.name.as_ref())
    }

    /// Layers of the store as an image names them.
    fn image_layers_of(&self, layers: &[Layer]) -> Result<Vec<ImageLayer>, Error> {
        let diff_ids = kiln_images::pack::diff_ids(&self.store, layers).map_err(ExportError::from)?;
        let known = export::known_blobs(&self.store)?;
        let named = |(diff_id, layer): (Digest, &Layer)| ImageLayer {
            blob: known.get(&diff_id).cloned(),
            layer: Some(layer.id()),
            diff_id,
        };
        Ok(diff_ids.into_iter().zip(layers).map(named).collect())
    }

    /// The config of the container's image; one that says nothing if the image is gone.
    fn base_of(&self, container: &Container) -> Result<ImageConfig, Error> {
        let image = container.image.as_ref().map(|id| self.store.images().get(id)).transpose()?.flatten();
        if let Some(image) = image {
            return self.image_config(&image);
        }
        let host = Platform::host();
        Ok(ImageConfig {
            architecture: host.architecture,
            variant: host.variant,
            os: host.os,
            ..ImageConfig::default()
        })
    }
}

/// The part of a container's settings that an image keeps. Triggers and the shell are the old image's own.
fn image_config(settings: &Settings) -> ContainerConfig {
    let empty = |path: &String| (path.clone(), serde_json::Map::new());
    ContainerConfig {
        user: settings.user.clone(),
        exposed_ports: settings.exposed_ports.clone(),
        env: settings.env.clone(),
        entrypoint: settings.entrypoint.clone(),
        cmd: settings.cmd.clone(),
        healthcheck: settings.healthcheck.clone(),
        volumes: settings.volumes.iter().map(empty).collect(),
        working_dir: settings.working_dir.clone(),
        labels: settings.labels.clone(),
        stop_signal: settings.stop_signal.clone(),
        ..ContainerConfig::default()
    }
}
