//! `--call`: what is told of a Dockerfile instead of building it, on the standard output.

mod document;
mod outline;
mod targets;

use std::process::ExitCode;

use kiln_build::Request;
use kiln_dockerfile::Bases;
use kiln_oci::Platform;

use super::flags::CallOptions;
use crate::failure::{self, Failure};
use crate::output;

/// What the target uses. Base images are not looked at: no argument is declared there.
pub(super) fn outline(request: &Request, options: CallOptions) -> Result<ExitCode, Failure> {
    let text = &request.dockerfile.text;
    let platform = request.platforms.first().cloned().unwrap_or_else(Platform::host);
    let plan = request.plan_options(&platform, false);
    let found = kiln_dockerfile::outline::outline(text, plan, &Bases::new());
    let found = found.map_err(|errors| failure::of_dockerfile(&errors, &request.dockerfile.name, text))?;
    output::text(if options.json { outline::json(&found, text) } else { outline::text(&found) })?;
    Ok(ExitCode::SUCCESS)
}

/// The stages.
pub(super) fn targets(request: &Request, options: CallOptions) -> Result<ExitCode, Failure> {
    let text = &request.dockerfile.text;
    let found = kiln_dockerfile::outline::targets(text);
    let found = found.map_err(|errors| failure::of_dockerfile(&errors, &request.dockerfile.name, text))?;
    output::text(if options.json { targets::json(&found, text) } else { targets::text(&found) })?;
    Ok(ExitCode::SUCCESS)
}
