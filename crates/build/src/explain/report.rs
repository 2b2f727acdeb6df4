//! A document about a build, from what its trace noted.

use std::collections::HashMap;

use kiln_graph::{Meta, Op, SourceOp, VertexId};
use kiln_oci::{Digest, Platform};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::document::{BaseImage, BuildOutcome, ExplainedBuild, ExplainedStep, HitKind, Position, StepResult, VERSION};
use super::judge::judge;
use super::texts::text_of;
use super::trace::{Ended, Traced};
use crate::step::Steps;

/// What is told of a build beside its steps.
pub(crate) struct About {
    pub(crate) started: OffsetDateTime,
    pub(crate) outcome: BuildOutcome,
    pub(crate) images: Vec<String>,
    pub(crate) target: Option<String>,
    /// All stages of the Dockerfile.
    pub(crate) stages: Vec<String>,
    /// What is built, each with the platform of its result.
    pub(crate) targets: Vec<(VertexId, Platform)>,
}

/// The steps that a document tells of, in its order.
pub(super) struct Told {
    pub(super) ids: Vec<VertexId>,
    places: HashMap<VertexId, usize>,
}

/// Tells of a build and why its steps ran, and keeps it in the store.
///
/// # Errors
/// A store that cannot be read or written.
pub(crate) fn report(steps: &Steps, about: About) -> Result<ExplainedBuild, kiln_store::Error> {
    let started = about.started.unix_timestamp_nanos() / 1_000_000;
    let (mut build, told) = document(steps, about);
    judge(steps, &told, &mut build)?;
    let document = serde_json::to_string(&build).unwrap_or_default();
    steps.store.builds().insert(&kiln_store::Build {
        id: build.id.clone(),
        dockerfile: build.dockerfile.clone(),
        context: build.context.clone(),
        started: started as i64,
        document,
    })?;
    Ok(build)
}

/// What is told of a build but for the reasons.
fn document(steps: &Steps, about: About) -> (ExplainedBuild, Told) {
    let wanted: Vec<VertexId> = about.targets.iter().map(|(target, _)| *target).collect();
    let ids: Vec<VertexId> = steps.definition.reachable(&wanted).into_iter().filter(|id| is_told(steps, *id)).collect();
    let places = ids.iter().enumerate().map(|(place, id)| (*id, place)).collect();
    let told = Told { ids, places };
    let target_platforms = target_platforms(steps, &about.targets);
    let step = |id: &VertexId| {
        let target = target_platforms.get(id).copied().unwrap_or(&steps.vertex(*id).platform);
        told_step(steps, &told, *id, target)
    };
    let mut platforms: Vec<String> = Vec::new();
    for (_, platform) in &about.targets {
        let platform = platform.to_string();
        if !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    let build = ExplainedBuild {
        version: VERSION,
        id: steps.build_id.clone(),
        started: about.started.format(&Rfc3339).unwrap_or_default(),
        outcome: about.outcome,
        dockerfile: steps.lineage.clone(),
        context: steps.context_identity(),
        images: about.images,
        target: about.target,
        platforms,
        stages: about.stages,
        steps: told.ids.iter().map(step).collect(),
    };
    (build, told)
}

/// Contexts, merges and empty roots are part of the steps that use them.
fn is_told(steps: &Steps, id: VertexId) -> bool {
    let vertex = steps.vertex(id);
    match &vertex.op {
        Op::Source(SourceOp::Context(_)) | Op::Merge | Op::Diff => false,
        Op::Exec(_) | Op::File(_) | Op::Source(_) => !vertex.meta.name.starts_with("[internal]"),
    }
}

/// For each vertex the platform of the first result that needs it.
fn target_platforms<'a>(steps: &Steps, targets: &'a [(VertexId, Platform)]) -> HashMap<VertexId, &'a Platform> {
    let mut platforms = HashMap::new();
    for (target, platform) in targets {
        for id in steps.definition.reachable(&[*target]) {
            platforms.entry(id).or_insert(platform);
        }
    }
    platforms
}

fn told_step(steps: &Steps, told: &Told, id: VertexId, target_platform: &Platform) -> ExplainedStep {
    let vertex = steps.vertex(id);
    let traced = steps.trace.of(id);
    let (result, hit) = result(&traced);
    let used = steps.used_inputs(id);
    let inputs = used.iter().map(|input| {
        let mut below = Vec::new();
        told.below(steps, vertex.inputs[*input].vertex, &mut below);
        below
    });
    let operation = steps.definition.op_digest(id).to_string();
    ExplainedStep {
        index: told.place(id).unwrap_or_default(),
        position: position(steps, &vertex.meta),
        also: steps.definition.also(id).iter().map(|meta| position(steps, meta)).collect(),
        instruction: steps.texts.instruction(&vertex.meta),
        platform: vertex.platform.to_string(),
        target_platform: target_platform.to_string(),
        result,
        hit,
        compared_with: None,
        reasons: Vec::new(),
        key: traced.recipe.or(traced.identified).map(|key| key.to_string()),
        operation: operation.get(..16).unwrap_or(&operation).to_owned(),
        inputs: inputs.collect(),
        image: image(&vertex.op),
    }
}

impl Told {
    /// The place of a step in the document.
    pub(super) fn place(&self, id: VertexId) -> Option<usize> {
        self.places.get(&id).copied()
    }

    /// The steps that a vertex is made of: itself, or what it stacks.
    fn below(&self, steps: &Steps, id: VertexId, found: &mut Vec<usize>) {
        match self.place(id) {
            Some(place) => found.push(place),
            None => steps.vertex(id).inputs.iter().for_each(|edge| self.below(steps, edge.vertex, found)),
        }
    }
}

fn result(traced: &Traced) -> (StepResult, Option<HitKind>) {
    match traced.ended {
        Some(Ended::HitByRecipe) if traced.waited => (StepResult::Hit, Some(HitKind::AnotherBuild)),
        Some(Ended::HitByRecipe) => (StepResult::Hit, Some(HitKind::Recipe)),
        Some(Ended::HitByContent) => (StepResult::Hit, Some(HitKind::Content)),
        Some(Ended::Executed) => (StepResult::Miss, None),
        Some(Ended::Failed) => (StepResult::Failed, None),
        None => (StepResult::NotRun, None),
    }
}

fn position(steps: &Steps, meta: &Meta) -> Position {
    let name = steps.texts.name(meta);
    let (stage, number) = stage_and_number(&name);
    Position {
        stage: if stage.is_empty() { meta.stage.clone() } else { stage },
        number,
        line: meta.span.as_ref().map(|span| span.first_line),
        last_line: meta.span.as_ref().map(|span| span.last_line),
        name,
    }
}

/// What the brackets of a display name say: `[linux/arm64 build 2/5] …`.
fn stage_and_number(name: &str) -> (String, Option<String>) {
    if text_of(name).len() == name.len() {
        return (String::new(), None);
    }
    let inside = name.get(1..name.len() - text_of(name).len() - 2).unwrap_or_default();
    let mut words: Vec<&str> = inside.split_whitespace().collect();
    let number = words.pop().map(str::to_owned);
    let stage = words.pop().filter(|word| !word.contains('/')).unwrap_or_default().to_owned();
    (stage, number)
}

fn image(op: &Op) -> Option<BaseImage> {
    let Op::Source(SourceOp::Image(image)) = op else { return None };
    let layers = || {
        let list: Vec<String> = image.diff_ids.iter().map(Digest::to_string).collect();
        Digest::of(list.join("\n").as_bytes())
    };
    let digest = image.manifest.clone().unwrap_or_else(layers).to_string();
    Some(BaseImage { name: image.reference.familiar(), digest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_stage_and_number() {
        let check = |name: &str, stage: &str, number: Option<&str>| {
            assert_eq!(stage_and_number(name), (stage.to_owned(), number.map(str::to_owned)), "{name}");
        };
        check("[2/3] RUN [\"/make\"] x", "", Some("2/3"));
        check("[build  2/12] RUN a", "build", Some("2/12"));
        check("[linux/amd64->arm64 stage-1 2/2] RUN a", "stage-1", Some("2/2"));
        check("[linux/amd64 2/2] RUN a", "", Some("2/2"));
        check("https://h/[x] f", "", None);
    }
}
