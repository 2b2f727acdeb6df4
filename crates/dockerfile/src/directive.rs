//! Parser directives: the `# syntax=`, `# escape=` and `# check=` comments at the very top.
//! Does not know what a check is.

use crate::error::ParseProblem;
use crate::text;

/// The directives that a Dockerfile starts with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directives {
    /// Value of `# syntax=`, as written.
    pub syntax: Option<String>,
    /// Value of `# check=`, as written.
    pub check: Option<String>,
    /// The escape character: `\` unless `# escape=` says a backtick.
    pub escape: char,
}

impl Default for Directives {
    fn default() -> Self {
        Directives { syntax: None, check: None, escape: '\\' }
    }
}

/// Reads lines from the top until one is no directive.
#[derive(Default)]
pub(crate) struct DirectiveReader {
    pub(crate) directives: Directives,
    escape_seen: bool,
    done: bool,
}

impl DirectiveReader {
    /// Looks at the next line, stripped of leading white space; says whether it is a directive.
    pub(crate) fn read(&mut self, line: &str) -> Result<bool, ParseProblem> {
        if self.done {
            return Ok(false);
        }
        let Some((name, value)) = split(line) else {
            self.done = true;
            return Ok(false);
        };
        let repeated = |is: bool, name: &'static str| {
            if is { Err(ParseProblem::RepeatedDirective(name)) } else { Ok(()) }
        };
        match name.to_ascii_lowercase().as_str() {
            "syntax" => {
                repeated(self.directives.syntax.is_some(), "syntax")?;
                self.directives.syntax = Some(text::lossy(value));
            }
            "check" => {
                repeated(self.directives.check.is_some(), "check")?;
                self.directives.check = Some(text::lossy(value));
            }
            "escape" => {
                repeated(self.escape_seen, "escape")?;
                self.escape_seen = true;
                self.directives.escape = match value {
                    "\\" => '\\',
                    "`" => '`',
                    other => return Err(ParseProblem::BadEscape(text::lossy(other))),
                };
            }
            // What follows an unknown one is no directive either.
            _ => {
                self.done = true;
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// `# name = value` with a name of letters and digits and a value that is not empty.
pub(crate) fn split(line: &str) -> Option<(&str, &str)> {
    split_comment(line.strip_prefix('#')?)
}

/// The same after the `#`.
pub(crate) fn split_comment(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.split_once('=')?;
    let blank = value.chars().next_back().filter(|c| c.is_whitespace());
    let (name, trimmed) = (name.trim(), value.trim());
    // A value of nothing but blanks is the last of them.
    let value = if trimmed.is_empty() { &value[value.len() - blank.map_or(0, char::len_utf8)..] } else { trimmed };
    let starts_with_letter = name.starts_with(|c: char| c.is_ascii_alphabetic());
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric());
    (starts_with_letter && plain && !value.is_empty()).then_some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Result<Directives, ParseProblem> {
        let mut reader = DirectiveReader::default();
        for line in lines {
            reader.read(line)?;
        }
        Ok(reader.directives)
    }

    #[test]
    fn directives_end_at_the_first_line_that_is_none() {
        let read = |lines: &[&str]| read(lines).unwrap();
        assert_eq!(read(&["# Escape = `", "#check=skip=all"]).escape, '`');
        assert_eq!(read(&["# escape=`", "#check=skip=all;error=true"]).check.as_deref(), Some("skip=all;error=true"));
        for before in ["# a comment", "# unknown=1", "", "#", "FROM a", "#!/bin/sh"] {
            assert_eq!(read(&[before, "# escape=`"]).escape, '\\', "{before:?}");
        }
    }

    #[test]
    fn a_directive_is_given_once() {
        assert_eq!(read(&["# escape=`", "# escape=`"]), Err(ParseProblem::RepeatedDirective("escape")));
        assert_eq!(read(&["# escape=x"]), Err(ParseProblem::BadEscape("x".to_owned())));
    }
}
