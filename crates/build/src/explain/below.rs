//! What changed of the steps that a step works on: told are those whose own inputs changed, and nothing of what followed.

use super::compare::own_changes;
use super::document::{BaseCause, ExplainedStep, HitKind, Reason, StepResult};
use super::judge::Judge;
use super::nearest::Nearest;
use super::texts::text_of;
use super::trace::{Ran, Traced};
use crate::step::Effects;

impl Judge<'_> {
    /// What changed of what a step works on.
    pub(super) fn changes_below(
        &mut self,
        place: usize,
        nearest: Nearest,
        then: &ExplainedStep,
        traced: &Traced,
    ) -> Vec<Reason> {
        let edges = self.now[place].inputs.clone();
        let skipped = edges.len().saturating_sub(then.inputs.len());
        let gone = then.inputs.len().saturating_sub(edges.len());
        let mut reasons = Vec::new();
        if then.instruction == self.now[place].instruction {
            let name = |step: &ExplainedStep| Some(step.position.name.clone());
            let new = edges.iter().take(skipped).filter_map(|edge| edge.last());
            reasons.extend(new.map(|step| Reason::StepReplaced { before: None, after: name(&self.now[*step]) }));
            let earlier = &self.history.known(nearest.build).build.steps;
            let old = then.inputs.iter().take(gone).filter_map(|edge| edge.last());
            reasons.extend(old.map(|step| Reason::StepReplaced { before: name(&earlier[*step]), after: None }));
        }
        let pairs = edges.iter().enumerate().skip(skipped).zip(then.inputs.iter().skip(gone));
        for ((edge, now), earlier) in pairs {
            if !self.differs(nearest, now, earlier) || self.is_same_content(place, edge, then, traced) {
                continue;
            }
            reasons.extend(self.below(place, nearest, now, earlier));
        }
        reasons
    }

    /// Whether the steps at an edge are others than before, or gave another result under the same key.
    fn differs(&self, nearest: Nearest, now: &[usize], then: &[usize]) -> bool {
        let earlier = &self.history.known(nearest.build).build.steps;
        let keys = |steps: &[ExplainedStep], edge: &[usize]| -> Vec<Option<String>> {
            edge.iter().map(|step| steps[*step].key.clone()).collect()
        };
        let ran_anew = |step: &usize| {
            let ran = self.steps.trace.of(self.told.ids[*step]).ran;
            ran.is_some_and(|ran: Ran| ran.anew)
        };
        keys(&self.now, now) != keys(earlier, then) || now.iter().any(ran_anew)
    }

    /// Whether what a step takes at an edge holds the same as what its earlier run took.
    fn is_same_content(&mut self, place: usize, edge: usize, then: &ExplainedStep, traced: &Traced) -> bool {
        let Some(ran) = &traced.ran else { return false };
        let effects = match (&ran.before, &then.key) {
            (Some(before), key) if *key == self.now[place].key => Some(before.effects.clone()),
            (_, Some(key)) => self.history.run(key).map(|run| run.effects),
            _ => None,
        };
        let Some(effects) = effects.and_then(|effects| Effects::parse(&effects)) else { return false };
        let id = self.told.ids[place];
        let is_same_operation = then.operation == self.now[place].operation;
        let same = self.steps.takes_the_same(id, edge, &ran.inputs, &effects, is_same_operation);
        same.unwrap_or(false)
    }

    /// Why the steps at an edge differ from those of an earlier build.
    fn below(&mut self, place: usize, nearest: Nearest, now: &[usize], then: &[usize]) -> Vec<Reason> {
        let mut reasons = Vec::new();
        for pair in 0..now.len().max(then.len()) {
            let one = now.get(pair).or(now.last()).copied();
            let other = then.get(pair).or(then.last()).copied();
            match (one, other) {
                (Some(one), Some(other)) => reasons.extend(self.pair(place, nearest, one, other)),
                (Some(one), None) => reasons.push(added(&self.now, one)),
                (None, Some(other)) => reasons.push(self.removed(nearest, other)),
                (None, None) => {}
            }
        }
        reasons
    }

    /// Why a step differs from the one that stood in its place, as told of the step `place` that works on it.
    fn pair(&mut self, place: usize, nearest: Nearest, one: usize, other: usize) -> Vec<Reason> {
        let earlier = self.history.known(nearest.build);
        let (now, then) = (&self.now[one], &earlier.build.steps[other]);
        let ran_anew = self.steps.trace.of(self.told.ids[one]).ran.is_some_and(|ran| ran.anew);
        if now.key == then.key && !ran_anew {
            return Vec::new();
        }
        if let Some(reason) = source_changed(now, then, self.is_fetched(one)) {
            return vec![reason];
        }
        if earlier.counterparts[one] != Some(other) && self.names_another(place, nearest, one) {
            let (before, after) = (self.then(nearest).instruction.clone(), self.now[place].instruction.clone());
            return vec![Reason::InstructionChanged { before, after }];
        }
        match earlier.counterparts[one] {
            Some(counterpart) if counterpart == other => self.roots(one, nearest, other),
            None => vec![added(&self.now, one)],
            Some(counterpart) => {
                let is_gone = !earlier.counterparts.contains(&Some(other));
                if !is_gone && now.result != StepResult::Hit {
                    return vec![changed(&self.now, one)];
                }
                if is_gone {
                    let mut reasons = vec![self.removed(nearest, other)];
                    if self.now[one].key != self.history.known(nearest.build).build.steps[counterpart].key {
                        reasons.extend(self.roots(one, nearest, counterpart));
                    }
                    return reasons;
                }
                vec![self.replaced(nearest, one, other)]
            }
        }
    }

    /// Whether the text of a step names another input than before, as `--from` does.
    fn names_another(&self, place: usize, nearest: Nearest, one: usize) -> bool {
        let now = &self.now[place];
        let is_base = now.inputs.first().is_some_and(|edge| edge.contains(&one));
        !is_base && now.instruction != self.then(nearest).instruction
    }

    fn replaced(&self, nearest: Nearest, one: usize, other: usize) -> Reason {
        let before = self.history.known(nearest.build).build.steps[other].position.name.clone();
        Reason::StepReplaced { before: Some(before), after: Some(self.now[one].position.name.clone()) }
    }

    fn removed(&self, nearest: Nearest, other: usize) -> Reason {
        let step = self.history.known(nearest.build).build.steps[other].position.name.clone();
        Reason::StepRemoved { step }
    }

    /// The steps from which a difference between a step and its counterpart comes.
    fn roots(&mut self, one: usize, nearest: Nearest, other: usize) -> Vec<Reason> {
        let now = self.now[one].clone();
        if now.result != StepResult::Hit {
            let only_below = !now.reasons.is_empty() && now.reasons.iter().all(is_below);
            return if only_below { now.reasons } else { vec![changed(&self.now, one)] };
        }
        let then = self.history.known(nearest.build).build.steps[other].clone();
        let run = |judge: &mut Self, step: &ExplainedStep| {
            step.key.clone().and_then(|key| judge.history.run(&key)).map(|run| run.inputs)
        };
        let own = match (run(self, &then), run(self, &now)) {
            (Some(before), Some(after)) => own_changes(&before, &after, &|one, other| self.lists(one, other)),
            _ => Vec::new(),
        };
        if !own.is_empty() || now.operation != then.operation {
            return vec![changed(&self.now, one)];
        }
        let mut reasons = Vec::new();
        for (edge, earlier) in now.inputs.iter().zip(&then.inputs) {
            if self.differs(nearest, edge, earlier) {
                reasons.extend(self.below(one, nearest, edge, earlier));
            }
        }
        let only_below = !reasons.is_empty() && reasons.iter().all(is_below);
        if only_below { reasons } else { vec![changed(&self.now, one)] }
    }

    /// Of a hit by content: the steps that ran below it.
    pub(super) fn ran_below(&self, place: usize) -> Vec<Reason> {
        let mut reasons: Vec<Reason> = Vec::new();
        for below in self.now[place].inputs.iter().flatten() {
            let step = &self.now[*below];
            let found = match (step.result, step.hit) {
                (StepResult::Miss, _) if !step.reasons.iter().all(is_below) => vec![changed(&self.now, *below)],
                (StepResult::Miss, _) | (StepResult::Hit, Some(HitKind::Content)) => step.reasons.clone(),
                _ => Vec::new(),
            };
            reasons.extend(found.into_iter().filter(|reason| !reasons.contains(reason)).collect::<Vec<_>>());
        }
        reasons
    }
}

/// Whether a reason is about another step, of which it is a consequence.
fn is_below(reason: &Reason) -> bool {
    matches!(reason, Reason::StepChanged { .. } | Reason::StepAdded { .. } | Reason::StepRemoved { .. })
}

/// Whether a reason names a WORKDIR.
pub(super) fn is_of_directory(reason: &Reason) -> bool {
    match reason {
        Reason::StepChanged { step, .. } | Reason::StepAdded { step, .. } | Reason::StepRemoved { step } => {
            text_of(step).starts_with("WORKDIR")
        }
        _ => false,
    }
}

fn changed(steps: &[ExplainedStep], index: usize) -> Reason {
    Reason::StepChanged { step: steps[index].position.name.clone(), index }
}

fn added(steps: &[ExplainedStep], index: usize) -> Reason {
    Reason::StepAdded { step: steps[index].position.name.clone(), index }
}

/// How a base image or a download differs from the one in its place.
pub(super) fn source_changed(now: &ExplainedStep, then: &ExplainedStep, is_fetched: bool) -> Option<Reason> {
    match (&now.image, &then.image) {
        (Some(now), Some(then)) => Some(Reason::BaseChanged {
            image: now.name.clone(),
            image_before: then.name.clone(),
            before: then.digest.clone(),
            after: now.digest.clone(),
            cause: if now.name == then.name { BaseCause::TagMoved } else { BaseCause::FromChanged },
        }),
        (None, None) if is_fetched && then.position.number.is_none() => {
            Some(Reason::SourceChanged { source: now.position.name.clone(), before: None, after: None })
        }
        _ => None,
    }
}
