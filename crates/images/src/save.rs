//! `kiln save`: images from the store into an archive.

use std::io::Write;

use kiln_oci::Reference;
use kiln_progress::Task;
use kiln_store::{Image, Store};

use crate::export::{ExportError, ExportOptions, Exported, Listing, Parts, write_archive};

/// Writes images, each under the names given with it, as docker archive and OCI layout in one tar. An image for
/// several platforms is a list of images; the docker archive, which knows no platforms, has the first of them.
/// `output` is flushed.
///
/// Images that were pulled keep their manifest, and so their digest.
pub fn save<W: Write>(
    output: W,
    store: &Store,
    images: &[(Vec<Image>, Vec<Reference>)],
    task: &Task,
) -> Result<Vec<Exported>, ExportError> {
    let options = ExportOptions::default();
    let mut listing = Listing::default();
    let mut exported = Vec::new();
    for (platforms, names) in images {
        let parts = platforms.iter().map(|image| Parts::of_image(store, image, &options));
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        exported.push(listing.add_platforms(&parts, names, &options)?);
        if let Some(first) = parts.first() {
            listing.add_docker_image(first, names);
        }
    }
    write_archive(output, store, &listing, task)?;
    Ok(exported)
}
