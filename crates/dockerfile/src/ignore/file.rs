//! Lines of a `.dockerignore` file to patterns.

/// The patterns of a `.dockerignore` file: comments (only at the very start of a line) and blank lines
/// dropped, paths cleaned, a leading slash dropped.
pub fn read_ignore_file(text: &str) -> Vec<String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut patterns = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let (negation, pattern) = match line.strip_prefix('!') {
            Some(pattern) => ("!", pattern.trim()),
            None => ("", line),
        };
        let pattern = if pattern.is_empty() { String::new() } else { clean(pattern) };
        let pattern = match pattern.strip_prefix('/') {
            Some(rest) if !rest.is_empty() => rest,
            _ => pattern.as_str(),
        };
        patterns.push(format!("{negation}{pattern}"));
    }
    patterns
}

/// A path without `.`, inner `..` and double slashes; `.` when nothing is left.
pub(super) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}
