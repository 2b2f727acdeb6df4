//! A deterministic simulator: seeds drive random graphs through the scheduler in random orders of
//! events, and after each step its invariants are checked.
//!
//! It can fail. Each of these changes was made to the scheduler by hand, and 1,000 schedules noticed
//! every one: no look-up after the lock; a flight is cancelled for one that leaves though others are
//! aboard, or not cancelled with the last; a failure that leaving caused is handed on; a lock is not
//! let go; a slot is not given back, or not counted; those who queue are forgotten; one boards a
//! flight that is being cancelled; recipe keys are trusted below what was executed anew, or a hit on
//! one is taken that was overtaken; inputs' keys that came out different are ignored; results are
//! not kept within the job; no look-up by content before the lock; only one dependent is woken; a
//! job that fails fast goes on; a job is gone before its cancelled actions have ended, or does not
//! wait for its look-ups; a vertex does not wait for all its inputs; a vertex runs without its claim,
//! or claims twice, or before it has its lock; turns go to the job that was served longest ago, whatever
//! runs; more run than there is room for, or none; a slot stays empty although there is room; an heir
//! waits in the place of who has left.
//!
//! Three were too rare for it and have a story of their own. In `state::tests`: equal keys on other
//! inputs share a flight; an heir of a vertex without cache does not ask the records. In
//! `state::queue`: of a job's lanes that was served longest ago is next, whatever runs.

mod checks;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use crate::graph::{Cache, Lane, NodeId, Vertex};
use crate::protocol::*;
use crate::state::State;
use world::{Key, Op, Random, Resource, Value, World};

/// Why something failed in the simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// The op itself does.
    Op(Op),
    /// The action was cancelled.
    Cancelled,
    /// The one whose world did it has left.
    OwnerGone,
}

type Doing = Action<Key, Value, Trouble>;
type Ended = Settled<Key, Value, Trouble>;

/// An action that has begun.
struct Pending {
    action: Doing,
    cancelled: bool,
}

/// What the simulator itself knows about a job.
struct Player {
    policy: Policy,
    vertices: Vec<(Op, Vertex)>,
    settled: BTreeMap<NodeId, Ended>,
    unanswered: BTreeSet<RequestId>,
    requests: u64,
    left: bool,
    gone: bool,
    /// What was executed for a vertex without cache: key and inputs.
    executed: BTreeSet<(Key, Vec<Value>)>,
}

/// How often what is worth testing came up.
#[derive(Debug, Default)]
struct Seen {
    executions: usize,
    shared: usize,
    found_by_content: usize,
    found_under_lock: usize,
    failures: usize,
    blocked: usize,
    cancelled_executions: usize,
    inherited: usize,
    identified_again: usize,
    slots_full: usize,
    claims_waited: usize,
    held_back: usize,
    turns: usize,
}

struct Simulation {
    seed: u64,
    random: Random,
    world: World,
    state: State<Key, Value, Trouble>,
    slots: usize,
    room: usize,
    pending: BTreeMap<Ticket, Pending>,
    locks: BTreeSet<Key>,
    /// What was claimed under a lock, if anything had to be.
    claims: BTreeMap<Key, Option<Resource>>,
    players: BTreeMap<JobId, Player>,
    /// The lock key by which a vertex was identified last.
    identified: BTreeMap<(JobId, NodeId), Key>,
    /// Vertices whose records were asked for, and whether by content.
    looked_up: BTreeSet<(JobId, NodeId, bool)>,
    seen: Seen,
}

impl Simulation {
    fn new(seed: u64) -> Simulation {
        let mut random = Random(seed);
        let slots = 1 + random.below(4);
        let ops = 3 + random.below(8);
        Simulation {
            seed,
            world: World::new(&mut random, ops),
            random,
            state: State::new(NonZeroUsize::new(slots).unwrap()),
            slots,
            room: slots,
            pending: BTreeMap::new(),
            locks: BTreeSet::new(),
            claims: BTreeMap::new(),
            players: BTreeMap::new(),
            identified: BTreeMap::new(),
            looked_up: BTreeSet::new(),
            seen: Seen::default(),
        }
    }

    /// Random steps, then everything is let run to its end.
    fn run(mut self) -> Seen {
        for _ in 0..20 + self.random.below(80) {
            match self.random.below(100) {
                0..8 if self.players.len() < 6 => self.join(),
                8..14 => self.grow(),
                14..20 => self.leave_any(),
                20..25 => self.lock_elsewhere(),
                25..31 => self.unlock_elsewhere(),
                31..36 => self.world.lose_a_record(&mut self.random),
                36..39 => self.claim_elsewhere(),
                39..43 => drop(self.world.claimed_by_others.pop_first()),
                43..47 => self.change_room(),
                _ => self.finish_any(),
            }
        }
        while let Some(key) = self.world.locked_by_others.pop_first() {
            if self.random.percent(50) {
                self.world.execute_elsewhere(key, &mut self.random);
            }
        }
        self.world.claimed_by_others.clear();
        while !self.pending.is_empty() {
            self.finish_any();
        }
        self.check_answers();
        for job in self.players.keys().copied().collect::<Vec<_>>() {
            self.leave(job);
        }
        while !self.pending.is_empty() {
            self.finish_any();
        }
        self.check_rest();
        self.seen
    }

    fn join(&mut self) {
        let job = JobId(self.players.len() as u64);
        let policy = if self.random.percent(30) { Policy::FailFast } else { Policy::KeepGoing };
        let player = Player {
            policy,
            vertices: Vec::new(),
            settled: BTreeMap::new(),
            unanswered: BTreeSet::new(),
            requests: 0,
            left: false,
            gone: false,
            executed: BTreeSet::new(),
        };
        self.players.insert(job, player);
        self.tell(Event::Join { job, policy });
        self.extend(job);
    }

    /// A job that has not left grows by some vertices, and somebody wants some of all.
    fn grow(&mut self) {
        let jobs: Vec<JobId> = self.staying();
        if let Some(job) = self.pick(&jobs) {
            self.extend(job);
        }
    }

    fn extend(&mut self, job: JobId) {
        let count = 1 + self.random.below(6);
        let no_cache = if self.random.percent(20) { 50 } else { 0 };
        let mut vertices = Vec::new();
        for _ in 0..count {
            let known = self.players[&job].vertices.len();
            let (op, inputs) = self.model(known).unwrap_or_else(|| self.invent(known));
            let cache = if self.random.percent(no_cache) { Cache::Ignore } else { Cache::Use };
            let lane = Lane(self.random.below(3) as u32);
            let vertex = Vertex { inputs, cache, lane };
            vertices.push((NodeId(known as u64), vertex.clone()));
            self.player(job).vertices.push((op, vertex));
        }
        self.tell(Event::Extend { job, vertices });
        let known = self.players[&job].vertices.len();
        let targets: Vec<NodeId> =
            (0..1 + self.random.below(3)).map(|_| NodeId(self.random.below(known) as u64)).collect();
        let player = self.player(job);
        let request = RequestId(player.requests);
        player.requests += 1;
        player.unanswered.insert(request);
        self.tell(Event::Want { job, request, targets });
    }

    /// A vertex at the same place in another job's graph, as of the same Dockerfile.
    fn model(&mut self, place: usize) -> Option<(Op, Vec<NodeId>)> {
        let jobs: Vec<JobId> = self.players.keys().copied().collect();
        let other = self.pick(&jobs).filter(|_| self.random.percent(70))?;
        let (op, vertex) = self.players[&other].vertices.get(place)?;
        Some((*op, vertex.inputs.clone()))
    }

    fn invent(&mut self, known: usize) -> (Op, Vec<NodeId>) {
        let op = self.random.below(self.world.natures.len()) as Op;
        let inputs = (0..self.random.below(4).min(known)).map(|_| NodeId(self.random.below(known) as u64)).collect();
        (op, inputs)
    }

    fn leave_any(&mut self) {
        let jobs = self.staying();
        if let Some(job) = self.pick(&jobs) {
            self.leave(job);
        }
    }

    fn leave(&mut self, job: JobId) {
        if !self.player(job).left {
            self.player(job).left = true;
            self.tell(Event::Leave { job });
            let unanswered = &self.players[&job].unanswered;
            assert!(unanswered.is_empty(), "seed {}: {job:?} left without answer", self.seed);
        }
    }

    fn lock_elsewhere(&mut self) {
        let keys: Vec<Key> = self.world.lockable.iter().copied().collect();
        if let Some(key) = self.pick(&keys)
            && !self.locks.contains(&key)
        {
            self.world.locked_by_others.insert(key);
        }
    }

    fn claim_elsewhere(&mut self) {
        let resources: BTreeSet<Resource> = self.world.natures.iter().filter_map(|nature| nature.claims).collect();
        let free: Vec<Resource> = resources.into_iter().filter(|resource| self.is_free(*resource)).collect();
        if let Some(resource) = self.pick(&free) {
            self.world.claimed_by_others.insert(resource);
        }
    }

    fn is_free(&self, resource: Resource) -> bool {
        !self.world.claimed_by_others.contains(&resource) && !self.claims.values().any(|held| *held == Some(resource))
    }

    fn change_room(&mut self) {
        self.room = self.random.below(self.slots + 1);
        self.tell(Event::Room { most: self.room });
    }

    fn unlock_elsewhere(&mut self) {
        let keys: Vec<Key> = self.world.locked_by_others.iter().copied().collect();
        if let Some(key) = self.pick(&keys) {
            self.world.locked_by_others.remove(&key);
            if self.random.percent(60) {
                self.world.execute_elsewhere(key, &mut self.random);
            }
        }
    }

    fn staying(&self) -> Vec<JobId> {
        self.players.iter().filter(|(_, player)| !player.left).map(|(job, _)| *job).collect()
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        (!from.is_empty()).then(|| from[self.random.below(from.len())])
    }

    fn player(&mut self, job: JobId) -> &mut Player {
        self.players.get_mut(&job).expect("a job that joined")
    }

    /// Ends one action, unless it waits for a lock that another process holds, or for what anybody has claimed.
    fn finish_any(&mut self) {
        let able: Vec<Ticket> = (self.pending.iter())
            .filter(|(_, pending)| match &pending.action {
                _ if pending.cancelled => true,
                Action::Lock { key, .. } => !self.world.locked_by_others.contains(key),
                Action::Claim { job, node, .. } => self.may_claim(*job, *node),
                _ => true,
            })
            .map(|(ticket, _)| *ticket)
            .collect();
        let Some(ticket) = self.pick(&able) else { return };
        let Pending { action, cancelled } = self.pending.remove(&ticket).expect("just listed");
        self.seen.claims_waited += (self.pending.values())
            .filter(|other| matches!(other.action, Action::Claim { job, node, .. } if !self.may_claim(job, node)))
            .count();
        let event = self.end(ticket, action, cancelled);
        self.tell(event);
    }

    fn may_claim(&self, job: JobId, node: NodeId) -> bool {
        self.world.nature(self.op(job, node)).claims.is_none_or(|resource| self.is_free(resource))
    }

    /// Why an action fails that did not run to its own end.
    fn interruption(&mut self, job: JobId, cancelled: bool) -> Option<Trouble> {
        if cancelled && self.random.percent(70) {
            return Some(Trouble::Cancelled);
        }
        let gone = self.players[&job].left && self.random.percent(50);
        self.seen.inherited += usize::from(gone && !cancelled);
        gone.then_some(Trouble::OwnerGone)
    }

    fn end(&mut self, ticket: Ticket, action: Doing, cancelled: bool) -> Event<Key, Value, Trouble> {
        match action {
            Action::Identify { job, node, inputs, .. } => {
                let result = match self.interruption(job, cancelled) {
                    Some(trouble) => Err(trouble),
                    None => Ok(self.identify(job, node, &inputs)),
                };
                Event::Identified { ticket, result }
            }
            Action::LookUp { job, node, lookup, .. } => {
                let result = match self.interruption(job, cancelled) {
                    Some(trouble) => Err(trouble),
                    None => Ok(self.look_up(job, node, lookup)),
                };
                Event::LookedUp { ticket, result }
            }
            Action::Lock { job, key, .. } => {
                let held = self.world.locked_by_others.contains(&key);
                let result = match self.interruption(job, cancelled) {
                    None if !held => Ok(()),
                    trouble => Err(trouble.unwrap_or(Trouble::Cancelled)),
                };
                if result.is_ok() {
                    self.locks.insert(key);
                }
                Event::Locked { ticket, result }
            }
            Action::Claim { job, node, key, .. } => {
                let resource = self.world.nature(self.op(job, node)).claims;
                let result = match self.interruption(job, cancelled) {
                    None if self.may_claim(job, node) => Ok(()),
                    trouble => Err(trouble.unwrap_or(Trouble::Cancelled)),
                };
                if result.is_ok() {
                    self.claims.insert(key, resource);
                }
                Event::Claimed { ticket, result }
            }
            Action::Execute { job, node, identity, inputs, .. } => {
                let op = self.op(job, node);
                let result = match self.interruption(job, cancelled) {
                    Some(trouble) => Err(trouble),
                    None if self.world.nature(op).fails => Err(Trouble::Op(op)),
                    None => Ok(self.execute(job, node, *identity.lock_key(), inputs)),
                };
                Event::Executed { ticket, result }
            }
            other => panic!("seed {}: {other:?} has no end", self.seed),
        }
    }

    fn op(&self, job: JobId, node: NodeId) -> Op {
        self.players[&job].vertices[node.0 as usize].0
    }

    fn vertex(&self, job: JobId, node: NodeId) -> &Vertex {
        &self.players[&job].vertices[node.0 as usize].1
    }

    fn identify(&mut self, job: JobId, node: NodeId, inputs: &[Key]) -> Identity<Key> {
        let op = self.op(job, node);
        let identity = match self.world.nature(op).provisional {
            true => Identity::Provisional(self.world.lock_key(op, inputs)),
            false => Identity::Known(self.world.recipe(op, inputs)),
        };
        let key = *identity.lock_key();
        self.world.lockable.insert(key);
        let before = self.identified.insert((job, node), key);
        self.seen.identified_again += usize::from(before.is_some());
        identity
    }

    fn look_up(&mut self, job: JobId, node: NodeId, lookup: Lookup<Key, Value>) -> Option<Found<Key, Value>> {
        match lookup {
            Lookup::Recipe(recipe) => {
                let output = *self.world.by_recipe.get(&recipe)?;
                self.seen.found_under_lock += usize::from(self.locks.contains(&recipe));
                Some(Found { recipe, output })
            }
            Lookup::Content { inputs, .. } => {
                let found = self.world.by_content.get(&(self.op(job, node), inputs));
                found.map(|(recipe, output)| Found { recipe: *recipe, output: *output })
            }
        }
    }

    fn execute(&mut self, job: JobId, node: NodeId, key: Key, inputs: Vec<Value>) -> Product<Key, Value> {
        self.seen.executions += 1;
        let ignored = self.vertex(job, node).cache == Cache::Ignore;
        if ignored && !self.players[&job].left {
            self.player(job).executed.insert((key, inputs.clone()));
        }
        let (recipe, output, anew) = self.world.execute(key, inputs, &mut self.random);
        Product { recipe, output, anew: anew || ignored }
    }
}

/// Ordinary runs take a sample; `KILN_TEST_FULL=1` takes them all.
fn schedules() -> u64 {
    match std::env::var_os("KILN_TEST_FULL") {
        Some(full) if full == "1" => 10_000,
        _ => 1_000,
    }
}

#[test]
fn random_schedules_hold_the_invariants() {
    let mut total = Seen::default();
    for seed in 0..schedules() {
        let seen = Simulation::new(seed).run();
        total.executions += seen.executions;
        total.shared += seen.shared;
        total.found_by_content += seen.found_by_content;
        total.found_under_lock += seen.found_under_lock;
        total.failures += seen.failures;
        total.blocked += seen.blocked;
        total.cancelled_executions += seen.cancelled_executions;
        total.inherited += seen.inherited;
        total.identified_again += seen.identified_again;
        total.slots_full += seen.slots_full;
        total.claims_waited += seen.claims_waited;
        total.held_back += seen.held_back;
        total.turns += seen.turns;
    }
    println!("{} schedules hold the invariants; {total:?}", schedules());
    let Seen {
        executions,
        shared,
        found_by_content,
        found_under_lock,
        failures,
        blocked,
        cancelled_executions,
        inherited,
        identified_again,
        slots_full,
        claims_waited,
        held_back,
        turns,
    } = total;
    let rarest = [
        executions,
        shared,
        found_by_content,
        found_under_lock,
        failures,
        blocked,
        cancelled_executions,
        inherited,
        identified_again,
        slots_full,
        claims_waited,
        held_back,
        turns,
    ];
    assert!(rarest.iter().all(|count| *count >= 10), "the schedules miss something: {rarest:?}");
}
