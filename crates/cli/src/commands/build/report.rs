//! What `kiln build` tells when it is done: ids, files, explanations.

use std::io::Write;

use kiln_build::{ExplainedBuild, Outcome, Request};

use super::{BuildArguments, metadata};
use crate::commands::explain;
use crate::display::Progress;
use crate::failure::Failure;
use crate::output;

/// Removes the file for the id: what an earlier build wrote must not pass for the result of this one.
pub(super) fn forget_id(arguments: &BuildArguments) -> Result<(), Failure> {
    let Some(path) = &arguments.iidfile else { return Ok(()) };
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::new(format!("ERROR: removing image ID file: {}: {error}", path.display())))
        }
        _ => Ok(()),
    }
}

/// Writes the files that were asked for, and the id.
pub(super) fn write(
    arguments: &BuildArguments,
    progress: Progress,
    request: &Request,
    outcome: &Outcome,
) -> Result<(), Failure> {
    let id = image_id(outcome);
    if let (Some(path), Some(id)) = (&arguments.iidfile, &id) {
        let written = std::fs::write(path, id);
        written.map_err(|error| Failure::new(format!("ERROR: cannot write {}: {error}", path.display())))?;
    }
    if let Some(path) = &arguments.metadata_file {
        metadata::write(path, &metadata::members(request, outcome))?;
    }
    match (progress, id) {
        (Progress::Quiet, Some(id)) => output::line(id)?,
        (Progress::Quiet | Progress::None | Progress::Rawjson, _) => {}
        (_, id) => summary(request, id.as_deref()),
    }
    Ok(())
}

/// Says why steps ran, if that was asked for; of a build that failed too.
pub(super) fn explain(arguments: &BuildArguments, explained: Option<&ExplainedBuild>) -> Result<(), Failure> {
    match (arguments.explain, explained) {
        (Some(format), Some(build)) => explain::print(build, format),
        _ => Ok(()),
    }
}

/// The id of the image that was kept, or the digest of what was written; of several platforms that of their index.
fn image_id(outcome: &Outcome) -> Option<String> {
    let exported = || outcome.kept.iter().chain(outcome.exported.iter().flatten());
    if let (Some(index), true) = (exported().next(), outcome.images.len() > 1) {
        return Some(index.descriptor.digest.to_string());
    }
    let kept = outcome.images.iter().find_map(|image| image.id.as_ref());
    kept.or_else(|| exported().find_map(|exported| exported.configs.first())).map(ToString::to_string)
}

fn summary(request: &Request, id: Option<&str>) {
    let mut out = std::io::stderr().lock();
    let Some(kept) = &request.kept else { return };
    if let Some(id) = id {
        let _ = writeln!(out, "image {id}");
    }
    for name in &kept.names {
        let _ = writeln!(out, "naming to {}", name.with_default_tag());
    }
}
