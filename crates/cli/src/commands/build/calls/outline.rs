//! `--call=outline`, as docker shows it.

use kiln_dockerfile::outline::{Outline, OutlineArgument, OutlineMount};
use serde_json::{Value, json};

use super::document::{location, member, object, printed, sources};
use crate::table::spaced;

/// Tables for a person; each with an empty line behind it.
pub(super) fn text(outline: &Outline) -> String {
    let mut tables = Vec::new();
    if outline.name.is_some() || outline.description.is_some() {
        let mut lines = vec![format!("TARGET:\t{}", outline.name.as_deref().unwrap_or("(default)"))];
        lines.extend(outline.description.iter().map(|text| format!("DESCRIPTION:\t{text}")));
        tables.push(spaced(&lines, 1));
    }
    if !outline.arguments.is_empty() {
        let row = |argument: &OutlineArgument| {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            format!("{}\t{}\t{}", argument.name, text(&argument.value), text(&argument.description))
        };
        let heading = "BUILD ARG\tVALUE\tDESCRIPTION".to_owned();
        tables.push(spaced(&std::iter::once(heading).chain(outline.arguments.iter().map(row)).collect::<Vec<_>>(), 3));
    }
    for (name, mounts) in [("SECRET", &outline.secrets), ("SSH", &outline.ssh)] {
        if !mounts.is_empty() {
            let row = |mount: &OutlineMount| format!("{}\t{}", mount.id, if mount.required { "true" } else { "" });
            let heading = format!("{name}\tREQUIRED");
            tables.push(spaced(&std::iter::once(heading).chain(mounts.iter().map(row)).collect::<Vec<_>>(), 3));
        }
    }
    tables.into_iter().map(|table| table + "\n").collect()
}

/// The document for programs.
pub(super) fn json(outline: &Outline, dockerfile: &str) -> String {
    let argument = |argument: &OutlineArgument| {
        object([
            Some(("name".to_owned(), json!(argument.name))),
            member("description", json!(argument.description)),
            member("value", json!(argument.value)),
            member("location", location(&argument.span)),
        ])
    };
    let mount = |mount: &OutlineMount| {
        object([
            Some(("name".to_owned(), json!(mount.id))),
            member("required", json!(mount.required)),
            member("location", location(&mount.span)),
        ])
    };
    let cache = |mount: &OutlineMount| json!({ "ID": mount.id, "location": location(&mount.span) });
    let list = |items: Vec<Value>| Value::Array(items);
    printed(&object([
        member("name", json!(outline.name)),
        member("description", json!(outline.description)),
        member("args", list(outline.arguments.iter().map(argument).collect())),
        member("secrets", list(outline.secrets.iter().map(mount).collect())),
        member("ssh", list(outline.ssh.iter().map(mount).collect())),
        member("cache", list(outline.caches.iter().map(cache).collect())),
        member("sources", sources(dockerfile)),
    ]))
}
