//! Parser directives: the `# syntax=`, `# escape=` and `# check=` comments at the very top.
//! Does not know what a syntax image or a check is.

use crate::error::ParseProblem;

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
    /// Looks at the next line, stripped of leading white space.
    pub(crate) fn read(&mut self, line: &str) -> Result<(), ParseProblem> {
        if self.done {
            return Ok(());
        }
        let Some((name, value)) = split(line) else {
            self.done = true;
            return Ok(());
        };
        let repeated = |is: bool, name: &'static str| {
            if is { Err(ParseProblem::RepeatedDirective(name)) } else { Ok(()) }
        };
        match name.to_ascii_lowercase().as_str() {
            "syntax" => {
                repeated(self.directives.syntax.is_some(), "syntax")?;
                self.directives.syntax = Some(value.to_owned());
            }
            "check" => {
                repeated(self.directives.check.is_some(), "check")?;
                self.directives.check = Some(value.to_owned());
            }
            "escape" => {
                repeated(self.escape_seen, "escape")?;
                self.escape_seen = true;
                self.directives.escape = match value {
                    "\\" => '\\',
                    "`" => '`',
                    other => return Err(ParseProblem::BadEscape(other.to_owned())),
                };
            }
            _ => {}
        }
        Ok(())
    }
}

/// `# name = value` with a name of letters and digits and a value that is not empty.
fn split(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.strip_prefix('#')?.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    let starts_with_letter = name.starts_with(|c: char| c.is_ascii_alphabetic());
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric());
    (starts_with_letter && plain && !value.is_empty()).then_some((name, value))
}
