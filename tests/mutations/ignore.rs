//! Patterns of `.dockerignore` and `--exclude`, as far as the generator writes them: a path, `*` once in the first
//! component, `**/` and a name with `*`, each with `!` or without.

/// A list of patterns.
pub(crate) struct Patterns<'a>(&'a [String]);

impl<'a> Patterns<'a> {
    /// These, in order.
    pub(crate) fn new(lines: &'a [String]) -> Self {
        Patterns(lines)
    }

    /// Whether the last pattern that says something of a path, or of a directory above it, leaves it out.
    pub(crate) fn exclude(&self, path: &str) -> bool {
        let mut excluded = false;
        for line in self.0 {
            let (pattern, excludes) = line.strip_prefix('!').map_or((line.as_str(), true), |rest| (rest, false));
            if covers(pattern, path) {
                excluded = excludes;
            }
        }
        excluded
    }
}

/// Whether a pattern matches a path or a directory above it.
fn covers(pattern: &str, path: &str) -> bool {
    if let Some(name) = pattern.strip_prefix("**/") {
        return path.split('/').any(|part| matches(name, part));
    }
    let depth = pattern.split('/').count();
    let parts: Vec<&str> = path.split('/').collect();
    parts.len() >= depth && pattern.split('/').zip(&parts).all(|(pattern, part)| matches(pattern, part))
}

/// Whether a name matches a pattern with at most one `*`.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, end)) => name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end),
    }
}
