//! The records of a build's steps, ready to travel.

use std::collections::HashSet;
use std::sync::Arc;

use kiln_cache::{Outgoing, OutgoingLayer, PortableRecord, RemoteRecord};
use kiln_graph::{MountKind, Op, VertexId};
use kiln_oci::Digest;
use kiln_store::{Key, Layer, LayerId, Record};

use super::whole::portable;
use crate::error::StepProblem;
use crate::step::{Made, Slot, Steps};

/// A layer, whichever way it is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Known {
    Here(LayerId),
    Elsewhere(Digest),
}

/// The layers of a build's results: a record that needs no others is part of `mode=min`.
#[derive(Clone, Debug, Default)]
pub(crate) struct ResultLayers(HashSet<Known>);

impl ResultLayers {
    /// Of what the targets made.
    pub(crate) fn of(results: &[Made]) -> Self {
        let slots = results.iter().flat_map(|made| crate::step::Distant::of(made).slots);
        ResultLayers(slots.map(|slot| known(&slot)).collect())
    }

    fn hold(&self, outgoing: &Outgoing) -> bool {
        outgoing.layers.iter().all(|layer| {
            self.0.contains(&match layer {
                OutgoingLayer::Here(layer) => Known::Here(layer.id()),
                OutgoingLayer::Elsewhere(layer) => Known::Elsewhere(layer.diff_id.clone()),
            })
        })
    }
}

fn known(slot: &Slot) -> Known {
    match slot {
        Slot::Here(layer) => Known::Here(layer.id()),
        Slot::Elsewhere(layer) => Known::Elsewhere(layer.diff_id.clone()),
        Slot::Unpulled(layer) => Known::Elsewhere(layer.diff_id.clone()),
    }
}

impl Steps {
    /// The records of all steps that `targets` need, those that were hits included; with `only`, those whose layers
    /// are among these.
    pub(crate) fn gather(
        &self,
        targets: &[VertexId],
        only: Option<&ResultLayers>,
    ) -> Result<Vec<Outgoing>, StepProblem> {
        let mut gathered = Vec::new();
        let mut seen = HashSet::new();
        for id in self.definition.reachable(targets) {
            if !matches!(self.vertex(id).op, Op::Exec(_) | Op::File(_) | Op::Source(_)) {
                continue;
            }
            let Some(recipe) = self.recipe(id).filter(|recipe| seen.insert(*recipe)) else { continue };
            let Some(outgoing) = self.outgoing(id, recipe)? else { continue };
            if only.is_none_or(|only| only.hold(&outgoing)) {
                gathered.push(outgoing);
            }
        }
        Ok(gathered)
    }

    /// The record of a step: the store's, or that of a cache elsewhere.
    fn outgoing(&self, id: VertexId, recipe: Key) -> Result<Option<Outgoing>, StepProblem> {
        if let Some(record) = self.store.records().find(&recipe)?
            && let Some(layers) = self.held(&record.layers)?
        {
            let record = self.portable(id, recipe, &record)?;
            return Ok(Some(Outgoing { record, layers: layers.into_iter().map(OutgoingLayer::Here).collect() }));
        }
        self.elsewhere.find(&recipe).map(|record| self.passed_on(&record)).transpose()
    }

    /// A record of a cache elsewhere; its layers are the store's if all of them are there.
    fn passed_on(&self, remote: &Arc<RemoteRecord>) -> Result<Outgoing, StepProblem> {
        let here: Result<Vec<Option<Layer>>, _> =
            remote.layers.iter().map(|layer| self.store.layers().by_diff_id(&layer.diff_id)).collect();
        let layers = match here?.into_iter().collect::<Option<Vec<Layer>>>() {
            Some(layers) => layers.into_iter().map(OutgoingLayer::Here).collect(),
            None => remote.layers.iter().cloned().map(OutgoingLayer::Elsewhere).collect(),
        };
        Ok(Outgoing { record: remote.record.clone(), layers })
    }

    fn portable(&self, id: VertexId, recipe: Key, record: &Record) -> Result<PortableRecord, StepProblem> {
        let content = self.content_key_of_run(id, record)?;
        Ok(PortableRecord { content, ..portable(record, vec![recipe]) })
    }

    /// The ids of the cache mounts that steps of `targets` may have used.
    pub(crate) fn cache_mount_ids(&self, targets: &[VertexId]) -> Vec<String> {
        let mut ids: Vec<String> = Vec::new();
        for id in self.definition.reachable(targets) {
            let Op::Exec(exec) = &self.vertex(id).op else { continue };
            ids.extend(exec.mounts.iter().filter_map(|mount| match &mount.kind {
                MountKind::Cache(cache) => Some(cache.id.clone()),
                _ => None,
            }));
        }
        ids.sort();
        ids.dedup();
        ids
    }
}
