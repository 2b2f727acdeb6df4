//! What `kiln build` tells when it is done: ids, files, explanations.

use std::io::Write;

use kiln_build::{Explanation, Outcome, Request, StepReport};
use serde_json::{Map, Value, json};

use super::BuildArguments;
use crate::failure::Failure;
use crate::output;

/// Writes the files that were asked for, the id, and why steps ran.
pub(super) fn write(arguments: &BuildArguments, request: &Request, outcome: &Outcome) -> Result<(), Failure> {
    let id = image_id(outcome);
    if let (Some(path), Some(id)) = (&arguments.iidfile, &id) {
        let written = std::fs::write(path, id);
        written.map_err(|error| Failure::new(format!("ERROR: cannot write {}: {error}", path.display())))?;
    }
    if let Some(path) = &arguments.metadata_file {
        let text = metadata(request, outcome, id.as_deref());
        let written = std::fs::write(path, format!("{text:#}\n"));
        written.map_err(|error| Failure::new(format!("ERROR: cannot write {}: {error}", path.display())))?;
    }
    if arguments.explain {
        explain(&outcome.steps);
    }
    match id {
        Some(id) if arguments.quiet => output::line(id)?,
        _ if !arguments.quiet => summary(request, id.as_deref()),
        _ => {}
    }
    Ok(())
}

/// The id of the image that was kept, or the digest of what was written.
fn image_id(outcome: &Outcome) -> Option<String> {
    let kept = outcome.images.iter().find_map(|image| image.id.as_ref());
    let written = || outcome.exported.iter().flatten().find_map(|exported| exported.configs.first());
    kept.or_else(written).map(ToString::to_string)
}

fn summary(request: &Request, id: Option<&str>) {
    let mut out = std::io::stderr().lock();
    if let (Some(id), true) = (id, request.keeps_image()) {
        let _ = writeln!(out, "image {id}");
    }
    for name in &request.names {
        let _ = writeln!(out, "naming to {}", name.with_default_tag());
    }
}

fn metadata(request: &Request, outcome: &Outcome, id: Option<&str>) -> Value {
    let mut members = Map::new();
    if let Some(id) = id {
        members.insert("containerimage.config.digest".into(), json!(id));
    }
    if let Some(exported) = outcome.exported.iter().flatten().next() {
        members.insert("containerimage.descriptor".into(), json!(exported.descriptor));
        members.insert("containerimage.digest".into(), json!(exported.descriptor.digest));
    }
    if !request.names.is_empty() {
        let names: Vec<String> = request.names.iter().map(|name| name.with_default_tag().to_string()).collect();
        members.insert("image.name".into(), json!(names.join(",")));
    }
    Value::Object(members)
}

fn explain(steps: &[StepReport]) {
    let mut out = std::io::stderr().lock();
    for step in steps {
        let line = step.span.as_ref().map_or(String::new(), |span| format!(" (line {})", span.first_line));
        let _ = writeln!(out, "{}{line}: {}", step.name, in_words(&step.explanation));
        if let Explanation::Changed(changes) = &step.explanation {
            for change in changes {
                let _ = writeln!(out, "    {change}");
            }
        }
    }
}

fn in_words(explanation: &Explanation) -> &'static str {
    match explanation {
        Explanation::Hit => "hit",
        Explanation::SameContent => "hit: an earlier step ran again and its result is as before",
        Explanation::CacheRefused => "miss: the cache was not to be used",
        Explanation::NeverSeen => "miss: no earlier run of this step is known",
        Explanation::Changed(_) => "miss:",
        Explanation::Gone => "miss: nothing changed, but the earlier result is not in the store any more",
    }
}
