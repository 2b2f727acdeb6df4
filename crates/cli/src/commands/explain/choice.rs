//! Which steps of a build a word of the command line means.

use kiln_build::{ExplainedBuild, ExplainedStep, Position};

use crate::failure::Failure;

/// Whether a step, at one of its places, is meant.
type Way<'a> = dyn Fn(&ExplainedStep, &Position) -> bool + 'a;

/// The steps that `wanted` means: a number such as `4/7`, perhaps behind a stage's name, a step's name, a line such as
/// `Dockerfile:12`, a stage, or a piece of an instruction. The first of these that means anything counts.
///
/// # Errors
/// A word that means no step; the message lists them.
pub(super) fn chosen<'a>(build: &'a ExplainedBuild, wanted: &str) -> Result<Vec<&'a ExplainedStep>, Failure> {
    let wanted = wanted.trim();
    let lower = wanted.to_lowercase();
    let line = line(build, wanted);
    let ways: [&Way<'_>; 5] = [
        &|_, at| line.is_some_and(|line| covers(at, line)),
        &|_, at| at.name == wanted,
        &|_, at| is_numbered(at, &lower),
        &|_, at| !at.stage.is_empty() && at.stage.to_lowercase() == lower,
        &|step, at| step.instruction.to_lowercase().contains(&lower) || at.name.to_lowercase().contains(&lower),
    ];
    for way in ways {
        let is_meant = |step: &&ExplainedStep| positions(step).any(|at| way(step, at));
        let found: Vec<&ExplainedStep> = build.steps.iter().filter(is_meant).collect();
        if !found.is_empty() && !wanted.is_empty() {
            return Ok(found);
        }
    }
    Err(nothing(build, wanted, line))
}

fn positions(step: &ExplainedStep) -> impl Iterator<Item = &Position> {
    std::iter::once(&step.position).chain(&step.also)
}

/// The line of `Dockerfile:12` or `:12`.
fn line(build: &ExplainedBuild, wanted: &str) -> Option<u32> {
    let (name, line) = wanted.rsplit_once(':')?;
    let is_ours = name.is_empty() || name == build.dockerfile || name.ends_with(&format!("/{}", build.dockerfile));
    if is_ours { line.parse().ok() } else { None }
}

fn covers(at: &Position, line: u32) -> bool {
    at.line.is_some_and(|first| (first..=at.last_line.unwrap_or(first)).contains(&line))
}

/// `2/5`, `build 2/5` or `[build 2/5]`.
fn is_numbered(at: &Position, wanted: &str) -> bool {
    let Some(number) = &at.number else { return false };
    let mut words = wanted.trim_start_matches('[').trim_end_matches(']').split_whitespace().rev();
    let is_number = words.next() == Some(number);
    is_number && words.next().is_none_or(|stage| stage == at.stage.to_lowercase())
}

fn nothing(build: &ExplainedBuild, wanted: &str, line: Option<u32>) -> Failure {
    let mut message = match line {
        Some(line) => format!("ERROR: no step of this build stands at line {line} of {}", build.dockerfile),
        None => format!("ERROR: no step of this build is called {wanted:?}"),
    };
    message.push_str("; its steps are:");
    for at in build.steps.iter().flat_map(positions) {
        let line = at.line.map_or(String::new(), |line| format!(" (line {line})"));
        message.push_str(&format!("\n  {}{line}", at.name));
    }
    Failure::new(message)
}
