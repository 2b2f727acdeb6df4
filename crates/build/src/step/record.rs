//! Records: reading and writing what a completed step made, under which keys, from what.

use std::sync::{Arc, PoisonError};

use kiln_graph::VertexId;
use kiln_solver::Product;
use kiln_store::{Input, Key, Layer, LayerId, NewRecord, Record, Timestamp};
use serde::{Deserialize, Serialize};

use super::inputs::{CopiedFile, INSTRUCTION};
use super::{Made, Rootfs, Steps};
use crate::error::StepProblem;
use crate::explain::{EarlierRun, Explanation, explain};
use crate::key::op_key;

/// How many earlier runs of a step are compared for an explanation.
const EARLIER_RUNS: usize = 32;

/// What a record keeps beside its layers: what the step worked on, so that a content key can be had later.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Effects {
    /// For each input the layers of its root file system, bottom first; empty for a context.
    pub(crate) inputs: Vec<Vec<LayerId>>,
    /// What was selected from contexts, in order.
    pub(crate) contexts: Vec<[u8; 32]>,
    /// Which context it was, to prefer builds of the same place in explanations.
    pub(crate) place: String,
    /// When each layer of the result was made, in seconds and nanoseconds since 1970.
    #[serde(default)]
    pub(crate) made_at: Vec<Option<(i64, u32)>>,
    /// The content key of a step that was executed elsewhere: what it worked on is not here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) content_key: Option<Key>,
}

impl Effects {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

impl Steps {
    /// The result recorded under a recipe key, if all of it is there.
    pub(crate) fn probe(&self, id: VertexId, recipe: &Key) -> Result<Option<Made>, StepProblem> {
        if let Some(made) = self.immediate(id)? {
            return Ok(Some(made));
        }
        if let Some(record) = self.store.records().find(recipe)?
            && let Some(made) = self.made_by(&record)?
        {
            return Ok(Some(made));
        }
        self.probe_elsewhere(recipe)
    }

    /// The root file system that a record stands for; `None` if a layer is gone.
    pub(super) fn made_by(&self, record: &Record) -> Result<Option<Made>, StepProblem> {
        let mut layers = Vec::with_capacity(record.layers.len());
        for id in &record.layers {
            match self.store.layers().get(*id)? {
                Some(layer) => layers.push(layer),
                None => return Ok(None),
            }
        }
        let made_at = Effects::parse(&record.effects).unwrap_or_default().made_at;
        let made_at = made_at.into_iter().map(|at| at.map(|(seconds, nanoseconds)| Timestamp { seconds, nanoseconds }));
        Ok(Some(Made::Rootfs(Arc::new(Rootfs::recorded(layers, made_at.collect())))))
    }

    /// Writes down what a step made, under the key of the bytes that it took from contexts (`contexts`).
    pub(super) fn record(
        &self,
        id: VertexId,
        inputs: &[Made],
        contexts: Vec<[u8; 32]>,
        made: Rootfs,
        files: &[CopiedFile<'_>],
    ) -> Result<Product<Key, Made>, StepProblem> {
        let recipe = self.recipe_of_landed(id, &contexts)?;
        let named = self.named_inputs(id, files);
        let effects = Effects {
            inputs: inputs.iter().map(|made| made.layers().iter().map(Layer::id).collect()).collect(),
            contexts,
            place: self.place(inputs),
            made_at: made.made_at().iter().map(|at| at.map(|at| (at.seconds, at.nanoseconds))).collect(),
            content_key: None,
        };
        self.explain(id, &named, &effects.place)?;
        let effects = serde_json::to_string(&effects)?;
        let record = NewRecord {
            op: op_key(self.definition.op_digest(id)),
            lineage: self.lineage_of(id),
            layers: made.layers().iter().map(Layer::id).collect(),
            inputs: named,
            effects,
        };
        let known = self.store.records().find(&recipe)?;
        let anew = known.is_none_or(|known| known.layers != record.layers);
        self.store.records().insert(&record, &[recipe])?;
        Ok(Product { recipe, output: Made::Rootfs(Arc::new(made)), anew })
    }

    /// Keeps why the step ran. Call it before its own record is written.
    fn explain(&self, id: VertexId, named: &[Input], place: &str) -> Result<(), StepProblem> {
        let explanation = if self.vertex(id).meta.ignore_cache {
            Explanation::CacheRefused
        } else {
            let lineage = self.lineage_of(id);
            let earlier = self.store.records().lineage(&lineage, EARLIER_RUNS)?;
            let run = |record: Record| EarlierRun {
                place: Effects::parse(&record.effects).map(|effects| effects.place).unwrap_or_default(),
                inputs: record.inputs,
            };
            let earlier = earlier.into_iter().filter(|record| !self.is_of_a_sibling(id, record)).map(run);
            explain(named, place, &earlier.collect::<Vec<_>>())
        };
        self.explained(id, explanation);
        Ok(())
    }

    /// Whether a record is of another instruction that the Dockerfile still has: no earlier run of this step.
    fn is_of_a_sibling(&self, id: VertexId, record: &Record) -> bool {
        let Some(input) = record.inputs.iter().find(|input| input.name == INSTRUCTION) else { return false };
        let own = &self.vertex(id).meta.instruction;
        input.value != *own && self.definition.iter().any(|(_, each)| each.meta.instruction == input.value)
    }

    /// Keeps why a step ran or did not.
    pub(crate) fn explained(&self, id: VertexId, explanation: Explanation) {
        self.explanations.lock().unwrap_or_else(PoisonError::into_inner).insert(id, explanation);
    }

    /// Which context the step looks at, if any.
    pub(super) fn place(&self, inputs: &[Made]) -> String {
        let first = inputs.iter().find_map(|made| match made {
            Made::Context(open) => Some(open.context.identity().to_owned()),
            Made::Rootfs(_) | Made::Elsewhere(_) => None,
        });
        first.unwrap_or_default()
    }

    /// Groups the runs of one step over time: the Dockerfile, the stage, the platform, the kind of operation.
    pub(super) fn lineage_of(&self, id: VertexId) -> String {
        let vertex = self.vertex(id);
        let kind = vertex.meta.instruction.split_whitespace().next().unwrap_or("step").to_ascii_uppercase();
        format!("{}\n{}\n{}\n{kind}", self.lineage, vertex.meta.stage, vertex.platform)
    }
}
