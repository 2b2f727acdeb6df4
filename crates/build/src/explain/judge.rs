//! The reasons of each step that ran, from the nearest earlier run of its counterpart.
//!
//! Nearest is: of the same context first, then with the fewest inputs that differ, then the newest. A step whose own
//! inputs are as they were ran because of steps below; it names those of them whose own inputs changed, and nothing of
//! what followed from that.

use kiln_graph::{Op, SourceOp};
use kiln_store::{FileDifferences, Input, Timestamp};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::compare::{distance, own_changes};
use super::document::{BaseCause, ExplainedBuild, ExplainedStep, HitKind, Novelty, Reason, StepResult};
use super::earlier::{Earlier, History, parsed};
use super::report::Told;
use super::texts::text_of;
use super::trace::{Ran, Traced};
use crate::step::{Effects, Steps};

/// Of a build in another context at least one in so many instructions must be the same: else it is another project.
const ALIKE_ELSEWHERE: usize = 2;

/// The setting that WORKDIR, which is a step, decides.
const DIRECTORY: &str = "working directory";

/// A step of an earlier build.
#[derive(Clone, Copy)]
struct Nearest {
    /// Which of the earlier builds.
    build: usize,
    /// Which of its steps.
    step: usize,
    /// Whether it is known what the run was made of.
    is_known: bool,
}

struct Judge<'a> {
    steps: &'a Steps,
    told: &'a Told,
    now: Vec<ExplainedStep>,
    history: History<'a>,
}

/// Fills in the reasons of all steps.
///
/// # Errors
/// A store that cannot be read.
pub(super) fn judge(steps: &Steps, told: &Told, build: &mut ExplainedBuild) -> Result<(), kiln_store::Error> {
    if build.steps.iter().all(|step| step.result == StepResult::Hit && step.hit == Some(HitKind::Recipe)) {
        return Ok(());
    }
    let history = History::new(&steps.store, build)?;
    let mut judge = Judge { steps, told, now: std::mem::take(&mut build.steps), history };
    for place in 0..judge.now.len() {
        judge.step(place);
    }
    build.steps = judge.now;
    Ok(())
}

impl Judge<'_> {
    fn step(&mut self, place: usize) {
        let step = &self.now[place];
        match (step.result, step.hit) {
            (StepResult::Miss | StepResult::Failed, _) => self.miss(place),
            (StepResult::Hit, Some(HitKind::Content)) => self.now[place].reasons = self.ran_below(place),
            _ => {}
        }
    }

    fn miss(&mut self, place: usize) {
        let traced = self.steps.trace.of(self.told.ids[place]);
        if self.steps.vertex(self.told.ids[place]).meta.ignore_cache {
            self.now[place].reasons = vec![Reason::NoCache];
            return;
        }
        if let Some(reason) = self.lost(&traced) {
            self.now[place].reasons = vec![reason];
            return;
        }
        let own = self.own_inputs(place, &traced);
        let nearest = self.nearest(place, &own);
        let mut reasons = match nearest {
            Some(nearest) => self.changes(place, nearest, &own, &traced),
            None => Vec::new(),
        };
        if traced.identified.is_some() && traced.recipe.is_some() && traced.identified != traced.recipe {
            reasons.insert(0, Reason::ContextMoved);
        }
        if reasons.is_empty() {
            reasons.push(self.without_change(place, nearest, &traced));
        }
        let mut distinct: Vec<Reason> = Vec::new();
        for reason in reasons {
            if !distinct.contains(&reason) {
                distinct.push(reason);
            }
        }
        self.now[place].compared_with = nearest.map(|nearest| self.history.known(nearest.build).told(nearest.step));
        self.now[place].reasons = distinct;
    }

    /// What became of a result that the key would have found.
    fn lost(&self, traced: &Traced) -> Option<Reason> {
        let evicted = match &traced.ran {
            Some(ran) if ran.before.is_some() && !ran.usable => return Some(Reason::ResultDamaged),
            Some(ran) => ran.evicted.clone(),
            None => traced.identified.and_then(|key| self.steps.store.evictions().find(&key).ok().flatten()),
        };
        evicted.map(|evicted| Reason::Evicted { at: text(evicted.at), cause: evicted.why })
    }

    /// What a step is itself made of.
    fn own_inputs(&mut self, place: usize, traced: &Traced) -> Vec<Input> {
        if let Some(ran) = &traced.ran {
            return ran.named.clone();
        }
        let key = self.now[place].key.clone();
        let recorded = key.and_then(|key| self.history.run(&key)).map(|run| run.inputs);
        recorded.unwrap_or_else(|| self.steps.named_inputs(self.told.ids[place]))
    }

    /// The nearest earlier run of a step.
    fn nearest(&mut self, place: usize, own: &[Input]) -> Option<Nearest> {
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

    fn lists(&self, before: &str, after: &str) -> Option<FileDifferences> {
        self.steps.store.file_lists().compare(&parsed(before)?, &parsed(after)?).ok()?
    }

    /// How a step differs from an earlier run of it.
    fn changes(&mut self, place: usize, nearest: Nearest, own: &[Input], traced: &Traced) -> Vec<Reason> {
        let then = self.then(nearest).clone();
        let mut reasons = match then.key.as_ref().filter(|_| nearest.is_known).and_then(|key| self.history.run(key)) {
            Some(run) if then.key != self.now[place].key => {
                own_changes(&run.inputs, own, &|before, after| self.lists(before, after))
            }
            _ => Vec::new(),
        };
        if !nearest.is_known {
            reasons.extend(self.changes_as_told(place, &then));
        }
        let below = self.changes_below(place, nearest, &then, traced);
        if below.iter().any(is_of_directory) {
            reasons.retain(|reason| !matches!(reason, Reason::SettingChanged { setting, .. } if setting == DIRECTORY));
        }
        reasons.extend(below);
        reasons
    }

    fn then(&self, nearest: Nearest) -> &ExplainedStep {
        &self.history.known(nearest.build).build.steps[nearest.step]
    }

    /// What the documents alone say: what the earlier run was made of is not known, for it failed or is long gone.
    fn changes_as_told(&self, place: usize, then: &ExplainedStep) -> Option<Reason> {
        let now = &self.now[place];
        if then.operation == now.operation {
            return None;
        }
        Some(if then.instruction == now.instruction {
            Reason::SettingChanged { setting: "operation".into(), before: None, after: None }
        } else {
            let (before, after) = (then.instruction.clone(), now.instruction.clone());
            Reason::InstructionChanged { before, after }
        })
    }

    /// What changed of what a step works on.
    fn changes_below(&mut self, place: usize, nearest: Nearest, then: &ExplainedStep, traced: &Traced) -> Vec<Reason> {
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
    fn ran_below(&self, place: usize) -> Vec<Reason> {
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

    /// Why a step ran although nothing of it changed, or nothing is known to compare it with.
    fn without_change(&self, place: usize, nearest: Option<Nearest>, traced: &Traced) -> Reason {
        let recorded_meanwhile = traced.ran.as_ref().is_some_and(|ran| ran.usable);
        let Some(nearest) = nearest else {
            return match self.is_fetched(place) {
                _ if recorded_meanwhile => Reason::RecordedMeanwhile,
                true => Reason::Fetched,
                false => Reason::NeverSeen { what: self.novelty(place) },
            };
        };
        let then = self.then(nearest);
        if then.key == self.now[place].key && then.result == StepResult::Failed {
            return Reason::FailedBefore { build: self.history.known(nearest.build).build.id.clone() };
        }
        if self.is_fetched(place) {
            return source_changed(&self.now[place], then, true)
                .filter(|_| then.key != self.now[place].key)
                .unwrap_or(Reason::Fetched);
        }
        if recorded_meanwhile {
            return Reason::RecordedMeanwhile;
        }
        if then.key == self.now[place].key {
            return Reason::ResultGone;
        }
        match self.steps.context_of(self.told.ids[place]) {
            Some(context) if !nearest.is_known => Reason::FilesChanged { context },
            _ if !nearest.is_known => Reason::ResultGone,
            _ => Reason::KeyDiffers,
        }
    }

    /// Whether a step brings something in from outside.
    fn is_fetched(&self, place: usize) -> bool {
        matches!(&self.steps.vertex(self.told.ids[place]).op, Op::Source(source) if !matches!(source, SourceOp::Context(_)))
    }

    fn novelty(&self, place: usize) -> Novelty {
        let step = &self.now[place];
        let builds = || {
            (0..)
                .map_while(|build| self.history.read_at(build))
                .filter(|build| build.is_here || is_alike(build, &self.now))
        };
        if builds().next().is_none() {
            return Novelty::Dockerfile;
        }
        let known = |found: &dyn Fn(&Earlier) -> bool| builds().any(found);
        if !known(&|build| build.build.steps.iter().any(|other| other.platform == step.platform)) {
            return Novelty::Platform;
        }
        let in_stage = |other: &ExplainedStep| other.position.stage == step.position.stage;
        let neighbours = |build: &Earlier| {
            self.now
                .iter()
                .zip(&build.counterparts)
                .any(|(other, counterpart)| in_stage(other) && counterpart.is_some() && other.position.number.is_some())
        };
        if known(&neighbours) { Novelty::Instruction } else { Novelty::Stage }
    }
}

/// Whether enough instructions of a build in another context are the same.
fn is_alike(earlier: &Earlier, now: &[ExplainedStep]) -> bool {
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

/// Whether a reason is about another step, of which it is a consequence.
fn is_below(reason: &Reason) -> bool {
    matches!(reason, Reason::StepChanged { .. } | Reason::StepAdded { .. } | Reason::StepRemoved { .. })
}

/// Whether a reason names a WORKDIR.
fn is_of_directory(reason: &Reason) -> bool {
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
fn source_changed(now: &ExplainedStep, then: &ExplainedStep, is_fetched: bool) -> Option<Reason> {
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

fn text(at: Timestamp) -> String {
    let at = OffsetDateTime::from_unix_timestamp(at.seconds).ok();
    at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default()
}
