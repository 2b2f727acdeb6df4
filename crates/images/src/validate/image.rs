//! Indexes, manifests and configs, from the top down.

use std::io;

use kiln_oci::{Descriptor, Digest, ImageConfig, Index, Manifest};

use super::Checker;
use crate::layout::{self, DockerImage};

/// Indexes within indexes, at most.
const MAX_DEPTH: usize = 4;

impl Checker {
    /// Every entry of an index.
    pub(super) fn index(&mut self, place: &str, index: &Index, depth: usize) -> io::Result<()> {
        if index.schema_version != 2 {
            self.problem(place, "schemaVersion is not 2");
        }
        if depth > MAX_DEPTH {
            self.problem(place, "indexes are nested too deeply");
            return Ok(());
        }
        for entry in &index.manifests {
            let Some(raw) = self.document(place, entry)? else {
                continue;
            };
            let place = entry.digest.to_string();
            if entry.media_type.is_index() {
                match serde_json::from_slice::<Index>(&raw) {
                    Ok(nested) => self.index(&place, &nested, depth + 1)?,
                    Err(error) => self.problem(&place, error.to_string()),
                }
            } else if entry.media_type.is_manifest() {
                match serde_json::from_slice::<Manifest>(&raw) {
                    Ok(manifest) => self.manifest(&place, entry, &manifest)?,
                    Err(error) => self.problem(&place, error.to_string()),
                }
            } else {
                self.problem(&place, format!("the media type {} is no manifest's", entry.media_type));
            }
        }
        Ok(())
    }

    fn manifest(&mut self, place: &str, entry: &Descriptor, manifest: &Manifest) -> io::Result<()> {
        if manifest.schema_version != 2 {
            self.problem(place, "schemaVersion is not 2");
        }
        if manifest.media_type.as_ref().is_some_and(|own| *own != entry.media_type) {
            self.problem(place, "its media type is not the one of its descriptor");
        }
        let Some(raw) = self.document(place, &manifest.config)? else {
            return Ok(());
        };
        let config_place = manifest.config.digest.to_string();
        let config = match ImageConfig::parse(&raw) {
            Ok(config) => config,
            Err(error) => {
                self.problem(&config_place, error.to_string());
                return Ok(());
            }
        };
        self.config(&config_place, &config, manifest.layers.len());
        if let Some(platform) = &entry.platform
            && (platform.os != config.os || platform.architecture != config.architecture)
        {
            self.problem(place, format!("is listed for {platform}, but its config says {}", config.platform()));
        }
        for (position, layer) in manifest.layers.iter().enumerate() {
            self.layer(place, layer, config.rootfs.diff_ids.get(position))?;
        }
        Ok(())
    }

    fn config(&mut self, place: &str, config: &ImageConfig, layers: usize) {
        if config.os.is_empty() || config.architecture.is_empty() {
            self.problem(place, "os or architecture is missing");
        }
        if config.rootfs.kind != "layers" {
            self.problem(place, "rootfs.type is not \"layers\"");
        }
        let diff_ids = config.rootfs.diff_ids.len();
        if diff_ids != layers {
            self.problem(place, format!("{diff_ids} diff ids for {layers} layers"));
        }
        let made = config.history.iter().filter(|step| !step.empty_layer).count();
        if !config.history.is_empty() && made != layers {
            self.problem(place, format!("{made} steps of the history made a layer, but there are {layers} layers"));
        }
    }

    fn layer(&mut self, place: &str, layer: &Descriptor, diff_id: Option<&Digest>) -> io::Result<()> {
        let own_place = layer.digest.to_string();
        if !layer.media_type.is_layer() {
            self.problem(&own_place, format!("the media type {} is no layer's", layer.media_type));
        }
        if !self.present(place, layer) {
            return Ok(());
        }
        if !self.layers.contains_key(&layer.digest) {
            let actual = self.read_layer(layer)?;
            self.layers.insert(layer.digest.clone(), actual);
        }
        let actual = self.layers.get(&layer.digest).cloned().flatten();
        if let (Some(actual), Some(diff_id)) = (actual, diff_id)
            && actual != *diff_id
        {
            self.problem(&own_place, format!("the config says diff id {diff_id}, the content has {actual}"));
        }
        Ok(())
    }

    /// The bytes of a document that a descriptor names, if it is there as described.
    fn document(&mut self, place: &str, descriptor: &Descriptor) -> io::Result<Option<Vec<u8>>> {
        if !self.present(place, descriptor) {
            return Ok(None);
        }
        if descriptor.size > crate::import::DOCUMENT_LIMIT {
            self.problem(place, format!("{} is too large for a document", descriptor.digest));
            return Ok(None);
        }
        std::fs::read(self.blob_file(&descriptor.digest)).map(Some)
    }

    fn present(&mut self, place: &str, descriptor: &Descriptor) -> bool {
        let Some(size) = self.blobs.get(&descriptor.digest).copied() else {
            self.problem(place, format!("the blob {} is missing", descriptor.digest));
            return false;
        };
        if size != descriptor.size {
            let text = format!("{} has {size} bytes, not {}", descriptor.digest, descriptor.size);
            self.problem(place, text);
        }
        true
    }

    /// The docker archive's list, if there is one, against the blobs.
    pub(super) fn docker_manifest(&mut self) {
        let place = layout::DOCKER_MANIFEST;
        let Some(raw) = self.documents.get(place) else {
            return;
        };
        let images: Vec<DockerImage> = match serde_json::from_slice(raw) {
            Ok(images) => images,
            Err(error) => return self.problem(place, error.to_string()),
        };
        for path in images.iter().flat_map(|image| image.layers.iter().chain([&image.config])) {
            let known = self.blobs.keys().any(|digest| layout::blob_path(digest) == *path);
            if !known {
                self.problem(place, format!("{path} is missing"));
            }
        }
    }
}
