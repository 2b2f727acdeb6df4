//! The invariants: what must hold of every action, of every ending, and at the end.

use super::*;

/// What an action that does something does it for.
fn subject(action: &Doing) -> Option<(Ticket, JobId, NodeId)> {
    match action {
        Action::Identify { ticket, job, node, .. }
        | Action::LookUp { ticket, job, node, .. }
        | Action::Lock { ticket, job, node, .. }
        | Action::Claim { ticket, job, node, .. }
        | Action::Execute { ticket, job, node, .. } => Some((*ticket, *job, *node)),
        _ => None,
    }
}

/// The key under which others may wait for an action too.
fn key(action: &Doing) -> Option<Key> {
    match action {
        Action::LookUp { lookup: Lookup::Recipe(key), .. } | Action::Lock { key, .. } | Action::Claim { key, .. } => {
            Some(*key)
        }
        Action::LookUp { lookup: Lookup::Content { identity, .. }, .. } | Action::Execute { identity, .. } => {
            Some(*identity.lock_key())
        }
        _ => None,
    }
}

impl Simulation {
    /// Feeds an event to the scheduler and checks what it wants done.
    pub(super) fn tell(&mut self, event: Event<Key, Value, Trouble>) {
        for action in self.state.on(event) {
            self.take(action);
        }
        let running = self.running().len();
        assert!(running <= self.slots, "seed {}: {running} of {} run", self.seed, self.slots);
        self.seen.slots_full += usize::from(running == self.slots);
        self.check_no_slot_is_wasted(running);
        self.check_needed();
    }

    /// Whose executions are under way.
    fn running(&self) -> Vec<(JobId, Lane)> {
        let places = self.pending.values().filter_map(|pending| match pending.action {
            Action::Execute { job, node, .. } => Some((job, self.vertex(job, node).lane)),
            _ => None,
        });
        places.collect()
    }

    /// Who has a lock and a claim and does nothing waits for a slot: only where there is none, or no room.
    fn check_no_slot_is_wasted(&mut self, running: usize) {
        let busy: BTreeSet<Key> = self.pending.values().filter_map(|pending| key(&pending.action)).collect();
        let ready = self.claims.keys().filter(|key| !busy.contains(key)).count();
        let most = self.slots.min(self.room.max(1));
        assert!(ready == 0 || running >= most, "seed {}: {ready} wait while {running} of {most} run", self.seed);
        let held_back = ready > 0 && running < self.slots;
        self.seen.held_back += usize::from(held_back);
        if held_back {
            assert!(self.state.is_held_back(), "seed {}", self.seed);
        }
        assert_eq!(self.state.running(), running, "seed {}", self.seed);
    }

    /// An execution begins: there is room, and neither a job nor a lane that waits has fewer under way.
    fn check_turn(&mut self, job: JobId, node: NodeId) {
        let seed = self.seed;
        let running = self.running();
        assert!(running.len() < self.room.max(1), "seed {seed}: {} run, room for {}", running.len(), self.room);
        let of_job = |job: JobId| running.iter().filter(|place| place.0 == job).count();
        let of_lane = |place: (JobId, Lane)| running.iter().filter(|other| **other == place).count();
        let own = (job, self.vertex(job, node).lane);
        for (place, _) in self.state.census().into_iter().filter(|(place, (_, waiting))| *waiting > 0 && *place != own)
        {
            self.seen.turns += 1;
            assert!(!self.players[&place.0].left, "seed {seed}: one that has left waits for a slot");
            assert!(of_job(job) <= of_job(place.0), "seed {seed}: {own:?} before {place:?}");
            assert!(place.0 != job || of_lane(own) <= of_lane(place), "seed {seed}: {own:?} before {place:?}");
        }
    }

    /// Whatever is under way is waited for, or has been told to end.
    fn check_needed(&self) {
        for pending in self.pending.values().filter(|pending| !pending.cancelled) {
            let Some((_, job, node)) = subject(&pending.action) else { continue };
            let waited_for = match key(&pending.action) {
                _ if !self.players[&job].settled.contains_key(&node) => true,
                None => false,
                Some(key) => (self.identified.iter())
                    .filter(|(_, of)| **of == key)
                    .any(|((job, node), _)| !self.players[job].settled.contains_key(node)),
            };
            assert!(waited_for, "seed {}: nobody waits for {:?}", self.seed, pending.action);
        }
    }

    fn count(&self, which: impl Fn(&Doing) -> bool) -> usize {
        self.pending.values().filter(|pending| which(&pending.action)).count()
    }

    fn take(&mut self, action: Doing) {
        let seed = self.seed;
        if let Some((ticket, job, node)) = subject(&action) {
            let player = &self.players[&job];
            assert!(!player.left, "seed {seed}: {job:?} has left, yet {action:?}");
            assert!(!player.settled.contains_key(&node), "seed {seed}: ended, yet {action:?}");
            let failed = player.settled.values().any(|settled| matches!(settled, Settled::Failed(_)));
            let stopped = failed && player.policy == Policy::FailFast;
            assert!(!stopped, "seed {seed}: {job:?} has failed, yet {action:?}");
            self.check_start(&action);
            let pending = Pending { action, cancelled: false };
            assert!(self.pending.insert(ticket, pending).is_none(), "seed {seed}: {ticket:?} twice");
            return;
        }
        match action {
            Action::Cancel { ticket } => {
                let pending = self.pending.get_mut(&ticket);
                let pending = pending.unwrap_or_else(|| panic!("seed {seed}: no {ticket:?}"));
                assert!(!pending.cancelled, "seed {seed}: {ticket:?} cancelled twice");
                pending.cancelled = true;
                let executing = matches!(pending.action, Action::Execute { .. });
                self.seen.cancelled_executions += usize::from(executing);
            }
            Action::Unlock { key } => self.unlock(key),
            Action::Report { job, node, settled } => self.ended(job, node, settled),
            Action::Answer { job, request, targets, .. } => {
                let known = self.player(job).unanswered.remove(&request);
                assert!(known, "seed {seed}: {job:?} {request:?} answered twice");
                for (target, settled) in targets {
                    assert_eq!(self.players[&job].settled.get(&target), Some(&settled));
                }
            }
            Action::Gone { job } => {
                assert!(self.players[&job].left && !self.players[&job].gone, "seed {seed}");
                self.player(job).gone = true;
                let behind = (self.pending.values())
                    .filter(|pending| pending.cancelled)
                    .filter(|pending| subject(&pending.action).is_some_and(|(_, of, _)| of == job));
                // What it began for others may go on; what was cancelled must have ended, unless
                // an heir was the last to want it: one that left or failed since.
                let gave_up = |p: &Player| p.left || p.settled.values().any(|each| *each == Settled::Cancelled);
                let heirs = self.players.values().any(|p| !p.gone && gave_up(p));
                assert!(heirs || behind.count() == 0, "seed {seed}: {job:?} went too early");
            }
            _ => {}
        }
    }

    fn check_start(&mut self, action: &Doing) {
        let seed = self.seed;
        match action {
            Action::LookUp { job, node, lookup, .. } => {
                let by_content = matches!(lookup, Lookup::Content { .. });
                self.looked_up.insert((*job, *node, by_content));
            }
            Action::Lock { job, node, key, .. } => {
                if self.vertex(*job, *node).cache == Cache::Use {
                    let provisional = self.world.nature(self.op(*job, *node)).provisional;
                    let by = |content| self.looked_up.contains(&(*job, *node, content));
                    let asked = by(true) || !(provisional || self.is_stale(*job, *node)) && by(false);
                    assert!(asked, "seed {seed}: {action:?} before its record was asked for");
                }
                assert!(!self.locks.contains(key), "seed {seed}: {action:?} again");
                let same = |other: &Doing| matches!(other, Action::Lock { key: k, .. } if k == key);
                assert_eq!(self.count(same), 0, "seed {seed}: {action:?} twice");
            }
            Action::Claim { job, node, key, inputs, .. } => {
                assert!(self.locks.contains(key), "seed {seed}: {action:?} without lock");
                assert!(!self.claims.contains_key(key), "seed {seed}: {action:?} again");
                let values = self.inputs(*job, *node).map(|done| done.iter().map(|done| done.output).collect());
                assert_eq!(values.as_ref(), Some(inputs), "seed {seed}: {action:?} on other inputs");
            }
            Action::Execute { job, node, identity, inputs, .. } => {
                let key = identity.lock_key();
                assert!(self.locks.contains(key), "seed {seed}: {action:?} without lock");
                let claims = self.world.nature(self.op(*job, *node)).claims;
                assert_eq!(self.claims.get(key), Some(&claims), "seed {seed}: {action:?} without its claim");
                self.check_turn(*job, *node);
                assert!(!self.runs(*key), "seed {seed}: {action:?} twice");
                self.check_execution(*job, *node, identity, inputs);
            }
            _ => {}
        }
    }

    fn runs(&self, key: Key) -> bool {
        self.count(|other| matches!(other, Action::Execute { identity, .. } if *identity.lock_key() == key)) > 0
    }

    /// Nothing runs that is recorded already, and nothing under the key of other inputs.
    fn check_execution(&mut self, job: JobId, node: NodeId, identity: &Identity<Key>, inputs: &[Value]) {
        let (seed, op) = (self.seed, self.op(job, node));
        let done = self.inputs(job, node).expect("an execution has its inputs");
        let values: Vec<Value> = done.iter().map(|done| done.output).collect();
        assert_eq!(values, inputs, "seed {seed}: {job:?} {node} runs on other inputs");
        let recipes: Vec<Key> = done.iter().map(|done| done.recipe).collect();
        let expected = match identity {
            Identity::Known(_) => self.world.recipe(op, &recipes),
            Identity::Provisional(_) => self.world.lock_key(op, &recipes),
        };
        assert_eq!(expected, *identity.lock_key(), "seed {seed}: {job:?} {node}: outdated key");
        if self.vertex(job, node).cache == Cache::Ignore {
            let before = (*identity.lock_key(), values);
            let twice = self.players[&job].executed.contains(&before);
            return assert!(!twice, "seed {seed}: {job:?} {node} again in the same job");
        }
        let recorded = if self.is_stale(job, node) || identity.recipe().is_none() {
            // Vertices of other keys may make the same meanwhile, under other locks.
            let found = self.world.by_content.get(&(op, values));
            found.is_some_and(|(recipe, _)| self.world.mean_the_same(*recipe, expected))
        } else {
            !self.is_spoilt(job, node) && self.world.by_recipe.contains_key(&expected)
        };
        // Who inherited a flight runs it for everybody aboard, also for one without cache.
        let without_cache = self.identified.iter().any(|((job, node), key)| {
            let ignores = self.vertex(*job, *node).cache == Cache::Ignore;
            *key == expected && ignores && !self.players[job].settled.contains_key(node)
        });
        assert!(!recorded || without_cache, "seed {seed}: {job:?} {node} runs though it is recorded");
    }

    fn unlock(&mut self, key: Key) {
        let seed = self.seed;
        assert!(self.locks.remove(&key), "seed {seed}: {key} let go, but not held");
        assert!(!self.runs(key), "seed {seed}: {key} let go while it runs");
        self.claims.remove(&key);
    }

    /// The results of a vertex's inputs, if all have one.
    fn inputs(&self, job: JobId, node: NodeId) -> Option<Vec<Done<Key, Value>>> {
        let settled = &self.players[&job].settled;
        let inputs = self.vertex(job, node).inputs.iter();
        inputs
            .map(|input| match settled.get(input) {
                Some(Settled::Done(done)) => Some(done.clone()),
                _ => None,
            })
            .collect()
    }

    /// Whether recipe keys cannot tell about a vertex, as far as its own inputs show.
    fn is_stale(&self, job: JobId, node: NodeId) -> bool {
        self.vertex(job, node).inputs.iter().any(|input| {
            let anew = matches!(self.players[&job].settled.get(input), Some(Settled::Done(done)) if done.anew);
            anew || self.vertex(job, *input).cache == Cache::Ignore
        })
    }

    /// Whether any ancestor was executed anew or ignores the cache.
    fn is_spoilt(&self, job: JobId, node: NodeId) -> bool {
        self.is_stale(job, node) || self.vertex(job, node).inputs.iter().any(|input| self.is_spoilt(job, *input))
    }

    fn ended(&mut self, job: JobId, node: NodeId, settled: Ended) {
        let seed = self.seed;
        match &settled {
            Settled::Done(done) => self.check_result(job, node, done),
            Settled::Failed(trouble) => {
                self.seen.failures += 1;
                let op = self.op(job, node);
                assert_eq!(*trouble, Trouble::Op(op), "seed {seed}: {job:?} {node} {trouble:?}");
                assert!(self.world.nature(op).fails, "seed {seed}");
            }
            Settled::Blocked(by) => {
                self.seen.blocked += 1;
                let culprit = self.players[&job].settled.get(by);
                assert!(matches!(culprit, Some(Settled::Failed(_))), "seed {seed}: {node} by {by}");
            }
            Settled::Cancelled => {
                let player = &self.players[&job];
                let failed = player.settled.values().any(|s| matches!(s, Settled::Failed(_)));
                let stopped = player.policy == Policy::FailFast && failed;
                assert!(player.left || stopped, "seed {seed}: {job:?} {node} cancelled");
            }
        }
        let before = self.player(job).settled.insert(node, settled);
        assert!(before.is_none(), "seed {seed}: {job:?} {node} ended twice");
    }

    fn check_result(&mut self, job: JobId, node: NodeId, done: &Done<Key, Value>) {
        let (seed, op) = (self.seed, self.op(job, node));
        assert_eq!(self.world.rows[done.output].op, op, "seed {seed}: {job:?} {node}: other op");
        self.seen.shared += usize::from(done.shared);
        self.seen.found_by_content += usize::from(done.how == How::HitByContent);
        let no_cache = self.vertex(job, node).cache == Cache::Ignore;
        assert!(!no_cache || done.how == How::Executed, "seed {seed}: {job:?} {node} {done:?}");
        // What an equal vertex found for equal inputs is right for a stale one, too; that is looked at below.
        if self.is_stale(job, node) && !done.shared {
            assert_ne!(done.how, How::HitByRecipe, "seed {seed}: {job:?} {node} by recipe");
        }
        let alone = done.how == How::Executed && !self.has_twin(job, node, done);
        if (self.is_stale(job, node) || done.how == How::HitByContent || alone)
            && let Some(inputs) = self.inputs(job, node)
        {
            let values: Vec<Value> = inputs.iter().map(|done| done.output).collect();
            let right = self.world.is_made_of(done.output, op, &values);
            assert!(right, "seed {seed}: {job:?} {node} is made of other inputs");
        }
    }

    /// Whether an equal vertex of the same job has the same result: it may stand for this one's
    /// before the inputs are there.
    fn has_twin(&self, job: JobId, node: NodeId, done: &Done<Key, Value>) -> bool {
        self.players[&job].settled.iter().any(|(other, settled)| {
            let same = |twin: &Done<Key, Value>| (twin.recipe, twin.output) == (done.recipe, done.output);
            *other != node && matches!(settled, Settled::Done(twin) if same(twin))
        })
    }

    /// Everything is still: who has not left has all answers, and they are what a naive evaluation
    /// gives.
    pub(super) fn check_answers(&mut self) {
        let seed = self.seed;
        for job in self.staying() {
            let player = &self.players[&job];
            assert!(player.unanswered.is_empty(), "seed {seed}: {job:?} waits for ever");
            let doomed = |node: &NodeId| self.doomed(job, *node);
            let any = (0..player.vertices.len() as u64).map(NodeId).any(|node| doomed(&node));
            for (node, settled) in self.players[&job].settled.clone() {
                match settled {
                    Settled::Done(done) => {
                        assert!(!self.doomed(job, node), "seed {seed}: {job:?} {node}");
                        if let Some(value) = self.reference(job, node) {
                            assert_eq!(done.output, value, "seed {seed}: {job:?} {node}");
                        }
                    }
                    Settled::Cancelled => assert!(any, "seed {seed}: {job:?} {node} cancelled"),
                    Settled::Failed(_) | Settled::Blocked(_) => {
                        assert!(self.doomed(job, node), "seed {seed}: {job:?} {node}");
                    }
                }
            }
        }
    }

    /// Whether a vertex or one below it always fails.
    fn doomed(&self, job: JobId, node: NodeId) -> bool {
        self.world.nature(self.op(job, node)).fails
            || self.vertex(job, node).inputs.iter().any(|input| self.doomed(job, *input))
    }

    /// What a vertex must make, unless chance takes part in it.
    fn reference(&mut self, job: JobId, node: NodeId) -> Option<Value> {
        let op = self.op(job, node);
        if self.world.nature(op).volatile {
            return None;
        }
        let inputs = self.vertex(job, node).inputs.clone();
        let values: Option<Vec<Value>> = inputs.into_iter().map(|input| self.reference(job, input)).collect();
        Some(self.world.evaluate(op, values?))
    }

    /// All have left and everything has ended: nothing remains.
    pub(super) fn check_rest(&self) {
        let seed = self.seed;
        assert!(self.state.is_idle(), "seed {seed}: not idle");
        assert!(self.locks.is_empty(), "seed {seed}: {:?} still locked", self.locks);
        assert!(self.claims.is_empty(), "seed {seed}: {:?} still claimed", self.claims);
        assert!(self.players.values().all(|player| player.gone), "seed {seed}: not gone");
    }
}
