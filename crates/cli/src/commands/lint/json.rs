//! Findings in the form of `docker build --call=check,format=json`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kiln_dockerfile::Span;
use kiln_dockerfile::lint::{Finding, Report};
use serde_json::{Value, json};

use super::Source;

/// The document, with a newline at its end.
pub(super) fn show(source: &Source<'_>, report: &Report) -> String {
    let mut document = json!({
        "warnings": report.findings.iter().map(warning).collect::<Vec<_>>(),
        "sources": [{
            "fileName": source.name,
            "language": "Dockerfile",
            "data": STANDARD.encode(source.text),
        }],
    });
    if let Some(error) = report.errors.first() {
        document["buildError"] = json!({ "message": error.to_string() });
        if let Some(span) = &error.span {
            document["buildError"]["location"] = location(span);
        }
    }
    format!("{document:#}\n")
}

fn warning(finding: &Finding) -> Value {
    json!({
        "ruleName": finding.rule.name(),
        "description": finding.rule.description(),
        "url": finding.rule.url(),
        "detail": finding.detail,
        "location": location(&finding.span),
    })
}

fn location(span: &Span) -> Value {
    json!({ "ranges": [{ "start": { "line": span.first_line }, "end": { "line": span.last_line } }] })
}
