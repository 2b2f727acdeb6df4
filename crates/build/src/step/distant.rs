//! A root file system of which some layers lie in a cache elsewhere: known by what they hold, not here yet.

use std::sync::Arc;

use kiln_cache::RemoteLayer;
use kiln_oci::Digest;
use kiln_store::{Layer, Timestamp};

use super::{Made, Rootfs};
use crate::error::StepProblem;

/// A layer that is here, or one that could be fetched.
#[derive(Clone)]
pub(crate) enum Slot {
    Here(Layer),
    Elsewhere(Arc<RemoteLayer>),
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
            Slot::Elsewhere(_) => None,
        });
        match here.collect::<Option<Vec<Layer>>>() {
            Some(layers) => Made::Rootfs(Arc::new(Rootfs::recorded(layers, self.made_at))),
            None => Made::Elsewhere(Arc::new(self)),
        }
    }

    /// The layers that are here.
    pub(crate) fn layers_here(self) -> Vec<Layer> {
        let here = |slot| match slot {
            Slot::Here(layer) => Some(layer),
            Slot::Elsewhere(_) => None,
        };
        self.slots.into_iter().filter_map(here).collect()
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
            Slot::Here(_) => None,
        })
    }
}

impl PartialEq for Slot {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Slot::Here(a), Slot::Here(b)) => a.id() == b.id(),
            (Slot::Elsewhere(a), Slot::Elsewhere(b)) => a.diff_id == b.diff_id,
            _ => false,
        }
    }
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Slot::Here(layer) => layer.id().fmt(f),
            Slot::Elsewhere(layer) => layer.diff_id.fmt(f),
        }
    }
}
