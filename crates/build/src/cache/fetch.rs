//! Making what lies elsewhere be here, for a step that reads it or for the result.

use std::collections::HashSet;
use std::sync::PoisonError;

use futures_util::future::try_join_all;
use kiln_cache::{FetchError, RemoteRecord};
use kiln_images::pull;
use kiln_oci::Digest;
use kiln_progress::Task;
use kiln_registry::retries;
use kiln_store::{Key, LayerId, NewRecord};

use crate::error::StepProblem;
use crate::sources::shown;
use crate::step::{Distant, Effects, Made, Slot, Steps};

impl Steps {
    /// The same results with all layers in the store.
    pub(crate) async fn all_here(&self, results: &[Made], task: &Task) -> Result<Vec<Made>, StepProblem> {
        try_join_all(results.iter().map(|made| self.here(made, task))).await
    }

    /// The same result with all layers in the store; those that are missing are fetched, and the records that this
    /// completes are the store's from then on.
    pub(crate) async fn here(&self, made: &Made, task: &Task) -> Result<Made, StepProblem> {
        let Made::Elsewhere(distant) = made else { return Ok(made.clone()) };
        let slots = distant.slots.iter().map(|slot| self.slot_here(slot, task));
        let slots = try_join_all(slots).await?;
        let fetched: HashSet<Digest> = distant.missing().cloned().collect();
        self.adopt(&fetched)?;
        Ok(Distant { slots, made_at: distant.made_at.clone() }.made())
    }

    async fn slot_here(&self, slot: &Slot, task: &Task) -> Result<Slot, StepProblem> {
        match slot {
            Slot::Here(layer) => Ok(Slot::Here(layer.clone())),
            Slot::Elsewhere(layer) => {
                let fetched = self.elsewhere.shelf.fetch(&self.store, layer, task).await;
                fetched.map(Slot::Here).map_err(StepProblem::from)
            }
            Slot::Unpulled(layer) => {
                let pulling = pull::layer(&self.store, &self.registry, layer, task);
                Ok(Slot::Here(retries::heard(shown(task), pulling).await?))
            }
        }
    }

    /// Writes the records of this build's steps into the store whose layers are all here now. `fetched` are the
    /// layers that came.
    fn adopt(&self, fetched: &HashSet<Digest>) -> Result<(), StepProblem> {
        let recipes: Vec<Key> = self.recipes.lock().unwrap_or_else(PoisonError::into_inner).values().copied().collect();
        for recipe in recipes {
            let Some(record) = self.elsewhere.find(&recipe) else { continue };
            if record.layers.iter().any(|layer| fetched.contains(&layer.diff_id)) {
                self.adopt_one(recipe, &record)?;
            }
        }
        Ok(())
    }

    fn adopt_one(&self, recipe: Key, record: &RemoteRecord) -> Result<(), StepProblem> {
        let mut layers = Vec::with_capacity(record.layers.len());
        for layer in &record.layers {
            match self.store.layers().by_diff_id(&layer.diff_id)? {
                Some(layer) => layers.push(layer.id()),
                None => return Ok(()),
            }
        }
        let new = self.elsewhere.adopted.lock().unwrap_or_else(PoisonError::into_inner).insert(recipe);
        if new && self.store.records().find(&recipe)?.is_none() {
            let mut keys = record.record.recipes.clone();
            keys.push(recipe);
            self.store.records().insert(&adopted(record, layers)?, &keys)?;
        }
        Ok(())
    }
}

/// A record from elsewhere as one of the store's, with its layers there. What it worked on is not here; its content
/// key stands for that.
pub(super) fn adopted(record: &RemoteRecord, layers: Vec<LayerId>) -> Result<NewRecord, StepProblem> {
    let portable = &record.record;
    let effects = Effects {
        inputs: Vec::new(),
        contexts: portable.contexts.clone(),
        place: String::new(),
        made_at: portable.made_at.clone(),
        content_key: portable.content,
    };
    Ok(NewRecord {
        op: portable.op,
        lineage: portable.lineage.clone(),
        layers,
        inputs: portable.inputs.clone(),
        effects: serde_json::to_string(&effects)?,
    })
}

impl From<FetchError> for StepProblem {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Lost { diff_id, reason } => StepProblem::LostLayer { diff_id, reason },
            other => StepProblem::from(&other as &(dyn std::error::Error + 'static)),
        }
    }
}
