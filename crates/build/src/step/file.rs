//! Executing a file operation: COPY, ADD, WORKDIR.

use std::sync::Arc;

use kiln_graph::{Copy, FileAction, FileOp, InputIndex, Unpack, VertexId};
use kiln_solver::Product;
use kiln_store::{FileDigest, FileStamp, Key, Kind, Layer, Metadata, Timestamp, Union};

use super::identify::known_digest;
use super::inputs::Taken;
use super::{Cancelled, Made, Steps};
use crate::error::StepProblem;
use crate::explain::INSTRUCTION;
use crate::file::{self, Counted, FileError, FileJob, Landed, Selection, Wanted, select};
use crate::tree::{Node, Tree};

/// What a mount shows of a tree, in a layer of its own.
pub(super) struct CopiedTree {
    pub(super) layer: Layer,
    landed: Landed,
    copy: Arc<(Tree, Selection)>,
}

impl CopiedTree {
    /// What was selected.
    pub(super) fn selection(&self) -> &Selection {
        &self.copy.1
    }

    /// What of it explanations compare, if it is of the context that `input` is.
    pub(super) fn taken(&self, input: InputIndex) -> Taken<'_> {
        Taken { input: input.0, selection: &self.copy.1, landed: self.landed.files.first() }
    }

    /// The digest of the bytes that landed from a context.
    pub(super) fn digest(&self) -> Result<[u8; 32], StepProblem> {
        landed_digest(&self.copy.1, &self.landed, 0)
    }
}

impl Steps {
    /// Makes the layer of a file operation on top of its base.
    pub(super) fn execute_file(
        &self,
        id: VertexId,
        op: &FileOp,
        inputs: &[Made],
        cancelled: Cancelled<'_>,
    ) -> Result<Product<Key, Made>, StepProblem> {
        let base_layers = op.base.map_or(&[][..], |base| inputs[base.0 as usize].layers());
        let base = Union::new(base_layers.to_vec())?;
        let copies = self.copies(id, op, inputs)?;
        let previous = self.previous_layer(id)?;
        let known = |node: &Node| self.known_in_contexts(inputs, node);
        let learnt = |stamp, digest| remember(inputs, stamp, digest);
        let job = FileJob {
            op,
            base: &base,
            copies: &copies,
            previous: previous.as_ref(),
            known: &known,
            learnt: &learnt,
            cancelled,
        };
        let digests = |landed: &Landed| context_digests(&copies, landed);
        let (layer, landed, contexts) = self.write_layer(&root_metadata(&base), &job, digests)?;
        let layer = self.interned(id, layer)?;
        let made = op.base.and_then(|base| inputs[base.0 as usize].rootfs()).cloned().unwrap_or_default().with(layer);
        self.record(id, inputs, contexts?, made, &taken(op, &copies, &landed))
    }

    /// The layer of a job, what landed in it, and what `beside` made of that while the layer was committed.
    fn write_layer<T: Send>(
        &self,
        root: &Metadata,
        job: &FileJob<'_>,
        beside: impl FnOnce(&Landed) -> T + Send,
    ) -> Result<(Layer, Landed, T), FileError> {
        let staged = self.store.layers().stage(root)?;
        let writer = staged.writer_over(job.base.clone())?;
        let landed = file::run(job, &writer)?;
        let (layer, made) = rayon::join(|| writer.commit(), || beside(&landed));
        Ok((layer?, landed, made))
    }

    /// Copies what lies at a path of a tree into a layer of its own, whose root is as the directory there is: for a
    /// mount. The path comes with the input that the tree is.
    pub(super) fn copy_of(
        &self,
        tree: Tree,
        (from, source): (InputIndex, &str),
        known: &(dyn Fn(&Node) -> Option<FileDigest> + Sync),
        cancelled: Cancelled<'_>,
    ) -> Result<CopiedTree, FileError> {
        let selection = Wanted::Mount(source).select(&tree)?;
        let op = FileOp { base: None, actions: vec![FileAction::Copy(everything(from, source))] };
        let base = Union::new(Vec::new())?;
        let directory = selection.sources.first().filter(|source| source.root.kind == Kind::Directory);
        let root = directory.map_or_else(|| root_metadata(&base), |source| mounted_root(&source.root));
        let copies = [Arc::new((tree, selection))];
        let (previous, learnt) = (None, &|_, _| ());
        let job = FileJob { op: &op, base: &base, copies: &copies, previous, known, learnt, cancelled };
        let (layer, landed, ()) = self.write_layer(&root, &job, |_| ())?;
        let [copy] = copies;
        Ok(CopiedTree { layer, landed, copy })
    }

    /// For each copy where from and what.
    fn copies(&self, id: VertexId, op: &FileOp, inputs: &[Made]) -> Result<Vec<Arc<(Tree, Selection)>>, StepProblem> {
        let from_contexts = self.context_selections(id)?;
        let mut from_contexts = from_contexts.iter();
        let mut copies = Vec::new();
        for action in &op.actions {
            let FileAction::Copy(copy) = action else { continue };
            if let Made::Context(_) = &inputs[copy.from.0 as usize] {
                copies.extend(from_contexts.next().cloned());
                continue;
            }
            let tree = inputs[copy.from.0 as usize].tree()?;
            let selection = select(copy, &tree)?;
            copies.push(Arc::new((tree, selection)));
        }
        Ok(copies)
    }

    /// The top layer of the latest run of this step, whose files may be linked where nothing changed.
    fn previous_layer(&self, id: VertexId) -> Result<Option<Layer>, StepProblem> {
        let instruction = self.texts.instruction(&self.vertex(id).meta);
        let earlier = self.store.records().lineage(&self.lineage_of(id), 16)?;
        let same = |record: &&kiln_store::Record| {
            record.inputs.iter().any(|input| input.name == INSTRUCTION && input.value == instruction)
        };
        let Some(record) = earlier.iter().find(same) else { return Ok(None) };
        let Some(layer) = record.layers.last() else { return Ok(None) };
        self.store.layers().get(*layer).map_err(StepProblem::from)
    }

    fn known_in_contexts(&self, inputs: &[Made], node: &Node) -> Option<FileDigest> {
        inputs.iter().find_map(|made| match made {
            Made::Context(open) => known_digest(open, node),
            Made::Rootfs(_) | Made::Elsewhere(_) => None,
        })
    }

    /// Makes a new layer known by its content if an earlier run of the operation could have made the same.
    pub(super) fn interned(&self, id: VertexId, layer: Layer) -> Result<Layer, StepProblem> {
        let op = self.op_key(id);
        if !self.store.records().has_op(&op)? {
            return Ok(layer);
        }
        self.store.layers().content_id(&layer)?;
        self.store.layers().intern(layer).map_err(StepProblem::from)
    }
}

/// Remembers the digest of a context's file that was copied, so that the next build need not read it.
fn remember(inputs: &[Made], stamp: FileStamp, digest: FileDigest) {
    for made in inputs {
        if let Made::Context(open) = made {
            open.digests.add(stamp, digest);
        }
    }
}

/// The root of what a mount shows: the directory as it is in its tree.
fn mounted_root(directory: &Node) -> Metadata {
    Metadata { uid: directory.uid, gid: directory.gid, ..Metadata::root_owned(directory.mode, directory.mtime) }
}

/// A copy of what lies at a path, into the root.
fn everything(from: InputIndex, source: &str) -> Copy {
    Copy {
        from,
        sources: vec![source.to_owned()],
        destination: "/".into(),
        into_directory: true,
        owner: None,
        chmod: None,
        parents: false,
        exclude: Vec::new(),
        unpack: Unpack::Never,
    }
}

/// The metadata of the root directory of a layer over `base`.
pub(super) fn root_metadata(base: &Union) -> Metadata {
    let default = Metadata::root_owned(0o755, Timestamp::now());
    base.lookup("").map_or(default, |found| found.entry.metadata())
}

/// For each copy from a context the digest of the bytes that landed.
fn context_digests(copies: &[Arc<(Tree, Selection)>], landed: &Landed) -> Result<Vec<[u8; 32]>, StepProblem> {
    let copies = copies.iter().enumerate().filter(|(_, copy)| copy.0.is_context());
    copies.map(|(place, copy)| landed_digest(&copy.1, landed, place)).collect()
}

/// The digest of a selection from a context as it landed by the copy at `place`.
fn landed_digest(selection: &Selection, landed: &Landed, place: usize) -> Result<[u8; 32], StepProblem> {
    let files = landed.files.get(place);
    selection.digest(|node| {
        let missing = || StepProblem::Other(format!("/{} was not copied", String::from_utf8_lossy(&node.path)));
        let file = files.and_then(|files| files.get(&*node.path)).ok_or_else(missing)?;
        Ok(Counted { digest: file.digest, mode: file.mode })
    })
}

/// What was taken from contexts, by copy action.
fn taken<'a>(op: &FileOp, copies: &'a [Arc<(Tree, Selection)>], landed: &'a Landed) -> Vec<Taken<'a>> {
    let from = op.actions.iter().filter_map(|action| match action {
        FileAction::Copy(copy) => Some(copy.from.0),
        FileAction::MakeDirectory(_) | FileAction::WriteFile(_) => None,
    });
    let all = from.zip(copies).enumerate().filter(|(_, (_, copy))| copy.0.is_context());
    all.map(|(place, (input, copy))| Taken { input, selection: &copy.1, landed: landed.files.get(place) }).collect()
}
