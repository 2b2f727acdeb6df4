//! Explanations as a person reads them.

use std::fmt::Write;

use kiln_build::{
    BaseCause, BuildOutcome, ComparedWith, ExplainedBuild, ExplainedStep, FileAspect, HitKind, Novelty, Reason,
    StepResult,
};
use kiln_store::EvictionCause;

/// Characters of a digest that tell two apart.
const DIGEST_SHOWN: usize = 12;
/// Characters of a value that are shown.
const VALUE_SHOWN: usize = 120;

/// What a build was.
pub(super) fn heading(build: &ExplainedBuild) -> String {
    let mut text = format!("build {} of {}: {}", build.id, day_and_time(&build.started), build.dockerfile);
    if !build.context.is_empty() {
        let _ = write!(text, " in {}", build.context);
    }
    if !build.images.is_empty() {
        let _ = write!(text, ", image {}", build.images.join(", "));
    }
    text.push_str(match build.outcome {
        BuildOutcome::Done => "",
        BuildOutcome::Failed => " (failed)",
        BuildOutcome::Cancelled => " (cancelled)",
    });
    text
}

/// Steps with their reasons, in the order of the Dockerfile, and what they were compared with.
pub(super) fn steps(steps: &[&ExplainedStep]) -> String {
    let mut ordered: Vec<&ExplainedStep> = steps.to_vec();
    ordered.sort_by_key(|step| (step.position.line, step.index));
    let mut compared: Vec<&ComparedWith> = Vec::new();
    for step in ordered.iter().filter_map(|step| step.compared_with.as_ref()) {
        if !compared.iter().any(|known| known.build == step.build) {
            compared.push(step);
        }
    }
    let mut text = String::new();
    for step in ordered {
        text.push_str(&one(step));
        if let Some(with) = step.compared_with.as_ref().filter(|_| compared.len() > 1) {
            let _ = writeln!(text, "    (compared with {})", earlier(with));
        }
    }
    if let [only] = compared[..] {
        let _ = writeln!(text, "compared with {}", earlier(only));
    }
    text
}

fn one(step: &ExplainedStep) -> String {
    let line = step.position.line.map_or(String::new(), |line| format!(" (line {line})"));
    let mut text = format!("{}{line}: {}", step.position.name, result(step));
    match (&step.reasons[..], step.result) {
        ([], _) => {}
        // A hit by content says in its line what ran.
        (_, StepResult::Hit) => {}
        (reasons, _) => {
            text.push(':');
            for reason in reasons {
                let _ = write!(text, "\n    {}", self::reason(reason));
            }
        }
    }
    text.push('\n');
    for also in &step.also {
        let line = also.line.map_or(String::new(), |line| format!(" (line {line})"));
        let same = match step.result {
            StepResult::Hit => result(step),
            _ => format!("the same step as {}", step.position.name),
        };
        let _ = writeln!(text, "{}{line}: {same}", also.name);
    }
    text
}

fn result(step: &ExplainedStep) -> String {
    match (step.result, step.hit) {
        (StepResult::Hit, Some(HitKind::Content)) => {
            let ran: Vec<String> = step.reasons.iter().filter_map(other_step).collect();
            match &ran[..] {
                [] => "hit: an earlier step ran again, and what it gives is as before".into(),
                ran => format!("hit: {} ran again, and what this step takes is as before", ran.join(" and ")),
            }
        }
        (StepResult::Hit, Some(HitKind::AnotherBuild)) => "hit: another build ran it meanwhile".into(),
        (StepResult::Hit, _) => "hit".into(),
        (StepResult::Miss, _) => "miss".into(),
        (StepResult::Failed, _) => "failed".into(),
        (StepResult::NotRun, _) => "not run".into(),
    }
}

fn other_step(reason: &Reason) -> Option<String> {
    match reason {
        Reason::StepChanged { step, .. } | Reason::StepAdded { step, .. } | Reason::StepRemoved { step } => {
            Some(step.clone())
        }
        _ => None,
    }
}

fn earlier(with: &ComparedWith) -> String {
    let mut text = format!("the build of {}", day_and_time(&with.started));
    if !with.images.is_empty() {
        let _ = write!(text, " ({})", with.images.join(", "));
    }
    if !with.context.is_empty() {
        let _ = write!(text, " in {}", with.context);
    }
    text
}

fn reason(reason: &Reason) -> String {
    match reason {
        Reason::FileAdded { path, context } => format!("{} added", file(path, context)),
        Reason::FileRemoved { path, context } => format!("{} removed", file(path, context)),
        Reason::FileChanged { path, context, what } => format!("{} changed{}", file(path, context), aspects(what)),
        Reason::MoreFiles { context, added, removed, changed } => more(context, *added, *removed, *changed),
        Reason::FilesChanged { context } => format!("files{} changed; which is not known any more", of(context)),
        Reason::VariableAdded { name, after } => format!("variable {name} added{}", valued(after)),
        Reason::VariableRemoved { name, before } => format!("variable {name} removed{}", valued(before)),
        Reason::VariableChanged { name, before, after } => {
            format!("variable {name} changed{}", change(before.as_deref(), after.as_deref()))
        }
        Reason::BaseChanged { image, image_before, before, after, cause } => {
            base(image, image_before, before, after, *cause)
        }
        Reason::SourceChanged { source, before, after } => {
            format!("what is at {source} changed{}", change(before.as_deref(), after.as_deref()))
        }
        Reason::InstructionChanged { before, after } => {
            format!("instruction changed: {} -> {}", shortened(before), shortened(after))
        }
        Reason::SettingChanged { setting, before, after } => {
            format!("{setting} changed{}", change(before.as_deref(), after.as_deref()))
        }
        Reason::StepChanged { step, .. } => format!("step {step} changed"),
        Reason::StepAdded { step, .. } => format!("step {step} is new"),
        Reason::StepRemoved { step } => format!("step {step} is gone"),
        Reason::StepReplaced { before, after } => {
            let none = || "nothing".to_owned();
            let (before, after) = (before.clone().unwrap_or_else(none), after.clone().unwrap_or_else(none));
            format!("it works on {after}; before, it did on {before}")
        }
        Reason::FidelityDiffers { before, after } => {
            format!("the earlier result is of a sandbox of other fidelity: {before:?} -> {after:?}")
        }
        Reason::Evicted { at, cause } => format!("nothing changed; {}", evicted(at, *cause)),
        other => without_details(other).into(),
    }
}

fn without_details(reason: &Reason) -> &'static str {
    match reason {
        Reason::ResultDamaged => "nothing changed; the layers of the earlier result are missing or damaged",
        Reason::ResultGone => "nothing changed; the earlier result is not in the store any more",
        Reason::RecordedMeanwhile => "another build recorded the same result while this step ran",
        Reason::FailedBefore { .. } => "nothing changed; the earlier run failed, and only completed steps are kept",
        Reason::Fetched => "it was not in the store, and was fetched",
        Reason::NeverSeen { what: Novelty::Dockerfile } => "no earlier build of this Dockerfile is known",
        Reason::NeverSeen { what: Novelty::Platform } => "no earlier build for this platform is known",
        Reason::NeverSeen { what: Novelty::Stage } => "no earlier build of this stage is known",
        Reason::NeverSeen { what: Novelty::Instruction } => "the instruction is new",
        Reason::NoCache => "the cache was not to be used (--no-cache)",
        Reason::ContextMoved => "files changed while they were copied; the result is of what was copied",
        Reason::KeyDiffers => "nothing that is known changed; this version of kiln makes its keys in another way",
        _ => "",
    }
}

fn file(path: &str, context: &str) -> String {
    let path = if path.is_empty() { "." } else { path };
    format!("file {path}{}", of(context))
}

/// The main context goes without saying.
fn of(context: &str) -> String {
    if context == kiln_dockerfile::MAIN_CONTEXT { String::new() } else { format!(" of context {context}") }
}

fn aspects(what: &[FileAspect]) -> String {
    let words: Vec<&str> = what
        .iter()
        .map(|aspect| match aspect {
            FileAspect::Content => "content",
            FileAspect::Mode => "permissions",
            FileAspect::Type => "type",
            FileAspect::Owner => "owner, capabilities or hard links",
        })
        .collect();
    if what == [FileAspect::Content] || what.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) }
}

fn more(context: &str, added: u64, removed: u64, changed: u64) -> String {
    let counts = [(changed, "changed"), (added, "added"), (removed, "removed")];
    let counts: Vec<String> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
    let all = added + removed + changed;
    let noun = if all == 1 { "file" } else { "files" };
    format!("and {all} more {noun}{}: {}", of(context), counts.join(", "))
}

fn base(image: &str, image_before: &str, before: &str, after: &str, cause: BaseCause) -> String {
    let digests = format!("{} -> {}", digest(before), digest(after));
    match cause {
        BaseCause::TagMoved => format!("base image {image} changed: {digests} (the name stands for another image now)"),
        BaseCause::FromChanged => format!("base image changed: {image_before} -> {image} ({digests})"),
    }
}

fn digest(digest: &str) -> &str {
    let end = digest.find(':').map_or(0, |colon| colon + 1) + DIGEST_SHOWN;
    digest.get(..end).unwrap_or(digest)
}

fn evicted(at: &str, cause: EvictionCause) -> String {
    let why = match cause {
        EvictionCause::Quota => "the cache was larger than its quota",
        EvictionCause::KeepNewerThan => "it had not been used for longer than the policy keeps results",
        EvictionCause::FreeSpace => "the disk had too little free space",
        EvictionCause::Prune => "by a prune command",
        EvictionCause::Damaged => "it proved damaged",
    };
    format!("its result was deleted on {}: {why}", day_and_time(at))
}

fn valued(value: &Option<String>) -> String {
    value.as_ref().map_or(String::new(), |value| format!(": {:?}", shortened(value)))
}

/// What may be shown of a change. A value that is not there is none, or may not be shown.
fn change(before: Option<&str>, after: Option<&str>) -> String {
    match (before.map(shortened), after.map(shortened)) {
        (None, None) => String::new(),
        (Some(before), None) => format!(": it was {before:?}"),
        (None, Some(after)) => format!(": it is {after:?} now"),
        (Some(before), Some(after)) => format!(": {before:?} -> {after:?}"),
    }
}

fn shortened(text: &str) -> String {
    crate::commands::listing::shortened(text, VALUE_SHOWN)
}

/// `2026-11-21 17:37:39 UTC` of a moment in RFC 3339.
pub(super) fn day_and_time(moment: &str) -> String {
    match (moment.get(..10), moment.get(11..19)) {
        (Some(day), Some(time)) => format!("{day} {time} UTC"),
        _ => moment.to_owned(),
    }
}
