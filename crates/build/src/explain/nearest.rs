//! Which earlier run a step is compared with: of the same context first, then with the fewest inputs that differ, then
//! the newest.

use kiln_store::Input;

use super::compare::distance;
use super::document::{ExplainedStep, StepResult};
use super::earlier::Earlier;
use super::judge::Judge;

/// Of a build in another context at least one in so many instructions must be the same: else it is another project.
const ALIKE_ELSEWHERE: usize = 2;

/// A step of an earlier build.
#[derive(Clone, Copy)]
pub(super) struct Nearest {
    /// Which of the earlier builds.
    pub(super) build: usize,
    /// Which of its steps.
    pub(super) step: usize,
    /// Whether it is known what the run was made of.
    pub(super) is_known: bool,
}

impl Judge<'_> {
    /// The nearest earlier run of a step.
    pub(super) fn nearest(&mut self, place: usize, own: &[Input]) -> Option<Nearest> {
        let mut best: Option<(Nearest, (bool, bool, usize, usize))> = None;
        let mut build = 0;
        while self.history.at(build, &self.now).is_some() {
            let is_here = self.history.known(build).is_here;
            // The first that differs in one thing is the nearest: all others are older.
            if best.is_some_and(|(_, (elsewhere, unknown, inputs, files))| {
                !elsewhere && (!is_here || (!unknown && inputs + files.saturating_sub(1) <= 1))
            }) {
                break;
            }
            if let Some((nearest, distance)) = self.candidate(place, build, own) {
                let worth = (!is_here, !nearest.is_known, distance.0, distance.1);
                if best.is_none_or(|(_, known)| worth < known) {
                    best = Some((nearest, worth));
                }
            }
            build += 1;
        }
        best.map(|(nearest, _)| nearest)
    }

    /// The counterpart of a step in an earlier build, and how far it is.
    fn candidate(&mut self, place: usize, build: usize, own: &[Input]) -> Option<(Nearest, (usize, usize))> {
        let earlier = self.history.known(build);
        if !earlier.is_here && !is_alike(earlier, &self.now) {
            return None;
        }
        let step = earlier.counterparts[place]?;
        let (then, now) = (&earlier.build.steps[step], &self.now[place]);
        if then.result == StepResult::NotRun || then.key.is_none() {
            return None;
        }
        if then.key == now.key {
            return Some((Nearest { build, step, is_known: true }, (0, 0)));
        }
        let below = differing_edges(now, &self.now, then, &earlier.build.steps);
        let texts = usize::from(then.instruction != now.instruction) + usize::from(then.operation != now.operation);
        let run = then.key.clone().and_then(|key| self.history.run(&key));
        let Some(run) = run else {
            return Some((Nearest { build, step, is_known: false }, (below + texts, 0)));
        };
        let lists = |before: &str, after: &str| self.lists(before, after);
        let (inputs, files) = distance(&run.inputs, own, &lists);
        Some((Nearest { build, step, is_known: true }, (inputs + below, files)))
    }
}

/// Whether enough instructions of a build in another context are the same.
pub(super) fn is_alike(earlier: &Earlier, now: &[ExplainedStep]) -> bool {
    let same = now.iter().zip(&earlier.counterparts).filter(|(step, counterpart)| {
        counterpart.is_some_and(|other| earlier.build.steps[other].instruction == step.instruction)
    });
    same.count() * ALIKE_ELSEWHERE >= now.len()
}

/// How many places name other steps than before.
fn differing_edges(
    now: &ExplainedStep,
    steps: &[ExplainedStep],
    then: &ExplainedStep,
    earlier: &[ExplainedStep],
) -> usize {
    let keys = |steps: &[ExplainedStep], edge: Option<&Vec<usize>>| -> Option<Vec<Option<String>>> {
        edge.map(|edge| edge.iter().map(|step| steps[*step].key.clone()).collect())
    };
    let places = 0..now.inputs.len().max(then.inputs.len());
    places.filter(|place| keys(steps, now.inputs.get(*place)) != keys(earlier, then.inputs.get(*place))).count()
}
