//! Findings in the form of `docker build --call=check,format=json`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kiln_dockerfile::lint::{Finding, Report};
use kiln_dockerfile::{Span, bytes_of};
use serde_json::{Value, json};

use super::Source;

/// The document, with a newline at its end.
pub(super) fn show(source: &Source<'_>, report: &Report) -> String {
    let mut document = json!({
        "warnings": report.findings.iter().map(warning).collect::<Vec<_>>(),
        "sources": [{
            "filename": source.name,
            "data": STANDARD.encode(bytes_of(source.text)),
            "language": "Dockerfile",
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

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use kiln_dockerfile::lint::{LintOptions, check};
    use kiln_dockerfile::{Bases, PlanOptions};
    use kiln_oci::Platform;

    use super::*;

    #[test]
    fn as_docker_has_it() {
        let plan = PlanOptions::new(Platform::new("linux", "amd64"));
        let text = "FROM scratch AS Base\nSTOPSIGNAL $X\n";
        let report = check(text, &LintOptions::new(&plan, &Bases::new()));
        expect![[r#"
            {
              "warnings": [
                {
                  "ruleName": "StageNameCasing",
                  "description": "Names of stages are written in lower case",
                  "url": "https://docs.docker.com/go/dockerfile/rule/stage-name-casing/",
                  "detail": "Stage name 'Base' should be lowercase",
                  "location": {
                    "ranges": [
                      {
                        "start": {
                          "line": 1
                        },
                        "end": {
                          "line": 1
                        }
                      }
                    ]
                  }
                },
                {
                  "ruleName": "UndefinedVar",
                  "description": "Variables are defined before they are used",
                  "url": "https://docs.docker.com/go/dockerfile/rule/undefined-var/",
                  "detail": "Usage of undefined variable '$X'",
                  "location": {
                    "ranges": [
                      {
                        "start": {
                          "line": 2
                        },
                        "end": {
                          "line": 2
                        }
                      }
                    ]
                  }
                }
              ],
              "sources": [
                {
                  "filename": "Dockerfile",
                  "data": "RlJPTSBzY3JhdGNoIEFTIEJhc2UKU1RPUFNJR05BTCAkWAo=",
                  "language": "Dockerfile"
                }
              ],
              "buildError": {
                "message": "invalid signal: ",
                "location": {
                  "ranges": [
                    {
                      "start": {
                        "line": 2
                      },
                      "end": {
                        "line": 2
                      }
                    }
                  ]
                }
              }
            }
        "#]]
        .assert_eq(&show(&Source { name: "Dockerfile", path: "Dockerfile", text }, &report));
    }
}
