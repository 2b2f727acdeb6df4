//! How what a step is made of differs from an earlier run, but for the steps below it. Pure but for the lists of files,
//! which somebody else compares.
//!
//! A cause stands for what follows from it: where the text of an instruction changed, what it means is not told as
//! well; where it did not, the variables in it are told rather than what they expand to.

use std::collections::BTreeMap;

use kiln_store::{FileDifferences, FileFacts, Input};

use super::document::{FileAspect, Reason};
use super::{ENVIRONMENT, FIDELITY, FILES, INSTRUCTION, ORDER, SETTING, USED_VARIABLE};

/// How many files of one context are named.
const FILES_NAMED: usize = 5;

/// Settings that the text of an instruction does not decide.
const FROM_ELSEWHERE: [&str; 7] =
    ["user", "working directory", "hostname", "shm size", "ulimits", "extra hosts", "cgroup parent"];

/// What a step is made of, by name.
struct Named<'a>(BTreeMap<&'a str, &'a str>);

/// Compares lists of files by their digests in hexadecimal; `None` if one is not known any more.
pub(super) type CompareLists<'a> = &'a dyn Fn(&str, &str) -> Option<FileDifferences>;

/// How the inputs of a step differ from those of an earlier run.
pub(super) fn own_changes(before: &[Input], now: &[Input], lists: CompareLists<'_>) -> Vec<Reason> {
    let (before, now) = (Named::new(before), Named::new(now));
    let mut reasons = Vec::new();
    let settings = changed_settings(&before, &now);
    let decided = |name: &str| is_decided_by_text(name, &before, &now);
    let text_changed = before.instruction() != now.instruction() && settings.iter().any(|(name, ..)| decided(name));
    let mut variables = now.changes(&before, USED_VARIABLE);
    // Another text names other variables.
    variables.retain(|(_, before, after)| !text_changed || (before.is_some() && after.is_some()));
    let expanded = text_changed || !variables.is_empty();
    if text_changed {
        let (before, after) = (before.instruction().to_owned(), now.instruction().to_owned());
        reasons.push(Reason::InstructionChanged { before, after });
    }
    reasons.extend(variables.into_iter().map(variable));
    let environment = now.changes(&before, ENVIRONMENT);
    if environment.is_empty() && before.get(ORDER) != now.get(ORDER) && before.has(ORDER) && now.has(ORDER) {
        reasons.push(Reason::SettingChanged { setting: ORDER.into(), before: None, after: None });
    }
    reasons.extend(environment.into_iter().map(variable));
    let settings = settings.into_iter().filter(|(name, ..)| !(expanded && decided(name)));
    reasons.extend(settings.map(|(name, before, after)| Reason::SettingChanged {
        setting: name.to_owned(),
        before: before.and_then(shown),
        after: after.and_then(shown),
    }));
    if before.get(FIDELITY) != now.get(FIDELITY) {
        let text = |named: &Named<'_>| named.get(FIDELITY).unwrap_or_default().to_owned();
        reasons.push(Reason::FidelityDiffers { before: text(&before), after: text(&now) });
    }
    reasons.extend(file_changes(&before, &now, expanded, lists));
    reasons
}

/// How many inputs differ, and how many files in them.
pub(super) fn distance(before: &[Input], now: &[Input], lists: CompareLists<'_>) -> (usize, usize) {
    let (before, now) = (Named::new(before), Named::new(now));
    let differing = before.0.keys().chain(now.0.keys().filter(|name| !before.0.contains_key(*name)));
    let differing: Vec<&&str> = differing.filter(|name| before.get(name) != now.get(name)).collect();
    let counts = differing.iter().filter_map(|name| {
        let (one, other) = (before.get(name)?, now.get(name)?);
        let found = name.starts_with(FILES).then(|| lists(one, other))??;
        Some(found.added.len() + found.removed.len() + found.changed.len())
    });
    (differing.len(), counts.sum())
}

impl<'a> Named<'a> {
    fn new(inputs: &'a [Input]) -> Self {
        Named(inputs.iter().map(|input| (input.name.as_str(), input.value.as_str())).collect())
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).copied()
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn instruction(&self) -> &'a str {
        self.get(INSTRUCTION).unwrap_or_default()
    }

    /// The inputs whose names begin so and whose values differ: the rest of the name, the values before and now.
    fn changes(&self, before: &Named<'a>, prefix: &str) -> Vec<(&'a str, Option<&'a str>, Option<&'a str>)> {
        let mut names: Vec<&'a str> = self.0.keys().chain(before.0.keys()).copied().collect();
        names.retain(|name| name.starts_with(prefix) && self.get(name) != before.get(name));
        names.sort_unstable();
        names.dedup();
        names.into_iter().map(|name| (&name[prefix.len()..], before.get(name), self.get(name))).collect()
    }
}

fn changed_settings<'a>(before: &Named<'a>, now: &Named<'a>) -> Vec<(&'a str, Option<&'a str>, Option<&'a str>)> {
    now.changes(before, SETTING)
}

/// Whether the instruction's own text says what a setting is. The network may come from either.
fn is_decided_by_text(setting: &str, before: &Named<'_>, now: &Named<'_>) -> bool {
    if setting == "network" {
        return before.instruction().contains("--network") || now.instruction().contains("--network");
    }
    !FROM_ELSEWHERE.contains(&setting)
}

fn variable((name, before, after): (&str, Option<&str>, Option<&str>)) -> Reason {
    let name = name.to_owned();
    match (before, after) {
        (None, after) => Reason::VariableAdded { name, after: after.and_then(shown) },
        (before, None) => Reason::VariableRemoved { name, before: before.and_then(shown) },
        (before, after) => {
            Reason::VariableChanged { name, before: before.and_then(shown), after: after.and_then(shown) }
        }
    }
}

/// A value as it may be shown.
fn shown(value: &str) -> Option<String> {
    value.strip_prefix('=').map(str::to_owned)
}

/// How the lists of files differ. Where the instruction takes other paths than before, only files that both took.
fn file_changes(before: &Named<'_>, now: &Named<'_>, other_paths: bool, lists: CompareLists<'_>) -> Vec<Reason> {
    let mut reasons = Vec::new();
    for (name, before, after) in now.changes(before, FILES) {
        let (Some(before), Some(after)) = (before, after) else { continue };
        let context = name.split_once(' ').map_or(name, |(_, context)| context);
        match lists(before, after) {
            None if other_paths => {}
            None => reasons.push(Reason::FilesChanged { context: context.to_owned() }),
            Some(mut found) => {
                if other_paths {
                    found.added.clear();
                    found.removed.clear();
                }
                reasons.extend(named_files(&found, context));
            }
        }
    }
    reasons
}

/// The first of the files by name, and how many more there are.
fn named_files(found: &FileDifferences, context: &str) -> Vec<Reason> {
    let text = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
    let context = || context.to_owned();
    let changed = found.changed.iter().map(|(path, before, after)| Reason::FileChanged {
        path: text(path),
        context: context(),
        what: aspects(before, after),
    });
    let added = found.added.iter().map(|path| Reason::FileAdded { path: text(path), context: context() });
    let removed = found.removed.iter().map(|path| Reason::FileRemoved { path: text(path), context: context() });
    let mut named: Vec<Reason> = Vec::new();
    let mut more = [0_u64; 3];
    let mut room = FILES_NAMED;
    // Each kind of change is named before the second of any kind is.
    let mut kinds: [Box<dyn Iterator<Item = Reason>>; 3] = [Box::new(changed), Box::new(added), Box::new(removed)];
    while room > 0 {
        let before = room;
        for kind in &mut kinds {
            if room > 0
                && let Some(reason) = kind.next()
            {
                named.push(reason);
                room -= 1;
            }
        }
        if room == before {
            break;
        }
    }
    for (rest, kind) in more.iter_mut().zip(&mut kinds) {
        *rest = kind.count() as u64;
    }
    named.sort_by_key(kind_and_path);
    let [changed, added, removed] = more;
    if more != [0; 3] {
        named.push(Reason::MoreFiles { context: context(), added, removed, changed });
    }
    named
}

fn kind_and_path(reason: &Reason) -> (u8, String) {
    match reason {
        Reason::FileChanged { path, .. } => (0, path.clone()),
        Reason::FileAdded { path, .. } => (1, path.clone()),
        Reason::FileRemoved { path, .. } => (2, path.clone()),
        _ => (3, String::new()),
    }
}

fn aspects(before: &FileFacts, after: &FileFacts) -> Vec<FileAspect> {
    if before.kind != after.kind {
        return vec![FileAspect::Type];
    }
    let aspects = [
        (before.content != after.content, FileAspect::Content),
        (before.mode != after.mode, FileAspect::Mode),
        (before.owner != after.owner, FileAspect::Owner),
    ];
    aspects.into_iter().filter(|(differs, _)| *differs).map(|(_, aspect)| aspect).collect()
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
