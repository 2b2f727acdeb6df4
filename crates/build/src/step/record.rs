//! Records: reading and writing what a completed step made, under which keys, from what.

use std::sync::Arc;

use kiln_graph::{Op, SourceOp, VertexId};
use kiln_solver::Product;
use kiln_store::{Key, Layer, LayerId, NewRecord, Record, Timestamp};
use serde::{Deserialize, Serialize};

use super::inputs::Taken;
use super::{Made, Rootfs, Steps};
use crate::error::StepProblem;
use crate::explain::Ran;

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
        taken: &[Taken<'_>],
    ) -> Result<Product<Key, Made>, StepProblem> {
        let recipe = self.recipe_of_landed(id, &contexts)?;
        let mut named = self.named_inputs(id);
        named.extend(self.file_inputs(id, taken)?);
        let effects = Effects {
            inputs: inputs.iter().map(|made| made.layers().iter().map(Layer::id).collect()).collect(),
            contexts,
            place: self.place(inputs),
            made_at: made.made_at().iter().map(|at| at.map(|at| (at.seconds, at.nanoseconds))).collect(),
            content_key: None,
        };
        let record = NewRecord {
            op: self.op_key(id),
            lineage: self.lineage_of(id),
            layers: made.layers().iter().map(Layer::id).collect(),
            inputs: named.clone(),
            effects: serde_json::to_string(&effects)?,
        };
        let records = self.store.records();
        let usable = records.find(&recipe)?;
        let before = records.known(&recipe)?;
        let anew = usable.as_ref().is_none_or(|known| known.layers != record.layers);
        let evicted = self.store.evictions().find(&recipe)?;
        let ran = Ran { named, inputs: inputs.to_vec(), anew, usable: usable.is_some(), before, evicted };
        self.trace.ran(id, ran);
        records.insert(&record, &[recipe])?;
        Ok(Product { recipe, output: Made::Rootfs(Arc::new(made)), anew })
    }

    /// Whether a step takes the same from an input, given by its place in the operation, as an earlier run did, whose
    /// effects these are. `None` if that is not known. Layers that may never have been compared are read only for a run
    /// of the same operation, for which they were compared when its content key was looked for.
    pub(crate) fn takes_the_same(
        &self,
        id: VertexId,
        place: usize,
        now: &[Made],
        before: &Effects,
        is_same_operation: bool,
    ) -> Option<bool> {
        let input = *self.used_inputs(id).get(place)?;
        let (now, before) = (now.get(input)?.rootfs()?.layers(), before.inputs.get(input)?);
        if now.iter().map(Layer::id).eq(before.iter().copied()) {
            return Some(true);
        }
        if !is_same_operation {
            return None;
        }
        let before = self.held(before).ok()??;
        match self.selected_part(id, place) {
            Some(wanted) => {
                Some(self.rootfs_selection(now, wanted).ok()? == self.rootfs_selection(&before, wanted).ok()?)
            }
            None => Some(self.content_ids(now).ok()? == self.content_ids(&before).ok()?),
        }
    }

    /// Which main context the build was given; empty if none.
    pub(crate) fn context_identity(&self) -> String {
        let main = self.client.context(kiln_dockerfile::MAIN_CONTEXT).ok().flatten();
        main.map(|context| context.identity().to_owned()).unwrap_or_default()
    }

    /// The context that a step takes files from, if any.
    pub(crate) fn context_of(&self, id: VertexId) -> Option<String> {
        self.vertex(id).inputs.iter().find_map(|edge| match &self.vertex(edge.vertex).op {
            Op::Source(SourceOp::Context(context)) => Some(context.name.clone()),
            _ => None,
        })
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
