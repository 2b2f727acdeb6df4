//! The `--name=value` flags in front of an instruction's arguments, checked against what it allows.

use crate::error::{Error, InstructionProblem, suggestion};
use crate::reader::Node;
use crate::span::Span;

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlagKind {
    /// A value, once.
    Text,
    /// A value, any number of times.
    List,
    /// Nothing, `true` or `false`.
    Boolean,
}

/// The flags of one instruction.
#[derive(Debug)]
pub(crate) struct Flags {
    given: Vec<(&'static str, String)>,
}

impl Flags {
    /// Reads the node's flags; `allowed` lists the flags of this instruction.
    pub(crate) fn read(node: &Node, allowed: &[(&'static str, FlagKind)]) -> Result<Flags, Error> {
        let mut flags = Flags { given: Vec::new() };
        for (word, focus) in &node.flags {
            let span = Span { focus: focus.clone(), ..node.span.clone() };
            let fail = |problem: InstructionProblem| Error::new(problem, Some(span.clone()));
            let text = word.text.strip_prefix("--").unwrap_or(&word.text);
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (text, None),
            };
            let Some(&(name, kind)) = allowed.iter().find(|(known, _)| *known == name) else {
                let names = allowed.iter().map(|(name, _)| *name);
                let meant = suggestion(name, names);
                return Err(fail(InstructionProblem::UnknownFlag(format!("--{name}"))).suggest(meant));
            };
            if kind != FlagKind::List && flags.is_given(name) {
                return Err(fail(InstructionProblem::DuplicateFlag(name.to_owned())));
            }
            flags.given.push((name, checked_value(name, kind, value).map_err(fail)?));
        }
        Ok(flags)
    }

    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.given.iter().any(|(given, _)| *given == name)
    }

    /// The value of a flag that may be given once.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.given.iter().find(|(given, _)| *given == name).map(|(_, value)| value.clone())
    }

    /// All values of a flag.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        self.given.iter().filter(|(given, _)| *given == name).map(|(_, value)| value.clone()).collect()
    }

    /// Whether a yes-or-no flag was given, and what it said.
    pub(crate) fn boolean(&self, name: &str) -> Option<bool> {
        self.text(name).map(|value| value == "true")
    }

    /// The names that were given, sorted, each once.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.given.iter().map(|(name, _)| (*name).to_owned()).collect();
        names.sort();
        names.dedup();
        names
    }
}

fn checked_value(name: &str, kind: FlagKind, value: Option<&str>) -> Result<String, InstructionProblem> {
    let missing = || InstructionProblem::MissingFlagValue(name.to_owned());
    if kind != FlagKind::Boolean {
        return value.map(str::to_owned).ok_or_else(missing);
    }
    match value.map(str::to_lowercase).as_deref() {
        None | Some("true") => Ok("true".to_owned()),
        Some("false") => Ok("false".to_owned()),
        Some("") => Err(missing()),
        Some(_) => {
            Err(InstructionProblem::NotBoolean { flag: name.to_owned(), value: value.unwrap_or_default().to_owned() })
        }
    }
}

/// A yes or no as options of mounts and devices take it.
pub(crate) fn boolean(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
