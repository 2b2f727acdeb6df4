//! Lists of known differences: each with its reason, none that has become wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Reads `NAME: reason` lines; `#` begins a comment line.
pub fn read(path: &Path) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, reason) = line.rsplit_once(": ").unwrap_or_else(|| panic!("no reason: {line}"));
            (name.to_owned(), reason.to_owned())
        })
        .collect()
}

/// Fails for a difference that is not in the list, and for one in the list that is gone.
#[track_caller]
pub fn check(differences: &BTreeSet<String>, list: &Path) {
    let known = read(list);
    let new: Vec<_> = differences.iter().filter(|name| !known.contains_key(*name)).collect();
    let gone: Vec<_> = known.keys().filter(|name| !differences.contains(*name)).collect();
    let list = list.display();
    assert!(new.is_empty(), "differ and are not named in {list}: {new:#?}");
    assert!(gone.is_empty(), "agree by now; take them out of {list}: {gone:#?}");
}
