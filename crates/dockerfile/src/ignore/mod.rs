//! `.dockerignore`: reading the file and asking, during a walk, what it leaves out.
//!
//! Rules apply in order and the last match wins; `!` takes back. A rule that matches a directory matches
//! all below it. [`IgnoreMatcher::check`] hands each directory's findings down to its entries, which is
//! what a build's walk does; [`IgnoreMatcher::excludes`] answers for a single path.

mod file;
mod path_regex;
mod pattern;
mod syntax;

pub use file::read_ignore_file;
use pattern::Pattern;

/// A pattern that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IgnoreError {
    /// `!` without a pattern.
    #[error("illegal exclusion pattern: \"!\"")]
    LoneNegation,
    /// Brackets or escapes that do not fit.
    #[error("syntax error in pattern")]
    Syntax {
        /// The pattern.
        pattern: String,
    },
}

/// A list of patterns, ready to be asked.
#[derive(Clone, Debug, Default)]
pub struct IgnoreMatcher {
    patterns: Vec<Pattern>,
}

/// Which patterns matched a directory: what its entries inherit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inherited(Option<Vec<bool>>);

/// The answer for one path of a walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the path is left out.
    pub excluded: bool,
    /// For a directory: what to ask about its entries with.
    pub inherited: Inherited,
}

impl IgnoreMatcher {
    /// Takes patterns as [`read_ignore_file`] gives them, or as `--exclude` has them.
    ///
    /// # Errors
    /// A pattern with a wrong syntax. Some patterns show their fault only when they are used.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<IgnoreMatcher, IgnoreError> {
        let trimmed = patterns.iter().map(|pattern| pattern.as_ref().trim());
        let patterns = trimmed.filter(|pattern| !pattern.is_empty()).map(Pattern::parse);
        Ok(IgnoreMatcher { patterns: patterns.collect::<Result<_, _>>()? })
    }

    /// Takes the text of a `.dockerignore` file.
    ///
    /// # Errors
    /// As [`IgnoreMatcher::new`].
    pub fn from_file(text: &str) -> Result<IgnoreMatcher, IgnoreError> {
        IgnoreMatcher::new(&read_ignore_file(text))
    }

    /// Whether nothing can ever be left out.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Asks about one path of a walk, relative, with slashes. `parent` is what the parent directory's
    /// verdict said; [`Inherited::default`] for entries of the root.
    ///
    /// # Errors
    /// A pattern that turns out to be wrong when it is used.
    pub fn check(&self, path: &str, parent: &Inherited) -> Result<Verdict, IgnoreError> {
        let mut excluded = false;
        let mut matches = vec![false; self.patterns.len()];
        for (index, pattern) in self.patterns.iter().enumerate() {
            let inherited = parent.0.as_ref().is_some_and(|matches| matches.get(index) == Some(&true));
            matches[index] = if inherited {
                true
            } else if pattern.negated != excluded {
                // It could not change anything.
                continue;
            } else if parent.0.is_some() {
                pattern.matches(path)?
            } else {
                pattern.matches_or_parent(path)?
            };
            if matches[index] {
                excluded = !pattern.negated;
            }
        }
        Ok(Verdict { excluded, inherited: Inherited(Some(matches)) })
    }

    /// Whether some pattern takes back what others leave out.
    pub fn has_exceptions(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.negated)
    }

    /// Whether a walk can leave out all below an excluded directory, because no `!` pattern can bring
    /// anything in it back.
    pub fn can_prune(&self, directory: &str) -> bool {
        !self.patterns.iter().any(|pattern| pattern.negated && pattern.may_match_below(directory))
    }

    /// Whether a single path is left out, itself or by one of its parents.
    ///
    /// # Errors
    /// A pattern that turns out to be wrong when it is used.
    pub fn excludes(&self, path: &str) -> Result<bool, IgnoreError> {
        Ok(self.deciding_rule(path)?.is_some_and(|pattern| !pattern.negated))
    }

    /// The rule, as written, that leaves a path out; `None` when nothing does. For messages.
    ///
    /// # Errors
    /// A pattern that turns out to be wrong when it is used.
    pub fn excluded_by(&self, path: &str) -> Result<Option<&str>, IgnoreError> {
        Ok(self.deciding_rule(path)?.filter(|pattern| !pattern.negated).map(|pattern| pattern.text.as_str()))
    }

    /// The last rule that changed the answer.
    fn deciding_rule(&self, path: &str) -> Result<Option<&Pattern>, IgnoreError> {
        let mut decided: Option<&Pattern> = None;
        for pattern in &self.patterns {
            let excluded = decided.is_some_and(|pattern| !pattern.negated);
            if pattern.negated == excluded && pattern.matches_or_parent(path)? {
                decided = Some(pattern);
            }
        }
        Ok(decided)
    }
}
