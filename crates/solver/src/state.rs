//! The scheduler: a pure transition function over jobs, vertices and flights.
//!
//! Knows no time, no threads and no world: an event goes in, actions come out. `job` holds what is
//! remembered, `vertex` takes a single vertex from its identity to the point where it must run,
//! `flight` runs what must run, once per key, `queue` says whose turn it is.

mod flight;
mod job;
mod queue;
#[cfg(test)]
mod tests;
mod vertex;

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroUsize;

use crate::graph::{NodeId, Vertex};
use crate::protocol::{Action, Event, JobId, Policy, RequestId, Settled, Ticket};
use flight::Flight;
use job::{At, Demand, Job, Node, Phase, Request};
use queue::Queue;

/// Who waits for the end of an action.
#[derive(Clone, Debug)]
enum Holder<K> {
    /// The vertex that asked.
    Vertex(At),
    /// The flight of this key.
    Flight(K),
    /// Nobody, but the job may not go before it ended.
    Nobody(JobId),
}

/// The scheduler. Lives as long as the process; jobs come and go.
#[derive(Debug)]
pub struct State<K, O, E> {
    jobs: BTreeMap<JobId, Job<K, O, E>>,
    flights: BTreeMap<K, Flight<K, O>>,
    tickets: BTreeMap<Ticket, Holder<K>>,
    next_ticket: u64,
    queue: Queue<K>,
    /// Vertices that may be able to move on.
    work: VecDeque<At>,
    actions: Vec<Action<K, O, E>>,
}

impl<K: Clone + Ord, O: Clone + PartialEq, E: Clone> State<K, O, E> {
    /// An idle scheduler with at most `slots` executions at once.
    pub fn new(slots: NonZeroUsize) -> Self {
        State {
            jobs: BTreeMap::new(),
            flights: BTreeMap::new(),
            tickets: BTreeMap::new(),
            next_ticket: 0,
            queue: Queue::new(slots.get()),
            work: VecDeque::new(),
            actions: Vec::new(),
        }
    }

    /// Takes note of `event` and tells what is to be done now, in order. An event of an unknown
    /// ticket or job has no effect, except that a request is always answered.
    pub fn on(&mut self, event: Event<K, O, E>) -> Vec<Action<K, O, E>> {
        match event {
            Event::Join { job, policy } => self.join(job, policy),
            Event::Extend { job, vertices } => self.extend(job, vertices),
            Event::Want { job, request, targets } => self.want(job, request, targets),
            Event::Leave { job } => self.leave(job),
            Event::Identified { ticket, result } => {
                if let Some(Holder::Vertex(at)) = self.end_of(ticket) {
                    self.identified(at, result);
                }
            }
            Event::LookedUp { ticket, result } => match self.end_of(ticket) {
                Some(Holder::Vertex(at)) => self.looked_up(at, result),
                Some(Holder::Flight(key)) => self.flight_looked_up(key, result),
                _ => {}
            },
            Event::Locked { ticket, result } => {
                if let Some(Holder::Flight(key)) = self.end_of(ticket) {
                    self.flight_locked(key, result);
                }
            }
            Event::Claimed { ticket, result } => {
                if let Some(Holder::Flight(key)) = self.end_of(ticket) {
                    self.flight_claimed(key, result);
                }
            }
            Event::Executed { ticket, result } => {
                if let Some(Holder::Flight(key)) = self.end_of(ticket) {
                    self.flight_executed(key, result);
                }
            }
            Event::Room { most } => self.queue.set_room(most),
        }
        while let Some(at) = self.work.pop_front() {
            self.advance(at);
        }
        self.fill_slots();
        std::mem::take(&mut self.actions)
    }

    /// Whether nothing is under way and no job is left.
    pub fn is_idle(&self) -> bool {
        self.jobs.is_empty() && self.flights.is_empty() && self.tickets.is_empty()
    }

    /// How many executions are under way.
    pub fn running(&self) -> usize {
        self.queue.running()
    }

    /// Whether an execution waits although a slot is free, because there is no room ([`Event::Room`]).
    pub fn is_held_back(&self) -> bool {
        self.queue.is_held_back()
    }

    /// For each lane that has any: how many executions are under way, and how many wait for a slot.
    #[cfg(test)]
    pub(crate) fn census(&self) -> BTreeMap<(JobId, crate::graph::Lane), (usize, usize)> {
        self.queue.census()
    }

    fn ticket(&mut self, holder: Holder<K>) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.tickets.insert(ticket, holder);
        ticket
    }

    /// Whose action ended; settles the account of a job that has left it behind.
    fn end_of(&mut self, ticket: Ticket) -> Option<Holder<K>> {
        let holder = self.tickets.remove(&ticket)?;
        if let Holder::Nobody(job) = holder {
            self.relieve(job);
        }
        Some(holder)
    }

    fn node(&self, at: At) -> Option<&Node<K, O, E>> {
        self.jobs.get(&at.job)?.nodes.get(&at.node)
    }

    fn node_mut(&mut self, at: At) -> Option<&mut Node<K, O, E>> {
        self.jobs.get_mut(&at.job)?.nodes.get_mut(&at.node)
    }

    fn join(&mut self, job: JobId, policy: Policy) {
        self.jobs.entry(job).or_insert_with(|| Job::new(policy));
    }

    fn extend(&mut self, job: JobId, vertices: Vec<(NodeId, Vertex)>) {
        if let Some(job) = self.jobs.get_mut(&job) {
            for (node, vertex) in vertices {
                job.insert(node, vertex);
            }
        }
    }

    fn want(&mut self, id: JobId, request: RequestId, targets: Vec<NodeId>) {
        let Some(job) = self.jobs.get_mut(&id) else {
            let targets = targets.into_iter().map(|t| (t, Settled::Cancelled)).collect();
            let failures = Vec::new();
            return self.actions.push(Action::Answer { job: id, request, targets, failures });
        };
        let stopped = job.stopped;
        let mut open = 0;
        for target in &targets {
            if let Some(node) = job.nodes.get_mut(target)
                && !node.is_settled()
            {
                node.requests.push(request);
                open += 1;
            }
        }
        job.requests.insert(request, Request { targets: targets.clone(), open });
        for node in targets {
            let at = At { job: id, node };
            if stopped {
                self.settle(at, Settled::Cancelled);
            } else {
                self.seek_identities(at);
                self.demand(at, Demand::Result);
            }
        }
        self.answer_if_complete(id, request);
    }

    /// Lets the vertex and everything below it be identified as far as nothing must run for it.
    fn seek_identities(&mut self, at: At) {
        let mut stack = vec![at];
        while let Some(at) = stack.pop() {
            let Some(node) = self.node_mut(at) else { continue };
            if node.demand == Demand::Nothing {
                node.demand = Demand::CheapKey;
                stack.extend(node.vertex.inputs.iter().map(|input| at.sibling(*input)));
                self.work.push_back(at);
            }
        }
    }

    fn demand(&mut self, at: At, demand: Demand) {
        if let Some(node) = self.node_mut(at)
            && node.demand < demand
        {
            node.demand = demand;
            self.work.push_back(at);
        }
    }

    fn leave(&mut self, id: JobId) {
        self.stop(id);
        if let Some(job) = self.jobs.get_mut(&id) {
            job.left = true;
        }
        self.let_go(id);
    }

    /// Cancels everything of a job that has not ended.
    fn stop(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.stopped = true;
        let open: Vec<NodeId> = (job.nodes.iter())
            .filter(|(_, node)| !node.is_settled() && node.demand > Demand::Nothing)
            .map(|(node, _)| *node)
            .collect();
        for node in open {
            let at = At { job: id, node };
            self.detach(at);
            self.settle(at, Settled::Cancelled);
        }
    }

    /// Gives up what a vertex has under way, unless others wait for it too.
    fn detach(&mut self, at: At) {
        match self.node(at).map(|node| &node.phase) {
            Some(Phase::Identifying(ticket) | Phase::LookingUp(ticket, _)) => {
                let ticket = *ticket;
                self.tickets.insert(ticket, Holder::Nobody(at.job));
                self.burden(at.job);
                self.actions.push(Action::Cancel { ticket });
            }
            Some(Phase::InFlight(key)) => {
                let key = key.clone();
                self.leave_flight(key, at);
            }
            _ => {}
        }
    }

    /// Ends a vertex, once: tells the waiting and wakes what depends on it.
    fn settle(&mut self, at: At, settled: Settled<K, O, E>) {
        let Some(job) = self.jobs.get_mut(&at.job) else { return };
        let Some(node) = job.nodes.get_mut(&at.node).filter(|node| !node.is_settled()) else {
            return;
        };
        let requests = std::mem::take(&mut node.requests);
        let before = std::mem::replace(&mut node.phase, Phase::Settled(settled.clone()));
        self.work.extend(node.dependents.iter().map(|dependent| at.sibling(*dependent)));
        match &settled {
            Settled::Done(done) => job.remember(at.node, done),
            Settled::Failed(error) => job.failures.push((at.node, error.clone())),
            Settled::Blocked(_) | Settled::Cancelled => {}
        }
        let fatal = matches!(settled, Settled::Failed(_)) && job.policy == Policy::FailFast;
        drop(before);
        self.actions.push(Action::Report { job: at.job, node: at.node, settled });
        if fatal {
            self.stop(at.job);
        }
        for request in requests {
            if let Some(job) = self.jobs.get_mut(&at.job)
                && let Some(request) = job.requests.get_mut(&request)
            {
                request.open -= 1;
            }
            self.answer_if_complete(at.job, request);
        }
    }

    fn answer_if_complete(&mut self, id: JobId, request: RequestId) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if job.requests.get(&request).is_none_or(|request| request.open > 0) {
            return;
        }
        let Some(Request { targets, .. }) = job.requests.remove(&request) else { return };
        let targets = targets.into_iter().map(|target| (target, job.ending(target))).collect();
        let failures = job.failures.clone();
        self.actions.push(Action::Answer { job: id, request, targets, failures });
    }

    /// Notes that something a job left behind is still under way.
    fn burden(&mut self, job: JobId) {
        if let Some(job) = self.jobs.get_mut(&job) {
            job.left_behind += 1;
        }
    }

    fn relieve(&mut self, id: JobId) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.left_behind -= 1;
        }
        self.let_go(id);
    }

    fn let_go(&mut self, id: JobId) {
        if self.jobs.get(&id).is_some_and(|job| job.left && job.left_behind == 0) {
            self.jobs.remove(&id);
            self.actions.push(Action::Gone { job: id });
        }
    }
}
