//! A root file system of which some layers lie elsewhere, in a cache or in the registry of a base image: known by what
//! they hold, not here yet.

use std::sync::Arc;

use kiln_cache::RemoteLayer;
use kiln_images::export::ContentLayer;
use kiln_images::pack;
use kiln_images::pull::Unpulled;
use kiln_oci::Digest;
use kiln_store::{Layer, Timestamp};

use super::{Made, Rootfs};
use crate::error::StepProblem;

/// A layer that is here, or one that could be fetched.
#[derive(Clone)]
pub(crate) enum Slot {
    Here(Layer),
    /// In a cache.
    Elsewhere(Arc<RemoteLayer>),
    /// Part of an image that nobody wanted the files of.
    Unpulled(Arc<Unpulled>),
}

/// Layers, bottom first, with the times at which steps made them.
#[derive(Clone, Default)]
pub(crate) struct Distant {
    pub(crate) slots: Vec<Slot>,
    pub(crate) made_at: Vec<Option<Timestamp>>,
}

impl Distant {
    /// What a step made, as far as it is a root file system.
    pub(crate) fn of(made: &Made) -> Distant {
        match made {
            Made::Rootfs(rootfs) => Distant {
                slots: rootfs.layers().iter().cloned().map(Slot::Here).collect(),
                made_at: rootfs.made_at().to_vec(),
            },
            Made::Elsewhere(distant) => (**distant).clone(),
            Made::Context(_) => Distant::default(),
        }
    }

    /// One on top of another.
    pub(crate) fn stacked<'a>(parts: impl IntoIterator<Item = &'a Made>) -> Distant {
        let mut stacked = Distant::default();
        for part in parts.into_iter().map(Distant::of) {
            stacked.slots.extend(part.slots);
            stacked.made_at.extend(part.made_at);
        }
        stacked
    }

    /// What lies above the lowest `count` layers.
    pub(crate) fn above(mut self, count: usize) -> Distant {
        let count = count.min(self.slots.len());
        self.slots.drain(..count);
        self.made_at.drain(..count);
        self
    }

    /// As a result: an ordinary root file system if all of it is here.
    pub(crate) fn made(self) -> Made {
        let here = self.slots.iter().map(|slot| match slot {
            Slot::Here(layer) => Some(layer.clone()),
            Slot::Elsewhere(_) | Slot::Unpulled(_) => None,
        });
        match here.collect::<Option<Vec<Layer>>>() {
            Some(layers) => Made::Rootfs(Arc::new(Rootfs::recorded(layers, self.made_at))),
            None => Made::Elsewhere(Arc::new(self)),
        }
    }

    /// The layers as those of an image that is exported. What caches have is left out: nobody but a build can fetch
    /// it.
    pub(crate) fn content(self) -> Vec<ContentLayer> {
        let content = |slot| match slot {
            Slot::Here(layer) => Some(ContentLayer::Here(layer)),
            Slot::Unpulled(layer) => Some(ContentLayer::Elsewhere(Box::new((*layer).clone()))),
            Slot::Elsewhere(_) => None,
        };
        self.slots.into_iter().filter_map(content).collect()
    }

    /// Whether an image of these layers can be made without fetching any: all that is not here lies in registries,
    /// and nothing above it has a tar that depends on it.
    pub(crate) fn is_enough_for_an_image(&self) -> Result<bool, StepProblem> {
        let mut is_above = false;
        for slot in &self.slots {
            match slot {
                Slot::Unpulled(_) => is_above = true,
                Slot::Elsewhere(_) => return Ok(false),
                Slot::Here(layer) if is_above && !pack::stands_alone(layer)? => return Ok(false),
                Slot::Here(_) => {}
            }
        }
        Ok(true)
    }

    /// Somebody wants to read it without having fetched it.
    pub(crate) fn not_here(&self) -> StepProblem {
        let missing: Vec<String> = self.missing().map(ToString::to_string).collect();
        StepProblem::Other(format!("internal error: layers that were not fetched: {}", missing.join(", ")))
    }

    /// The diff ids of the layers that are not here.
    pub(crate) fn missing(&self) -> impl Iterator<Item = &Digest> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Elsewhere(layer) => Some(&layer.diff_id),
            Slot::Unpulled(layer) => Some(&layer.diff_id),
            Slot::Here(_) => None,
        })
    }
}

impl PartialEq for Slot {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Slot::Here(a), Slot::Here(b)) => a.id() == b.id(),
            (Slot::Elsewhere(a), Slot::Elsewhere(b)) => a.diff_id == b.diff_id,
            (Slot::Unpulled(a), Slot::Unpulled(b)) => a.diff_id == b.diff_id,
            _ => false,
        }
    }
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Slot::Here(layer) => layer.id().fmt(f),
            Slot::Elsewhere(layer) => layer.diff_id.fmt(f),
            Slot::Unpulled(layer) => layer.diff_id.fmt(f),
        }
    }
}
