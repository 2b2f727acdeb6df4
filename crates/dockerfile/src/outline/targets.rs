//! Which stages a Dockerfile has.

use crate::dockerfile::Dockerfile;
use crate::error::Error;
use crate::span::Span;

/// A stage that can be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Whether it is built if none is named.
    pub is_default: bool,
    /// The comment above its FROM that starts with its name.
    pub description: Option<String>,
    /// What it is based on, as written.
    pub base: String,
    /// `--platform`, as written.
    pub platform: Option<String>,
    /// Where its FROM stands.
    pub span: Span,
}

/// The stages of a Dockerfile, in order.
///
/// # Errors
/// Everything that the parser objects to.
pub fn targets(text: &str) -> Result<Vec<Target>, Vec<Error>> {
    let stages = Dockerfile::parse_all(text)?.stages;
    let last = stages.len().saturating_sub(1);
    let target = |(index, stage): (usize, crate::dockerfile::Stage)| Target {
        name: stage.name,
        is_default: index == last,
        description: stage.documentation,
        base: stage.base,
        platform: stage.platform,
        span: stage.span,
    };
    Ok(stages.into_iter().enumerate().map(target).collect())
}
