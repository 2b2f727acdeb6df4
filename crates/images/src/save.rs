//! `kiln save`: images from the store into an archive.

use std::io::Write;

use kiln_oci::Reference;
use kiln_progress::Task;
use kiln_store::{Image, Store};

use crate::export::{ExportError, Exported, Listing, Whole, write_archive};

/// Writes images, each under the names given with it, as docker archive and OCI layout in one tar. An image for
/// several platforms is a list of images; the docker archive, which knows no platforms, has the first of them.
/// `output` is flushed.
///
/// Images that were pulled keep their manifest, and so their digest; those of several platforms the index that they were
/// kept with, if all of it is here.
pub fn save<W: Write>(
    output: W,
    store: &Store,
    images: &[(Vec<Image>, Vec<Reference>)],
    task: &Task,
) -> Result<Vec<Exported>, ExportError> {
    let mut listing = Listing::default();
    let mut exported = Vec::new();
    for (platforms, names) in images {
        let known = names.first().map(|name| store.images().root(&name.to_string())).transpose()?.flatten();
        let whole = Whole::of_images(store, platforms, known.as_ref())?;
        exported.push(listing.add(&whole, names, None));
        if let Some(first) = whole.parts.first() {
            listing.add_docker_image(first, names);
        }
    }
    write_archive(output, store, &listing, task)?;
    Ok(exported)
}
