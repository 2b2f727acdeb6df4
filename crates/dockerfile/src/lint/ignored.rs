//! Whether a source of COPY is left out of the context.

use crate::ignore::IgnoreMatcher;

/// The source without `.` and `..`, when the ignore file leaves it out with all that is in it.
///
/// A pattern such as `.*` names `.` too; only one that takes everything makes the whole context empty.
pub(super) fn by(matcher: &IgnoreMatcher, source: &str) -> Option<String> {
    let path = clean(source);
    let whole = matches!(path.as_str(), "." | "/");
    let asked = if whole { ANY_NAME } else { path.trim_start_matches('/') };
    let all_of_it = if whole { !matcher.has_exceptions() } else { matcher.can_prune(asked) };
    (all_of_it && matcher.excludes(asked).unwrap_or(false)).then_some(path)
}

/// A name that no pattern means but one that takes everything.
const ANY_NAME: &str = "\u{1}";

fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !matches!(*part, "" | ".")) {
        match (part, parts.last()) {
            ("..", Some(last)) if *last != ".." => drop(parts.pop()),
            ("..", _) if path.starts_with('/') => {}
            _ => parts.push(part),
        }
    }
    let root = if path.starts_with('/') { "/" } else { "" };
    match (parts.is_empty(), root) {
        (true, "") => ".".to_owned(),
        (_, root) => format!("{root}{}", parts.join("/")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out() {
        let by = |patterns: &str, source: &str| by(&IgnoreMatcher::from_file(patterns).unwrap(), source);
        assert_eq!(by("*.log\n", "./a.log").as_deref(), Some("a.log"));
        assert_eq!(by("logs\n", "/logs/x").as_deref(), Some("/logs/x"));
        assert_eq!(by("logs\n", "src"), None);
        assert_eq!(by(".*\n", "."), None, "dot files only");
        assert_eq!(by("*\n", ".").as_deref(), Some("."));
        assert_eq!(by("*\n!src\n", "."), None);
        assert_eq!(by("*\n!src\n", "src"), None);
        assert_eq!(by("*\n!src\n", "docs").as_deref(), Some("docs"));
        assert_eq!(by("**\n!a/b\n", "a"), None, "a part of it is brought back");
    }
}
