//! What a person reads when a command fails, and the exit code.

use std::process::ExitCode;

pub(crate) use kiln_build::chain;
use kiln_build::{BuildError, StepError, StepProblem};
use kiln_dockerfile::{Emphasis, Span, render_span};
use kiln_graph::SourceSpan;

/// Why a command failed, in words, and with which exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    /// One or more lines, without `ERROR:` before them; empty if everything was said already.
    pub(crate) message: String,
    /// The exit code of the process.
    pub(crate) code: u8,
}

impl Failure {
    /// A failure with exit code 1.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Failure { message: message.into(), code: 1 }
    }

    /// The same with another exit code.
    pub(crate) fn with_code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// Prints the message and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        if !self.message.is_empty() {
            eprintln!("{}", self.message);
        }
        ExitCode::from(self.code)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure::new(format!("ERROR: {error}"))
    }
}

/// A failed build: what failed, the lines of the Dockerfile, and where the whole log is.
pub(crate) fn of_build(error: &BuildError, name: &str, text: &str) -> Failure {
    let (summary, excerpt, notes) = match error {
        BuildError::Dockerfile(errors) => return of_dockerfile(errors, name, text),
        BuildError::Step(error) => (step_summary(error), excerpt(name, text, error.span.as_ref()), step_notes(error)),
        BuildError::Base { name: base, reason, span } => {
            let span = span.clone().or_else(|| line_of_base(text, base));
            (format!("ERROR: failed to build: {base}: {reason}"), excerpt(name, text, span.as_ref()), Vec::new())
        }
        BuildError::Cancelled => return Failure::new("ERROR: the build was cancelled").with_code(130),
        other => (format!("ERROR: failed to build: {}", chain(other)), String::new(), Vec::new()),
    };
    let mut message = String::new();
    if !excerpt.is_empty() {
        message.push_str(&excerpt);
        message.push('\n');
    }
    message.push_str(&summary);
    for note in notes {
        message.push('\n');
        message.push_str(&note);
    }
    Failure::new(message)
}

/// All that is wrong with a Dockerfile, each with its place.
fn of_dockerfile(errors: &[kiln_dockerfile::Error], name: &str, text: &str) -> Failure {
    let plain = Emphasis::default();
    let rendered = errors.iter().map(|error| match &error.span {
        Some(span) => format!("{}ERROR: failed to build: {error}", render_span(name, text, span, plain)),
        None => format!("ERROR: failed to build: {name}: {error}"),
    });
    Failure::new(rendered.collect::<Vec<_>>().join("\n\n"))
}

fn step_summary(error: &StepError) -> String {
    format!("ERROR: failed to build: {}: {}", error.name, error.problem)
}

fn step_notes(error: &StepError) -> Vec<String> {
    let mut notes = Vec::new();
    if let StepProblem::Exit { note: Some(note), .. } = &error.problem {
        notes.push(format!("note: {note}"));
    }
    if let Some(log) = &error.log {
        notes.push(format!("note: the whole output of this step is in {}", log.display()));
    }
    notes
}

/// Where a Dockerfile names a base image.
fn line_of_base(text: &str, base: &str) -> Option<SourceSpan> {
    let names =
        |line: &str| line.split_whitespace().any(|word| word == base || word.ends_with(&format!("from={base}")));
    let line = text.lines().position(names)?;
    let line = u32::try_from(line).ok()? + 1;
    Some(SourceSpan { first_line: line, last_line: line })
}

/// The lines of the Dockerfile around a place, those of the place marked.
fn excerpt(name: &str, text: &str, span: Option<&SourceSpan>) -> String {
    let Some(span) = span else { return String::new() };
    let plain = Emphasis::default();
    let shown = render_span(name, text, &Span::lines(span.first_line, span.last_line), plain);
    shown.trim_end().to_owned()
}
