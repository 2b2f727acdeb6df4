//! What the scheduler remembers about a job and its vertices.

use std::collections::BTreeMap;

use crate::graph::{Cache, NodeId, Vertex};
use crate::protocol::{Done, How, Identity, JobId, Policy, RequestId, Settled, Ticket};

/// A vertex of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    pub(super) job: JobId,
    pub(super) node: NodeId,
}

impl At {
    pub(super) fn sibling(self, node: NodeId) -> At {
        At { job: self.job, node }
    }
}

/// What is asked of a vertex, each including what comes before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Demand {
    Nothing,
    /// Its key, if nothing must run for it.
    CheapKey,
    /// Its recipe key, whatever must run.
    Key,
    Result,
}

/// By what a recorded result is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Recipe,
    Content,
}

impl By {
    pub(super) fn how(self) -> How {
        match self {
            By::Recipe => How::HitByRecipe,
            By::Content => How::HitByContent,
        }
    }
}

/// Where a vertex stands. See the diagram in the crate's documentation.
#[derive(Debug)]
pub(super) enum Phase<K, O, E> {
    /// Waits for a demand and for the keys of its inputs.
    Unidentified,
    Identifying(Ticket),
    /// Waits for a demand.
    Identified,
    LookingUp(Ticket, By),
    /// Waits for the results of its inputs.
    Gathering,
    /// Waits for the flight of this key, aboard or queued behind it.
    InFlight(K),
    Settled(Settled<K, O, E>),
}

#[derive(Debug)]
pub(super) struct Node<K, O, E> {
    pub(super) vertex: Vertex,
    pub(super) dependents: Vec<NodeId>,
    pub(super) demand: Demand,
    pub(super) phase: Phase<K, O, E>,
    pub(super) identity: Option<Identity<K>>,
    /// The keys of the inputs that the identity was made from.
    pub(super) identified_from: Vec<K>,
    /// Whether an ancestor was executed anew or will be: then recipe keys tell nothing.
    pub(super) stale: bool,
    /// The results of the inputs, once all were there.
    pub(super) inputs: Option<Vec<O>>,
    /// Requests that wait for this vertex, one entry for each time they name it.
    pub(super) requests: Vec<RequestId>,
}

impl<K, O, E> Node<K, O, E> {
    pub(super) fn is_settled(&self) -> bool {
        matches!(self.phase, Phase::Settled(_))
    }

    pub(super) fn done(&self) -> Option<&Done<K, O>> {
        match &self.phase {
            Phase::Settled(Settled::Done(done)) => Some(done),
            _ => None,
        }
    }

    /// The key that dependents build on, as far as known.
    pub(super) fn recipe(&self) -> Option<&K> {
        match self.done() {
            Some(done) => Some(&done.recipe),
            None => self.identity.as_ref()?.recipe(),
        }
    }

    pub(super) fn is_provisional(&self) -> bool {
        matches!(self.identity, Some(Identity::Provisional(_)))
    }

    /// Which records may answer for this vertex; none if caching is off.
    pub(super) fn lookup(&self) -> Option<By> {
        match self.vertex.cache {
            Cache::Ignore => None,
            Cache::Use if self.stale || self.is_provisional() => Some(By::Content),
            Cache::Use => Some(By::Recipe),
        }
    }

    /// Whether what depends on this vertex cannot trust recipe keys.
    fn spoils(&self) -> bool {
        self.stale || self.vertex.cache == Cache::Ignore || self.done().is_some_and(|done| done.anew)
    }
}

/// Targets that somebody waits for.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) targets: Vec<NodeId>,
    /// How many of them have not ended.
    pub(super) open: usize,
}

/// A result that equal vertices of the same job share.
#[derive(Debug)]
struct Memory<K, O> {
    done: Done<K, O>,
    inputs: Option<Vec<O>>,
}

#[derive(Debug)]
pub(super) struct Job<K, O, E> {
    pub(super) policy: Policy,
    pub(super) nodes: BTreeMap<NodeId, Node<K, O, E>>,
    pub(super) requests: BTreeMap<RequestId, Request>,
    pub(super) failures: Vec<(NodeId, E)>,
    memory: BTreeMap<K, Vec<Memory<K, O>>>,
    /// Nothing starts any more.
    pub(super) stopped: bool,
    pub(super) left: bool,
    /// Cancelled actions whose end is awaited.
    pub(super) left_behind: usize,
}

impl<K: Clone + Ord, O: Clone + PartialEq, E: Clone> Job<K, O, E> {
    pub(super) fn new(policy: Policy) -> Self {
        Job {
            policy,
            nodes: BTreeMap::new(),
            requests: BTreeMap::new(),
            failures: Vec::new(),
            memory: BTreeMap::new(),
            stopped: false,
            left: false,
            left_behind: 0,
        }
    }

    pub(super) fn insert(&mut self, id: NodeId, vertex: Vertex) {
        let mut stale = false;
        for input in &vertex.inputs {
            if let Some(input) = self.nodes.get_mut(input) {
                stale |= input.spoils();
                input.dependents.push(id);
            }
        }
        self.nodes.entry(id).or_insert(Node {
            vertex,
            dependents: Vec::new(),
            demand: Demand::Nothing,
            phase: Phase::Unidentified,
            identity: None,
            identified_from: Vec::new(),
            stale,
            inputs: None,
            requests: Vec::new(),
        });
    }

    /// Keeps a result for equal vertices, and marks what its novelty spoils.
    pub(super) fn remember(&mut self, id: NodeId, done: &Done<K, O>) {
        let Some(node) = self.nodes.get(&id) else { return };
        let mut keys = vec![done.recipe.clone()];
        keys.extend(node.identity.as_ref().map(|identity| identity.lock_key().clone()));
        for key in keys {
            let memories = self.memory.entry(key).or_default();
            let known = |memory: &Memory<K, O>| memory.inputs == node.inputs && memory.done.how == done.how;
            if !memories.iter().any(known) {
                memories.push(Memory { done: done.clone(), inputs: node.inputs.clone() });
            }
        }
        if done.anew {
            self.spoil_dependents(id);
        }
    }

    fn spoil_dependents(&mut self, id: NodeId) {
        let mut stack = vec![id];
        while let Some(id) = stack.pop() {
            let dependents = self.nodes.get(&id).map(|node| node.dependents.clone());
            for dependent in dependents.unwrap_or_default() {
                if let Some(node) = self.nodes.get_mut(&dependent)
                    && !node.stale
                    && !node.is_settled()
                {
                    node.stale = true;
                    stack.push(dependent);
                }
            }
        }
    }

    /// The result of an equal vertex of this job that may stand for `id`'s: made from equal inputs,
    /// or under a recipe key that can be trusted; without a cache, one that was executed.
    pub(super) fn recall(&self, id: NodeId) -> Option<Done<K, O>> {
        let node = self.nodes.get(&id)?;
        let lookup = node.lookup();
        let fits = |memory: &&Memory<K, O>| {
            let same_inputs = node.inputs.is_some() && node.inputs == memory.inputs;
            match lookup {
                Some(By::Recipe) => true,
                Some(By::Content) => same_inputs,
                None => same_inputs && memory.done.how == How::Executed,
            }
        };
        let memory = self.memory.get(node.identity.as_ref()?.lock_key())?.iter().find(fits)?;
        Some(Done { shared: true, ..memory.done.clone() })
    }

    /// How a target of an answered request ended.
    pub(super) fn ending(&self, target: NodeId) -> Settled<K, O, E> {
        match self.nodes.get(&target).map(|node| &node.phase) {
            Some(Phase::Settled(settled)) => settled.clone(),
            _ => Settled::Cancelled,
        }
    }
}
