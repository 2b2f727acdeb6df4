//! What a template consists of.

use serde_json::Value;

use super::error::Place;

/// A piece of a template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Text(String),
    /// `{{…}}`
    Action(Pipeline),
    If(Branch),
    Range(Branch),
    With(Branch),
    Break,
    Continue,
}

/// What `if`, `range` and `with` have in common.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Branch {
    pub(super) condition: Pipeline,
    pub(super) then: Vec<Node>,
    pub(super) otherwise: Vec<Node>,
}

/// Commands, each with the result of the one before as its last argument.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pipeline {
    /// `$x :=`, `$i, $x :=` or `$x =`.
    pub(super) variables: Vec<String>,
    /// The variables are new ones.
    pub(super) declares: bool,
    pub(super) commands: Vec<Command>,
}

/// A word, or a function with its arguments.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Command {
    pub(super) words: Vec<Word>,
}

/// A word with its place, for messages.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Word {
    pub(super) kind: WordKind,
    pub(super) place: Place,
    pub(super) text: String,
}

/// What a word means.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum WordKind {
    Dot,
    /// `.A.B`
    Fields(Vec<String>),
    /// `$x.A`; the name without the dollar sign, empty for the whole data.
    Variable(String, Vec<String>),
    Literal(Value),
    Function(String),
    /// `(…).A`
    Group(Box<Pipeline>, Vec<String>),
}

impl Command {
    /// The command as it was written.
    pub(super) fn text(&self) -> String {
        self.words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ")
    }
}
