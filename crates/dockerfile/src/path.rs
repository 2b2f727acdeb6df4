//! Slash-separated paths as text. Knows nothing about files.

/// Without `.`, `..` and double slashes; absolute.
pub(crate) fn clean_absolute(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// `path` as seen from the absolute `directory`, cleaned.
pub(crate) fn resolve(directory: &str, path: &str) -> String {
    if path.starts_with('/') { clean_absolute(path) } else { clean_absolute(&format!("{directory}/{path}")) }
}

/// Whether a destination is written as a directory.
pub(crate) fn names_directory(path: &str) -> bool {
    path.ends_with('/') || path == "." || path.ends_with("/.")
}

/// The part after the last slash.
pub(crate) fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
