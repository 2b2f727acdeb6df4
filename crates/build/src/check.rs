//! What the rules say about a Dockerfile, its base images looked up as a build would.

use std::collections::BTreeMap;

use kiln_dockerfile::Bases;
use kiln_dockerfile::ignore::IgnoreMatcher;
use kiln_dockerfile::lint::{self, LintOptions, Report};
use kiln_oci::Platform;
use kiln_progress::Sink;

use crate::build::{Builder, plan_options};
use crate::error::{BuildError, chain};
use crate::request::Request;

/// What of a Dockerfile is checked.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckOptions<'a> {
    /// What the ignore file leaves out of the main context.
    pub ignored: Option<&'a IgnoreMatcher>,
    /// Only the stages that a build needs, even if no target is named.
    pub needed_only: bool,
    /// Our own rules too.
    pub hints: bool,
}

impl Builder {
    /// Checks the request's Dockerfile, for its first platform. A base image that cannot be had is among what the
    /// report calls errors.
    ///
    /// # Errors
    /// Only [`BuildError::Cancelled`] and what the store or this process is to blame for.
    pub async fn check(
        &self,
        request: &Request,
        options: CheckOptions<'_>,
        progress: &Sink,
    ) -> Result<Report, BuildError> {
        let platform = request.platforms.first().cloned().unwrap_or_else(Platform::host);
        let plan = plan_options(request, &platform, false);
        let resolver = self.resolver(request, progress);
        let (mut bases, mut unavailable) = (Bases::new(), BTreeMap::new());
        loop {
            let report = lint::check(
                &request.dockerfile.text,
                &LintOptions {
                    plan: &plan,
                    bases: &bases,
                    unavailable: Some(&unavailable),
                    ignored: options.ignored,
                    needed_only: options.needed_only,
                    hints: options.hints,
                },
            );
            if report.missing.is_empty() {
                return Ok(report);
            }
            for base in report.missing {
                match resolver.resolve_all(vec![base.clone()], &mut bases).await {
                    Ok(()) => {}
                    Err(BuildError::Base { reason, .. }) => drop(unavailable.insert(base, reason)),
                    Err(error @ (BuildError::Cancelled | BuildError::Internal(_))) => return Err(error),
                    Err(error) => drop(unavailable.insert(base, chain(&error))),
                }
            }
        }
    }
}
