//! Findings for people, with the lines that they are about.

use kiln_dockerfile::lint::{Finding, Report, Rule};
use kiln_dockerfile::{BaseName, Emphasis, render_span, suggestion};

use super::{Source, is_check};

/// The findings and a count of them; beside them what makes a build fail, and what was not looked at.
pub(super) fn show(source: &Source<'_>, report: &Report) -> (String, String) {
    let findings = report.by_line();
    let checks = findings.iter().filter(|finding| is_check(finding)).count();
    let mut out = String::new();
    if checks > 0 {
        out.push_str(&format!("Check complete, {}!\n", counted(checks, "warning")));
    } else if report.errors.is_empty() {
        out.push_str("Check complete, no warnings found.\n");
    }
    for finding in &findings {
        out.push_str(&block(source, finding));
    }
    (out, errors(source, report) + &unknown_rules(report) + &unknown_bases(report))
}

fn counted(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun} has been found") } else { format!("{number} {noun}s have been found") }
}

fn block(source: &Source<'_>, finding: &Finding) -> String {
    let kind = if is_check(finding) { "WARNING" } else { "HINT" };
    let lines = render_span(source.name, source.text, &finding.span, Emphasis::default());
    format!("\n{kind}: {} - {}\n{}\n{lines}", finding.rule.name(), finding.rule.url(), finding.detail)
}

fn errors(source: &Source<'_>, report: &Report) -> String {
    let shown = report.errors.iter().map(|error| {
        let lines = error.span.as_ref().filter(|span| span.first_line > 0);
        let lines = lines.map(|span| render_span(source.name, source.text, span, Emphasis::default()));
        format!("{}ERROR: {error}\n", lines.unwrap_or_default())
    });
    shown.collect::<Vec<_>>().join("\n")
}

fn unknown_rules(report: &Report) -> String {
    let note = |name: &String| {
        let same = Rule::all().map(Rule::name).find(|rule| rule.eq_ignore_ascii_case(name)).map(str::to_owned);
        let meant = same.or_else(|| suggestion(name, Rule::all().map(Rule::name)));
        let meant = meant.map_or(String::new(), |meant| format!(" (did you mean {meant}?)"));
        format!("note: no rule is called {name}{meant}\n")
    };
    report.unknown_rules.iter().map(note).collect()
}

fn unknown_bases(report: &Report) -> String {
    if !report.unsure {
        return String::new();
    }
    let name = |name: &BaseName| match name {
        BaseName::Image(reference) => reference.familiar(),
        BaseName::NamedContext(name) => name.clone(),
    };
    let mut names: Vec<String> = report.missing.iter().map(|base| name(&base.name)).collect();
    names.sort();
    names.dedup();
    format!(
        "note: a variable that nothing here sets may come from a base image ({}); kiln build --check looks there\n",
        names.join(", ")
    )
}
