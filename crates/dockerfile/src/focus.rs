//! Finding the very word that an error is about in the lines that it is about.

use std::borrow::Cow;

use crate::error::{Error, InstructionProblem, LowerProblem, MountProblem, ParseProblem, Problem};
use crate::span::{Focus, Span};

impl Error {
    /// The same with the word marked that it is about, where `source` has it.
    pub fn with_focus(mut self, source: &str) -> Error {
        self.find_focus(source);
        self
    }

    /// Marks the word that the error is about, if it has lines, no focus yet, and the word is in its lines.
    pub(crate) fn find_focus(&mut self, source: &str) {
        let Some(span) = self.span.as_mut().filter(|span| span.focus.is_none() && span.first_line > 0) else { return };
        span.focus = match word(&self.problem) {
            Some(word) => find(source, span, &word),
            None => keyword(source, span),
        };
    }
}

/// Where `word` stands in the lines of a span: by itself if it does anywhere, else within another word.
pub(crate) fn find(source: &str, span: &Span, word: &str) -> Option<Focus> {
    if word.is_empty() {
        return None;
    }
    let places = || lines(source, span).flat_map(|(number, line)| all(line, word).map(move |at| (number, line, at)));
    let alone = |(_, line, at): &(u32, &str, usize)| {
        let inner = |c: char| c.is_alphanumeric() || c == '_';
        !line[..*at].ends_with(inner) && !line[at + word.len()..].starts_with(inner)
    };
    let (line, text, at) = places().find(alone).or_else(|| places().next())?;
    Some(focus(line, text, at, word))
}

fn keyword(source: &str, span: &Span) -> Option<Focus> {
    let (number, line) = lines(source, span).next()?;
    let start = line.len() - line.trim_start().len();
    let word = line.split_whitespace().next()?;
    Some(focus(number, line, start, word))
}

fn focus(line: u32, text: &str, at: usize, word: &str) -> Focus {
    let start = text[..at].chars().count() as u32;
    Focus { line, columns: start..start + word.chars().count() as u32 }
}

fn lines<'a>(source: &'a str, span: &Span) -> impl Iterator<Item = (u32, &'a str)> + use<'a> {
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    let (first, last) = (span.first_line, span.last_line.max(span.first_line));
    (first..=last).zip(source.lines().skip(first as usize - 1))
}

/// Where `word` stands, in any case, ASCII letters only.
fn all<'a>(line: &'a str, word: &'a str) -> impl Iterator<Item = usize> + use<'a> {
    let starts = line.char_indices().map(|(at, _)| at);
    starts.filter(move |at| line.get(*at..at + word.len()).is_some_and(|text| text.eq_ignore_ascii_case(word)))
}

/// The word that a problem is about; `None` is the instruction's keyword.
fn word(problem: &Problem) -> Option<Cow<'_, str>> {
    match problem {
        Problem::Parse(problem) => of_parse(problem).map(Cow::Borrowed),
        Problem::Instruction(problem) => of_instruction(problem),
        Problem::Lower(problem) => of_lower(problem),
    }
}

fn of_parse(problem: &ParseProblem) -> Option<&str> {
    match problem {
        ParseProblem::BadEscape(word) | ParseProblem::NoEquals(word) | ParseProblem::ForeignFrontend(word) => {
            Some(word)
        }
        ParseProblem::RepeatedDirective(name) => Some(name),
        ParseProblem::UnterminatedHeredoc { delimiter } => Some(delimiter),
        ParseProblem::NotStrings => Some("["),
        ParseProblem::Empty | ParseProblem::TwoArguments(_) | ParseProblem::NotUtf8 | ParseProblem::Checks(_) => None,
    }
}

fn of_instruction(problem: &InstructionProblem) -> Option<Cow<'_, str>> {
    use InstructionProblem as P;
    let word: &str = match problem {
        P::StageName(word) | P::NetworkMode(word) | P::SecurityMode(word) | P::HealthType(word) => word,
        P::ShortInterval(word) | P::Retries(word) | P::OnbuildTrigger(word) | P::DeviceField(word) => word,
        P::Duration(message) => message.split('"').rev().nth(1)?,
        P::NegativeRetries(number) => return Some(Cow::Owned(number.to_string())),
        P::MountList(_) => "--mount",
        P::MountFromVariable => "from",
        P::DeviceList(_) => "--device",
        P::DeviceNamed(_) => "name",
        P::DeviceKey { key, .. } => key,
        P::DeviceValue { value, .. } => value,
        P::HealthNoneArguments => "NONE",
        P::HealthNoCommand => "CMD",
        P::BlankName(_) => "=",
        P::HeredocDestination(_) => "<<",
        _ => return None,
    };
    Some(Cow::Borrowed(word))
}

fn of_lower(problem: &LowerProblem) -> Option<Cow<'_, str>> {
    use LowerProblem as P;
    let word: &str = match problem {
        P::BlankBase(word) | P::EmptyPlatform(word) | P::Circular(word) | P::MissingBase(word) => word,
        P::Signal(word) | P::Port(word) | P::Chmod(word) | P::Checksum(word, _) => word,
        P::LaterStage(name, _) | P::BaseName { name, .. } | P::CopyFromVariable(name) => name,
        P::Platform { written, .. } => written,
        P::StageIndex(number) => return Some(Cow::Owned(number.to_string())),
        P::Expansion(error) => &error.word,
        P::Mount(problem) => of_mount(problem),
        P::MountTarget(_) => "--mount",
        P::Flag(message) => message.split(' ').next().filter(|word| word.starts_with("--"))?,
        _ => return None,
    };
    Some(Cow::Borrowed(word))
}

fn of_mount(problem: &MountProblem) -> &str {
    match problem {
        MountProblem::Type(word) | MountProblem::NoValue(word) | MountProblem::Sharing(word) => word,
        MountProblem::Key { key, .. } | MountProblem::KeyForType { key, .. } => key,
        MountProblem::NotAllowed { key, .. } => key,
        MountProblem::Value { value, .. } | MountProblem::Boolean { value, .. } => value,
        MountProblem::SharingForType(_) | MountProblem::SecretSharing => "sharing",
        MountProblem::SecretFrom => "from",
        MountProblem::SecretName | MountProblem::SecretTwoNames => "secret",
    }
}
