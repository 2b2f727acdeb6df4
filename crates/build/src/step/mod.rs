//! What the solver asks about a single vertex: its key, whether its result is there, and to make it.
//!
//! Everything here is plain blocking code about one vertex at a time; in which order, how often and in which
//! thread it runs is the solver's business.

mod cache_mount;
mod content;
mod device;
mod distant;
mod exec;
mod file;
mod handover;
mod identify;
mod inputs;
mod record;
mod rootfs;
mod secret;
mod source;
mod ssh;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use kiln_graph::{Definition, ImageSource, Op, SourceOp, Vertex, VertexId};
use kiln_images::pull::Unpulled;
use kiln_progress::{Sink, Task, Warning};
use kiln_sandbox::{Bounds, Cancellation, Sandbox, Tier};
use kiln_solver::{Identity, Product};
use kiln_store::{Image, Key, Layer, LockGuard, Store, Union};

use crate::cache::Elsewhere;
use crate::client::Client;
use crate::context::{Context, ContextDigests, Snapshot};
use crate::error::StepProblem;
use crate::explain::{Texts, Trace};
use crate::file::Selection;
use crate::request::Allowed;
use crate::sources::Sources;
use crate::tree::Tree;

pub(crate) use cache_mount::HeldCache;
pub(crate) use distant::{Distant, Slot};
pub(crate) use exec::StepOutput;
pub(crate) use handover::Handover;
pub(crate) use record::Effects;
pub(crate) use rootfs::Rootfs;

/// What a vertex made. Cheap to clone.
#[derive(Clone)]
pub(crate) enum Made {
    /// A root file system.
    Rootfs(Arc<Rootfs>),
    /// A root file system of which some layers are not here. No step is executed on one: see `Steps::here`.
    Elsewhere(Arc<Distant>),
    /// A context; it is looked at by the steps that copy from it.
    Context(Arc<OpenContext>),
}

/// A context that was walked.
pub(crate) struct OpenContext {
    pub(crate) context: Arc<dyn Context>,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) digests: ContextDigests,
}

/// What a step selects from its sources, by input; found once, used for keys and for copying.
pub(crate) type Selections = Arc<Vec<Arc<(Tree, Selection)>>>;

/// How far a step is, as those who watch were told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Its source was fetched, because its key is that of what it holds.
    Fetched,
    /// It runs.
    Started,
    /// Its end was reported.
    Settled,
}

/// Everything that steps of one build share.
pub(crate) struct Steps {
    pub(crate) store: Store,
    pub(crate) sandbox: Sandbox,
    pub(crate) tier: Tier,
    pub(crate) client: Arc<dyn Client>,
    pub(crate) registry: kiln_registry::Client,
    pub(crate) sources: Sources,
    pub(crate) definition: Definition,
    pub(crate) allow: Allowed,
    /// What each process may take.
    pub(crate) bounds: Bounds,
    /// Names the build's directory of logs.
    pub(crate) build_id: String,
    /// Names the Dockerfile for explanations.
    pub(crate) lineage: String,
    pub(crate) progress: Sink,
    pub(crate) contexts: Mutex<HashMap<String, Arc<OpenContext>>>,
    /// What caches elsewhere have.
    pub(crate) elsewhere: Arc<Elsewhere>,
    /// The recipe keys under which steps are known.
    pub(crate) recipes: Mutex<HashMap<VertexId, Key>>,
    pub(crate) input_recipes: Mutex<HashMap<VertexId, Vec<Key>>>,
    pub(crate) context_selections: Mutex<HashMap<VertexId, Selections>>,
    pub(crate) tasks: Mutex<HashMap<VertexId, Task>>,
    pub(crate) phases: Mutex<HashMap<VertexId, Phase>>,
    /// What becomes known of each step, for explanations.
    pub(crate) trace: Trace,
    /// What may be shown of the Dockerfile.
    pub(crate) texts: Texts,
    pub(crate) logs: Mutex<HashMap<VertexId, std::path::PathBuf>>,
    /// What users were told about this machine already.
    pub(crate) noted: Mutex<HashSet<String>>,
}

/// What a step has for itself while it runs.
#[derive(Clone, Copy)]
pub(crate) struct Held<'a> {
    /// Its key, which others wait for.
    pub(crate) key: &'a Key,
    /// Its locks.
    pub(crate) locks: &'a [LockGuard],
    /// Its cache directories.
    pub(crate) caches: &'a [HeldCache],
}

/// Whether nobody waits for a step any more.
pub(crate) type Cancelled<'a> = &'a (dyn Fn() -> bool + Sync);

impl Steps {
    pub(crate) fn vertex(&self, id: VertexId) -> &Vertex {
        self.definition.vertex(id)
    }

    /// The context of that name, walked.
    pub(crate) fn context(&self, name: &str) -> Result<Arc<OpenContext>, StepProblem> {
        let mut contexts = self.contexts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(context) = contexts.get(name) {
            return Ok(Arc::clone(context));
        }
        let found = self.client.context(name)?;
        let context = found.ok_or_else(|| StepProblem::Other(format!("there is no build context {name:?}")))?;
        let digests = ContextDigests::open(&self.store, &*context);
        let snapshot = context.snapshot()?;
        let open = Arc::new(OpenContext { context, snapshot, digests });
        contexts.insert(name.to_owned(), Arc::clone(&open));
        Ok(open)
    }

    /// The context that an input is, if it is one.
    pub(crate) fn input_context(&self, input: VertexId) -> Result<Option<Arc<OpenContext>>, StepProblem> {
        match &self.vertex(input).op {
            Op::Source(SourceOp::Context(source)) => self.context(&source.name).map(Some),
            _ => Ok(None),
        }
    }

    /// Whether a context has to be looked at for what the vertex is; otherwise that is a hash of a few keys.
    pub(crate) fn reads_context(&self, id: VertexId) -> bool {
        let is_context = |id: VertexId| matches!(&self.vertex(id).op, Op::Source(SourceOp::Context(_)));
        self.vertex(id).inputs.iter().any(|edge| is_context(edge.vertex))
    }

    /// Tells users once what was asked for and cannot be had here.
    pub(crate) fn note(&self, note: &str) {
        let new = self.noted.lock().unwrap_or_else(PoisonError::into_inner).insert(note.to_owned());
        if new {
            self.progress.warn(Warning { short: note.to_owned(), detail: Vec::new() });
        }
    }

    /// Tells users once that owners cannot be kept where only a single id exists.
    pub(crate) fn note_tier(&self) {
        if let Tier::Rootless(rootless) = &self.tier
            && self.tier.is_single_id()
        {
            self.note(&format!(
                "RUN has only a single user id here, so changes of owners have no effect: {}",
                rootless.reason
            ));
        }
    }

    /// The task that reports on a vertex.
    pub(crate) fn task(&self, id: VertexId) -> Task {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || self.progress.task(self.vertex(id).meta.name.clone());
        tasks.entry(id).or_insert_with(new).clone()
    }

    /// Notes what those who watch were told.
    pub(crate) fn mark(&self, id: VertexId, phase: Phase) {
        self.phases.lock().unwrap_or_else(PoisonError::into_inner).insert(id, phase);
    }

    /// Whether a step runs.
    pub(crate) fn is_started(&self, id: VertexId) -> bool {
        self.phases.lock().unwrap_or_else(PoisonError::into_inner).get(&id) == Some(&Phase::Started)
    }

    /// Whether nothing was told of a step yet.
    pub(crate) fn is_unsettled(&self, id: VertexId) -> bool {
        let phases = self.phases.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(phases.get(&id), None | Some(Phase::Fetched))
    }

    /// Whether a source was fetched to know its key.
    pub(crate) fn is_fetched(&self, id: VertexId) -> bool {
        self.phases.lock().unwrap_or_else(PoisonError::into_inner).get(&id) == Some(&Phase::Fetched)
    }

    /// What a source makes, which needs no record.
    pub(crate) fn immediate(&self, id: VertexId) -> Result<Option<Made>, StepProblem> {
        match &self.vertex(id).op {
            Op::Source(SourceOp::Context(source)) => Ok(Some(Made::Context(self.context(&source.name)?))),
            Op::Source(SourceOp::Image(image)) => self.image_layers(image).map(Some),
            // Those are recorded.
            Op::Source(SourceOp::Http(_) | SourceOp::Git(_)) => Ok(None),
            Op::Exec(_) | Op::File(_) | Op::Merge | Op::Diff => Ok(None),
        }
    }

    /// The layers of an image: nothing is fetched of it before somebody reads it.
    fn image_layers(&self, image: &ImageSource) -> Result<Made, StepProblem> {
        let mut slots = Vec::with_capacity(image.diff_ids.len());
        let mut known = None;
        for (place, diff_id) in image.diff_ids.iter().enumerate() {
            slots.push(match self.store.layers().by_diff_id(diff_id)? {
                Some(layer) => Slot::Here(layer),
                None => {
                    let of = match &known {
                        Some(of) => of,
                        None => known.insert(self.image_of(image)?),
                    };
                    Slot::Unpulled(Arc::new(self.unpulled(image, of.as_ref(), place)?))
                }
            });
        }
        let made_at = vec![None; slots.len()];
        Ok(Distant { slots, made_at }.made())
    }

    /// The image of the store that a source was resolved to.
    fn image_of(&self, source: &ImageSource) -> Result<Option<Image>, StepProblem> {
        if let Some(manifest) = &source.manifest
            && let Some(image) = self.store.images().resolve(&manifest.to_string())?
        {
            return Ok(Some(image));
        }
        let has_its_layers = |image: &Image| image.layers.iter().map(|layer| &layer.diff_id).eq(&source.diff_ids);
        Ok(self.store.images().list()?.into_iter().find(has_its_layers))
    }

    /// A layer of an image that is not here.
    fn unpulled(&self, source: &ImageSource, image: Option<&Image>, place: usize) -> Result<Unpulled, StepProblem> {
        let layer = image.and_then(|image| Some((image, image.layers.get(place)?)));
        let known = layer.map(|(image, layer)| Unpulled::of(&self.store, image, layer)).transpose()?.flatten();
        known.ok_or_else(|| {
            StepProblem::Other(format!("layers of {} are gone; pull or load it again", source.reference.familiar()))
        })
    }

    /// Stacks or splits root file systems: nothing runs and nothing is recorded.
    fn rearranged(
        &self,
        id: VertexId,
        identity: &Identity<Key>,
        output: Made,
    ) -> Result<Product<Key, Made>, StepProblem> {
        let recipe = identity.recipe().copied();
        let missing = || StepProblem::Other(format!("{} has no key", self.vertex(id).meta.name));
        Ok(Product { recipe: recipe.ok_or_else(missing)?, output, anew: false })
    }

    /// Runs a step, and records what it made.
    pub(crate) fn execute(
        &self,
        id: VertexId,
        identity: &Identity<Key>,
        inputs: &[Made],
        held: Held<'_>,
        cancellation: &Cancellation,
    ) -> Result<Product<Key, Made>, StepProblem> {
        let cancelled = || cancellation.is_cancelled();
        let op = &self.vertex(id).op;
        if let (false, Some(distant)) = (matches!(op, Op::Merge | Op::Diff), inputs.iter().find_map(Made::distant)) {
            return Err(distant.not_here());
        }
        match op {
            Op::File(op) => self.execute_file(id, op, inputs, &cancelled),
            Op::Exec(op) => self.execute_process(id, op, inputs, held, cancellation),
            Op::Merge => self.rearranged(id, identity, Distant::stacked(inputs).made()),
            Op::Diff => {
                let below = inputs.first().map_or(0, |made| Distant::of(made).slots.len());
                let above = inputs.get(1).map(|upper| Distant::of(upper).above(below));
                self.rearranged(id, identity, above.unwrap_or_default().made())
            }
            Op::Source(SourceOp::Http(_) | SourceOp::Git(_)) => self.execute_source(id, identity, &cancelled),
            Op::Source(_) => {
                let made = self.immediate(id)?;
                let gone = || StepProblem::Other(format!("{} is not there", self.vertex(id).meta.name));
                Ok(Product { recipe: *identity.lock_key(), output: made.ok_or_else(gone)?, anew: false })
            }
        }
    }

    /// Opens the log of a step.
    pub(crate) fn step_output(&self, id: VertexId) -> Result<StepOutput, StepProblem> {
        let log = self.store.logs().create(&self.build_id, &self.vertex(id).meta.name);
        let log = log?;
        self.has_log(id, log.path());
        Ok(StepOutput { task: self.task(id), log })
    }

    /// Remembers where the output of a step is.
    pub(crate) fn has_log(&self, id: VertexId, path: &Path) {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).insert(id, path.to_owned());
    }

    /// Saves what was learnt about the contexts' files.
    pub(crate) fn save_digests(&self) -> Result<(), kiln_store::Error> {
        let contexts = self.contexts.lock().unwrap_or_else(PoisonError::into_inner);
        contexts.values().try_for_each(|open| open.digests.save(&open.snapshot))
    }
}

impl Made {
    /// The layers of a root file system that is here, bottom first; none for a context.
    pub(crate) fn layers(&self) -> &[Layer] {
        match self {
            Made::Rootfs(rootfs) => rootfs.layers(),
            Made::Context(_) | Made::Elsewhere(_) => &[],
        }
    }

    /// The root file system, if it is one.
    pub(crate) fn rootfs(&self) -> Option<&Rootfs> {
        match self {
            Made::Rootfs(rootfs) => Some(rootfs),
            Made::Context(_) | Made::Elsewhere(_) => None,
        }
    }

    /// Whether nothing of it has to be fetched.
    pub(crate) fn is_here(&self) -> bool {
        self.distant().is_none()
    }

    /// The root file system, if some of it is not here.
    fn distant(&self) -> Option<&Distant> {
        match self {
            Made::Elsewhere(distant) => Some(distant),
            Made::Context(_) | Made::Rootfs(_) => None,
        }
    }

    /// The files of it.
    pub(crate) fn tree(&self) -> Result<Tree, StepProblem> {
        match self {
            Made::Rootfs(rootfs) => Ok(Tree::Rootfs(Union::new(rootfs.layers().to_vec())?)),
            Made::Elsewhere(distant) => Err(distant.not_here()),
            Made::Context(open) => Ok(open.tree()),
        }
    }
}

impl OpenContext {
    /// The files of it.
    pub(crate) fn tree(&self) -> Tree {
        Tree::Context(Arc::clone(&self.context), Arc::clone(&self.snapshot))
    }
}

impl PartialEq for Made {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Made::Rootfs(a), Made::Rootfs(b)) => a.layers().iter().map(Layer::id).eq(b.layers().iter().map(Layer::id)),
            (Made::Elsewhere(a), Made::Elsewhere(b)) => a.slots == b.slots,
            (Made::Context(a), Made::Context(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl std::fmt::Debug for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Made::Rootfs(rootfs) => f.debug_list().entries(rootfs.layers().iter().map(Layer::id)).finish(),
            Made::Elsewhere(distant) => f.debug_list().entries(&distant.slots).finish(),
            Made::Context(open) => write!(f, "context {}", open.context.identity()),
        }
    }
}

/// Names of variables whose values no record and no message shows.
pub(crate) fn looks_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    ["SECRET", "TOKEN", "PASSWORD", "PASSWD", "CREDENTIAL", "PRIVATE", "API_KEY", "APIKEY", "ACCESS_KEY"]
        .iter()
        .any(|word| name.contains(word))
}
