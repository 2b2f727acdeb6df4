//! Tests of the solver as a whole: the loop, on tokio, over a small world in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::*;

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{0}")]
struct Broken(String);

/// What all worlds of a test share: the records, and what was executed in which order.
#[derive(Default)]
struct Shared {
    records: Mutex<BTreeMap<String, String>>,
    executed: Mutex<Vec<String>>,
    locked: Mutex<BTreeSet<String>>,
    /// Notified when a vertex named `wait…` has begun.
    begun: Notify,
    /// Lets a vertex named `wait…` go on.
    go: Notify,
}

/// Vertices are named; the name says how they behave.
struct Toy {
    names: BTreeMap<NodeId, &'static str>,
    shared: Arc<Shared>,
    settled: Mutex<Vec<(NodeId, String)>>,
}

struct Held(Arc<Shared>, String);

impl Drop for Held {
    fn drop(&mut self) {
        assert!(self.0.locked.lock().unwrap().remove(&self.1), "let go twice");
    }
}

impl World for Toy {
    type Key = String;
    type Output = String;
    type Error = Broken;
    type Lock = Held;
    type Claim = ();

    async fn identify(
        &self,
        node: NodeId,
        inputs: Vec<String>,
        _: CancellationToken,
    ) -> Result<Identity<String>, Broken> {
        let key = format!("{}({})", self.names[&node], inputs.join(","));
        Ok(match self.names[&node] {
            name if name.starts_with("cold") => Identity::Provisional(format!("lock:{key}")),
            _ => Identity::Known(key),
        })
    }

    async fn probe(&self, _: NodeId, recipe: String, _: CancellationToken) -> Result<Option<String>, Broken> {
        Ok(self.shared.records.lock().unwrap().get(&recipe).cloned())
    }

    async fn match_content(&self, _: NodeId, _: Identity<String>, _: Vec<String>, _: CancellationToken) -> Match<Toy> {
        Ok(None)
    }

    async fn lock(&self, _: NodeId, key: String, _: CancellationToken) -> Result<Held, Broken> {
        assert!(self.shared.locked.lock().unwrap().insert(key.clone()), "{key} locked twice");
        Ok(Held(self.shared.clone(), key))
    }

    async fn claim(&self, _: NodeId, _: Vec<String>, _: CancellationToken) -> Result<(), Broken> {
        Ok(())
    }

    async fn execute(
        &self,
        execution: Execution<String, String, Held, ()>,
        cancel: CancellationToken,
    ) -> Result<Product<String, String>, Broken> {
        let name = self.names[&execution.node];
        assert!(self.shared.locked.lock().unwrap().contains(&execution.lock.1));
        self.shared.executed.lock().unwrap().push(name.into());
        if name.starts_with("wait") {
            self.shared.begun.notify_one();
            tokio::select! {
                () = self.shared.go.notified() => {}
                () = cancel.cancelled() => {
                    self.shared.executed.lock().unwrap().push(format!("{name} cancelled"));
                    return Err(Broken("cancelled".into()));
                }
            }
        }
        if name.starts_with("bad") {
            return Err(Broken(format!("{name} failed")));
        }
        assert!(!name.starts_with("panic"), "{name} panicked");
        let key = execution.identity.lock_key().trim_start_matches("lock:").to_string();
        let output = format!("{name}[{}]", execution.inputs.join(","));
        self.shared.records.lock().unwrap().insert(key.clone(), output.clone());
        Ok(Product { recipe: key, output, anew: true })
    }

    fn settled(&self, node: NodeId, settled: &Ending<Self>) {
        let how = match settled {
            Settled::Done(done) => format!("{}{}", done.how, if done.shared { ", shared" } else { "" }),
            Settled::Failed(failure) => failure.to_string(),
            Settled::Blocked(by) => format!("blocked by {by}"),
            Settled::Cancelled => "cancelled".into(),
        };
        self.settled.lock().unwrap().push((node, how));
    }
}

/// A graph and its world from `(name, inputs)`; the position is the node's id.
fn toy(shared: &Arc<Shared>, vertices: &[(&'static str, &[u64])]) -> (Arc<Toy>, Graph) {
    let mut graph = Graph::new();
    let mut names = BTreeMap::new();
    for (id, (name, inputs)) in vertices.iter().enumerate() {
        let id = NodeId(id as u64);
        let inputs = inputs.iter().copied().map(NodeId).collect();
        graph.insert(id, Vertex { inputs, ..Vertex::default() }).unwrap();
        names.insert(id, *name);
    }
    let settled = Mutex::default();
    (Arc::new(Toy { names, shared: shared.clone(), settled }), graph)
}

fn executed(shared: &Shared) -> Vec<String> {
    std::mem::take(&mut shared.executed.lock().unwrap())
}

async fn solve(
    solver: &Solver<Toy>,
    shared: &Arc<Shared>,
    vertices: &[(&'static str, &[u64])],
    target: u64,
    policy: Policy,
) -> Result<(String, How, bool), SolveError<Broken>> {
    let (world, graph) = toy(shared, vertices);
    let cancel = CancellationToken::new();
    let done = solver.solve(world, graph, &[NodeId(target)], policy, cancel).await?;
    let done = done.into_iter().next().unwrap();
    Ok((done.output, done.how, done.shared))
}

#[tokio::test]
async fn the_second_solve_runs_nothing() {
    let (solver, shared) = (Solver::start(DEFAULT_SLOTS), Arc::default());
    let graph: &[(&str, &[u64])] = &[("base", &[]), ("run", &[0]), ("copy", &[1, 0])];
    let first = solve(&solver, &shared, graph, 2, Policy::FailFast).await.unwrap();
    assert_eq!(first, ("copy[run[base[]],base[]]".into(), How::Executed, false));
    assert_eq!(executed(&shared), ["base", "run", "copy"]);
    let second = solve(&solver, &shared, graph, 2, Policy::FailFast).await.unwrap();
    assert_eq!(second, ("copy[run[base[]],base[]]".into(), How::HitByRecipe, false));
    assert_eq!(executed(&shared), Vec::<String>::new());
    assert!(shared.locked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_depends_on_a_cold_vertex_is_identified_after_it_ran() {
    let (solver, shared) = (Solver::start(DEFAULT_SLOTS), Arc::default());
    let graph: &[(&str, &[u64])] = &[("cold", &[]), ("run", &[0])];
    solve(&solver, &shared, graph, 1, Policy::FailFast).await.unwrap();
    assert_eq!(shared.records.lock().unwrap().keys().cloned().collect::<Vec<_>>(), ["cold()", "run(cold())"]);
}

#[tokio::test]
async fn a_panic_fails_its_vertex_and_the_solver_lives_on() {
    let (solver, shared) = (Solver::start(NonZeroUsize::MIN), Arc::default());
    let graph: &[(&str, &[u64])] = &[("panic", &[]), ("run", &[0])];
    match solve(&solver, &shared, graph, 1, Policy::FailFast).await {
        Err(SolveError::Failed(failures)) => {
            assert_eq!(failures.len(), 1);
            assert_eq!(failures[0].0, NodeId(0));
            assert_eq!(failures[0].1.to_string(), "internal error: panic panicked");
        }
        other => panic!("{other:?}"),
    }
    assert!(shared.locked.lock().unwrap().is_empty());
    solve(&solver, &shared, &[("fine", &[])], 0, Policy::FailFast).await.unwrap();
}

#[tokio::test]
async fn keep_going_finishes_independent_branches() {
    let (solver, shared) = (Solver::start(NonZeroUsize::MIN), Arc::default());
    let graph: &[(&str, &[u64])] = &[("bad", &[]), ("a", &[]), ("b", &[1]), ("end", &[0, 2])];
    let (world, built) = toy(&shared, graph);
    let cancel = CancellationToken::new();
    let result = solver.solve(world.clone(), built, &[NodeId(3)], Policy::KeepGoing, cancel).await;
    assert!(matches!(result, Err(SolveError::Failed(failures)) if failures.len() == 1));
    assert_eq!(executed(&shared), ["bad", "a", "b"]);
    let settled = world.settled.lock().unwrap();
    assert_eq!(settled.last().unwrap(), &(NodeId(3), "blocked by node 0".into()));
}

#[tokio::test]
async fn fail_fast_stops_the_other_branch() {
    let (solver, shared) = (Solver::start(DEFAULT_SLOTS), Arc::<Shared>::default());
    let (world, graph) = toy(&shared, &[("wait", &[]), ("first", &[]), ("bad", &[1]), ("end", &[0, 2])]);
    // `wait` may begin before or after `bad` fails, but it never runs to its end.
    let cancel = CancellationToken::new();
    let result = solver.solve(world, graph, &[NodeId(3)], Policy::FailFast, cancel).await;
    let Err(SolveError::Failed(failures)) = result else { panic!("{result:?}") };
    assert_eq!(failures[0].1.to_string(), "bad failed");
    assert!(!shared.records.lock().unwrap().contains_key("wait()"));
    assert!(shared.locked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_survivor_gets_what_a_cancelled_solve_began() {
    let (solver, shared) = (Solver::start(DEFAULT_SLOTS), Arc::<Shared>::default());
    let cancel = CancellationToken::new();
    let (world, graph) = toy(&shared, &[("wait", &[])]);
    let first = tokio::spawn({
        let (solver, cancel) = (solver.clone(), cancel.clone());
        async move { solver.solve(world, graph, &[NodeId(0)], Policy::FailFast, cancel).await }
    });
    shared.begun.notified().await;
    let (world, graph) = toy(&shared, &[("other", &[]), ("wait", &[])]);
    let mut survivor = solver.join(world, Policy::FailFast);
    survivor.extend(graph).unwrap();
    {
        let waiting = survivor.want(&[NodeId(1)]);
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        // Whether the survivor is aboard by now or becomes the next owner, it has its result.
        cancel.cancel();
        assert!(matches!(first.await.unwrap(), Err(SolveError::Cancelled)));
        shared.go.notify_one();
        assert_eq!(waiting.await.unwrap()[0].output, "wait[]");
    }
    survivor.leave().await;
    assert!(shared.locked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn cancelling_waits_until_the_execution_ended() {
    let (solver, shared) = (Solver::start(DEFAULT_SLOTS), Arc::<Shared>::default());
    let cancel = CancellationToken::new();
    let (world, graph) = toy(&shared, &[("wait", &[]), ("end", &[0])]);
    let solving = tokio::spawn({
        let cancel = cancel.clone();
        async move { solver.solve(world, graph, &[NodeId(1)], Policy::FailFast, cancel).await }
    });
    shared.begun.notified().await;
    cancel.cancel();
    assert!(matches!(solving.await.unwrap(), Err(SolveError::Cancelled)));
    assert_eq!(executed(&shared), ["wait", "wait cancelled"]);
    assert!(shared.locked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn dropping_a_solve_cancels_it() {
    let (solver, shared) = (Solver::start(DEFAULT_SLOTS), Arc::<Shared>::default());
    let (world, graph) = toy(&shared, &[("wait", &[])]);
    let solving = tokio::spawn({
        let solver = solver.clone();
        let cancel = CancellationToken::new();
        async move { solver.solve(world, graph, &[NodeId(0)], Policy::FailFast, cancel).await }
    });
    shared.begun.notified().await;
    solving.abort();
    assert!(solving.await.unwrap_err().is_cancelled());
    // The next solve of the same vertex comes after the cancelled one has let its lock go.
    let again = tokio::spawn({
        let shared = shared.clone();
        async move { solve(&solver, &shared, &[("wait", &[])], 0, Policy::FailFast).await }
    });
    shared.begun.notified().await;
    shared.go.notify_one();
    assert_eq!(again.await.unwrap().unwrap().0, "wait[]");
    assert_eq!(executed(&shared), ["wait", "wait cancelled", "wait"]);
}

#[tokio::test]
async fn a_job_grows_while_it_runs() {
    let (solver, shared) = (Solver::start(DEFAULT_SLOTS), Arc::<Shared>::default());
    let (world, _) = toy(&shared, &[("a", &[]), ("b", &[0])]);
    let mut job = solver.join(world, Policy::FailFast);
    job.extend(vec![(NodeId(0), Vertex::default())]).unwrap();
    assert_eq!(job.want(&[NodeId(0)]).await.unwrap()[0].output, "a[]");
    assert!(matches!(job.want(&[NodeId(1)]).await, Err(SolveError::Graph(_))));
    let vertex = Vertex { inputs: vec![NodeId(0)], ..Vertex::default() };
    job.extend(vec![(NodeId(1), vertex)]).unwrap();
    assert_eq!(job.want(&[NodeId(1)]).await.unwrap()[0].output, "b[a[]]");
    assert_eq!(executed(&shared), ["a", "b"]);
    job.leave().await;
}

/// Room for as many as it is told; counts how often something waited.
#[derive(Clone, Default)]
struct Cabin {
    most: Arc<AtomicUsize>,
    held_back: Arc<Notify>,
}

impl Room for Cabin {
    fn most(&self, _: usize) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    fn held_back(&self, running: usize) {
        assert_eq!(running, 1);
        self.held_back.notify_one();
    }
}

#[tokio::test]
async fn what_is_held_back_begins_when_there_is_room_although_nothing_else_happens() {
    let (cabin, shared) = (Cabin::default(), Arc::<Shared>::default());
    let solver = Solver::start_within(DEFAULT_SLOTS, Box::new(cabin.clone()));
    let (world, graph) = toy(&shared, &[("wait", &[]), ("wait, too", &[]), ("end", &[0, 1])]);
    let solving = tokio::spawn({
        let cancel = CancellationToken::new();
        async move { solver.solve(world, graph, &[NodeId(2)], Policy::FailFast, cancel).await }
    });
    // Without any room one runs all the same.
    shared.begun.notified().await;
    cabin.held_back.notified().await;
    assert_eq!(shared.executed.lock().unwrap().len(), 1);
    cabin.most.store(2, Ordering::SeqCst);
    shared.begun.notified().await;
    let mut ended = Box::pin(solving);
    // One permit is kept at most: whoever has not heard the first call hears the next.
    while futures_util::poll!(&mut ended).is_pending() {
        shared.go.notify_one();
        tokio::task::yield_now().await;
    }
    assert_eq!(executed(&shared).len(), 3);
}
