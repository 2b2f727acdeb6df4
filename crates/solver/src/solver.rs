//! The loop that performs the scheduler's actions on tokio and tells it how they ended.
//!
//! One task owns the [`State`]; every action with a ticket is a task of its own with a
//! cancellation token. Handles talk to the loop over a channel.

use std::collections::BTreeMap;
use std::error::Error;
use std::future::Future;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::graph::{Graph, GraphError, NodeId};
use crate::protocol::{Action, Done, Event, Found, JobId, Lookup, Policy, RequestId, Settled, Ticket};
use crate::state::State;
use crate::world::{Ending, Execution, Match, Room, World};

/// How many vertices execute at once unless asked otherwise.
pub const DEFAULT_SLOTS: NonZeroUsize = NonZeroUsize::new(64).unwrap();

/// How soon it is looked again whether there is room for what is held back.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Why one vertex failed. Cheap to clone, as equal vertices share it.
#[derive(Debug, thiserror::Error)]
pub enum Failure<E: Error> {
    /// The world said so.
    #[error("{0}")]
    Failed(Arc<E>),
    /// The world panicked; the text is the panic's.
    #[error("internal error: {0}")]
    Panicked(Arc<str>),
}

impl<E: Error> Clone for Failure<E> {
    fn clone(&self) -> Self {
        match self {
            Failure::Failed(error) => Failure::Failed(error.clone()),
            Failure::Panicked(text) => Failure::Panicked(text.clone()),
        }
    }
}

impl<E: Error> PartialEq for Failure<E> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Failure::Failed(a), Failure::Failed(b)) => Arc::ptr_eq(a, b),
            (Failure::Panicked(a), Failure::Panicked(b)) => a == b,
            _ => false,
        }
    }
}

/// Why targets have no result.
#[derive(Debug, thiserror::Error)]
pub enum SolveError<E: Error> {
    /// The graph or the targets make no sense; nothing ran.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// Vertices failed, in this order; never empty.
    #[error("{} of the steps failed, first {}", .0.len(), first(.0))]
    Failed(Vec<(NodeId, Failure<E>)>),
    /// The solve was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The solver's loop is gone, as its runtime was shut down.
    #[error("the solver has been shut down")]
    Shutdown,
}

fn first<E: Error>(failures: &[(NodeId, Failure<E>)]) -> String {
    failures.first().map(|(node, failure)| format!("{node}: {failure}")).unwrap_or_default()
}

type Results<W> = Vec<Done<<W as World>::Key, <W as World>::Output>>;
type Solved<W> = Result<Results<W>, SolveError<<W as World>::Error>>;
type WorldEvent<W> = Event<<W as World>::Key, <W as World>::Output, Failure<<W as World>::Error>>;
type WorldAction<W> = Action<<W as World>::Key, <W as World>::Output, Failure<<W as World>::Error>>;
type WorldState<W> = State<<W as World>::Key, <W as World>::Output, Failure<<W as World>::Error>>;

enum Message<W: World> {
    Join(JobId, Arc<W>),
    Event(WorldEvent<W>),
    /// A lock was taken: the guard goes with the event.
    Locked(Ticket, W::Key, W::Lock),
    /// The same with a claim.
    Claimed(Ticket, W::Key, W::Claim),
    Ended(Ticket, WorldEvent<W>),
    Want(JobId, RequestId, Vec<NodeId>, oneshot::Sender<Solved<W>>),
    Leave(JobId, Option<oneshot::Sender<()>>),
}

/// A running solver. Cheap to clone; jobs of all clones share executions and slots.
pub struct Solver<W: World> {
    messages: mpsc::UnboundedSender<Message<W>>,
    next: Arc<AtomicU64>,
}

impl<W: World> Clone for Solver<W> {
    fn clone(&self) -> Self {
        Solver { messages: self.messages.clone(), next: self.next.clone() }
    }
}

impl<W: World> Solver<W> {
    /// Starts the loop on the current tokio runtime, with at most `slots` executions at once. It
    /// ends when the last handle, job and action are gone.
    pub fn start(slots: NonZeroUsize) -> Solver<W> {
        Self::start_with(slots, None)
    }

    /// The same; where `room` says so, fewer execute at once.
    pub fn start_within(slots: NonZeroUsize, room: Box<dyn Room>) -> Solver<W> {
        Self::start_with(slots, Some(room))
    }

    fn start_with(slots: NonZeroUsize, room: Option<Box<dyn Room>>) -> Solver<W> {
        let (messages, inbox) = mpsc::unbounded_channel();
        let mut state = State::new(slots);
        if room.is_some() {
            state.on(Event::Room { most: 0 });
        }
        let drive = Drive {
            state,
            inbox,
            outbox: messages.downgrade(),
            worlds: BTreeMap::new(),
            tokens: BTreeMap::new(),
            locks: BTreeMap::new(),
            claims: BTreeMap::new(),
            room,
            answers: BTreeMap::new(),
            leaving: BTreeMap::new(),
        };
        tokio::spawn(drive.run());
        Solver { messages, next: Arc::new(AtomicU64::new(0)) }
    }

    /// Begins a job whose actions `world` performs.
    pub fn join(&self, world: Arc<W>, policy: Policy) -> Job<W> {
        let job = JobId(self.next.fetch_add(1, Ordering::Relaxed));
        let _ = self.messages.send(Message::Join(job, world));
        let _ = self.messages.send(Message::Event(Event::Join { job, policy }));
        Job { id: job, messages: self.messages.clone(), graph: Graph::new(), requests: AtomicU64::new(0), left: false }
    }

    /// Solves `targets` of `graph` as a job of its own and leaves: results in the order of
    /// `targets`. When `cancel` fires, or after the first failure under [`Policy::FailFast`],
    /// returns once nothing of the job is under way any more; dropping the future cancels too, but
    /// waits for nothing.
    pub async fn solve(
        &self,
        world: Arc<W>,
        graph: Graph,
        targets: &[NodeId],
        policy: Policy,
        cancel: CancellationToken,
    ) -> Solved<W> {
        let mut job = self.join(world, policy);
        job.extend(graph)?;
        let solved = tokio::select! {
            solved = job.want(targets) => solved,
            () = cancel.cancelled() => Err(SolveError::Cancelled),
        };
        job.leave().await;
        solved
    }
}

/// One job of a [`Solver`]; dropping it leaves.
pub struct Job<W: World> {
    id: JobId,
    messages: mpsc::UnboundedSender<Message<W>>,
    graph: Graph,
    requests: AtomicU64,
    left: bool,
}

impl<W: World> Job<W> {
    /// Adds the vertices of `more`, whose inputs may be vertices added before.
    pub fn extend(&mut self, more: impl IntoVertices) -> Result<(), GraphError> {
        let known = self.graph.len();
        let mut grown = self.graph.clone();
        for (node, vertex) in more.into_vertices() {
            grown.insert(node, vertex)?;
        }
        self.graph = grown;
        let vertices = self.graph.since(known).map(|(node, v)| (node, v.clone())).collect();
        let event = Event::Extend { job: self.id, vertices };
        let _ = self.messages.send(Message::Event(event));
        Ok(())
    }

    /// Waits until all `targets` have ended: their results in that order, or what failed.
    pub async fn want(&self, targets: &[NodeId]) -> Solved<W> {
        self.graph.check_targets(targets)?;
        let request = RequestId(self.requests.fetch_add(1, Ordering::Relaxed));
        let (answer, answered) = oneshot::channel();
        let message = Message::Want(self.id, request, targets.to_vec(), answer);
        self.messages.send(message).map_err(|_| SolveError::Shutdown)?;
        answered.await.unwrap_or(Err(SolveError::Shutdown))
    }

    /// Ends the job and waits until nothing of it is under way any more.
    pub async fn leave(mut self) {
        self.left = true;
        let (gone, is_gone) = oneshot::channel();
        if self.messages.send(Message::Leave(self.id, Some(gone))).is_ok() {
            let _ = is_gone.await;
        }
    }
}

impl<W: World> Drop for Job<W> {
    fn drop(&mut self) {
        if !self.left {
            let _ = self.messages.send(Message::Leave(self.id, None));
        }
    }
}

/// Vertices that a job can be extended by.
pub trait IntoVertices {
    /// The vertices, inputs before what takes them.
    fn into_vertices(self) -> Vec<(NodeId, crate::graph::Vertex)>;
}

impl IntoVertices for Graph {
    fn into_vertices(self) -> Vec<(NodeId, crate::graph::Vertex)> {
        self.since(0).map(|(node, vertex)| (node, vertex.clone())).collect()
    }
}

impl IntoVertices for Vec<(NodeId, crate::graph::Vertex)> {
    fn into_vertices(self) -> Vec<(NodeId, crate::graph::Vertex)> {
        self
    }
}

struct Drive<W: World> {
    state: WorldState<W>,
    inbox: mpsc::UnboundedReceiver<Message<W>>,
    outbox: mpsc::WeakUnboundedSender<Message<W>>,
    worlds: BTreeMap<JobId, Arc<W>>,
    tokens: BTreeMap<Ticket, CancellationToken>,
    locks: BTreeMap<W::Key, Arc<W::Lock>>,
    claims: BTreeMap<W::Key, Arc<W::Claim>>,
    room: Option<Box<dyn Room>>,
    answers: BTreeMap<(JobId, RequestId), oneshot::Sender<Solved<W>>>,
    leaving: BTreeMap<JobId, oneshot::Sender<()>>,
}

impl<W: World> Drive<W> {
    async fn run(mut self) {
        loop {
            let message = if self.state.is_held_back() {
                match tokio::time::timeout(LOOK_AGAIN, self.inbox.recv()).await {
                    Ok(message) => message,
                    Err(_) => {
                        self.look_for_room();
                        continue;
                    }
                }
            } else {
                self.inbox.recv().await
            };
            let Some(message) = message else { return };
            if let Some(event) = self.receive(message) {
                self.tell(event);
                self.look_for_room();
            }
        }
    }

    fn tell(&mut self, event: WorldEvent<W>) {
        for action in self.state.on(event) {
            self.perform(action);
        }
    }

    /// Lets begin what there is room for. Room is not kept for later: it is asked for each time.
    fn look_for_room(&mut self) {
        let Some(room) = self.room.take() else { return };
        if self.state.is_held_back() {
            let most = room.most(self.state.running());
            self.tell(Event::Room { most });
            if self.state.is_held_back() {
                room.held_back(self.state.running());
            }
            self.tell(Event::Room { most: 0 });
        }
        self.room = Some(room);
    }

    fn receive(&mut self, message: Message<W>) -> Option<WorldEvent<W>> {
        match message {
            Message::Join(job, world) => {
                self.worlds.insert(job, world);
                None
            }
            Message::Event(event) => Some(event),
            Message::Locked(ticket, key, lock) => {
                self.tokens.remove(&ticket);
                self.locks.insert(key, Arc::new(lock));
                Some(Event::Locked { ticket, result: Ok(()) })
            }
            Message::Claimed(ticket, key, claim) => {
                self.tokens.remove(&ticket);
                self.claims.insert(key, Arc::new(claim));
                Some(Event::Claimed { ticket, result: Ok(()) })
            }
            Message::Ended(ticket, event) => {
                self.tokens.remove(&ticket);
                Some(event)
            }
            Message::Want(job, request, targets, answer) => {
                self.answers.insert((job, request), answer);
                Some(Event::Want { job, request, targets })
            }
            Message::Leave(job, gone) => {
                if let Some(gone) = gone {
                    self.leaving.insert(job, gone);
                }
                Some(Event::Leave { job })
            }
        }
    }

    fn perform(&mut self, action: WorldAction<W>) {
        match action {
            Action::Identify { ticket, job, node, inputs } => {
                self.spawn(ticket, job, async move |world, cancel| {
                    let result = attempt(async { world.identify(node, inputs, cancel).await }).await;
                    Message::Ended(ticket, Event::Identified { ticket, result })
                });
            }
            Action::LookUp { ticket, job, node, lookup } => {
                self.spawn(ticket, job, async move |world, cancel| {
                    let result = attempt(look_up(&*world, node, lookup, cancel)).await;
                    Message::Ended(ticket, Event::LookedUp { ticket, result })
                });
            }
            Action::Lock { ticket, job, node, key } => {
                self.spawn(ticket, job, async move |world, cancel| {
                    match attempt(async { world.lock(node, key.clone(), cancel).await }).await {
                        Ok(lock) => Message::Locked(ticket, key, lock),
                        Err(error) => Message::Ended(ticket, Event::Locked { ticket, result: Err(error) }),
                    }
                });
            }
            Action::Claim { ticket, job, node, key, inputs } => {
                self.spawn(ticket, job, async move |world, cancel| {
                    match attempt(async { world.claim(node, inputs, cancel).await }).await {
                        Ok(claim) => Message::Claimed(ticket, key, claim),
                        Err(error) => Message::Ended(ticket, Event::Claimed { ticket, result: Err(error) }),
                    }
                });
            }
            Action::Execute { ticket, job, node, identity, inputs } => {
                let key = identity.lock_key();
                let (Some(lock), Some(claim)) = (self.locks.get(key).cloned(), self.claims.get(key).cloned()) else {
                    return self.refuse(ticket, "a vertex was to run without its lock");
                };
                let execution = Execution { node, identity, inputs, lock, claim };
                self.spawn(ticket, job, async move |world, cancel| {
                    let result = attempt(async { world.execute(execution, cancel).await }).await;
                    Message::Ended(ticket, Event::Executed { ticket, result })
                });
            }
            Action::Unlock { key } => {
                // What was claimed under the lock goes before it.
                self.claims.remove(&key);
                self.locks.remove(&key);
            }
            Action::Cancel { ticket } => {
                if let Some(token) = self.tokens.get(&ticket) {
                    token.cancel();
                }
            }
            Action::Report { job, node, settled } => {
                if let Some(world) = self.worlds.get(&job) {
                    // A display that panics must not end every build.
                    let _ = catch_unwind(AssertUnwindSafe(|| world.settled(node, &settled)));
                }
            }
            Action::Answer { job, request, targets, failures } => {
                if let Some(answer) = self.answers.remove(&(job, request)) {
                    let _ = answer.send(solved::<W>(targets, failures));
                }
            }
            Action::Gone { job } => {
                self.worlds.remove(&job);
                if let Some(gone) = self.leaving.remove(&job) {
                    let _ = gone.send(());
                }
            }
        }
    }

    fn refuse(&self, ticket: Ticket, why: &str) {
        if let Some(outbox) = self.outbox.upgrade() {
            let result = Err(Failure::Panicked(why.into()));
            let _ = outbox.send(Message::Ended(ticket, Event::Executed { ticket, result }));
        }
    }

    fn spawn<F>(&mut self, ticket: Ticket, job: JobId, act: impl FnOnce(Arc<W>, CancellationToken) -> F)
    where
        F: Future<Output = Message<W>> + Send + 'static,
    {
        let (Some(world), Some(outbox)) = (self.worlds.get(&job), self.outbox.upgrade()) else {
            return;
        };
        let cancel = CancellationToken::new();
        self.tokens.insert(ticket, cancel.clone());
        let ended = act(world.clone(), cancel);
        tokio::spawn(async move {
            let _ = outbox.send(ended.await);
        });
    }
}

async fn look_up<W: World>(
    world: &W,
    node: NodeId,
    lookup: Lookup<W::Key, W::Output>,
    cancel: CancellationToken,
) -> Match<W> {
    match lookup {
        Lookup::Recipe(recipe) => {
            let found = world.probe(node, recipe.clone(), cancel).await?;
            Ok(found.map(|output| Found { recipe, output }))
        }
        Lookup::Content { identity, inputs } => world.match_content(node, identity, inputs, cancel).await,
    }
}

/// Awaits what the world does; a panic becomes a failure.
async fn attempt<T, E: Error>(doing: impl Future<Output = Result<T, E>>) -> Result<T, Failure<E>> {
    match AssertUnwindSafe(doing).catch_unwind().await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Failure::Failed(Arc::new(error))),
        Err(panic) => {
            let text = (panic.downcast_ref::<&str>().copied())
                .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
                .unwrap_or("a panic without a message");
            Err(Failure::Panicked(text.into()))
        }
    }
}

fn solved<W: World>(targets: Vec<(NodeId, Ending<W>)>, failures: Vec<(NodeId, Failure<W::Error>)>) -> Solved<W> {
    let mut results = Vec::with_capacity(targets.len());
    for (_, settled) in targets {
        match settled {
            Settled::Done(done) => results.push(done),
            _ if failures.is_empty() => return Err(SolveError::Cancelled),
            _ => return Err(SolveError::Failed(failures)),
        }
    }
    Ok(results)
}
