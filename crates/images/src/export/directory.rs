//! An OCI layout as a directory. A layout that is there already keeps its other images.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use kiln_oci::{Descriptor, Digest, Index, Reference};
use kiln_progress::Task;
use kiln_store::Store;

use super::archive::to_json;
use super::{ExportError, ExportOptions, Exported, ImageContent, Listing, Whole};
use crate::layout;

/// A larger `index.json` than this is not read.
const INDEX_LIMIT: u64 = 8 << 20;

/// Writes an OCI layout into `directory`, which is made if it does not exist. Several images become one index of
/// platforms. An image of the layout that has one of `names`, or that has no name, makes room for the new one.
///
/// # Errors
/// A directory that cannot be written, an index there that is malformed, and all that packing can meet.
pub fn oci_directory(
    directory: &Path,
    store: &Store,
    images: &[ImageContent],
    names: &[Reference],
    options: &ExportOptions,
    task: &Task,
) -> Result<Exported, ExportError> {
    let whole = Whole::of_contents(store, images, options, task)?;
    let (listing, exported) = Listing::of(&whole, names, options.created.as_deref());
    let index = merged(directory, &listing.index)?;
    for (digest, bytes) in &listing.documents {
        write(directory, &layout::blob_path(digest), |file| file.write_all(bytes))?;
    }
    for digest in listing.stored.keys() {
        stored(directory, store, digest)?;
    }
    write(directory, layout::MARKER, |file| file.write_all(layout::MARKER_CONTENT))?;
    let index = to_json(&index, "index")?;
    write(directory, layout::INDEX, |file| file.write_all(&index))?;
    Ok(exported)
}

/// The index that is there, with `entries` in the place of those of the same name.
fn merged(directory: &Path, entries: &[Descriptor]) -> Result<Index, ExportError> {
    let mut index = existing(&directory.join(layout::INDEX))?.unwrap_or_else(|| Index::new(Vec::new()));
    let name = |entry: &Descriptor| {
        let annotation = |key: &str| entry.annotations.get(key).cloned();
        (annotation(layout::IMAGE_NAME), annotation(layout::REF_NAME))
    };
    index.manifests.retain(|old| !entries.iter().any(|new| name(new) == name(old)));
    index.manifests.extend(entries.iter().cloned());
    Ok(index)
}

fn existing(path: &Path) -> Result<Option<Index>, ExportError> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => _ = opened.and_then(|file| file.take(INDEX_LIMIT).read_to_end(&mut bytes)).map_err(failed(path))?,
    }
    let malformed = |source| ExportError::Document { what: "index of the directory", source };
    serde_json::from_slice(&bytes).map(Some).map_err(malformed)
}

fn stored(directory: &Path, store: &Store, digest: &Digest) -> Result<(), ExportError> {
    let path = layout::blob_path(digest);
    let blob = store.blobs().open(digest)?;
    // A blob of that name and size is the same, and may be large.
    if fs::metadata(directory.join(&path)).is_ok_and(|found| found.len() == blob.size()) {
        return Ok(());
    }
    write(directory, &path, |file| {
        for piece in blob.pieces()? {
            file.write_all(&piece?)?;
        }
        Ok(())
    })
}

/// A file that takes its place when it is whole.
fn write(directory: &Path, path: &str, content: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), ExportError> {
    let target = directory.join(path);
    let parent = target.parent().unwrap_or(directory);
    fs::create_dir_all(parent).map_err(failed(parent))?;
    let temporary = parent.join(format!(".kiln-{}", std::process::id()));
    let written = File::create(&temporary).and_then(|mut file| {
        content(&mut file)?;
        fs::rename(&temporary, &target)
    });
    if written.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(failed(&target))
}

fn failed(path: &Path) -> impl Fn(io::Error) -> ExportError {
    let path = path.display().to_string();
    move |source| ExportError::WriteEntry { path: path.clone(), source }
}
