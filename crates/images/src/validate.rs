//! Checks every invariant of an image in an OCI layout or archive.
use std::io::Read;
use std::path::Path;

/// What is wrong with an image archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which document or blob.
    pub place: String,
    /// What is wrong.
    pub what: String,
}

/// Everything wrong with an OCI archive (in any known compression); empty if it is valid.
pub fn archive<R: Read>(archive: R) -> std::io::Result<Vec<Problem>> {
    todo!()
}

/// Everything wrong with an OCI layout directory.
pub fn layout(directory: &Path) -> std::io::Result<Vec<Problem>> {
    todo!()
}
