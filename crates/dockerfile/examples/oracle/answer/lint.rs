//! What the rules find, in the words of the conformance files, over their made-up registry.

use std::collections::BTreeMap;

use kiln_dockerfile::lint::{self, Finding, LintOptions, Report};
use kiln_dockerfile::{Bases, Error, PlanOptions};
use kiln_oci::Platform;
use serde_json::{Value, json};

use super::{lower, map, text};

pub(crate) fn lint(request: &Value) -> Value {
    let report = report(&text(request, "text"), map(request, "build_args"));
    let mut warnings: Vec<(u32, &str, &str)> = report.findings.iter().map(row).collect();
    warnings.sort_unstable();
    let warning = |(line, rule, detail)| json!({ "detail": detail, "line": line, "rule": rule });
    let mut answer = json!({ "warnings": warnings.into_iter().map(warning).collect::<Vec<_>>() });
    if let Some(error) = report.errors.first() {
        answer["build_error"] = build_error(error);
    }
    answer
}

/// Asks again until no base image is missing.
fn report(text: &str, build_args: BTreeMap<String, String>) -> Report {
    let mut plan = PlanOptions::new(Platform::new("linux", "amd64"));
    plan.build_args = build_args;
    let (mut bases, mut unavailable) = (Bases::new(), BTreeMap::new());
    loop {
        let options = LintOptions { unavailable: Some(&unavailable), ..LintOptions::new(&plan, &bases) };
        let report = lint::check(text, &options);
        if report.missing.is_empty() {
            return report;
        }
        for base in report.missing {
            match lower::resolve(&base) {
                Ok(resolved) => drop(bases.insert(base, resolved)),
                Err(reason) => drop(unavailable.insert(base, reason)),
            }
        }
    }
}

fn row(finding: &Finding) -> (u32, &str, &str) {
    (finding.span.first_line, finding.rule.name(), &finding.detail)
}

fn build_error(error: &Error) -> Value {
    let mut answer = json!({ "message": error.to_string() });
    if let Some(line) = error.line() {
        answer["line"] = json!(line);
    }
    answer
}
