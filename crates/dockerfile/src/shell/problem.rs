//! Why a word could not be expanded, in the words that users know from other builders.

use std::fmt;

use crate::quote::quoted;

/// Why a word could not be expanded. [`ShellError`] adds the word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShellProblem {
    /// A quote is not closed: `single-quote` or `double-quote`, or another character that was waited for.
    Unclosed(String),
    /// `${` without its `}`.
    MissingBrace,
    /// `${x/a` without a second `/`.
    MissingSlash,
    /// `${}` and the like.
    BadSubstitution,
    /// `${x!y}`.
    UnsupportedModifier(String),
    /// `${x:?message}` and x is not there.
    Required {
        /// The variable.
        name: String,
        /// The text after the question mark, or a standard one.
        message: String,
    },
    /// A pattern with an escape that means nothing.
    BadPattern {
        /// The pattern as written.
        pattern: String,
        /// The character after the escape.
        escape: char,
    },
    /// The values of its variables make it longer than any process could take.
    TooLong,
}

impl fmt::Display for ShellProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unclosed(what) => write!(f, "unexpected end of statement while looking for matching {what}"),
            Self::MissingBrace => f.write_str("syntax error: missing '}'"),
            Self::MissingSlash => f.write_str("syntax error: missing '/' in ${}"),
            Self::BadSubstitution => f.write_str("syntax error: bad substitution"),
            Self::UnsupportedModifier(m) => write!(f, "unsupported modifier ({m}) in substitution"),
            Self::Required { name, message } => write!(f, "{name}: {message}"),
            Self::BadPattern { pattern, escape } => {
                write!(f, "invalid pattern ({pattern}) in substitution: invalid escape '\\{escape}'")
            }
            Self::TooLong => f.write_str("its variables add more than 1 MiB to it"),
        }
    }
}

/// A word that could not be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to process {}: {problem}", quoted(word))]
pub struct ShellError {
    /// The word as written.
    pub word: String,
    /// What is wrong with it.
    pub problem: ShellProblem,
}
