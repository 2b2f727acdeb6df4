//! Flights: one execution per key at a time, for everybody who waits for it.
//!
//! Lock, look-up, slot, execution, unlock. Who comes with an equal key and equal inputs goes
//! aboard; who comes with an equal key and other inputs, or while a flight is being cancelled,
//! queues behind it.

use super::job::{At, By, Phase};
use super::{Holder, State};
use crate::protocol::{Action, Done, Found, How, Identity, JobId, Lookup, Product, Settled, Ticket};

#[derive(Clone, Copy, Debug)]
enum Stage {
    Locking(Ticket),
    LookingUp(Ticket),
    /// Holds the lock, waits for a slot.
    Ready,
    Executing(Ticket),
}

#[derive(Debug)]
pub(super) struct Flight<K, O> {
    identity: Identity<K>,
    inputs: Vec<O>,
    /// Which records are asked once the lock is held.
    lookup: Option<By>,
    stage: Stage,
    locked: bool,
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
                    stage: Stage::Ready,
                    locked: false,
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
        let identity = flight.identity.clone();
        let lookup = match (flight.lookup, identity.recipe()) {
            (Some(By::Recipe), Some(recipe)) => Lookup::Recipe(recipe.clone()),
            (Some(_), _) => Lookup::Content { inputs: flight.inputs.clone(), identity },
            (None, _) => return self.wait_for_slot(key),
        };
        let ticket = self.ticket(Holder::Flight(key.clone()));
        self.enter(&key, Stage::LookingUp(ticket));
        self.actions.push(Action::LookUp { ticket, job, node, lookup });
    }

    fn enter(&mut self, key: &K, stage: Stage) {
        if let Some(flight) = self.flights.get_mut(key) {
            flight.stage = stage;
            flight.orphaned = false;
        }
    }

    fn wait_for_slot(&mut self, key: K) {
        self.enter(&key, Stage::Ready);
        self.waiting_for_slot.push_back(key);
    }

    pub(super) fn fill_slots(&mut self) {
        while self.free_slots > 0
            && let Some(key) = self.waiting_for_slot.pop_front()
        {
            let ticket = self.ticket(Holder::Flight(key.clone()));
            self.enter(&key, Stage::Executing(ticket));
            let Some(flight) = self.flights.get(&key) else { continue };
            self.free_slots -= 1;
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
        let Some(flight) = self.flights.get(&key) else { return };
        let by = flight.lookup.unwrap_or(By::Recipe);
        match result {
            _ if flight.cancelled_by.is_some() => drop(self.end_flight(&key)),
            Ok(Some(Found { recipe, output })) => {
                let done = Done { output, recipe, how: by.how(), anew: false, shared: false };
                self.flight_done(key, done);
            }
            Ok(None) => self.wait_for_slot(key),
            Err(error) => self.flight_failed(key, error),
        }
    }

    pub(super) fn flight_executed(&mut self, key: K, result: Result<Product<K, O>, E>) {
        self.free_slots += 1;
        let Some(flight) = self.flights.get(&key) else { return };
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
        if self.flights.get(&key).is_some_and(|flight| flight.orphaned) {
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
        match flight.aboard.first() {
            Some(heir) => {
                if flight.owner == at {
                    flight.owner = *heir;
                    flight.orphaned = true;
                }
                self.reconsider_lookup(key);
            }
            None if before > 0 => self.cancel_flight(key, at.job),
            None => {}
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
        if matches!(flight.stage, Stage::Ready) {
            self.waiting_for_slot.retain(|waiting| *waiting != key);
            self.proceed(key);
        }
    }

    fn cancel_flight(&mut self, key: K, job: JobId) {
        let Some(flight) = self.flights.get_mut(&key) else { return };
        match flight.stage {
            Stage::Locking(ticket) | Stage::LookingUp(ticket) | Stage::Executing(ticket) => {
                flight.cancelled_by = Some(job);
                self.burden(job);
                self.actions.push(Action::Cancel { ticket });
            }
            Stage::Ready => {
                self.waiting_for_slot.retain(|waiting| *waiting != key);
                self.end_flight(&key);
            }
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
