//! Findings as SARIF 2.1.0 (OASIS), which code hosts and editors read.

use kiln_dockerfile::lint::{Finding, Report, Rule};
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
    if rule.is_ours() { "note" } else { "warning" }
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

#[cfg(test)]
mod tests {
    use kiln_dockerfile::lint::{LintOptions, check};
    use kiln_dockerfile::{Bases, PlanOptions};
    use kiln_oci::Platform;

    use super::*;

    fn document(text: &str, path: &str) -> Value {
        let plan = PlanOptions::new(Platform::new("linux", "amd64"));
        let report = check(text, &LintOptions { hints: true, ..LintOptions::new(&plan, &Bases::new()) });
        serde_json::from_str(&show(&Source { name: "Dockerfile", path, text }, &report)).expect("JSON")
    }

    /// The members that the standard requires, of what is used here (sections 3.13 to 3.30).
    #[test]
    fn what_the_standard_requires_is_there() {
        let document = document("FROM scratch\nCMD a\nADD b /\nFRM c\n", "a b/Dockerfile");
        assert_eq!(document["version"], "2.1.0");
        let run = &document["runs"][0];
        let driver = &run["tool"]["driver"];
        assert_eq!(driver["name"], "kiln");
        let rules = driver["rules"].as_array().expect("rules");
        assert!(rules.iter().all(|rule| rule["id"].is_string() && rule["shortDescription"]["text"].is_string()));
        assert!(
            rules
                .iter()
                .filter_map(|rule| rule.get("helpUri"))
                .all(|uri| uri.as_str().is_some_and(|uri| uri.starts_with("https://")))
        );
        let results = run["results"].as_array().expect("results");
        assert_eq!(results.len(), 1, "what comes after a parse error is not looked at: {results:?}");
        for result in results {
            assert!(result["message"]["text"].is_string());
            assert!(["none", "note", "warning", "error"].contains(&result["level"].as_str().expect("level")));
            let index = result["ruleIndex"].as_u64().expect("index") as usize;
            assert_eq!(rules[index]["id"], result["ruleId"]);
            let physical = &result["locations"][0]["physicalLocation"];
            assert_eq!(physical["artifactLocation"]["uri"], "a%20b/Dockerfile");
            assert!(physical["region"]["startLine"].as_u64().is_some_and(|line| line >= 1));
        }
        assert_eq!(results[0]["ruleId"], BUILD_ERROR);
    }

    #[test]
    fn regions_count_from_one_and_end_behind_the_last_character() {
        let document = document("FROM scratch\nADD b /\nCMD a\n", "Dockerfile");
        let results = document["runs"][0]["results"].as_array().expect("results");
        let region = |index: usize| &results[index]["locations"][0]["physicalLocation"]["region"];
        assert_eq!(results[0]["ruleId"], "kiln/AddForPlainFiles");
        assert_eq!(results[0]["level"], "note");
        assert_eq!(*region(0), json!({ "startLine": 2, "startColumn": 1, "endLine": 2, "endColumn": 4 }));
        assert_eq!(results[1]["level"], "warning");
        assert_eq!(*region(1), json!({ "startLine": 3, "endLine": 3 }));
    }
}
