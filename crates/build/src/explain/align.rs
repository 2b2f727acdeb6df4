//! Which step of an earlier build a step corresponds to.
//!
//! Stages are paired by name, what is left by what their instructions have in common; the instructions of two stages
//! like the lines of two texts: those that are equal first, then those of one kind that stand between the same ones.
//! Pure: it knows documents only.

use std::collections::{BTreeMap, BTreeSet};

use super::document::{ExplainedStep, Position};
use super::texts::text_of;

/// What a pair of steps is worth; unequal kinds are no pair.
const SAME_KEY: u32 = 200;
const SAME_TEXT: u32 = 100;
const SAME_OPERATION: u32 = 20;
const SAME_KIND: u32 = 10;
/// How much words in common add at most.
const SAME_WORDS: u32 = 40;

/// One place where a step stands.
struct Place<'a> {
    index: usize,
    step: &'a ExplainedStep,
    position: &'a Position,
    kind: &'a str,
    words: BTreeSet<&'a str>,
}

/// The stages of a build with their instructions in order.
type Stages<'a> = BTreeMap<String, Vec<Place<'a>>>;

/// The stages of a build for one platform, and the names of all that its Dockerfile has.
struct Build<'a> {
    stages: &'a Stages<'a>,
    names: &'a BTreeSet<String>,
}

/// For each step of `now` its counterpart in `then`; each comes with the names of all stages of its Dockerfile.
pub(super) fn align(
    (now, now_names): (&[ExplainedStep], &[String]),
    (then, then_names): (&[ExplainedStep], &[String]),
) -> Vec<Option<usize>> {
    let mut found = vec![None; now.len()];
    let names = |names: &[String]| names.iter().map(|name| name.to_lowercase()).collect();
    let (now_names, then_names): (BTreeSet<String>, BTreeSet<String>) = (names(now_names), names(then_names));
    // A step that is shared by several platforms counts for the first that is built, which may be another each time.
    for narrow in [true, false] {
        let (now_groups, then_groups) = (groups(now, narrow), groups(then, narrow));
        for (platforms, stages) in &now_groups {
            let Some(earlier) = then_groups.get(platforms) else { continue };
            let (now, then) = (Build { stages, names: &now_names }, Build { stages: earlier, names: &then_names });
            for (one, other) in paired(&now, &then) {
                match_lines(one, other, &mut found);
            }
        }
    }
    for (index, step) in now.iter().enumerate().filter(|(index, _)| found[*index].is_none()).collect::<Vec<_>>() {
        found[index] = then.iter().position(|earlier| is_same_line(step, earlier));
    }
    found
}

/// The same instruction, which moved to another stage.
fn is_same_line(one: &ExplainedStep, other: &ExplainedStep) -> bool {
    one.platform == other.platform && one.instruction == other.instruction && one.operation == other.operation
}

fn groups(steps: &[ExplainedStep], narrow: bool) -> BTreeMap<(&str, &str), Stages<'_>> {
    let mut groups: BTreeMap<(&str, &str), Stages<'_>> = BTreeMap::new();
    for (index, step) in steps.iter().enumerate() {
        let target = if narrow { step.target_platform.as_str() } else { "" };
        for position in std::iter::once(&step.position).chain(&step.also) {
            let kind = match &position.number {
                Some(_) => text_of(&position.name).split_whitespace().next().unwrap_or_default(),
                None => "source",
            };
            let words = step.instruction.split_whitespace().collect();
            let stages = groups.entry((&step.platform, target)).or_default();
            let place = Place { index, step, position, kind, words };
            stages.entry(position.stage.to_lowercase()).or_default().push(place);
        }
    }
    let lines = groups.values_mut().flat_map(BTreeMap::values_mut);
    lines.for_each(|places| {
        places.sort_by_key(|place| (place.position.line, place.position.number.is_some(), place.index))
    });
    groups
}

/// Pairs of stages: of the same name first. A stage without a name is called by its place, which another may have now;
/// it is paired with the one that has most in common with it, and so is one whose name is new with one whose name is
/// gone from the Dockerfile.
fn paired<'a, 'b>(now: &'b Build<'a>, then: &'b Build<'a>) -> Vec<(&'b [Place<'a>], &'b [Place<'a>])> {
    let is_kept = |name: &str, other: &Build<'_>| !is_by_place(name) && other.names.contains(name);
    let kept = now.stages.iter().filter(|(name, _)| is_kept(name, then));
    let mut pairs: Vec<_> = kept.filter_map(|(name, one)| Some((&one[..], &then.stages.get(name)?[..]))).collect();
    let others = |of: &'b Build<'a>, other: &Build<'_>| -> Vec<(&'b str, &'b Vec<Place<'a>>)> {
        let others = of.stages.iter().filter(|(name, _)| !is_kept(name, other));
        others.map(|(name, stage)| (name.as_str(), stage)).collect()
    };
    let (mut new, mut gone) = (others(now, then), others(then, now));
    let only = new.len() == 1 && gone.len() == 1;
    while let Some((alike, one, other)) = most_alike(&new, &gone) {
        if alike == 0 && !only && new[one].0 != gone[other].0 {
            break;
        }
        pairs.push((new.remove(one).1, gone.remove(other).1));
    }
    pairs
}

/// Whether displays call a stage so because it has no name.
fn is_by_place(name: &str) -> bool {
    name.is_empty() || name.strip_prefix("stage-").is_some_and(|place| place.parse::<usize>().is_ok())
}

type NamedStage<'b, 'a> = (&'b str, &'b Vec<Place<'a>>);

fn most_alike(new: &[NamedStage<'_, '_>], gone: &[NamedStage<'_, '_>]) -> Option<(usize, usize, usize)> {
    let pairs = (0..new.len()).flat_map(|one| (0..gone.len()).map(move |other| (one, other)));
    let alike = |(one, other): (usize, usize)| {
        let texts: BTreeSet<&str> = gone[other].1.iter().map(|place| place.step.instruction.as_str()).collect();
        new[one].1.iter().filter(|place| texts.contains(place.step.instruction.as_str())).count()
    };
    let scored = pairs.map(|pair| (alike(pair), pair.0, pair.1));
    scored.max_by_key(|(alike, one, other)| (*alike, new[*one].0 == gone[*other].0, std::cmp::Reverse((*one, *other))))
}

/// Pairs the instructions of two stages in their order, for the greatest worth in all.
fn match_lines(now: &[Place<'_>], then: &[Place<'_>], found: &mut [Option<usize>]) {
    let width = then.len() + 1;
    // best[i * width + j]: of the instructions from i and from j on.
    let mut best = vec![0_u32; (now.len() + 1) * width];
    for i in (0..now.len()).rev() {
        for j in (0..then.len()).rev() {
            let apart = best[(i + 1) * width + j].max(best[i * width + j + 1]);
            let together = worth(&now[i], &then[j]).map_or(0, |worth| worth + best[(i + 1) * width + j + 1]);
            best[i * width + j] = apart.max(together);
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < now.len() && j < then.len() {
        let all = best[i * width + j];
        if worth(&now[i], &then[j]).is_some_and(|worth| worth + best[(i + 1) * width + j + 1] == all) {
            found[now[i].index].get_or_insert(then[j].index);
            (i, j) = (i + 1, j + 1);
        } else if best[(i + 1) * width + j] == all {
            i += 1;
        } else {
            j += 1;
        }
    }
}

fn worth(one: &Place<'_>, other: &Place<'_>) -> Option<u32> {
    if one.kind != other.kind {
        return None;
    }
    let mut worth = SAME_KIND;
    if one.step.key.is_some() && one.step.key == other.step.key {
        worth += SAME_KEY;
    }
    if one.step.operation == other.step.operation {
        worth += SAME_OPERATION;
    }
    if one.step.instruction == other.step.instruction {
        return Some(worth + SAME_TEXT);
    }
    let common = one.words.intersection(&other.words).count() as u32;
    let all = (one.words.len() + other.words.len()) as u32;
    Some(worth + (2 * SAME_WORDS * common).checked_div(all).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::document::StepResult;

    /// Steps of lines such as `build RUN make`, each in its stage.
    fn steps(lines: &[&str]) -> Vec<ExplainedStep> {
        let step = |(index, line): (usize, &&str)| {
            let (stage, instruction) = line.split_once(' ').unwrap_or_default();
            let position = Position {
                name: format!("[{stage} {index}/9] {instruction}"),
                stage: stage.to_owned(),
                number: Some(format!("{index}/9")),
                line: Some(index as u32),
                last_line: None,
            };
            ExplainedStep {
                index,
                position,
                also: Vec::new(),
                instruction: instruction.to_owned(),
                platform: "linux/amd64".into(),
                target_platform: "linux/amd64".into(),
                result: StepResult::Miss,
                hit: None,
                compared_with: None,
                reasons: Vec::new(),
                key: None,
                operation: instruction.to_owned(),
                inputs: Vec::new(),
                image: None,
            }
        };
        lines.iter().enumerate().map(step).collect()
    }

    fn check(then: &[&str], now: &[&str], expected: &[Option<usize>]) {
        let names = |lines: &[&str]| -> Vec<String> {
            lines.iter().map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect()
        };
        let (then_names, now_names) = (names(then), names(now));
        let (then, now) = (steps(then), steps(now));
        assert_eq!(align((&now, &now_names), (&then, &then_names)), expected);
    }

    #[test]
    fn equal_lines_hold_the_others_in_place() {
        check(&["a RUN x", "a RUN y"], &["a RUN x", "a RUN new", "a RUN y"], &[Some(0), None, Some(1)]);
        check(&["a RUN x", "a RUN y", "a RUN z"], &["a RUN x", "a RUN z"], &[Some(0), Some(2)]);
        check(
            &["a RUN x", "a COPY f /", "a RUN y"],
            &["a RUN x", "a COPY g /", "a RUN y"],
            &[Some(0), Some(1), Some(2)],
        );
        check(&["a RUN x", "a RUN x"], &["a RUN x", "a RUN x"], &[Some(0), Some(1)]);
    }

    #[test]
    fn a_changed_line_is_found_by_its_words_and_its_kind() {
        let now = ["a RUN apt update", "a RUN make -j4 all"];
        check(&["a RUN make all"], &now, &[None, Some(0)]);
        check(&["a RUN x"], &["a COPY x /"], &[None]);
    }

    #[test]
    fn stages_are_found_by_name_or_by_what_they_have_in_common() {
        check(&["a RUN x", "b RUN y"], &["c RUN x", "b RUN z"], &[Some(0), Some(1)]);
        check(
            &["stage-0 RUN x", "stage-1 RUN y"],
            &["stage-0 RUN n", "stage-1 RUN x", "stage-2 RUN y"],
            &[None, Some(0), Some(1)],
        );
        check(&[" RUN x"], &["stage-0 RUN n", "stage-1 RUN x"], &[None, Some(0)]);
        check(&["a RUN x"], &["b RUN y", "a RUN z"], &[None, Some(0)]);
    }

    #[test]
    fn a_line_that_moved_to_another_stage_is_the_same() {
        check(&["a RUN x", "a RUN y"], &["b RUN y", "a RUN x"], &[Some(1), Some(0)]);
    }
}
