//! A flat archive of a root file system as the layer of an image: what `import` takes.

use std::io::{self, Cursor, Read, Write};

use kiln_oci::Descriptor;
use kiln_store::{Blob, ImageLayer, Store};

use crate::compression::{CompressedWriter, Compression, Format, detect};
use crate::load::{ImportError, LoadError};
use crate::unpack;

/// As many bytes as tell the compression.
const START: u64 = 16;

/// Makes a layer of a tar archive in any known compression. Its uncompressed bytes stay as they are, and so does an
/// archive that is compressed as layers may be; another one is compressed anew.
///
/// # Errors
/// An archive that cannot be read, or is none.
pub fn layer<R: Read + Send>(store: &Store, mut archive: R) -> Result<ImageLayer, LoadError> {
    let mut start = Vec::new();
    archive.by_ref().take(START).read_to_end(&mut start).map_err(read_failed)?;
    let compression = detect(&start);
    let archive = Cursor::new(start).chain(archive);
    let (blob, format) = match compression {
        Compression::Gzip => (copied(store, archive)?, Format::GZIP),
        Compression::Zstd => (copied(store, archive)?, Format::ZSTD),
        Compression::Identity | Compression::Bzip2 | Compression::Xz => (compressed(store, archive)?, Format::GZIP),
    };
    let unpacked = unpack::layer(store, store.blobs().open(&blob.digest)?, None)
        .map_err(|source| ImportError::Unpack { digest: blob.digest.clone(), source: Box::new(source) })?;
    let descriptor = Descriptor::new(format.media_type(), blob.digest, blob.size);
    Ok(ImageLayer { diff_id: unpacked.diff_id, layer: Some(unpacked.layer.id()), blob: Some(descriptor) })
}

fn copied(store: &Store, mut archive: impl Read) -> Result<Blob, LoadError> {
    let mut blob = store.blobs().create()?;
    io::copy(&mut archive, &mut blob).map_err(read_failed)?;
    kept(store, blob.commit(None, None)?)
}

fn compressed(store: &Store, archive: impl Read) -> Result<Blob, LoadError> {
    let mut plain = unpack::bounded(archive, unpack::Limits::settled()).map_err(read_failed)?;
    let mut blob = CompressedWriter::new(store.blobs().create()?, Format::GZIP);
    io::copy(&mut plain, &mut blob).map_err(read_failed)?;
    let mut blob = blob.finish().map_err(read_failed)?;
    blob.flush().map_err(read_failed)?;
    kept(store, blob.commit(None, None)?)
}

/// Nobody takes the blob away while this process needs it.
fn kept(store: &Store, blob: Blob) -> Result<Blob, LoadError> {
    store.leases().pin_blobs(std::slice::from_ref(&blob.digest))?;
    Ok(blob)
}

fn read_failed(source: io::Error) -> LoadError {
    LoadError::Read { place: "the archive".to_owned(), source }
}
