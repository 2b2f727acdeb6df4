//! `kiln save`: images from the store into an archive.
use std::io::Write;

use kiln_progress::Task;
use kiln_store::{Image, Store};

use crate::export::ExportError;

/// Writes images, with the names to give each, as docker archive and OCI layout in one tar.
pub fn save<W: Write>(
    output: W,
    store: &Store,
    images: &[(Image, Vec<String>)],
    task: &Task,
) -> Result<W, ExportError> {
    todo!()
}
