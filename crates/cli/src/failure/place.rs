//! Which characters of an instruction a failure is about, for the caret. Where nothing fits, the lines say enough.

use kiln_build::{Cause, Entitlement, StepProblem};
use kiln_dockerfile::{Focus, Span};
use kiln_graph::SourceSpan;

/// The lines of a step, and the word that its problem is about.
pub(super) fn of_step(text: &str, lines: &SourceSpan, problem: &StepProblem) -> Span {
    let fits: Box<dyn Fn(&str) -> bool> = match problem {
        StepProblem::MissingSource { path, .. } => Box::new(|word| means(word, path)),
        StepProblem::MissingSecret(id) => Box::new(|word| is_mount(word, "secret") && word.contains(id.as_str())),
        StepProblem::MissingSshAgent(_) => Box::new(|word| is_mount(word, "ssh")),
        StepProblem::NotAllowed(Entitlement::HostNetwork) => Box::new(|word| word == "--network=host"),
        StepProblem::NotAllowed(Entitlement::Insecure) => Box::new(|word| word == "--security=insecure"),
        StepProblem::NotAllowed(Entitlement::Device(_)) => Box::new(|word| word.starts_with("--device=")),
        StepProblem::MissingDevice { name, .. } => {
            Box::new(|word| word.strip_prefix("--device=").is_some_and(|device| device.contains(name.as_str())))
        }
        StepProblem::Exit { diagnosis, .. } => match diagnosis.cause.as_ref().and_then(program) {
            Some(program) => Box::new(move |word| word == program),
            None => Box::new(|_| false),
        },
        _ => Box::new(|_| false),
    };
    with_focus(text, lines, fits)
}

/// The line that names a base image.
pub(super) fn of_base(text: &str, lines: Option<&SourceSpan>, base: &str) -> Option<Span> {
    let short = base.strip_suffix(":latest").unwrap_or(base);
    let named = |name: &str| name == base || name == short;
    let from = |part: &str| part.split_once("from=").is_some_and(|(_, name)| named(name));
    let fits = |word: &str| named(word) || word.split(',').any(from);
    let whole;
    let lines = match lines {
        Some(lines) => lines,
        None => {
            let line = text.lines().position(|line| words(line).any(|(_, word)| fits(word)));
            let line = line.or_else(|| only_line_with_variables(text))?;
            let line = u32::try_from(line).ok()? + 1;
            whole = SourceSpan { first_line: line, last_line: line };
            &whole
        }
    };
    Some(with_focus(text, lines, fits))
}

/// The FROM whose image is known only with its variables, where there is one such FROM.
fn only_line_with_variables(text: &str) -> Option<usize> {
    let is_from = |line: &str| line.trim_start().get(..5).is_some_and(|word| word.eq_ignore_ascii_case("from "));
    let mut places = text.lines().enumerate().filter(|(_, line)| is_from(line) && line.contains('$'));
    let (place, _) = places.next()?;
    places.next().is_none().then_some(place)
}

fn with_focus(text: &str, lines: &SourceSpan, fits: impl Fn(&str) -> bool) -> Span {
    let mut span = Span::lines(lines.first_line, lines.last_line);
    for number in lines.first_line..=lines.last_line {
        let Some(line) = text.lines().nth((number as usize).saturating_sub(1)) else { break };
        let Some((start, word)) = words(line).find(|(_, word)| fits(word)) else { continue };
        let before = line.get(..start).unwrap_or_default().chars().count() as u32;
        span.focus = Some(Focus { line: number, columns: before..before + word.chars().count() as u32 });
        break;
    }
    span
}

/// The words of a line with their places; quotes, brackets, and what separates commands is no part of them.
fn words(line: &str) -> impl Iterator<Item = (usize, &str)> {
    let separates = |c: char| c.is_whitespace() || "\"'[];&|()<>`".contains(c);
    line.split(separates).filter_map(move |part| {
        let start = part.as_ptr() as usize - line.as_ptr() as usize;
        (!part.is_empty()).then_some((start, part))
    })
}

/// Whether a word names a source, by its path or by the directory that a pattern is about.
fn means(word: &str, path: &str) -> bool {
    let pattern = word.contains(['*', '?']).then(|| word.split(['*', '?']).next().unwrap_or_default());
    let directory = pattern.and_then(|fixed| fixed.rsplit_once('/')).map(|(directory, _)| directory);
    [Some(word), mounted(word), directory].into_iter().flatten().any(|named| same_path(named, path))
}

/// Whether a word of a copy means this path of its source.
fn same_path(word: &str, path: &str) -> bool {
    let parts = |path: &str| {
        let parts = path.trim_end_matches(',').split('/').filter(|part| !matches!(*part, "" | "." | ".."));
        parts.map(str::to_owned).collect::<Vec<_>>()
    };
    !path.is_empty() && parts(word) == parts(path)
}

/// The source of a bind mount.
fn mounted(word: &str) -> Option<&str> {
    let fields = word.strip_prefix("--mount=")?;
    fields.split(',').find_map(|field| field.strip_prefix("source=").or_else(|| field.strip_prefix("src=")))
}

fn is_mount(word: &str, kind: &str) -> bool {
    let fields = word.strip_prefix("--mount=");
    fields.is_some_and(|fields| fields.split(',').any(|field| field.strip_prefix("type=") == Some(kind)))
}

/// The program that a failed process could not run.
fn program(cause: &Cause) -> Option<&str> {
    match cause {
        Cause::CommandNotFound { name, .. } => Some(name),
        Cause::WindowsLineEnds(script) => script.as_deref(),
        Cause::NoInterpreter { program, .. }
        | Cause::NotExecutable(program)
        | Cause::NoFormat(program)
        | Cause::OtherMachine { program, .. } => Some(program),
        Cause::OutOfMemory { .. } | Cause::Killed | Cause::DiskFull | Cause::NoShell(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_found_on_the_lines_of_its_step() {
        let text = "FROM busybox\nRUN a && \\\n  bé; make\n";
        let lines = SourceSpan { first_line: 2, last_line: 3 };
        let span = with_focus(text, &lines, |word| word == "make");
        assert_eq!(span.focus, Some(Focus { line: 3, columns: 6..10 }));
        assert_eq!(with_focus(text, &lines, |word| word == "busybox").focus, None);
    }

    #[test]
    fn paths_are_compared_by_their_parts() {
        assert!(same_path("./a//b/", "a/b") && same_path("../a", "a") && !same_path("a", "b"));
        assert_eq!(mounted("--mount=type=bind,source=x,target=/y"), Some("x"));
    }
}
