//! Ignore files by name, so that a message can say which rule of which file left something out.

use kiln_dockerfile::ignore::{IgnoreMatcher, read_ignore_file};

use super::ContextError;

/// An ignore file, such as `.dockerignore`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IgnoreFile {
    /// What it is called in messages.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// A line of an ignore file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoreRule {
    /// The file.
    pub file: String,
    /// Which line, counted from 1.
    pub line: usize,
    /// The line as written.
    pub text: String,
}

impl std::fmt::Display for IgnoreRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.text)
    }
}

impl IgnoreFile {
    /// The patterns, ready to be asked.
    pub(super) fn matcher(&self) -> Result<IgnoreMatcher, ContextError> {
        IgnoreMatcher::from_file(&self.text).map_err(|error| match self.faulty_line() {
            Some(rule) => ContextError::Ignore(format!("{rule}: {error}")),
            None => ContextError::Ignore(format!("{}: {error}", self.name)),
        })
    }

    /// The first line that is no pattern.
    fn faulty_line(&self) -> Option<IgnoreRule> {
        self.rules().find(|rule| IgnoreMatcher::from_file(&rule.text).is_err())
    }

    /// The last line that is this pattern, as [`IgnoreMatcher::excluded_by`] gives it.
    pub(super) fn rule(&self, pattern: &str) -> Option<IgnoreRule> {
        self.rules().filter(|rule| read_ignore_file(&rule.text).iter().any(|read| read == pattern)).last()
    }

    fn rules(&self) -> impl Iterator<Item = IgnoreRule> {
        let lines = self.text.lines().enumerate();
        lines.map(|(number, text)| IgnoreRule {
            file: self.name.clone(),
            line: number + 1,
            text: text.trim_end().to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_rule_is_known() {
        let text = "# comment\n\n/docs/\n  *.md  \n!keep.md\n*.md\n".to_owned();
        let file = IgnoreFile { name: ".dockerignore".into(), text };
        assert_eq!(file.rule("docs").unwrap().to_string(), ".dockerignore:3: /docs/");
        assert_eq!(file.rule("*.md").unwrap().line, 6);
        assert_eq!(file.rule("other"), None);
    }

    #[test]
    fn a_line_that_is_no_pattern_is_named() {
        let file = IgnoreFile { name: "x.dockerignore".into(), text: "a\n[\n".into() };
        let error = file.matcher().unwrap_err().to_string();
        assert!(error.starts_with("error parsing ignore file: x.dockerignore:2: [: "), "{error}");
    }
}
