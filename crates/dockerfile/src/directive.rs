//! Parser directives: the `# syntax=`, `# escape=` and `# check=` comments at the very top.
//! Does not know what a check is.

use kiln_oci::Reference;

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

impl Directives {
    /// The frontend that `# syntax=` asks for when it is not the Dockerfile syntax of this crate. Any tag of
    /// `docker/dockerfile` and `docker/dockerfile-upstream` is.
    pub fn foreign_frontend(&self) -> Option<&str> {
        let image = self.syntax.as_deref()?.split_whitespace().next()?;
        let known = image.parse::<Reference>().is_ok_and(|reference| {
            reference.domain() == "docker.io"
                && matches!(reference.path(), "docker/dockerfile" | "docker/dockerfile-upstream")
        });
        (!known).then_some(image)
    }
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
            _ => return Ok(false),
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
    let (name, value) = (name.trim(), value.trim());
    let starts_with_letter = name.starts_with(|c: char| c.is_ascii_alphabetic());
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric());
    (starts_with_letter && plain && !value.is_empty()).then_some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_other_frontends_are_foreign() {
        let foreign = |syntax: &str| {
            let directives = Directives { syntax: Some(syntax.to_owned()), ..Directives::default() };
            directives.foreign_frontend().map(str::to_owned)
        };
        assert_eq!(foreign("docker/dockerfile:1.7-labs"), None);
        assert_eq!(foreign("docker.io/docker/dockerfile-upstream:master"), None);
        assert_eq!(
            foreign("docker/dockerfile@sha256:0000000000000000000000000000000000000000000000000000000000000000"),
            None
        );
        assert_eq!(foreign("ghcr.io/x/frontend:2").as_deref(), Some("ghcr.io/x/frontend:2"));
        assert_eq!(Directives::default().foreign_frontend(), None);
    }
}
