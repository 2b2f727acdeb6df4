//! Takes what rules find, leaves out what is not to be reported, and finds the very characters.

use std::collections::HashMap;

use crate::span::{Focus, Span};
use crate::text;

use super::checks::Checks;
use super::rule::Rule;

/// What a rule found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which rule.
    pub rule: Rule,
    /// What is wrong, in a sentence.
    pub detail: String,
    /// Where: the lines, and where they can be told, the characters.
    pub span: Span,
}

/// The findings so far.
pub(super) struct Collector<'a> {
    lines: Vec<&'a str>,
    checks: Checks,
    hints: bool,
    /// What comments say about the instruction that starts on a line.
    above: HashMap<u32, Checks>,
    pub(super) findings: Vec<Finding>,
    /// Whether a base image that is not known may set a variable that nothing else sets.
    pub(super) unsure: bool,
}

impl<'a> Collector<'a> {
    pub(super) fn new(text: &'a str, checks: Checks, hints: bool) -> Collector<'a> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Collector {
            lines: text.lines().collect(),
            checks,
            hints,
            above: HashMap::new(),
            findings: Vec::new(),
            unsure: false,
        }
    }

    /// Looks whether the comments above the instruction at `span` are about checks.
    pub(super) fn read_comments(&mut self, span: &Span, comments: &[String]) {
        if let Some(checks) = Checks::of_comments(comments) {
            self.above.insert(span.first_line, checks);
        }
    }

    /// Takes a finding about the lines of `span`.
    pub(super) fn report(&mut self, rule: Rule, span: &Span, detail: impl AsRef<str>) {
        self.take(rule, lines_of(span), detail.as_ref());
    }

    /// Takes a finding about a word within `span`.
    pub(super) fn report_word(&mut self, rule: Rule, span: &Span, word: &str, detail: impl AsRef<str>) {
        let focus = if self.wants(rule, span) { self.find(span, word) } else { None };
        self.take(rule, Span { focus, ..lines_of(span) }, detail.as_ref());
    }

    fn take(&mut self, rule: Rule, span: Span, detail: &str) {
        if self.wants(rule, &span) {
            self.findings.push(Finding { rule, detail: text::lossy(detail), span });
        }
    }

    /// Whether a finding of this rule about these lines would be kept.
    pub(super) fn wants(&self, rule: Rule, span: &Span) -> bool {
        if rule.is_ours() && !self.hints {
            return false;
        }
        self.checks.runs(rule, self.above.get(&span.first_line))
    }

    /// The names of the rules whose findings make the build fail; a hint never does.
    pub(super) fn failing_rules(&self) -> Option<Vec<&'static str>> {
        if !self.checks.error {
            return None;
        }
        let checks = self.findings.iter().map(|finding| finding.rule).filter(|rule| !rule.is_ours());
        let mut names: Vec<_> = checks.map(Rule::name).collect();
        names.sort_unstable();
        names.dedup();
        (!names.is_empty()).then_some(names)
    }

    /// The first place where `word` stands by itself.
    fn find(&self, span: &Span, word: &str) -> Option<Focus> {
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        if word.is_empty() {
            return None;
        }
        for number in span.first_line..=span.last_line {
            let line = self.lines.get((number as usize).checked_sub(1)?)?;
            let place = line.match_indices(word).map(|(at, _)| at).find(|at| {
                let before = line[..*at].chars().next_back().is_some_and(is_part) && word.starts_with(is_part);
                let after = line[at + word.len()..].starts_with(is_part) && word.ends_with(is_part);
                !before && !after
            });
            if let Some(at) = place {
                let start = line[..at].chars().count() as u32;
                return Some(Focus { line: number, columns: start..start + word.chars().count() as u32 });
            }
        }
        None
    }
}

fn lines_of(span: &Span) -> Span {
    Span::lines(span.first_line, span.last_line)
}
