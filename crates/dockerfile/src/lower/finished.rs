//! What became of the stages that are lowered: their states for the stages on them, their root file systems
//! for whoever copies from them. A state is handed over, not copied, to the last stage that is built on it.

use kiln_graph::VertexId;

use crate::names::Origin;
use crate::stages::{Needs, Stages};

use super::state::State;

/// The stages that are lowered, by index.
#[derive(Debug)]
pub(super) struct Finished {
    states: Vec<Option<State>>,
    roots: Vec<Option<VertexId>>,
    /// How many more will take the state.
    takers: Vec<usize>,
}

impl Finished {
    /// None yet. The target's state is taken once more than stages are built on it.
    pub(super) fn new(stages: &Stages, needs: &Needs) -> Finished {
        let mut takers = vec![0; stages.planned.len()];
        for (planned, needed) in stages.planned.iter().zip(&needs.stages) {
            if let (Origin::Stage(base), true) = (&planned.origin, needed) {
                takers[*base] += 1;
            }
        }
        takers[stages.target] += 1;
        Finished { states: vec![None; takers.len()], roots: vec![None; takers.len()], takers }
    }

    pub(super) fn insert(&mut self, index: usize, state: State) {
        self.roots[index] = state.root;
        if self.takers[index] > 0 {
            self.states[index] = Some(state);
        }
    }

    /// The state of a stage for one who counts in `new`; `None` if it is not lowered.
    pub(super) fn take(&mut self, index: usize) -> Option<State> {
        self.takers[index] = self.takers[index].saturating_sub(1);
        if self.takers[index] == 0 { self.states[index].take() } else { self.states[index].clone() }
    }

    /// The root file system of a stage; `None` if it is empty.
    pub(super) fn root(&self, index: usize) -> Option<VertexId> {
        self.roots.get(index).copied().flatten()
    }
}
