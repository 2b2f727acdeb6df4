//! A root file system as steps hand it on: layers, and when each was made.

use kiln_store::{Layer, Timestamp};

/// Layers, bottom first, with the times at which steps made them; layers of a base image have none.
#[derive(Clone, Default)]
pub(crate) struct Rootfs {
    layers: Vec<Layer>,
    made_at: Vec<Option<Timestamp>>,
}

impl Rootfs {
    /// The layers of a base image.
    pub(crate) fn of_image(layers: Vec<Layer>) -> Self {
        let made_at = vec![None; layers.len()];
        Rootfs { layers, made_at }
    }

    /// The layers of a record. Times that are missing at the end are unknown.
    pub(crate) fn recorded(layers: Vec<Layer>, mut made_at: Vec<Option<Timestamp>>) -> Self {
        made_at.resize(layers.len(), None);
        Rootfs { layers, made_at }
    }

    /// The same with a layer on top that was made now.
    pub(crate) fn with(&self, layer: Layer) -> Self {
        let mut rootfs = self.clone();
        rootfs.layers.push(layer);
        rootfs.made_at.push(Some(Timestamp::now()));
        rootfs
    }

    /// The layers, bottom first.
    pub(crate) fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// When each layer was made, bottom first.
    pub(crate) fn made_at(&self) -> &[Option<Timestamp>] {
        &self.made_at
    }
}
