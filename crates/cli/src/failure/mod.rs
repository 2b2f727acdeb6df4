//! What a person reads when a command fails, and the exit code.

mod hints;
mod place;

use std::path::Path;
use std::process::ExitCode;

pub(crate) use kiln_build::chain;
use kiln_build::{BuildError, DockerfileText, StepError, StepProblem, errno};
use kiln_dockerfile::{Emphasis, Span, render_span, without_credentials};

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

    /// Prints the message and gives the exit code. What a Dockerfile or a process says cannot move the cursor.
    pub(crate) fn report(self) -> ExitCode {
        if !self.message.is_empty() {
            let moves = |c: char| c.is_control() && c != '\n' && c != '\t';
            // The lines of a Dockerfile are among what is shown.
            eprintln!("{}", without_credentials(&self.message.replace(moves, "·")));
        }
        ExitCode::from(self.code)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure::new(format!("ERROR: {error}"))
    }
}

/// A failed build: the step's last words, the lines of the Dockerfile, what failed, and what can be done about it.
pub(crate) fn of_build(error: &BuildError, dockerfile: &DockerfileText, store: &Path) -> Failure {
    let DockerfileText { name, text } = dockerfile;
    match error {
        BuildError::Dockerfile(errors) => of_dockerfile(errors, name, text),
        BuildError::Step(step) => of_step(step, name, text, store),
        BuildError::Steps(steps) => of_steps(steps, name, text, store),
        BuildError::Base { name: base, reason, span } => {
            let place = place::of_base(text, span.as_ref(), base);
            let summary = format!("ERROR: failed to build: {base}: {reason}");
            message(place.map(|place| excerpt(name, text, &place)), summary, hints::of_base(base, text))
        }
        BuildError::Cancelled => Failure::new("ERROR: the build was cancelled").with_code(130),
        other => {
            let hint = errno(other).and_then(|code| hints::of_system(code, store));
            message(None, format!("ERROR: failed to build: {}", chain(other)), hint)
        }
    }
}

/// A store that cannot be used.
pub(crate) fn of_store(error: &kiln_store::Error, store: &Path) -> Failure {
    let hint = errno(error).and_then(|code| hints::of_system(code, store));
    message(None, format!("ERROR: {}", chain(error)), hint)
}

fn of_step(error: &StepError, name: &str, text: &str, store: &Path) -> Failure {
    let place = error.span.as_ref().map(|lines| place::of_step(text, lines, &error.problem));
    let before = [last_words(error), place.map(|place| excerpt(name, text, &place))];
    let summary = format!("ERROR: failed to build: {}: {}", error.name, error.problem);
    let mut failed = message(before.into_iter().flatten(), summary, hints::of_step(error, store));
    if let StepProblem::Exit { note: Some(note), .. } = &error.problem {
        failed.message.push_str(&format!("\nnote: {note}"));
    }
    if let Some(log) = &error.log {
        failed.message.push_str(&format!("\nnote: the whole output of this step is in {}", log.display()));
    }
    failed
}

/// Each failure as if it were the only one, then all of them in short.
fn of_steps(errors: &[StepError], name: &str, text: &str, store: &Path) -> Failure {
    let each = errors.iter().map(|error| of_step(error, name, text, store).message);
    let list = errors.iter().map(|error| format!("  {}: {}", error.name, error.problem));
    let summary = format!("ERROR: {} steps failed:", errors.len());
    let parts: Vec<String> =
        each.chain([std::iter::once(summary).chain(list).collect::<Vec<_>>().join("\n")]).collect();
    Failure::new(parts.join("\n\n"))
}

fn message(
    before: impl IntoIterator<Item = String>,
    summary: String,
    hints: impl IntoIterator<Item = String>,
) -> Failure {
    let hints = hints.into_iter().map(|hint| format!("hint: {hint}"));
    let parts: Vec<String> = before.into_iter().chain([summary]).chain(hints).collect();
    Failure::new(parts.join("\n"))
}

/// All that is wrong with a Dockerfile, each with its place, and what can be done about the first.
pub(crate) fn of_dockerfile(errors: &[kiln_dockerfile::Error], name: &str, text: &str) -> Failure {
    let lines = text.lines().count();
    let found = errors.iter().cloned().map(|error| error.with_focus(text));
    let rendered = found.map(|error| match &error.span {
        Some(span) if (1..=lines).contains(&(span.first_line as usize)) => {
            format!("{}\nERROR: failed to build: {error}", excerpt(name, text, span))
        }
        _ => format!("ERROR: failed to build: {name}: {error}"),
    });
    let hint = errors.first().and_then(|error| hints::of_dockerfile(error, text));
    message(None, rendered.collect::<Vec<_>>().join("\n\n"), hint)
}

/// The end of what a process wrote.
fn last_words(error: &StepError) -> Option<String> {
    let (StepProblem::Exit { diagnosis, .. } | StepProblem::TimedOut { diagnosis, .. }) = &error.problem else {
        return None;
    };
    if diagnosis.output.is_empty() {
        return None;
    }
    Some(format!("------\n > {}:\n{}\n------", error.name, diagnosis.output.join("\n")))
}

/// The lines of the Dockerfile around a place, those of the place marked.
fn excerpt(name: &str, text: &str, place: &Span) -> String {
    render_span(name, text, place, Emphasis::default()).trim_end().to_owned()
}
