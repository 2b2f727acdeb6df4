//! Flights: one execution per key at a time, for everybody who waits for it.
//!
//! Lock, look-up, claim, slot, execution, unlock. Who comes with an equal key and equal inputs goes
//! aboard; who comes with an equal key and other inputs, or while a flight is being cancelled,
//! queues behind it.

use super::job::{At, By, Phase};
use super::queue::Place;
use super::{Holder, State};
use crate::protocol::{Action, Done, Found, How, Identity, JobId, Lookup, Product, Settled, Ticket};

#[derive(Clone, Copy, Debug)]
enum Stage {
    Locking(Ticket),
    LookingUp(Ticket),
    Claiming(Ticket),
    /// Holds all that it needs, waits for its turn at this place of the queue.
    Ready(Place),
    Executing(Ticket, Place),
}

#[derive(Debug)]
pub(super) struct Flight<K, O> {
    identity: Identity<K>,
    inputs: Vec<O>,
    /// Which records are asked once the lock is held.
    lookup: Option<By>,
    /// What is under way; nothing only before the first.
    stage: Option<Stage>,
    locked: bool,
    /// The records were asked since the lock is held, as `lookup` says.
    asked: bool,
    claimed: bool,
    /// Whose world does the work. Always aboard, until nobody is.
    owner: At,
    /// Whether the owner whose world has begun the current stage has left since.
    orphaned: bool,
    aboard: Vec<At>,
    queued: Vec<At>,
    /// The job whose leaving cancelled this flight.
    cancelled_by: Option<JobId>,
}

impl<K: Eq, O: PartialEq> Flight<K, O> {
    fn takes(&self, identity: &Identity<K>, inputs: &[O], lookup: Option<By>) -> bool {
        let trusted = match (self.lookup, lookup) {
            (None, _) | (Some(By::Content), Some(_)) => true,
            (Some(By::Recipe), wanted) => wanted == Some(By::Recipe),
            (Some(By::Content), None) => false,
        };
        self.cancelled_by.is_none() && trusted && self.identity == *identity && self.inputs == inputs
    }
}

impl<K: Clone + Ord, O: Clone + PartialEq, E: Clone> State<K, O, E> {
    /// Puts a vertex whose inputs are there aboard the flight of its key.
    pub(super) fn board(&mut self, at: At) {
        let Some(node) = self.node_mut(at) else { return };
        let (Some(identity), Some(inputs)) = (node.identity.clone(), node.inputs.clone()) else {
            return;
        };
        let key = identity.lock_key().clone();
        node.phase = Phase::InFlight(key.clone());
        let lookup = node.lookup();
        match self.flights.get_mut(&key) {
            Some(flight) if flight.takes(&identity, &inputs, lookup) => flight.aboard.push(at),
            Some(flight) => flight.queued.push(at),
            None => {
                let flight = Flight {
                    identity,
                    inputs,
                    lookup,
                    stage: None,
                    locked: false,
                    asked: false,
                    claimed: false,
                    owner: at,
                    orphaned: false,
                    aboard: vec![at],
                    queued: Vec::new(),
                    cancelled_by: None,
                };
                self.flights.insert(key.clone(), flight);
                self.proceed(key);
            }
        }
    }

    /// Starts, or starts again, what a flight needs next before it may execute.
    fn proceed(&mut self, key: K) {
        let Some(flight) = self.flights.get(&key) else { return };
        let At { job, node } = flight.owner;
        if !flight.locked {
            let ticket = self.ticket(Holder::Flight(key.clone()));
            self.enter(&key, Stage::Locking(ticket));
            return self.actions.push(Action::Lock { ticket, job, node, key });
        }
        if let Some(by) = flight.lookup.filter(|_| !flight.asked) {
            let identity = flight.identity.clone();
            let lookup = match (by, identity.recipe()) {
                (By::Recipe, Some(recipe)) => Lookup::Recipe(recipe.clone()),
                _ => Lookup::Content { inputs: flight.inputs.clone(), identity },
            };
            let ticket = self.ticket(Holder::Flight(key.clone()));
            self.enter(&key, Stage::LookingUp(ticket));
            return self.actions.push(Action::LookUp { ticket, job, node, lookup });
        }
        if !flight.claimed {
            let inputs = flight.inputs.clone();
            let ticket = self.ticket(Holder::Flight(key.clone()));
            self.enter(&key, Stage::Claiming(ticket));
            return self.actions.push(Action::Claim { ticket, job, node, key, inputs });
        }
        self.wait_for_slot(key);
    }

    fn enter(&mut self, key: &K, stage: Stage) {
        if let Some(flight) = self.flights.get_mut(key) {
            flight.stage = Some(stage);
            flight.orphaned = false;
        }
    }

    fn wait_for_slot(&mut self, key: K) {
        let Some(owner) = self.flights.get(&key).map(|flight| flight.owner) else { return };
        let lane = self.node(owner).map(|node| node.vertex.lane).unwrap_or_default();
        let place = Place { job: owner.job, lane };
        self.enter(&key, Stage::Ready(place));
        self.queue.push(place, key);
    }

    pub(super) fn fill_slots(&mut self) {
        while let Some((place, key)) = self.queue.begin() {
            let ticket = self.ticket(Holder::Flight(key.clone()));
            self.enter(&key, Stage::Executing(ticket, place));
            let Some(flight) = self.flights.get(&key) else {
                self.queue.end(place);
                continue;
            };
            self.actions.push(Action::Execute {
                ticket,
                job: flight.owner.job,
                node: flight.owner.node,
                identity: flight.identity.clone(),
                inputs: flight.inputs.clone(),
            });
        }
    }

    pub(super) fn flight_locked(&mut self, key: K, result: Result<(), E>) {
        let Some(flight) = self.flights.get_mut(&key) else { return };
        flight.locked = result.is_ok();
        match result {
            _ if flight.cancelled_by.is_some() => drop(self.end_flight(&key)),
            Ok(()) => self.proceed(key),
            Err(error) => self.flight_failed(key, error),
        }
    }

    pub(super) fn flight_looked_up(&mut self, key: K, result: Result<Option<Found<K, O>>, E>) {
        let Some(flight) = self.flights.get_mut(&key) else { return };
        let by = flight.lookup.unwrap_or(By::Recipe);
        flight.asked = matches!(result, Ok(None));
        match result {
            _ if flight.cancelled_by.is_some() => drop(self.end_flight(&key)),
            Ok(Some(Found { recipe, output })) => {
                let done = Done { output, recipe, how: by.how(), anew: false, shared: false };
                self.flight_done(key, done);
            }
            Ok(None) => self.proceed(key),
            Err(error) => self.flight_failed(key, error),
        }
    }

    pub(super) fn flight_claimed(&mut self, key: K, result: Result<(), E>) {
        let Some(flight) = self.flights.get_mut(&key) else { return };
        flight.claimed = result.is_ok();
        match result {
            _ if flight.cancelled_by.is_some() => drop(self.end_flight(&key)),
            Ok(()) => self.proceed(key),
            Err(error) => self.flight_failed(key, error),
        }
    }

    pub(super) fn flight_executed(&mut self, key: K, result: Result<Product<K, O>, E>) {
        let Some(flight) = self.flights.get(&key) else { return };
        if let Some(Stage::Executing(_, place)) = flight.stage {
            self.queue.end(place);
        }
        match result {
            _ if flight.cancelled_by.is_some() => drop(self.end_flight(&key)),
            Ok(Product { recipe, output, anew }) => {
                let how = How::Executed;
                self.flight_done(key, Done { output, recipe, how, anew, shared: false });
            }
            Err(error) => self.flight_failed(key, error),
        }
    }

    fn flight_done(&mut self, key: K, done: Done<K, O>) {
        let Some(flight) = self.end_flight(&key) else { return };
        for at in flight.aboard {
            let shared = at != flight.owner;
            self.settle(at, Settled::Done(Done { shared, ..done.clone() }));
        }
    }

    /// Hands a failure to those aboard; but where the world that failed was of one that left, the
    /// next one tries.
    fn flight_failed(&mut self, key: K, error: E) {
        if let Some(flight) = self.flights.get_mut(&key).filter(|flight| flight.orphaned) {
            flight.asked = false;
            return self.proceed(key);
        }
        let Some(flight) = self.end_flight(&key) else { return };
        for at in flight.aboard {
            self.settle(at, Settled::Failed(error.clone()));
        }
    }

    /// Takes a vertex off its flight; the last one off cancels it.
    pub(super) fn leave_flight(&mut self, key: K, at: At) {
        let Some(flight) = self.flights.get_mut(&key) else { return };
        flight.queued.retain(|queued| *queued != at);
        let before = flight.aboard.len();
        flight.aboard.retain(|aboard| *aboard != at);
        if flight.aboard.is_empty() {
            if before > 0 {
                self.cancel_flight(key, at.job);
            }
            return;
        }
        // Those of a job that is being stopped leave, too; nothing is begun for them.
        let stopped = |at: &At| self.jobs.get(&at.job).is_none_or(|job| job.stopped);
        if self.flights.get(&key).is_some_and(|flight| flight.aboard.iter().any(stopped)) {
            return;
        }
        self.inherit(&key);
        self.reconsider_lookup(key);
    }

    /// Where the owner has left, the next one aboard becomes it.
    fn inherit(&mut self, key: &K) {
        let Some(flight) = self.flights.get_mut(key) else { return };
        if let Some(heir) = flight.aboard.first().filter(|_| !flight.aboard.contains(&flight.owner)) {
            flight.owner = *heir;
            flight.orphaned = true;
            self.queue_anew(key);
        }
    }

    /// After the last vertex without cache has left, records may answer for the others.
    fn reconsider_lookup(&mut self, key: K) {
        let Some(flight) = self.flights.get(&key) else { return };
        let aboard: Option<Vec<By>> = flight.aboard.iter().map(|at| self.node(*at)?.lookup()).collect();
        let lookup = aboard.map(|aboard| match aboard.contains(&By::Content) {
            true => By::Content,
            false => By::Recipe,
        });
        let Some(flight) = self.flights.get_mut(&key) else { return };
        if flight.lookup.is_some() || lookup.is_none() {
            return;
        }
        flight.lookup = lookup;
        if let Some(Stage::Ready(place)) = flight.stage {
            self.queue.remove(place, &key);
            self.proceed(key);
        }
    }

    /// A flight that waits for its turn does so as its owner's.
    fn queue_anew(&mut self, key: &K) {
        if let Some(Stage::Ready(place)) = self.flights.get(key).and_then(|flight| flight.stage) {
            self.queue.remove(place, key);
            self.wait_for_slot(key.clone());
        }
    }

    fn cancel_flight(&mut self, key: K, job: JobId) {
        let Some(flight) = self.flights.get_mut(&key) else { return };
        match flight.stage {
            Some(
                Stage::Locking(ticket)
                | Stage::LookingUp(ticket)
                | Stage::Claiming(ticket)
                | Stage::Executing(ticket, _),
            ) => {
                flight.cancelled_by = Some(job);
                self.burden(job);
                self.actions.push(Action::Cancel { ticket });
            }
            Some(Stage::Ready(place)) => {
                self.queue.remove(place, &key);
                self.end_flight(&key);
            }
            None => drop(self.end_flight(&key)),
        }
    }

    /// Removes a flight, lets its lock go, and sends on those who queued behind it.
    fn end_flight(&mut self, key: &K) -> Option<Flight<K, O>> {
        let mut flight = self.flights.remove(key)?;
        if flight.locked {
            self.actions.push(Action::Unlock { key: key.clone() });
        }
        for at in std::mem::take(&mut flight.queued) {
            if let Some(node) = self.node_mut(at) {
                node.phase = Phase::Gathering;
                self.work.push_back(at);
            }
        }
        if let Some(job) = flight.cancelled_by {
            self.relieve(job);
        }
        Some(flight)
    }
}
