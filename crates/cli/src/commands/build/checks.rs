//! Build checks around a build: `--check` instead of it, findings that fail it, findings told after it.

use std::io::Write;
use std::process::ExitCode;

use kiln_build::{BuildError, Builder, CheckOptions, IgnoreFile, Outcome, Request};
use kiln_dockerfile::Bases;
use kiln_dockerfile::ignore::IgnoreMatcher;
use kiln_dockerfile::lint::{CHECK_ARGUMENT, Checks, Finding, LintOptions, Report, check};
use kiln_oci::Platform;
use kiln_progress::Sink;

use super::flags::CallOptions;
use crate::commands::lint::{self, LintFormat, Source};
use crate::failure::{self, Failure};
use crate::host::Host;

/// What is checked.
pub(super) struct Checked<'a> {
    pub(super) host: &'a Host,
    pub(super) builder: &'a Builder,
    pub(super) request: &'a Request,
    /// What the ignore file leaves out of the main context.
    pub(super) ignored: Option<IgnoreMatcher>,
}

/// The ignore rules of the main context.
pub(super) fn ignored(file: Option<&IgnoreFile>) -> Result<Option<IgnoreMatcher>, Failure> {
    let matcher = file.map(|file| IgnoreMatcher::from_file(&file.text)).transpose();
    matcher.map_err(|error| Failure::new(format!("ERROR: failed to build: the ignore file: {error}")))
}

impl Checked<'_> {
    /// `--check`: prints what the rules say of all stages.
    pub(super) fn call(&self, options: CallOptions) -> Result<ExitCode, Failure> {
        let report = self.report(false)?;
        let name = &self.request.dockerfile.name;
        let source = Source { name, path: name, text: &self.request.dockerfile.text };
        let format = if options.json { LintFormat::Json } else { LintFormat::Human };
        let mut shown = lint::show(&source, &report, format);
        if options.ignore_status {
            shown.code = 0;
        }
        shown.print()
    }

    /// Fails where the Dockerfile wants that findings fail its build, and there are some.
    pub(super) fn enforce(&self) -> Result<(), Failure> {
        let given = self.request.build_args.get(CHECK_ARGUMENT).map(|text| Checks::parse(text)).transpose();
        let checks = given.and_then(|given| match given {
            Some(checks) => Ok(Some(checks)),
            None => Checks::of_dockerfile(&self.request.dockerfile.text),
        });
        // What cannot be read is told by the build itself.
        if !checks.is_ok_and(|checks| checks.is_some_and(|checks| checks.error)) {
            return Ok(());
        }
        let report = self.report(true)?;
        if report.errors.is_empty() {
            return Ok(());
        }
        self.print(&report.by_line());
        let dockerfile = &self.request.dockerfile;
        Err(failure::of_dockerfile(&report.errors, &dockerfile.name, &dockerfile.text))
    }

    /// Tells what the rules say of the stages that were built, or failed. Nothing is looked up for that.
    pub(super) fn tell(&self, built: &Result<Outcome, BuildError>) {
        let unknown = Bases::new();
        let bases = match built {
            Ok(outcome) => &outcome.bases,
            Err(BuildError::Step(_)) => &unknown,
            Err(_) => return,
        };
        let platform = self.request.platforms.first().cloned().unwrap_or_else(Platform::host);
        let plan = self.request.plan_options(&platform, false);
        let options =
            LintOptions { ignored: self.ignored.as_ref(), needed_only: true, ..LintOptions::new(&plan, bases) };
        self.print(&check(&self.request.dockerfile.text, &options).by_line());
    }

    /// What the rules say, base images looked up.
    fn report(&self, needed_only: bool) -> Result<Report, Failure> {
        let options = CheckOptions { ignored: self.ignored.as_ref(), needed_only, hints: false };
        let checked = self.host.runtime.block_on(self.builder.check(self.request, options, &Sink::none()));
        checked.map_err(|error| failure::of_build(&error, &self.request.dockerfile, self.host.store.root()))
    }

    fn print(&self, findings: &[&Finding]) {
        // A closed standard error is no reason to fail.
        let _ = write!(std::io::stderr().lock(), "{}", warnings(findings));
    }
}

/// As docker lists findings after a build; nothing if there are none.
fn warnings(findings: &[&Finding]) -> String {
    let count = match findings.len() {
        0 => return String::new(),
        1 => "1 warning found".to_owned(),
        several => format!("{several} warnings found"),
    };
    let line = |finding: &&Finding| {
        format!(" - {}: {} (line {})\n", finding.rule.name(), finding.detail, finding.span.first_line)
    };
    format!("\n {count} (use --check to expand):\n{}", findings.iter().map(line).collect::<String>())
}

#[cfg(test)]
mod tests {
    use kiln_dockerfile::PlanOptions;

    use super::*;

    #[test]
    fn findings_after_a_build_are_listed_as_docker_does() {
        let shown = |text: &str| {
            let (plan, bases) = (PlanOptions::new(Platform::host()), Bases::new());
            warnings(&check(text, &LintOptions::new(&plan, &bases)).by_line())
        };
        assert_eq!(shown("FROM scratch\n"), "");
        assert_eq!(
            shown("FROM scratch\nCMD a\n"),
            "\n 1 warning found (use --check to expand):\n - JSONArgsRecommended: JSON arguments recommended for CMD to \
             prevent unintended behavior related to OS signals (line 2)\n"
        );
        assert!(shown("FROM scratch as x\nCMD a\n").starts_with("\n 2 warnings found (use --check to expand):\n - "));
    }
}
