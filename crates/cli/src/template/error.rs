//! What is wrong with a template, in Go's words.

/// A text that is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("template: :{line}: {what}")]
pub(crate) struct ParseError {
    /// Counted from 1.
    pub(super) line: usize,
    /// What is wrong there.
    pub(super) what: String,
}

/// A template that does not fit its data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("template: :{}:{}: executing \"\" at <{source_text}>: {what}", place.line, place.column)]
pub(crate) struct ExecuteError {
    pub(super) place: Place,
    /// The part of the template that failed.
    pub(super) source_text: String,
    /// Why.
    pub(super) what: String,
}

/// Where in a template.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Counted from 1.
    pub(super) line: usize,
    /// Bytes before it in its line.
    pub(super) column: usize,
}
