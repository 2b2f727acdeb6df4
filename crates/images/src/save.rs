//! `kiln save`: images from the store into an archive.

use std::io::Write;

use kiln_oci::Reference;
use kiln_progress::Task;
use kiln_store::{Image, Store};

use crate::export::{ExportError, ExportOptions, Exported, Listing, Parts, write_archive};

/// Writes images, each under the names given with it, as docker archive and OCI layout in one tar.
/// `output` is flushed.
///
/// Images that were pulled keep their manifest, and so their digest.
pub fn save<W: Write>(
    output: W,
    store: &Store,
    images: &[(Image, Vec<Reference>)],
    task: &Task,
) -> Result<Vec<Exported>, ExportError> {
    let options = ExportOptions::default();
    let mut listing = Listing::default();
    let mut exported = Vec::new();
    for (image, names) in images {
        let parts = Parts::of_image(store, image, &options)?;
        listing.add_image(&parts, names);
        exported.push(Exported { descriptor: parts.descriptor, configs: vec![image.id.clone()] });
    }
    write_archive(output, store, &listing, task)?;
    Ok(exported)
}
