//! Places in a Dockerfile. Knows nothing about what stands there.

use std::fmt;
use std::ops::Range;

/// Where something stands in the text: whole lines, and perhaps the very characters on one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// First line, counted from 1.
    pub first_line: u32,
    /// Last line, inclusive. For an instruction this includes its heredocs.
    pub last_line: u32,
    /// The characters that a message is about.
    pub focus: Option<Focus>,
}

/// Some characters of one line.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Focus {
    /// The line, counted from 1.
    pub line: u32,
    /// Columns, counted in characters from 0.
    pub columns: Range<u32>,
}

impl Span {
    /// The whole of `first_line..=last_line`, counted from 1.
    pub fn lines(first_line: u32, last_line: u32) -> Span {
        Span { first_line, last_line, focus: None }
    }
}

impl fmt::Display for Span {
    /// `4` or `4-7`: the form used in messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.last_line > self.first_line {
            write!(f, "{}-{}", self.first_line, self.last_line)
        } else {
            write!(f, "{}", self.first_line)
        }
    }
}
