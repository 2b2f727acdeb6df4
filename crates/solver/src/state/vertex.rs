//! The way of one vertex: identity, look-up, inputs, until it boards a flight or is settled.

use super::job::{At, By, Demand, Phase};
use super::{Holder, State};
use crate::graph::NodeId;
use crate::protocol::{Action, Done, Found, Identity, Lookup, Settled};

impl<K: Clone + Ord, O: Clone + PartialEq, E: Clone> State<K, O, E> {
    /// Moves a vertex on as far as it can go.
    pub(super) fn advance(&mut self, at: At) {
        match self.node(at).map(|node| &node.phase) {
            Some(Phase::Unidentified) => self.identify(at),
            Some(Phase::Identified) => self.start(at),
            Some(Phase::Gathering) => self.gather(at),
            _ => {}
        }
    }

    /// Asks for the identity once all inputs have keys; where they have none, demands them only if
    /// the vertex's own key is demanded at any cost.
    fn identify(&mut self, at: At) {
        let Some(node) = self.node(at) else { return };
        let demand = node.demand;
        if demand == Demand::Nothing {
            return;
        }
        let inputs = node.vertex.inputs.clone();
        let keys: Option<Vec<K>> =
            (inputs.iter()).map(|input| self.node(at.sibling(*input))?.recipe().cloned()).collect();
        if let Some(keys) = keys {
            let ticket = self.ticket(Holder::Vertex(at));
            if let Some(node) = self.node_mut(at) {
                node.phase = Phase::Identifying(ticket);
                node.identified_from = keys.clone();
            }
            let At { job, node } = at;
            return self.actions.push(Action::Identify { ticket, job, node, inputs: keys });
        }
        if demand < Demand::Key {
            return;
        }
        let keyless: Vec<At> = (inputs.iter().map(|input| at.sibling(*input)))
            .filter(|input| self.node(*input).is_none_or(|node| node.recipe().is_none()))
            .collect();
        if keyless.iter().all(|input| self.node(*input).is_none_or(|node| node.is_settled())) {
            return self.settle_by_inputs(at, &keyless);
        }
        for input in keyless {
            self.demand(input, Demand::Key);
        }
    }

    pub(super) fn identified(&mut self, at: At, result: Result<Identity<K>, E>) {
        let identity = match result {
            Ok(identity) => identity,
            Err(error) => return self.settle(at, Settled::Failed(error)),
        };
        let Some(node) = self.node_mut(at) else { return };
        node.phase = Phase::Identified;
        node.identity = Some(identity);
        let dependents = node.dependents.clone();
        self.work.push_back(at);
        self.work.extend(dependents.into_iter().map(|dependent| at.sibling(dependent)));
    }

    /// With an identity and a demand: asks for the record under the recipe key, or goes for the
    /// inputs at once where that key tells nothing.
    fn start(&mut self, at: At) {
        let Some(node) = self.node(at) else { return };
        let demanded = node.demand == Demand::Result || (node.demand == Demand::Key && node.is_provisional());
        if !demanded {
            return;
        }
        let recipe = node.identity.as_ref().and_then(|identity| identity.recipe().cloned());
        match (node.lookup(), recipe) {
            (Some(By::Recipe), Some(recipe)) => {
                if !self.settle_from_memory(at) {
                    self.look_up(at, By::Recipe, Lookup::Recipe(recipe));
                }
            }
            _ => self.demand_inputs(at),
        }
    }

    fn look_up(&mut self, at: At, by: By, lookup: Lookup<K, O>) {
        let ticket = self.ticket(Holder::Vertex(at));
        if let Some(node) = self.node_mut(at) {
            node.phase = Phase::LookingUp(ticket, by);
        }
        let At { job, node } = at;
        self.actions.push(Action::LookUp { ticket, job, node, lookup });
    }

    pub(super) fn looked_up(&mut self, at: At, result: Result<Option<Found<K, O>>, E>) {
        let Some(node) = self.node(at) else { return };
        let Phase::LookingUp(_, by) = node.phase else { return };
        let found = match result {
            Ok(found) => found,
            Err(error) => return self.settle(at, Settled::Failed(error)),
        };
        let overtaken = by == By::Recipe && node.stale;
        match found.filter(|_| !overtaken) {
            Some(Found { recipe, output }) => {
                let done = Done { output, recipe, how: by.how(), anew: false, shared: false };
                self.settle(at, Settled::Done(done));
            }
            None if by == By::Recipe => self.demand_inputs(at),
            None => self.board(at),
        }
    }

    fn demand_inputs(&mut self, at: At) {
        let Some(node) = self.node_mut(at) else { return };
        node.phase = Phase::Gathering;
        let inputs = node.vertex.inputs.clone();
        for input in inputs {
            self.demand(at.sibling(input), Demand::Result);
        }
        self.work.push_back(at);
    }

    /// With all inputs settled: looks for the same content, or boards a flight.
    fn gather(&mut self, at: At) {
        let Some(node) = self.node(at) else { return };
        let inputs: Vec<At> = node.vertex.inputs.iter().map(|input| at.sibling(*input)).collect();
        if inputs.iter().any(|input| self.node(*input).is_none_or(|node| !node.is_settled())) {
            return;
        }
        let done: Option<Vec<&Done<K, O>>> = inputs.iter().map(|input| self.node(*input)?.done()).collect();
        let Some(done) = done else {
            return self.settle_by_inputs(at, &inputs);
        };
        let outputs: Vec<O> = done.iter().map(|done| done.output.clone()).collect();
        let moved = done.iter().map(|done| &done.recipe).ne(node.identified_from.iter());
        let (by, identity) = (node.lookup(), node.identity.clone());
        let Some(node) = self.node_mut(at) else { return };
        if moved {
            node.phase = Phase::Unidentified;
            node.identity = None;
            return self.work.push_back(at);
        }
        node.inputs = Some(outputs.clone());
        if self.settle_from_memory(at) {
            return;
        }
        match (by, identity) {
            // Also where no ancestor was executed anew: under this recipe nothing is recorded, but the inputs may
            // hold what an earlier run worked on.
            (Some(by), Some(identity)) if by == By::Content || !outputs.is_empty() => {
                let lookup = Lookup::Content { identity, inputs: outputs };
                self.look_up(at, By::Content, lookup);
            }
            _ => self.board(at),
        }
    }

    fn settle_from_memory(&mut self, at: At) -> bool {
        match self.jobs.get(&at.job).and_then(|job| job.recall(at.node)) {
            Some(done) => {
                self.settle(at, Settled::Done(done));
                true
            }
            None => false,
        }
    }

    /// Settles a vertex whose inputs have ended without result.
    fn settle_by_inputs(&mut self, at: At, inputs: &[At]) {
        let culprit: Option<NodeId> = inputs.iter().find_map(|input| match self.node(*input).map(|node| &node.phase) {
            Some(Phase::Settled(Settled::Failed(_))) => Some(input.node),
            Some(Phase::Settled(Settled::Blocked(culprit))) => Some(*culprit),
            _ => None,
        });
        self.settle(at, culprit.map_or(Settled::Cancelled, Settled::Blocked));
    }
}
