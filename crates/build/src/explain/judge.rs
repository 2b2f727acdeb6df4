//! The reasons of each step that ran, from the nearest earlier run of its counterpart: its own inputs first, then the
//! steps that it works on.

use kiln_graph::{Op, SourceOp};
use kiln_store::{FileDifferences, Input, Timestamp};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::below::{is_of_directory, source_changed};
use super::compare::own_changes;
use super::document::{ExplainedBuild, ExplainedStep, HitKind, Novelty, Reason, StepResult};
use super::earlier::{Earlier, History, parsed};
use super::nearest::{Nearest, is_alike};
use super::report::Told;
use super::trace::Traced;
use crate::step::Steps;

/// The setting that WORKDIR, which is a step, decides.
const DIRECTORY: &str = "working directory";

/// A build whose steps are judged, in their order.
pub(super) struct Judge<'a> {
    pub(super) steps: &'a Steps,
    pub(super) told: &'a Told,
    pub(super) now: Vec<ExplainedStep>,
    pub(super) history: History<'a>,
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

    pub(super) fn lists(&self, before: &str, after: &str) -> Option<FileDifferences> {
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

    pub(super) fn then(&self, nearest: Nearest) -> &ExplainedStep {
        &self.history.known(nearest.build).build.steps[nearest.step]
    }

    /// What the documents alone say: what the earlier run was made of is not known, for it failed or is long gone.
    fn changes_as_told(&self, place: usize, then: &ExplainedStep) -> Option<Reason> {
        let now = &self.now[place];
        if then.operation == now.operation {
            return None;
        }
        let unnamed = Reason::SettingChanged { setting: "operation".into(), before: None, after: None };
        Some(rewritten(then, now).unwrap_or(unnamed))
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
            // A flag that no input shows, such as `--link`, which decides on what a copy stands.
            _ => rewritten(then, &self.now[place]).unwrap_or(Reason::KeyDiffers),
        }
    }

    /// Whether a step brings something in from outside.
    pub(super) fn is_fetched(&self, place: usize) -> bool {
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

/// The change of an instruction's text, if it has another one.
fn rewritten(then: &ExplainedStep, now: &ExplainedStep) -> Option<Reason> {
    let (before, after) = (then.instruction.clone(), now.instruction.clone());
    (before != after).then_some(Reason::InstructionChanged { before, after })
}

fn text(at: Timestamp) -> String {
    let at = OffsetDateTime::from_unix_timestamp(at.seconds).ok();
    at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default()
}
