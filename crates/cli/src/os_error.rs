//! The kernel's errors in Go's words, which docker's messages have.

use std::io::Error;
use std::path::Path;

use crate::failure::Failure;

/// `open x: no such file or directory`
pub(crate) fn failure(action: &str, path: &Path, error: &Error) -> Failure {
    Failure::new(format!("{action} {}: {}", path.display(), words(error)))
}

/// Lower case, without the number that Rust adds.
pub(crate) fn words(error: &Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}
