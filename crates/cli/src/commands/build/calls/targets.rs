//! `--call=targets`, as docker shows it.

use kiln_dockerfile::outline::Target;
use serde_json::{Value, json};

use super::document::{location, member, object, printed, sources};
use crate::table::spaced;

/// A table for a person.
pub(super) fn text(targets: &[Target]) -> String {
    let row = |target: &Target| {
        let name = match (&target.name, target.is_default) {
            (Some(name), true) => format!("{name} (default)"),
            (Some(name), false) => name.clone(),
            (None, true) => "(default)".to_owned(),
            (None, false) => String::new(),
        };
        format!("{name}\t{}", target.description.as_deref().unwrap_or_default())
    };
    let heading = "TARGET\tDESCRIPTION".to_owned();
    spaced(&std::iter::once(heading).chain(targets.iter().map(row)).collect::<Vec<_>>(), 1)
}

/// The document for programs.
pub(super) fn json(targets: &[Target], dockerfile: &str) -> String {
    let target = |target: &Target| {
        object([
            member("name", json!(target.name)),
            member("default", json!(target.is_default)),
            member("description", json!(target.description)),
            member("base", json!(target.base)),
            member("platform", json!(target.platform)),
            member("location", location(&target.span)),
        ])
    };
    let list: Vec<Value> = targets.iter().map(target).collect();
    printed(&json!({ "targets": list, "sources": sources(dockerfile) }))
}
