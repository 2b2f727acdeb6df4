//! Places in a Dockerfile. Knows nothing about what stands there.

use std::fmt;
use std::ops::Range;

/// Where something stands in the text: whole lines, and on the first of them a range of columns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// First line, counted from 1.
    pub first_line: u32,
    /// Last line, inclusive. For an instruction this includes its heredocs.
    pub last_line: u32,
    /// Columns on the first line, counted in characters from 0; `None` means the whole line.
    pub columns: Option<Range<u32>>,
}

impl Span {
    /// The whole of `first_line..=last_line`, counted from 1.
    pub fn lines(first_line: u32, last_line: u32) -> Span {
        Span { first_line, last_line, columns: None }
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
