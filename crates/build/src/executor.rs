//! The world of the solver: steps of one build, run on threads that may block.

mod waiting;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, PoisonError};

use kiln_graph::{Op, SourceOp, VertexId};
use kiln_progress::Outcome;
use kiln_sandbox::Cancellation;
use kiln_solver::{
    Cache, DEFAULT_SLOTS, Done, Execution, Failure, Found, Graph, Identity, Lane, NodeId, Policy, Product, Settled,
    SolveError, Solver, Vertex, World,
};
use kiln_store::Key;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::error::{BuildError, StepError, StepProblem};
use crate::explain::Ended;
use crate::memory::MemoryRoom;
use crate::step::{Held, Made, Phase, Steps};
use waiting::{Claim, StepLocks};

/// How the steps are run.
pub(crate) struct How {
    /// How many at once; without, so many as there is memory for.
    pub(crate) jobs: Option<NonZeroUsize>,
    /// A step that fails ends only what needs it.
    pub(crate) keep_going: bool,
}

/// Runs what `targets` need and gives what they made, in their order.
pub(crate) async fn solve(
    steps: Arc<Steps>,
    targets: &[VertexId],
    how: How,
    cancellation: CancellationToken,
) -> Result<Vec<Made>, BuildError> {
    if targets.is_empty() {
        return Ok(Vec::new());
    }
    let graph = graph(&steps, targets)?;
    announce(&steps, targets);
    let world = Arc::new(Executor { steps: Arc::clone(&steps), returned: Arc::default() });
    let solver = match how.jobs {
        Some(jobs) => Solver::start(jobs),
        None => {
            let room = MemoryRoom::new(steps.progress.clone(), steps.bounds.memory);
            Solver::start_within(DEFAULT_SLOTS, Box::new(room))
        }
    };
    let policy = if how.keep_going { Policy::KeepGoing } else { Policy::FailFast };
    let wanted: Vec<NodeId> = targets.iter().copied().map(node).collect();
    match solver.solve(world, graph, &wanted, policy, cancellation).await {
        Ok(made) if made.len() == targets.len() => Ok(made.into_iter().map(|done| done.output).collect()),
        Ok(_) => Err(BuildError::Internal("the solver gave no result".into())),
        Err(SolveError::Cancelled) => Err(BuildError::Cancelled),
        Err(SolveError::Failed(failures)) => Err(failed(&steps, &failures)),
        Err(other) => Err(BuildError::Internal(other.to_string())),
    }
}

/// What the solver has to know of the steps; those of a stage share their turns.
fn graph(steps: &Steps, targets: &[VertexId]) -> Result<Graph, BuildError> {
    let mut graph = Graph::new();
    let mut stages = BTreeMap::new();
    for id in steps.definition.reachable(targets) {
        let vertex = steps.vertex(id);
        let inputs = vertex.inputs.iter().map(|edge| node(edge.vertex)).collect();
        let cache = if vertex.meta.ignore_cache { Cache::Ignore } else { Cache::Use };
        let next = Lane(u32::try_from(stages.len()).unwrap_or(u32::MAX));
        let lane = *stages.entry((&vertex.meta.stage, vertex.platform.to_string())).or_insert(next);
        let vertex = Vertex { inputs, cache, lane };
        graph.insert(node(id), vertex).map_err(|error| BuildError::Internal(error.to_string()))?;
    }
    Ok(graph)
}

/// Announces all steps in the order of the Dockerfile, so that they are numbered as people expect.
fn announce(steps: &Steps, targets: &[VertexId]) {
    for id in steps.definition.reachable(targets) {
        if is_shown(steps, id) {
            steps.task(id);
        }
    }
}

/// Contexts and merges are part of the steps that use them.
fn is_shown(steps: &Steps, id: VertexId) -> bool {
    match &steps.vertex(id).op {
        Op::Exec(_) | Op::File(_) => true,
        Op::Source(SourceOp::Context(_)) | Op::Merge | Op::Diff => false,
        Op::Source(_) => true,
    }
}

fn node(id: VertexId) -> NodeId {
    NodeId(u64::from(id.0))
}

fn vertex(node: NodeId) -> VertexId {
    VertexId(u32::try_from(node.0).unwrap_or(u32::MAX))
}

struct Executor {
    steps: Arc<Steps>,
    /// Told when a step gives back what it had for itself.
    returned: Arc<Notify>,
}

impl Executor {
    /// Runs `work` on a thread that may block, with a cancellation that follows the token.
    async fn blocking<T: Send + 'static>(
        &self,
        cancel: CancellationToken,
        work: impl FnOnce(&Steps, &Cancellation) -> Result<T, StepProblem> + Send + 'static,
    ) -> Result<T, StepProblem> {
        let steps = Arc::clone(&self.steps);
        let cancellation = Cancellation::new();
        let inside = cancellation.clone();
        let mut running = tokio::task::spawn_blocking(move || work(&steps, &inside));
        let joined = tokio::select! {
            joined = &mut running => joined,
            () = cancel.cancelled() => {
                cancellation.cancel();
                running.await
            }
        };
        joined.map_err(|error| StepProblem::Other(format!("internal error: {error}")))?
    }
}

impl World for Executor {
    type Key = Key;
    type Output = Made;
    type Error = StepProblem;
    type Lock = StepLocks;
    type Claim = Claim;

    async fn identify(
        &self,
        at: NodeId,
        inputs: Vec<Key>,
        cancel: CancellationToken,
    ) -> Result<Identity<Key>, StepProblem> {
        let id = vertex(at);
        let identity = if self.steps.is_remote(id) {
            self.blocking(cancel, move |steps, cancellation| steps.identify_source(id, cancellation)).await?
        } else if self.steps.reads_context(id) {
            self.blocking(cancel, move |steps, _| steps.identify(id, inputs)).await?
        } else {
            self.steps.identify(id, inputs)?
        };
        if let Some(recipe) = identity.recipe() {
            self.steps.known_as(id, *recipe);
        }
        Ok(identity)
    }

    async fn probe(&self, at: NodeId, recipe: Key, cancel: CancellationToken) -> Result<Option<Made>, StepProblem> {
        self.blocking(cancel, move |steps, _| steps.probe(vertex(at), &recipe)).await
    }

    async fn match_content(
        &self,
        at: NodeId,
        identity: Identity<Key>,
        mut inputs: Vec<Made>,
        cancel: CancellationToken,
    ) -> Result<Option<Found<Key, Made>>, StepProblem> {
        let id = vertex(at);
        if !self.blocking(cancel.clone(), move |steps, _| steps.may_match_content(id)).await? {
            return Ok(None);
        }
        for input in self.steps.read_for_content(id) {
            if let Some(input) = inputs.get_mut(input) {
                *input = self.steps.here(input, &self.steps.task(id)).await?;
            }
        }
        self.blocking(cancel, move |steps, _| steps.match_content(vertex(at), &identity, &inputs)).await
    }

    async fn lock(&self, at: NodeId, key: Key, cancel: CancellationToken) -> Result<StepLocks, StepProblem> {
        self.locked(vertex(at), key, cancel).await
    }

    async fn claim(&self, at: NodeId, mut inputs: Vec<Made>, cancel: CancellationToken) -> Result<Claim, StepProblem> {
        let id = vertex(at);
        let caches = self.steps.wanted_caches(id);
        if !caches.is_empty() {
            // A new cache directory is filled from what is here.
            inputs = self.fetched(id, &inputs, &cancel).await?;
        }
        self.claimed(id, caches, inputs, cancel).await
    }

    async fn execute(
        &self,
        mut execution: Execution<Key, Made, StepLocks, Claim>,
        cancel: CancellationToken,
    ) -> Result<Product<Key, Made>, StepProblem> {
        let id = vertex(execution.node);
        if !matches!(self.steps.vertex(id).op, Op::Merge | Op::Diff) {
            execution.inputs = self.fetched(id, &execution.inputs, &cancel).await?;
        }
        self.blocking(cancel, move |steps, cancellation| {
            if is_shown(steps, id) {
                steps.mark(id, Phase::Started);
                steps.task(id).start();
            }
            let Execution { identity, inputs, lock, claim, .. } = &execution;
            let held = Held { key: identity.lock_key(), locks: lock.guards(), caches: claim.caches() };
            steps.execute(id, identity, inputs, held, cancellation)
        })
        .await
    }

    fn settled(&self, at: NodeId, settled: &Settled<Key, Made, Failure<StepProblem>>) {
        let id = vertex(at);
        if let Settled::Done(done) = settled {
            self.steps.known_as(id, done.recipe);
        }
        if !is_shown(&self.steps, id) {
            return;
        }
        match settled {
            Settled::Done(done) => self.done(id, done),
            Settled::Failed(failure) => {
                self.steps.trace.ended(id, Ended::Failed, None);
                self.finish(id, Outcome::Failed(failure.to_string()));
            }
            Settled::Cancelled if self.steps.is_started(id) => self.finish(id, Outcome::Cancelled),
            Settled::Cancelled | Settled::Blocked(_) => {}
        }
    }
}

impl Executor {
    /// The inputs of a step that is about to run, with all their layers here.
    async fn fetched(
        &self,
        id: VertexId,
        inputs: &[Made],
        cancel: &CancellationToken,
    ) -> Result<Vec<Made>, StepProblem> {
        let task = self.steps.task(id);
        if !inputs.iter().all(Made::is_here) && is_shown(&self.steps, id) {
            self.steps.mark(id, Phase::Started);
            task.start();
        }
        let fetching = async {
            let inputs = self.steps.all_here(inputs, &task).await?;
            self.steps.fetch_seeds(id, &task).await;
            Ok(inputs)
        };
        tokio::select! {
            fetched = fetching => fetched,
            () = cancel.cancelled() => Err(StepProblem::Cancelled),
        }
    }

    fn done(&self, id: VertexId, done: &Done<Key, Made>) {
        // What was fetched to know its key is found under it at once.
        let ended = if self.steps.is_fetched(id) { Ended::Executed } else { Ended::from(done.how) };
        self.steps.trace.ended(id, ended, Some(&done.recipe));
        match done.how {
            kiln_solver::How::HitByRecipe => self.hit(id),
            kiln_solver::How::HitByContent => {
                self.finish(id, Outcome::Cached);
            }
            kiln_solver::How::Executed => self.finish(id, Outcome::Done),
        }
    }

    /// A hit by recipe says that all below it is as it was: those steps are not looked at any more.
    fn hit(&self, target: VertexId) {
        for id in self.steps.definition.reachable(&[target]) {
            if !is_shown(&self.steps, id) || !self.steps.is_unsettled(id) {
                continue;
            }
            if self.steps.is_fetched(id) {
                self.steps.trace.ended(id, Ended::Executed, None);
                self.finish(id, Outcome::Done);
            } else {
                self.steps.trace.ended(id, Ended::HitByRecipe, None);
                self.finish(id, Outcome::Cached);
            }
        }
    }

    fn finish(&self, id: VertexId, outcome: Outcome) {
        self.steps.mark(id, Phase::Settled);
        self.steps.task(id).finish(outcome);
    }
}

/// The failures that the user reads, in the order in which they happened.
fn failed(steps: &Steps, failures: &[(NodeId, Failure<StepProblem>)]) -> BuildError {
    let mut errors: Vec<StepError> = failures.iter().map(|(at, failure)| step_error(steps, *at, failure)).collect();
    match errors.len() {
        0 => BuildError::Internal("no step failed".into()),
        1 => BuildError::Step(Box::new(errors.remove(0))),
        _ => BuildError::Steps(errors),
    }
}

fn step_error(steps: &Steps, at: NodeId, failure: &Failure<StepProblem>) -> StepError {
    let problem = match failure {
        Failure::Failed(problem) => StepProblem::clone(problem),
        Failure::Panicked(text) => StepProblem::Other(format!("internal error: {text}")),
    };
    let id = vertex(at);
    let meta = &steps.vertex(id).meta;
    let log = steps.logs.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
    StepError { name: meta.name.clone(), span: meta.span.clone(), problem, log }
}
