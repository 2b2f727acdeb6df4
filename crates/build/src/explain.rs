//! Why a step ran: what differs from the nearest earlier run of the same step.
//!
//! Pure comparison of named inputs; where they come from is `step::inputs`'s business.

use std::collections::BTreeMap;
use std::fmt;

use kiln_store::Input;
use serde::Serialize;

/// How many files of one kind of change are named.
const FILES_NAMED: usize = 5;

/// Why a step was taken from the cache or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "result", content = "changes")]
pub enum Explanation {
    /// It was there under its recipe key: nothing changed.
    Hit,
    /// An ancestor ran again and came out as before.
    SameContent,
    /// The caller asked that it runs.
    CacheRefused,
    /// No run of this step is known.
    NeverSeen,
    /// These inputs differ from the nearest earlier run.
    Changed(Vec<Change>),
    /// Nothing differs, but the result is not there any more.
    Gone,
}

/// One input that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "change")]
pub enum Change {
    /// It was not there before.
    Added {
        /// Which input.
        input: String,
    },
    /// It is not there any more.
    Removed {
        /// Which input.
        input: String,
    },
    /// It has another value.
    Changed {
        /// Which input.
        input: String,
        /// The value before, where it may be shown.
        before: Option<String>,
        /// The value now, where it may be shown.
        after: Option<String>,
    },
    /// Further files that were added, removed or changed.
    MoreFiles {
        /// How many.
        count: usize,
    },
}

/// An earlier run of a step.
pub(crate) struct EarlierRun {
    pub(crate) place: String,
    pub(crate) inputs: Vec<Input>,
}

/// Compares a step's inputs with the nearest of its earlier runs: of the same place if there is one, and then
/// the one with the most inputs in common.
pub(crate) fn explain(inputs: &[Input], place: &str, earlier: &[EarlierRun]) -> Explanation {
    let now = by_name(inputs);
    let score = |run: &EarlierRun| {
        let same = run.inputs.iter().filter(|input| now.get(input.name.as_str()) == Some(&input.value.as_str()));
        (run.place == place, same.count())
    };
    let Some(nearest) = earlier.iter().rev().max_by_key(|run| score(run)) else { return Explanation::NeverSeen };
    let changes = compare(&by_name(&nearest.inputs), &now);
    if changes.is_empty() { Explanation::Gone } else { Explanation::Changed(changes) }
}

fn by_name(inputs: &[Input]) -> BTreeMap<&str, &str> {
    inputs.iter().map(|input| (input.name.as_str(), input.value.as_str())).collect()
}

fn compare(before: &BTreeMap<&str, &str>, now: &BTreeMap<&str, &str>) -> Vec<Change> {
    let mut changes = Vec::new();
    for (name, value) in now {
        match before.get(name) {
            Some(old) if old == value => {}
            Some(old) => changes.push(changed(name, old, value)),
            None => changes.push(Change::Added { input: (*name).into() }),
        }
    }
    let removed = before.keys().filter(|name| !now.contains_key(*name));
    changes.extend(removed.map(|name| Change::Removed { input: (*name).into() }));
    without_consequences(few_files(changes))
}

fn changed(name: &str, before: &str, after: &str) -> Change {
    let shown =
        name == "instruction" || name.strip_prefix("variable ").is_some_and(|name| !crate::step::looks_secret(name));
    Change::Changed {
        input: name.into(),
        before: shown.then(|| before.to_owned()),
        after: shown.then(|| after.to_owned()),
    }
}

/// The operation's digest says nothing that a changed instruction, variable or base does not say better.
fn without_consequences(mut changes: Vec<Change>) -> Vec<Change> {
    if changes.len() > 1 {
        changes.retain(|change| !matches!(change, Change::Changed { input, .. } if input == "operation"));
    }
    changes
}

fn few_files(changes: Vec<Change>) -> Vec<Change> {
    let is_file = |change: &Change| change.input().is_some_and(|input| input.starts_with("file "));
    let (files, mut others): (Vec<_>, Vec<_>) = changes.into_iter().partition(is_file);
    let more = files.len().saturating_sub(FILES_NAMED);
    others.extend(files.into_iter().take(FILES_NAMED));
    if more > 0 {
        others.push(Change::MoreFiles { count: more });
    }
    others
}

impl Change {
    fn input(&self) -> Option<&str> {
        match self {
            Change::Added { input } | Change::Removed { input } | Change::Changed { input, .. } => Some(input),
            Change::MoreFiles { .. } => None,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Added { input } => write!(f, "{input} added"),
            Change::Removed { input } => write!(f, "{input} removed"),
            Change::Changed { input, before: Some(before), after: Some(after) } => {
                write!(f, "{input} changed: {before:?} -> {after:?}")
            }
            Change::Changed { input, .. } => write!(f, "{input} changed"),
            Change::MoreFiles { count } => write!(f, "and {count} more files"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(pairs: &[(&str, &str)]) -> Vec<Input> {
        pairs.iter().map(|(name, value)| Input { name: (*name).into(), value: (*value).into() }).collect()
    }

    fn run(place: &str, pairs: &[(&str, &str)]) -> EarlierRun {
        EarlierRun { place: place.into(), inputs: inputs(pairs) }
    }

    #[test]
    fn the_changed_file_is_named() {
        let now = inputs(&[("instruction", "COPY . /"), ("file a", "2"), ("file b", "1")]);
        let earlier = [run("/src", &[("instruction", "COPY . /"), ("file a", "1"), ("file b", "1")])];
        let Explanation::Changed(changes) = explain(&now, "/src", &earlier) else { panic!("no change found") };
        assert_eq!(changes.iter().map(ToString::to_string).collect::<Vec<_>>(), ["file a changed"]);
    }

    #[test]
    fn the_same_place_counts_more_than_likeness() {
        let now = inputs(&[("file a", "2"), ("file b", "2")]);
        let earlier =
            [run("/other", &[("file a", "2"), ("file b", "3")]), run("/src", &[("file a", "1"), ("file b", "1")])];
        let Explanation::Changed(changes) = explain(&now, "/src", &earlier) else { panic!("no change found") };
        assert_eq!(changes.len(), 2);
    }

    #[test]
    fn values_of_secrets_are_not_shown() {
        let now = inputs(&[("variable API_TOKEN", "b"), ("variable V", "2")]);
        let earlier = [run("", &[("variable API_TOKEN", "a"), ("variable V", "1")])];
        let Explanation::Changed(changes) = explain(&now, "", &earlier) else { panic!("no change found") };
        let words: Vec<_> = changes.iter().map(ToString::to_string).collect();
        assert_eq!(words, ["variable API_TOKEN changed", r#"variable V changed: "1" -> "2""#]);
    }

    #[test]
    fn many_files_are_counted() {
        let names: Vec<String> = (0..9).map(|n| format!("file {n}")).collect();
        let now: Vec<Input> = names.iter().map(|name| Input { name: name.clone(), value: "1".into() }).collect();
        let Explanation::Changed(changes) = explain(&now, "", &[run("", &[])]) else { panic!("no change found") };
        assert_eq!(changes.len(), 6);
        assert_eq!(changes[5], Change::MoreFiles { count: 4 });
    }

    #[test]
    fn no_earlier_run_and_no_difference_are_told_apart() {
        assert_eq!(explain(&inputs(&[("a", "1")]), "", &[]), Explanation::NeverSeen);
        assert_eq!(explain(&inputs(&[("a", "1")]), "", &[run("", &[("a", "1")])]), Explanation::Gone);
    }
}
