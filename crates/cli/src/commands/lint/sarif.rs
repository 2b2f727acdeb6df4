//! Findings as SARIF 2.1.0 (OASIS), which code hosts and editors read.

use kiln_dockerfile::lint::{Finding, Group, Report, Rule};
use kiln_dockerfile::{Error, Span};
use serde_json::{Value, json};

use super::Source;

const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
/// Stands for what makes a build fail.
const BUILD_ERROR: &str = "kiln/BuildError";

/// The document, with a newline at its end.
pub(super) fn show(source: &Source<'_>, report: &Report) -> String {
    let rules: Vec<Rule> = Rule::all().collect();
    let mut descriptions: Vec<Value> = rules.iter().map(|rule| description(*rule)).collect();
    descriptions.push(json!({
        "id": BUILD_ERROR,
        "shortDescription": { "text": "The Dockerfile can be built" },
        "defaultConfiguration": { "level": "error" },
    }));
    let findings = report.by_line().into_iter().map(|finding| {
        let index = rules.iter().position(|rule| *rule == finding.rule);
        found(source, finding, index)
    });
    let errors = report.errors.iter().map(|error| failed(source, error, rules.len()));
    let document = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {
                "driver": { "name": "kiln", "version": env!("CARGO_PKG_VERSION"), "rules": descriptions },
            },
            "columnKind": "unicodeCodePoints",
            "results": findings.chain(errors).collect::<Vec<_>>(),
        }],
    });
    format!("{document:#}\n")
}

fn level(rule: Rule) -> &'static str {
    if rule.group() == Group::Hint { "note" } else { "warning" }
}

fn description(rule: Rule) -> Value {
    let mut description = json!({
        "id": rule.name(),
        "shortDescription": { "text": rule.description() },
        "help": { "text": format!("See {}", rule.page()) },
        "defaultConfiguration": { "level": level(rule) },
    });
    let url = rule.url();
    if url.starts_with("https://") {
        description["helpUri"] = json!(url);
    }
    description
}

fn found(source: &Source<'_>, finding: &Finding, index: Option<usize>) -> Value {
    json!({
        "ruleId": finding.rule.name(),
        "ruleIndex": index,
        "level": level(finding.rule),
        "message": { "text": finding.detail },
        "locations": [location(source, &finding.span)],
    })
}

fn failed(source: &Source<'_>, error: &Error, index: usize) -> Value {
    let mut result = json!({
        "ruleId": BUILD_ERROR,
        "ruleIndex": index,
        "level": "error",
        "message": { "text": error.to_string() },
    });
    if let Some(span) = error.span.as_ref().filter(|span| span.first_line > 0) {
        result["locations"] = json!([location(source, span)]);
    }
    result
}

fn location(source: &Source<'_>, span: &Span) -> Value {
    let region = match &span.focus {
        Some(focus) => json!({
            "startLine": focus.line,
            "startColumn": focus.columns.start + 1,
            "endLine": focus.line,
            "endColumn": focus.columns.end + 1,
        }),
        None => json!({ "startLine": span.first_line, "endLine": span.last_line }),
    };
    json!({ "physicalLocation": { "artifactLocation": { "uri": uri(source.path) }, "region": region } })
}

/// A path as a URI reference.
fn uri(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    let encoded =
        path.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") });
    encoded.collect()
}
