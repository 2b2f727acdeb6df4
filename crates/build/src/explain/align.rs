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

/// For each step of `now` its counterpart in `then`.
pub(super) fn align(now: &[ExplainedStep], then: &[ExplainedStep]) -> Vec<Option<usize>> {
    let mut found = vec![None; now.len()];
    // A step that is shared by several platforms counts for the first that is built, which may be another each time.
    for narrow in [true, false] {
        let (now_groups, then_groups) = (groups(now, narrow), groups(then, narrow));
        for (platforms, stages) in &now_groups {
            let Some(earlier) = then_groups.get(platforms) else { continue };
            for (one, other) in paired(stages, earlier) {
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

/// Pairs of stages.
fn paired<'a, 'b>(now: &'b Stages<'a>, then: &'b Stages<'a>) -> Vec<(&'b [Place<'a>], &'b [Place<'a>])> {
    let mut pairs: Vec<_> = now.iter().filter_map(|(name, one)| Some((&one[..], &then.get(name)?[..]))).collect();
    let mut new: Vec<&Vec<Place<'_>>> =
        now.iter().filter(|(name, _)| !then.contains_key(*name)).map(|(_, stage)| stage).collect();
    let mut gone: Vec<&Vec<Place<'_>>> =
        then.iter().filter(|(name, _)| !now.contains_key(*name)).map(|(_, stage)| stage).collect();
    let only = new.len() == 1 && gone.len() == 1;
    while let Some((alike, one, other)) = most_alike(&new, &gone) {
        if alike == 0 && !only {
            break;
        }
        pairs.push((new.remove(one), gone.remove(other)));
    }
    pairs
}

fn most_alike(new: &[&Vec<Place<'_>>], gone: &[&Vec<Place<'_>>]) -> Option<(usize, usize, usize)> {
    let pairs = (0..new.len()).flat_map(|one| (0..gone.len()).map(move |other| (one, other)));
    let alike = |(one, other): (usize, usize)| {
        let texts: BTreeSet<&str> = gone[other].iter().map(|place| place.step.instruction.as_str()).collect();
        new[one].iter().filter(|place| texts.contains(place.step.instruction.as_str())).count()
    };
    let scored = pairs.map(|pair| (alike(pair), pair.0, pair.1));
    scored.max_by_key(|(alike, one, other)| (*alike, std::cmp::Reverse((*one, *other))))
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
