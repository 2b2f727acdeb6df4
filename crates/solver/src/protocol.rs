//! What goes into the scheduler and comes out of it: events, actions, and how a vertex ended.
//!
//! `K` is the caller's key, `O` the result of a vertex, `E` its error; the scheduler compares keys
//! and results but never looks into them.

use std::fmt;

use crate::graph::{NodeId, Vertex};

/// One solve under way: a graph that may grow, and those who wait for its targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// One question for targets, answered exactly once; the number is the caller's, unique per job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// One action under way; its ending event names it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(crate) u64);

/// What a failed vertex means for the others of its job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// The first failure cancels what remains of the job.
    #[default]
    FailFast,
    /// Only what depends on the failed vertex fails; independent branches finish.
    KeepGoing,
}

/// What a vertex is, as far as that can be told before it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity<K> {
    /// The recipe key: the same key means the same result is fine.
    Known(K),
    /// Only a key to lock by and to share an execution by; the recipe key comes with the result.
    /// Two vertices with an equal lock key may be answered by one execution: whatever must keep
    /// them apart (another user's context) belongs in it.
    Provisional(K),
}

impl<K> Identity<K> {
    /// The key that names the lock.
    pub fn lock_key(&self) -> &K {
        match self {
            Identity::Known(key) | Identity::Provisional(key) => key,
        }
    }

    /// The recipe key, once known.
    pub fn recipe(&self) -> Option<&K> {
        match self {
            Identity::Known(key) => Some(key),
            Identity::Provisional(_) => None,
        }
    }
}

/// Which recorded result is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup<K, O> {
    /// The one under this recipe key. Inputs need not exist.
    Recipe(K),
    /// One made by the same op from inputs of the same content as these.
    Content {
        /// What is known about the vertex.
        identity: Identity<K>,
        /// The results of its inputs, in their order.
        inputs: Vec<O>,
    },
}

/// A result that a lookup found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<K, O> {
    /// The recipe key that dependents build on; of a known vertex, its own.
    pub recipe: K,
    /// The result.
    pub output: O,
}

/// What an execution made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product<K, O> {
    /// The recipe key that the result is recorded under and that dependents build on. Of a vertex
    /// whose inputs moved while it ran it may differ from the one it was identified by.
    pub recipe: K,
    /// The result.
    pub output: O,
    /// False if the very result was recorded under `recipe` before: then the recipe keys of what
    /// depends on it stay valid.
    pub anew: bool,
}

/// How a result was obtained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Recorded under the recipe key.
    HitByRecipe,
    /// Recorded for inputs of the same content.
    HitByContent,
    /// Made in this run.
    Executed,
}

/// A vertex with a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done<K, O> {
    /// The result.
    pub output: O,
    /// Its recipe key.
    pub recipe: K,
    /// How it was obtained.
    pub how: How,
    /// Whether the result is new to the records (see [`Product::anew`]).
    pub anew: bool,
    /// Whether an equal vertex, of this job or another, did the work.
    pub shared: bool,
}

/// How a vertex ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled<K, O, E> {
    /// With a result.
    Done(Done<K, O>),
    /// By an error of its own, or of the equal vertex that it waited for.
    Failed(E),
    /// Never started: an input failed. Names the vertex whose failure it was.
    Blocked(NodeId),
    /// Its job left or failed elsewhere.
    Cancelled,
}

/// What happened, told to [`crate::State::on`].
#[derive(Clone, Debug)]
pub enum Event<K, O, E> {
    /// A job begins; its id has not been used before.
    Join {
        /// The new job.
        job: JobId,
        /// What its failures mean.
        policy: Policy,
    },
    /// A job's graph grows. Inputs precede what takes them.
    Extend {
        /// The job.
        job: JobId,
        /// New vertices.
        vertices: Vec<(NodeId, Vertex)>,
    },
    /// Somebody waits for these nodes.
    Want {
        /// The job.
        job: JobId,
        /// Names the answer.
        request: RequestId,
        /// Nodes of the job.
        targets: Vec<NodeId>,
    },
    /// A job ends, finished or not. What nobody else waits for is cancelled.
    Leave {
        /// The job.
        job: JobId,
    },
    /// An [`Action::Identify`] ended.
    Identified {
        /// The action's.
        ticket: Ticket,
        /// What it told.
        result: Result<Identity<K>, E>,
    },
    /// An [`Action::LookUp`] ended.
    LookedUp {
        /// The action's.
        ticket: Ticket,
        /// What was found, if anything.
        result: Result<Option<Found<K, O>>, E>,
    },
    /// An [`Action::Lock`] ended; with `Ok` the lock is held until [`Action::Unlock`].
    Locked {
        /// The action's.
        ticket: Ticket,
        /// Whether the lock was taken.
        result: Result<(), E>,
    },
    /// An [`Action::Claim`] ended; with `Ok` what was claimed is held until [`Action::Unlock`].
    Claimed {
        /// The action's.
        ticket: Ticket,
        /// Whether all is held.
        result: Result<(), E>,
    },
    /// An [`Action::Execute`] ended.
    Executed {
        /// The action's.
        ticket: Ticket,
        /// What it made.
        result: Result<Product<K, O>, E>,
    },
    /// There is room for another number of executions at once than before. One may always run.
    Room {
        /// For how many.
        most: usize,
    },
}

/// What is to be done, in this order. An action with a ticket ends with its event, exactly once,
/// also when it was cancelled.
#[derive(Clone, Debug, PartialEq)]
pub enum Action<K, O, E> {
    /// Tell what a vertex is.
    Identify {
        /// Names this action.
        ticket: Ticket,
        /// Whose world is asked.
        job: JobId,
        /// The vertex.
        node: NodeId,
        /// The recipe keys of its inputs, in their order.
        inputs: Vec<K>,
    },
    /// Ask for a recorded result.
    LookUp {
        /// Names this action.
        ticket: Ticket,
        /// Whose world is asked.
        job: JobId,
        /// The vertex.
        node: NodeId,
        /// Which result.
        lookup: Lookup<K, O>,
    },
    /// Take the lock of a key against other processes.
    Lock {
        /// Names this action.
        ticket: Ticket,
        /// Whose world is asked.
        job: JobId,
        /// The vertex.
        node: NodeId,
        /// The key.
        key: K,
    },
    /// Take what the vertex must have for itself while it runs, beside the lock of its key, which is held.
    Claim {
        /// Names this action.
        ticket: Ticket,
        /// Whose world is asked.
        job: JobId,
        /// The vertex.
        node: NodeId,
        /// Its key.
        key: K,
        /// The results of its inputs, in their order.
        inputs: Vec<O>,
    },
    /// Run a vertex and record its result, under the lock held.
    Execute {
        /// Names this action.
        ticket: Ticket,
        /// Whose world is asked.
        job: JobId,
        /// The vertex.
        node: NodeId,
        /// What is known about it; its key names the lock.
        identity: Identity<K>,
        /// The results of its inputs, in their order.
        inputs: Vec<O>,
    },
    /// Let a lock go, and what was claimed under it.
    Unlock {
        /// The key.
        key: K,
    },
    /// Ask an action under way to end soon. Its event still comes.
    Cancel {
        /// The action.
        ticket: Ticket,
    },
    /// A vertex has ended; for progress. A vertex that is wanted again is not reported again.
    Report {
        /// The job.
        job: JobId,
        /// The vertex.
        node: NodeId,
        /// How.
        settled: Settled<K, O, E>,
    },
    /// The one answer to a request.
    Answer {
        /// The job.
        job: JobId,
        /// The request.
        request: RequestId,
        /// How the targets ended, in the order asked.
        targets: Vec<(NodeId, Settled<K, O, E>)>,
        /// Every vertex of the job that failed by itself so far, in the order of failure.
        failures: Vec<(NodeId, E)>,
    },
    /// Nothing of a job that left is under way any more.
    Gone {
        /// The job.
        job: JobId,
    },
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            How::HitByRecipe => "cached",
            How::HitByContent => "cached, by content",
            How::Executed => "executed",
        })
    }
}
