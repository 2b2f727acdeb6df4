//! The recipe key of a step, as soon as it can be had without running anything.

use std::sync::{Arc, PoisonError};

use kiln_graph::{ExecOp, FileAction, FileOp, MountKind, Op, SourceOp, VertexId};
use kiln_solver::Identity;
use kiln_store::{FileDigest, Key};
use rayon::prelude::*;

use super::{OpenContext, Selections, Steps};
use crate::error::StepProblem;
use crate::file::{Counted, Selection, Wanted};
use crate::key::{FULL, KeyBuilder, Purpose, image_key, op_key};
use crate::tree::{Content, Node, Tree};

/// How a step knows one of its inputs.
pub(super) enum InputKey {
    Key(Key),
    /// What is selected from a context: the digest, and whether it is that of the bytes.
    Selection {
        digest: [u8; 32],
        of_bytes: bool,
    },
}

impl Steps {
    /// The identity of a step whose inputs have these.
    pub(crate) fn identify(&self, id: VertexId, inputs: Vec<Key>) -> Result<Identity<Key>, StepProblem> {
        let identity = self.identity(id, inputs)?;
        self.trace.identified(id, identity.recipe());
        Ok(identity)
    }

    fn identity(&self, id: VertexId, inputs: Vec<Key>) -> Result<Identity<Key>, StepProblem> {
        match &self.vertex(id).op {
            Op::Source(SourceOp::Image(image)) => Ok(Identity::Known(image_key(&image.diff_ids))),
            Op::Source(_) => {
                let op = self.definition.op_digest(id);
                Ok(Identity::Known(KeyBuilder::new(Purpose::Recipe, op).finish()))
            }
            _ => {
                let keys = self.keys_of_inputs(id, &inputs)?;
                self.input_recipes.lock().unwrap_or_else(PoisonError::into_inner).insert(id, inputs);
                Ok(self.identity_of(id, &keys))
            }
        }
    }

    /// The recipe keys of a step's inputs, as they were when it was identified.
    pub(super) fn input_recipes(&self, id: VertexId) -> Vec<Key> {
        self.input_recipes.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned().unwrap_or_default()
    }

    /// A key for each place in the operation that names an input.
    fn keys_of_inputs(&self, id: VertexId, inputs: &[Key]) -> Result<Vec<InputKey>, StepProblem> {
        let selections = self.context_selections(id)?;
        let mut next = selections.iter();
        let mut keys = Vec::new();
        for (edge, key) in self.used_inputs(id).into_iter().map(|index| (self.vertex(id).inputs[index], inputs[index]))
        {
            keys.push(match self.input_context(edge.vertex)? {
                Some(open) => {
                    let Some(copy) = next.next() else {
                        return Err(StepProblem::Other("a context is used in an unknown way".into()));
                    };
                    self.selection_key(id, &open, &copy.1)?
                }
                None => InputKey::Key(key),
            });
        }
        Ok(keys)
    }

    /// Which inputs the operation names, in the order in which it names them; all of them for a merge.
    pub(crate) fn used_inputs(&self, id: VertexId) -> Vec<usize> {
        let vertex = self.vertex(id);
        let used = match &vertex.op {
            Op::Exec(exec) => exec.used_inputs(),
            Op::File(file) => file.used_inputs(),
            Op::Source(_) | Op::Merge | Op::Diff => return (0..vertex.inputs.len()).collect(),
        };
        used.into_iter().map(|index| index.0 as usize).collect()
    }

    fn identity_of(&self, id: VertexId, keys: &[InputKey]) -> Identity<Key> {
        let provisional = keys.iter().any(|key| matches!(key, InputKey::Selection { of_bytes: false, .. }));
        let purpose = if provisional { Purpose::Provisional } else { Purpose::Recipe };
        let mut builder = KeyBuilder::new(purpose, self.definition.op_digest(id)).word(self.fidelity(id));
        for key in keys {
            builder = match key {
                InputKey::Key(key) => builder.key(key),
                InputKey::Selection { digest, .. } => builder.selection(digest),
            };
        }
        if provisional { Identity::Provisional(builder.finish()) } else { Identity::Known(builder.finish()) }
    }

    /// A second name for the lock of a step that takes something from a context: that of the files' states. Where one
    /// process knows the bytes and another does not yet, their keys differ and this is the same.
    pub(crate) fn lock_by_states(&self, id: VertexId) -> Result<Option<Key>, StepProblem> {
        if !self.reads_context(id) {
            return Ok(None);
        }
        let (selections, inputs) = (self.context_selections(id)?, self.input_recipes(id));
        let mut next = selections.iter();
        let mut keys = Vec::new();
        for index in self.used_inputs(id) {
            let from_context = self.input_context(self.vertex(id).inputs[index].vertex)?.is_some();
            keys.push(match (from_context, inputs.get(index)) {
                (true, _) => {
                    let digest = next.next().map_or([0; 32], |copy| stamps(&copy.1));
                    InputKey::Selection { digest, of_bytes: false }
                }
                (false, Some(key)) => InputKey::Key(*key),
                (false, None) => return Ok(None),
            });
        }
        Ok(Some(*self.identity_of(id, &keys).lock_key()))
    }

    /// How faithfully a process runs; file operations are the same everywhere.
    pub(super) fn fidelity(&self, id: VertexId) -> &'static str {
        match &self.vertex(id).op {
            Op::Exec(_) if self.tier.is_single_id() => "single-id",
            Op::Exec(_) => FULL,
            _ => "",
        }
    }

    /// The key under which earlier runs of a step's operation are found.
    pub(crate) fn op_key(&self, id: VertexId) -> Key {
        op_key(self.definition.op_digest(id), self.fidelity(id))
    }

    /// What a step selects from the contexts among its inputs, in the order in which it names them.
    pub(super) fn context_selections(&self, id: VertexId) -> Result<Selections, StepProblem> {
        let known = self.context_selections.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let found = match &self.vertex(id).op {
            Op::File(file) => self.copied_from_contexts(id, file)?,
            Op::Exec(exec) => self.mounted_from_contexts(id, exec)?,
            Op::Source(_) | Op::Merge | Op::Diff => Vec::new(),
        };
        let found: Selections = Arc::new(found);
        self.context_selections.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::clone(&found));
        Ok(found)
    }

    fn copied_from_contexts(&self, id: VertexId, file: &FileOp) -> Result<Vec<Arc<(Tree, Selection)>>, StepProblem> {
        let mut found = Vec::new();
        for action in &file.actions {
            let FileAction::Copy(copy) = action else { continue };
            found.extend(self.select_from_context(id, copy.from.0, Wanted::Copy(copy))?);
        }
        Ok(found)
    }

    fn mounted_from_contexts(&self, id: VertexId, exec: &ExecOp) -> Result<Vec<Arc<(Tree, Selection)>>, StepProblem> {
        let mut found = Vec::new();
        for mount in &exec.mounts {
            let (from, source) = match &mount.kind {
                MountKind::Bind(bind) => (bind.from, &bind.source),
                MountKind::Cache(cache) => match cache.seed {
                    Some(seed) => (seed, &cache.source),
                    None => continue,
                },
                MountKind::Tmpfs(_) | MountKind::Secret(_) | MountKind::Ssh(_) => continue,
            };
            found.extend(self.select_from_context(id, from.0, Wanted::Mount(source))?);
        }
        Ok(found)
    }

    fn select_from_context(
        &self,
        id: VertexId,
        input: u32,
        wanted: Wanted<'_>,
    ) -> Result<Option<Arc<(Tree, Selection)>>, StepProblem> {
        let Some(open) = self.input_context(self.vertex(id).inputs[input as usize].vertex)? else { return Ok(None) };
        let tree = open.tree();
        let selection = wanted.select(&tree)?;
        Ok(Some(Arc::new((tree, selection))))
    }

    /// The key of a selection: of the bytes where they are known, or worth reading because a record could match;
    /// of the files' states otherwise.
    fn selection_key(&self, id: VertexId, open: &OpenContext, selection: &Selection) -> Result<InputKey, StepProblem> {
        let unknown: Vec<&Node> = selection.files().filter(|node| known_digest(open, node).is_none()).collect();
        if !unknown.is_empty() && !self.is_worth_reading(id)? {
            return Ok(InputKey::Selection { digest: stamps(selection), of_bytes: false });
        }
        let digest = self.hashed_selection(open, selection)?;
        Ok(InputKey::Selection { digest, of_bytes: true })
    }

    /// Whether a record could match a step, so that hashing what it copies may save the copy.
    fn is_worth_reading(&self, id: VertexId) -> Result<bool, StepProblem> {
        let op = self.op_key(id);
        let known = !self.elsewhere.shelf.is_empty() || self.store.records().has_op(&op)?;
        Ok(known && !self.vertex(id).meta.ignore_cache)
    }

    /// The digest of a selection from a context; files whose bytes are not known are read, in parallel.
    pub(super) fn hashed_selection(&self, open: &OpenContext, selection: &Selection) -> Result<[u8; 32], StepProblem> {
        let unknown: Vec<&Node> = selection.files().filter(|node| known_digest(open, node).is_none()).collect();
        let fresh: Result<std::collections::HashMap<&[u8], FileDigest>, StepProblem> = unknown
            .par_iter()
            .map(|node| {
                let digest = open.digests.hash(&*open.context, &node.path);
                Ok((&*node.path, digest?))
            })
            .collect();
        let fresh = fresh?;
        selection.digest(|node| {
            let digest = fresh.get(&*node.path).copied().or_else(|| known_digest(open, node));
            let missing = || StepProblem::Other("a file of the context was not hashed".into());
            Ok(Counted { digest: digest.ok_or_else(missing)?, mode: node.mode })
        })
    }
}

pub(super) fn known_digest(open: &OpenContext, node: &Node) -> Option<FileDigest> {
    match node.content {
        Content::Digest(digest) => Some(digest),
        Content::Stamp(stamp) => open.digests.get(&stamp),
        Content::None | Content::Unhashed => None,
    }
}

/// The digest of the states of the selected files; names a lock, never a record.
fn stamps(selection: &Selection) -> [u8; 32] {
    let digest = selection.digest(|node| {
        let Content::Stamp(stamp) = node.content else {
            return Ok(Counted { digest: FileDigest([0; 32]), mode: node.mode });
        };
        let mut hasher = blake3::Hasher::new();
        for number in [stamp.device, stamp.inode, stamp.size] {
            hasher.update(&number.to_le_bytes());
        }
        for moment in [stamp.mtime, stamp.ctime] {
            hasher.update(&moment.seconds.to_le_bytes()).update(&moment.nanoseconds.to_le_bytes());
        }
        Ok::<_, std::convert::Infallible>(Counted {
            digest: FileDigest(*hasher.finalize().as_bytes()),
            mode: node.mode,
        })
    });
    match digest {
        Ok(digest) => digest,
        Err(never) => match never {},
    }
}
