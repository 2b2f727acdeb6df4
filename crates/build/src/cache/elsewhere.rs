//! What the caches elsewhere have for the steps of one build.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use kiln_cache::{RemoteRecord, Shelf};
use kiln_graph::VertexId;
use kiln_store::{Key, Layer, Timestamp};

use crate::error::StepProblem;
use crate::step::{Distant, Made, Slot, Steps};

/// The shelf of a build's caches, and what became of it.
#[derive(Default)]
pub(crate) struct Elsewhere {
    pub(crate) shelf: Shelf,
    /// Which of them may give cache mounts what they start with.
    pub(crate) gives_mounts: bool,
    /// Records that were found by their content, by the recipe keys of this build.
    aliases: Mutex<HashMap<Key, Arc<RemoteRecord>>>,
    /// Recipe keys whose records were written into the store.
    pub(super) adopted: Mutex<HashSet<Key>>,
    /// What cache mounts that do not exist start with, by id.
    pub(crate) seeds: Mutex<HashMap<String, Layer>>,
}

impl Elsewhere {
    /// With what was read.
    pub(crate) fn new(shelf: Shelf, gives_mounts: bool) -> Self {
        Elsewhere { shelf, gives_mounts, ..Elsewhere::default() }
    }

    /// The record under a recipe key.
    pub(crate) fn find(&self, recipe: &Key) -> Option<Arc<RemoteRecord>> {
        let aliases = self.aliases.lock().unwrap_or_else(PoisonError::into_inner);
        self.shelf.find(recipe).or_else(|| aliases.get(recipe)).cloned()
    }

    /// From now on the record is found under `recipe`, too.
    pub(crate) fn alias(&self, recipe: Key, record: Arc<RemoteRecord>) {
        self.aliases.lock().unwrap_or_else(PoisonError::into_inner).insert(recipe, record);
    }
}

impl Steps {
    /// The result of a step under a recipe key as a cache elsewhere has it; nothing is fetched.
    pub(crate) fn probe_elsewhere(&self, recipe: &Key) -> Result<Option<Made>, StepProblem> {
        self.elsewhere.find(recipe).map(|record| self.distant(&record)).transpose()
    }

    /// What a record elsewhere stands for; layers that the store has anyway are taken from there.
    pub(crate) fn distant(&self, record: &RemoteRecord) -> Result<Made, StepProblem> {
        let mut slots = Vec::with_capacity(record.layers.len());
        for layer in &record.layers {
            slots.push(match self.store.layers().by_diff_id(&layer.diff_id)? {
                Some(here) => Slot::Here(here),
                None => Slot::Elsewhere(Arc::clone(layer)),
            });
        }
        let time = |at: &Option<(i64, u32)>| at.map(|(seconds, nanoseconds)| Timestamp { seconds, nanoseconds });
        let mut made_at: Vec<_> = record.record.made_at.iter().map(time).collect();
        made_at.resize(slots.len(), None);
        Ok(Distant { slots, made_at }.made())
    }

    /// Notes under which recipe key a step is known.
    pub(crate) fn known_as(&self, id: VertexId, recipe: Key) {
        self.recipes.lock().unwrap_or_else(PoisonError::into_inner).insert(id, recipe);
    }

    /// The recipe key under which a step is known, if it was found out.
    pub(crate) fn recipe(&self, id: VertexId) -> Option<Key> {
        self.recipes.lock().unwrap_or_else(PoisonError::into_inner).get(&id).copied()
    }
}
