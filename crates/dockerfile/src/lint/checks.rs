//! `check=skip=…;error=…;experimental=…`: which rules run, and whether a finding fails the build. It stands in a
//! directive at the top, in a comment above an instruction, or in a build argument.

use std::collections::BTreeMap;

use crate::directive;

use super::rule::{Group, Rule};

/// The build argument that takes the place of the directive.
pub const CHECK_ARGUMENT: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// Which rules run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    skip: Selection,
    experimental: Selection,
    /// Whether a finding fails the build.
    pub error: bool,
}

/// Rules by name.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Selection {
    All,
    Named(Vec<String>),
}

impl Default for Selection {
    fn default() -> Selection {
        Selection::Named(Vec::new())
    }
}

impl Selection {
    fn parse(text: &str) -> Selection {
        match text {
            "all" => Selection::All,
            list => Selection::Named(list.split(',').map(|name| name.trim().to_owned()).collect()),
        }
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let names: &[String] = match self {
            Selection::All => &[],
            Selection::Named(names) => names,
        };
        names.iter().map(String::as_str)
    }

    fn has(&self, rule: Rule) -> bool {
        match self {
            Selection::All => true,
            Selection::Named(names) => names.iter().any(|name| name == rule.name()),
        }
    }
}

/// Why a text does not say which rules run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChecksError {
    /// No such option, or none at all.
    #[error("invalid check option {0:?}")]
    Option(String),
    /// `error=` with something that is neither true nor false.
    #[error("failed to parse check option {0:?}: neither true nor false")]
    Boolean(String),
}

/// The options after the second `;` are taken as one.
const MOST_OPTIONS: usize = 3;

impl Checks {
    /// Reads `skip=A,B;error=true;experimental=all`.
    ///
    /// # Errors
    /// An option that does not exist, or a value that it cannot have.
    pub fn parse(text: &str) -> Result<Checks, ChecksError> {
        let mut checks = Checks::default();
        let text = text.trim();
        if text.is_empty() {
            return Ok(checks);
        }
        for option in text.splitn(MOST_OPTIONS, ';') {
            let (name, value) = option.split_once('=').ok_or_else(|| ChecksError::Option(option.to_owned()))?;
            let (name, value) = (name.trim(), value.trim());
            match name {
                "skip" => checks.skip = Selection::parse(value),
                "experimental" => checks.experimental = Selection::parse(value),
                "error" => checks.error = boolean(value).ok_or_else(|| ChecksError::Boolean(option.to_owned()))?,
                _ => return Err(ChecksError::Option(name.to_owned())),
            }
        }
        Ok(checks)
    }

    /// What the build argument says, or without it the value of the directive.
    ///
    /// # Errors
    /// As [`Checks::parse`].
    pub fn given(build_args: &BTreeMap<String, String>, directive: Option<&str>) -> Result<Checks, ChecksError> {
        match (build_args.get(CHECK_ARGUMENT), directive) {
            (Some(given), _) => Checks::parse(given),
            (None, Some(directive)) => Checks::parse(first_word(directive)),
            (None, None) => Ok(Checks::default()),
        }
    }

    /// What the directive at the top of a Dockerfile says, if there is one. A shebang may stand before it.
    ///
    /// # Errors
    /// As [`Checks::parse`].
    pub fn of_dockerfile(text: &str) -> Result<Option<Checks>, ChecksError> {
        directive_of(text).map(|value| Checks::parse(first_word(value))).transpose()
    }

    /// What the comments above an instruction say: the first of them that is about checks counts, and counts for
    /// nothing if it cannot be read.
    pub(crate) fn of_comments(comments: &[String]) -> Option<Checks> {
        let directives = comments.iter().filter_map(|comment| directive::split_comment(comment));
        let mut checks = directives.filter(|(name, _)| name.eq_ignore_ascii_case("check"));
        checks.next().and_then(|(_, value)| Checks::parse(first_word(value)).ok())
    }

    /// The names that no rule has. BuildKit does not mind them, so they are no error.
    pub(crate) fn unknown_names(&self) -> Vec<&str> {
        let names = [&self.skip, &self.experimental].into_iter().flat_map(Selection::names);
        names.filter(|name| !name.is_empty() && Rule::all().all(|rule| rule.name() != *name)).collect()
    }

    /// Whether a rule runs, when a comment above the instruction says `above`.
    pub(crate) fn runs(&self, rule: Rule, above: Option<&Checks>) -> bool {
        let all = || std::iter::once(self).chain(above);
        match rule.group() {
            Group::Experiment | Group::Opinion => all().any(|checks| checks.experimental.has(rule)),
            Group::Check | Group::Hint => !all().any(|checks| checks.skip.has(rule)),
        }
    }
}

/// The value of the directive at the top.
fn directive_of(text: &str) -> Option<&str> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().skip(usize::from(text.starts_with("#!")));
    let known = |name: &str| ["syntax", "escape", "check"].iter().any(|known| name.eq_ignore_ascii_case(known));
    let mut directives = lines.map_while(directive::split).take_while(|(name, _)| known(name));
    directives.find(|(name, _)| name.eq_ignore_ascii_case("check")).map(|(_, value)| value)
}

/// What follows a blank is a remark.
fn first_word(value: &str) -> &str {
    value.split(' ').next().unwrap_or_default()
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(text: &str, rule: Rule) -> bool {
        Checks::parse(text).unwrap().runs(rule, None)
    }

    #[test]
    fn skipping_and_asking() {
        assert!(runs("", Rule::UndefinedVar));
        assert!(!runs("skip=all", Rule::UndefinedVar));
        assert!(!runs(" skip = JSONArgsRecommended, UndefinedVar ", Rule::UndefinedVar));
        assert!(runs("skip=undefinedvar", Rule::UndefinedVar), "names have a case");
        assert!(!runs("skip=FromAsCasing", Rule::InvalidDefinitionDescription));
        assert!(runs("skip=all;experimental=all", Rule::InvalidDefinitionDescription), "asking beats skipping");
        assert!(runs("error=1;experimental=InvalidDefinitionDescription", Rule::InvalidDefinitionDescription));
        assert!(!runs("skip=kiln/UnpinnedBase", Rule::UnpinnedBase));
    }

    #[test]
    fn what_cannot_be_read() {
        let message = |text: &str| Checks::parse(text).unwrap_err().to_string();
        assert_eq!(message("bogus=1"), "invalid check option \"bogus\"");
        assert_eq!(message("skip"), "invalid check option \"skip\"");
        assert_eq!(message("skip=all;"), "invalid check option \"\"");
        assert_eq!(message("error=perhaps"), "failed to parse check option \"error=perhaps\": neither true nor false");
    }

    #[test]
    fn names_of_no_rule() {
        let unknown = |text: &str| Checks::parse(text).unwrap().unknown_names().join(" ");
        assert_eq!(
            unknown("skip=UndefinedVar,JsonArgsRecommended,;experimental=kiln/UnpinnedBase,Nope"),
            "JsonArgsRecommended Nope"
        );
        assert_eq!(unknown("skip=all"), "");
    }

    #[test]
    fn the_directive_may_follow_others() {
        let skips =
            |text: &str| Checks::of_dockerfile(text).unwrap().is_some_and(|checks| checks.skip.has(Rule::UndefinedVar));
        assert!(skips("# syntax=docker/dockerfile:1\n#Check = skip=UndefinedVar // because\nFROM a\n"));
        assert!(skips("#!/usr/bin/env kiln\n# check=skip=all\nFROM a\n"));
        assert!(skips("\u{feff}# check=skip=all\r\nFROM a\r\n"));
        assert!(!skips("# a remark\n# check=skip=all\nFROM a\n"));
        assert!(!skips("\n# check=skip=all\nFROM a\n"));
        assert!(!skips("# other=x\n# check=skip=all\nFROM a\n"));
        assert!(!skips("# check=skip=FromAsCasing, UndefinedVar\nFROM a\n"), "a blank ends it");
    }

    #[test]
    fn comments_add_to_the_directive() {
        let above =
            |comments: &[&str]| Checks::of_comments(&comments.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>());
        let directive = Checks::parse("skip=FromAsCasing").unwrap();
        let comment = above(&["why", "check=skip=UndefinedVar"]);
        assert!(!directive.runs(Rule::UndefinedVar, comment.as_ref()));
        assert!(!directive.runs(Rule::FromAsCasing, comment.as_ref()));
        assert_eq!(above(&["check=skip", "check=skip=all"]), None);
    }
}
