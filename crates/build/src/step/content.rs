//! Content keys: an earlier run of the same operation on inputs that hold the same.
//!
//! Asked where nothing is recorded under the recipe: an ancestor was executed again and came out as it was, or came
//! about in another way. Nothing is hashed for an earlier run that differs in what is known already.

use std::collections::HashMap;
use std::sync::Arc;

use kiln_graph::{FileAction, MountKind, Op, VertexId};
use kiln_images::pack;
use kiln_oci::Digest;
use kiln_solver::{Found, Identity};
use kiln_store::{ContentId, FileDigest, Index, Key, Layer, LayerId, Record, Union};

use super::record::Effects;
use super::{Distant, Made, Rootfs, Slot, Steps};
use crate::error::StepProblem;
use crate::file::{Counted, Selection, Wanted};
use crate::key::{KeyBuilder, Purpose, image_key};
use crate::tree::{Content, Tree};

/// How many earlier runs of an operation are compared where that takes more than a look at what is recorded.
const COMPARED: usize = 16;

/// Inputs of an earlier run beside those of now.
enum Likeness {
    Same,
    Different,
    /// One of them is not here: only the content keys can tell.
    Unknown,
}

/// What a step works on.
struct Now<'a> {
    id: VertexId,
    inputs: &'a [Made],
    /// Digests of what is selected from contexts, in order.
    contexts: &'a [[u8; 32]],
    /// Digests of what is selected from root file systems, by the place in the operation, once known.
    selected: HashMap<usize, [u8; 32]>,
    /// How many earlier runs may still be looked at closely.
    patience: usize,
}

impl Steps {
    /// The result of an earlier run of the same operation on inputs with the same content. It is then known
    /// under `identity` too.
    pub(crate) fn match_content(
        &self,
        id: VertexId,
        identity: &Identity<Key>,
        inputs: &[Made],
    ) -> Result<Option<Found<Key, Made>>, StepProblem> {
        let op = self.op_key(id);
        let records = self.store.records();
        let candidates = records.candidates(&op)?;
        if candidates.is_empty() && !self.elsewhere.shelf.has_op(&op) {
            return Ok(None);
        }
        let contexts = self.context_digests(id, inputs)?;
        let recipe = self.recipe_of_landed(id, &contexts)?;
        if identity.recipe().is_none()
            && let Some(output) = self.probe(id, &recipe)?
        {
            return Ok(Some(Found { recipe, output }));
        }
        let mut key = None;
        let mut wanted = || match key {
            Some(known) => Ok(known),
            None => self.content_key_with(id, inputs, &contexts).inspect(|made| key = Some(*made)),
        };
        let mut now = Now { id, inputs, contexts: &contexts, selected: HashMap::new(), patience: COMPARED };
        for candidate in &candidates {
            let same = match self.likeness(candidate, &mut now)? {
                Likeness::Same => true,
                Likeness::Different => false,
                Likeness::Unknown => {
                    let wanted = wanted()?;
                    wanted.is_some() && self.content_key_of(id, candidate, inputs)? == wanted
                }
            };
            if !same {
                continue;
            }
            let Some(output) = self.made_by(candidate)? else { continue };
            records.add_key(candidate.id, &recipe)?;
            return Ok(Some(Found { recipe, output }));
        }
        if !self.elsewhere.shelf.has_op(&op) {
            return Ok(None);
        }
        let Some(wanted) = wanted()?.map(Some) else { return Ok(None) };
        let elsewhere = self.elsewhere.shelf.with_op(&op).find(|record| record.record.content == wanted);
        let Some(record) = elsewhere.cloned() else { return Ok(None) };
        let output = self.distant(&record)?;
        self.elsewhere.alias(recipe, record);
        Ok(Some(Found { recipe, output }))
    }

    /// Compares a step's inputs with those of an earlier run: what is recorded first, then layers, then what is
    /// selected.
    fn likeness(&self, record: &Record, now: &mut Now<'_>) -> Result<Likeness, StepProblem> {
        let Some(earlier) = Effects::parse(&record.effects) else { return Ok(Likeness::Different) };
        if earlier.content_key.is_some() {
            return Ok(Likeness::Unknown);
        }
        if earlier.contexts != now.contexts || earlier.inputs.len() != now.inputs.len() {
            return Ok(Likeness::Different);
        }
        let mut parts = Vec::new();
        for (place, input) in self.used_inputs(now.id).into_iter().enumerate() {
            let (layers, before) = match &now.inputs[input] {
                Made::Context(_) => continue,
                Made::Elsewhere(_) => return Ok(Likeness::Unknown),
                Made::Rootfs(rootfs) => (rootfs.layers(), &earlier.inputs[input]),
            };
            if layers.iter().map(Layer::id).eq(before.iter().copied()) {
                continue;
            }
            match self.selected_part(now.id, place) {
                Some(wanted) => parts.push((place, before, layers, wanted)),
                None if self.hold_the_same(before, layers)? => {}
                None => return Ok(Likeness::Different),
            }
        }
        if !parts.is_empty() {
            let Some(patience) = now.patience.checked_sub(1) else { return Ok(Likeness::Different) };
            now.patience = patience;
        }
        for (place, before, layers, wanted) in parts {
            if !self.selects_the_same(place, before, layers, wanted, now)? {
                return Ok(Likeness::Different);
            }
        }
        Ok(Likeness::Same)
    }

    fn selects_the_same(
        &self,
        place: usize,
        before: &[LayerId],
        layers: &[Layer],
        wanted: Wanted<'_>,
        now: &mut Now<'_>,
    ) -> Result<bool, StepProblem> {
        let Some(before) = self.held(before)? else { return Ok(false) };
        let selected = match now.selected.get(&place) {
            Some(known) => *known,
            None => self.rootfs_selection(layers, wanted)?,
        };
        now.selected.insert(place, selected);
        Ok(self.rootfs_selection(&before, wanted)? == selected)
    }

    /// Whether as many layers hold the same, each as its counterpart: the lowest, which cost least, first.
    fn hold_the_same(&self, before: &[LayerId], now: &[Layer]) -> Result<bool, StepProblem> {
        if before.len() != now.len() {
            return Ok(false);
        }
        for (before, now) in before.iter().zip(now).filter(|(before, now)| **before != now.id()) {
            let Some(before) = self.store.layers().get(*before)? else { return Ok(false) };
            if self.store.layers().content_id(&before)? != self.store.layers().content_id(now)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a record could match by content, so that a step's inputs are worth fetching.
    pub(crate) fn may_match_content(&self, id: VertexId) -> Result<bool, StepProblem> {
        let op = self.op_key(id);
        Ok(self.elsewhere.shelf.has_op(&op) || self.store.records().has_op(&op)?)
    }

    /// The content key of a run of a step; `None` if what it worked on is gone.
    pub(crate) fn content_key_of_run(&self, id: VertexId, record: &Record) -> Result<Option<Key>, StepProblem> {
        let inputs = self.vertex(id).inputs.iter().map(|edge| {
            let context = self.input_context(edge.vertex)?;
            Ok(context.map_or_else(|| Made::Rootfs(Arc::default()), Made::Context))
        });
        self.content_key_of(id, record, &inputs.collect::<Result<Vec<_>, StepProblem>>()?)
    }

    /// The content key of an earlier run; `None` if what it worked on is gone.
    fn content_key_of(&self, id: VertexId, record: &Record, inputs: &[Made]) -> Result<Option<Key>, StepProblem> {
        let Some(effects) = Effects::parse(&record.effects) else { return Ok(None) };
        if effects.content_key.is_some() || effects.inputs.len() != inputs.len() {
            return Ok(effects.content_key);
        }
        let mut earlier = Vec::new();
        for (layers, now) in effects.inputs.iter().zip(inputs) {
            match (now, self.held(layers)?) {
                (Made::Context(open), _) => earlier.push(Made::Context(Arc::clone(open))),
                (Made::Rootfs(_) | Made::Elsewhere(_), Some(layers)) => {
                    earlier.push(Made::Rootfs(Arc::new(Rootfs::of_image(layers))))
                }
                (Made::Rootfs(_) | Made::Elsewhere(_), None) => return Ok(None),
            }
        }
        self.content_key_with(id, &earlier, &effects.contexts)
    }

    /// The layers of these numbers, if all of them are there.
    pub(crate) fn held(&self, ids: &[LayerId]) -> Result<Option<Vec<Layer>>, StepProblem> {
        let mut layers = Vec::new();
        for id in ids {
            match self.store.layers().get(*id)? {
                Some(layer) => layers.push(layer),
                None => return Ok(None),
            }
        }
        Ok(Some(layers))
    }

    /// The digests of what the step selects from contexts, in order.
    pub(super) fn context_digests(&self, id: VertexId, inputs: &[Made]) -> Result<Vec<[u8; 32]>, StepProblem> {
        let selections = self.context_selections(id)?;
        let mut next = selections.iter();
        let mut digests = Vec::new();
        for input in self.used_inputs(id) {
            let Some(Made::Context(open)) = inputs.get(input) else { continue };
            let Some(copy) = next.next() else { break };
            digests.push(self.hashed_selection(open, &copy.1)?);
        }
        Ok(digests)
    }

    /// The content key as it travels: what counts as a whole counts by its diff ids. `None` where these cannot be
    /// found out.
    fn content_key_with(
        &self,
        id: VertexId,
        inputs: &[Made],
        contexts: &[[u8; 32]],
    ) -> Result<Option<Key>, StepProblem> {
        let mut builder = KeyBuilder::new(Purpose::Content, self.definition.op_digest(id)).word(self.fidelity(id));
        let mut contexts = contexts.iter();
        for (place, input) in self.used_inputs(id).into_iter().enumerate() {
            let made = &inputs[input];
            builder = match (made, self.selected_part(id, place)) {
                (Made::Context(_), _) => builder.selection(contexts.next().unwrap_or(&[0; 32])),
                (Made::Rootfs(rootfs), Some(wanted)) => {
                    builder.selection(&self.rootfs_selection(rootfs.layers(), wanted)?)
                }
                (Made::Elsewhere(distant), Some(_)) => return Err(distant.not_here()),
                (_, None) => match self.diff_ids(&Distant::of(made).slots)? {
                    Some(diff_ids) => builder.key(&image_key(&diff_ids)),
                    None => return Ok(None),
                },
            };
        }
        Ok(Some(builder.finish()))
    }

    /// What part of an input counts: what a copy or a mount takes; all of it for a base (`None`).
    pub(super) fn selected_part(&self, id: VertexId, place: usize) -> Option<Wanted<'_>> {
        match &self.vertex(id).op {
            Op::File(file) => {
                let place = place.checked_sub(usize::from(file.base.is_some()))?;
                let mut copies = file.actions.iter().filter_map(|action| match action {
                    FileAction::Copy(copy) => Some(Wanted::Copy(copy)),
                    FileAction::MakeDirectory(_) | FileAction::WriteFile(_) => None,
                });
                copies.nth(place)
            }
            Op::Exec(exec) => {
                let place = place.checked_sub(usize::from(exec.root.is_some()))?;
                let mounted = exec.mounts.iter().filter_map(|mount| match &mount.kind {
                    MountKind::Bind(bind) => Some(Wanted::Mount(&bind.source)),
                    MountKind::Cache(cache) => cache.seed.map(|_| Wanted::Mount(&cache.source)),
                    MountKind::Tmpfs(_) | MountKind::Secret(_) | MountKind::Ssh(_) => None,
                });
                mounted.into_iter().nth(place)
            }
            Op::Source(_) | Op::Merge | Op::Diff => None,
        }
    }

    /// Which inputs must be here for the content key: those of which only a part counts.
    pub(crate) fn read_for_content(&self, id: VertexId) -> Vec<usize> {
        let used = self.used_inputs(id).into_iter().enumerate();
        used.filter(|(place, _)| self.selected_part(id, *place).is_some()).map(|(_, input)| input).collect()
    }

    /// The diff ids of layers, bottom first, as they are called wherever they go; `None` where one of them is not
    /// known and cannot be found out, as what lies below it is not here.
    fn diff_ids(&self, slots: &[Slot]) -> Result<Option<Vec<Digest>>, StepProblem> {
        let here = slots.iter().map_while(|slot| match slot {
            Slot::Here(layer) => Some(layer.clone()),
            Slot::Elsewhere(_) | Slot::Unpulled(_) => None,
        });
        let here: Vec<Layer> = here.collect();
        let above = slots.get(here.len()..).unwrap_or_default().iter().map(|slot| match slot {
            Slot::Here(layer) => Ok(layer.diff_id()?),
            Slot::Elsewhere(layer) => Ok(Some(layer.diff_id.clone())),
            Slot::Unpulled(layer) => Ok(Some(layer.diff_id.clone())),
        });
        let above: Vec<Option<Digest>> = above.collect::<Result<_, StepProblem>>()?;
        let mut diff_ids = pack::diff_ids(&self.store, &here)?;
        for each in above {
            let Some(diff_id) = each else { return Ok(None) };
            diff_ids.push(diff_id);
        }
        Ok(Some(diff_ids))
    }

    pub(super) fn content_ids(&self, layers: &[Layer]) -> Result<Vec<ContentId>, StepProblem> {
        let ids = layers.iter().map(|layer| self.store.layers().content_id(layer));
        ids.collect::<Result<_, _>>().map_err(StepProblem::from)
    }

    /// The digest of what a step takes from layers. A source that is missing there is nothing.
    pub(super) fn rootfs_selection(&self, layers: &[Layer], wanted: Wanted<'_>) -> Result<[u8; 32], StepProblem> {
        let union = Union::new(layers.to_vec())?;
        let tree = Tree::Rootfs(union.clone());
        let Ok(selection) = wanted.select(&tree) else { return Ok([0; 32]) };
        let digests = self.file_digests(&union, &selection)?;
        selection.digest(|node| {
            let known = match node.content {
                Content::Digest(digest) => Some(digest),
                _ => digests.get(&*node.path).copied(),
            };
            let missing = || StepProblem::Other("a file of a layer was not hashed".into());
            Ok(Counted { digest: known.ok_or_else(missing)?, mode: node.mode })
        })
    }

    /// Digests of the selected files that nobody hashed yet, by path.
    fn file_digests(&self, union: &Union, selection: &Selection) -> Result<HashMap<Vec<u8>, FileDigest>, StepProblem> {
        let mut indexes: HashMap<usize, Arc<Index>> = HashMap::new();
        let mut digests = HashMap::new();
        for node in selection.files().filter(|node| node.content == Content::Unhashed) {
            let Some(found) = union.lookup(&node.path) else { continue };
            let index = match indexes.get(&found.layer) {
                Some(index) => Arc::clone(index),
                None => {
                    let layer = &union.layers()[found.layer];
                    let index = self.store.layers().hashed_index(layer)?;
                    indexes.insert(found.layer, Arc::clone(&index));
                    index
                }
            };
            if let Some(digest) = index.get(&node.path).and_then(|entry| entry.digest()) {
                digests.insert(node.path.to_vec(), digest);
            }
        }
        Ok(digests)
    }
}
