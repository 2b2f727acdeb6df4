//! Puts the entries of a tar archive into a layer: image layers, and archives of `ADD`.
//!
//! Nothing in an archive is trusted: paths are resolved here and by the store's writer, never by
//! the kernel's rules. Knows neither where archives come from nor what the layers below mean.

mod entries;
mod extract;
mod limits;
mod paths;
mod pipeline;

pub use extract::{ExtractOptions, START, extract, is_archive, starts_as_archive};
pub(crate) use limits::bounded;
pub use limits::{LimitExceeded, Limits};

use std::io::{self, Read};

use kiln_oci::Digest;
use kiln_store::{Layer, LayerWriter, Metadata, Store, Timestamp};

use crate::tar::{TarError, TarReader};

/// Why an archive cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive is damaged, or none.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// The compressed stream is damaged, or cannot be read.
    #[error("cannot read the archive: {0}")]
    Read(#[source] io::Error),
    /// It is over a limit.
    #[error("refusing the archive: {0}")]
    Limit(#[from] LimitExceeded),
    /// The layer cannot be written.
    #[error(transparent)]
    Store(#[from] kiln_store::Error),
    /// The content of an entry cannot be written.
    #[error("cannot write {path:?}: {source}")]
    Write {
        /// The entry, lossily.
        path: String,
        /// What the disk said.
        source: io::Error,
    },
    /// An entry's path leads out of the root.
    #[error("refusing the entry {path:?}: its path leads out of the file system being unpacked")]
    Escapes {
        /// The path as in the archive, lossily.
        path: String,
    },
    /// A path or part of it cannot exist.
    #[error("refusing the entry {path:?}: {reason}")]
    BadName {
        /// The path as in the archive, lossily.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A hard link to something that is not there.
    #[error("refusing the hard link {path:?}: its target {target:?} is not in the archive")]
    DanglingHardLink {
        /// The path as in the archive, lossily.
        path: String,
        /// The target as in the archive, lossily.
        target: String,
    },
    /// A parent of an entry is a link that does not lead to a directory within the destination.
    #[error("refusing the entry {path:?}: {link:?} does not lead to a directory within the destination")]
    ThroughLink {
        /// The path as in the archive, lossily.
        path: String,
        /// The link, beneath the destination, lossily.
        link: String,
    },
    /// The unpacked bytes are not those that the image's config names.
    #[error("the layer's content does not match the image's config: expected diff id {expected}, found {actual}")]
    DiffIdMismatch {
        /// What the config says.
        expected: Digest,
        /// What the bytes have.
        actual: Digest,
    },
}

/// A layer made from an archive.
#[derive(Clone, Debug)]
pub struct Unpacked {
    /// The layer, with its diff id set.
    pub layer: Layer,
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
}

/// Unpacks an image layer: a tar archive in any known compression, with whiteouts. Reads `blob` to
/// its end, on a thread of its own.
///
/// With `expected`, a layer of the store with that diff id is returned without reading, and other
/// bytes than expected are an error.
pub fn layer<R: Read + Send>(store: &Store, blob: R, expected: Option<&Digest>) -> Result<Unpacked, UnpackError> {
    if let Some(diff_id) = expected
        && let Some(layer) = store.layers().by_diff_id(diff_id)?
    {
        return Ok(Unpacked { layer, diff_id: diff_id.clone() });
    }
    staged(store, blob, expected)?.keep(store)
}

/// A layer made from an archive, before anybody sees it.
pub(crate) struct Staged {
    writer: LayerWriter,
    diff_id: Digest,
}

/// Unpacks as [`layer`] does, whether or not the store has the layer, and up to the point where others would see it.
pub(crate) fn staged<R: Read + Send>(store: &Store, blob: R, expected: Option<&Digest>) -> Result<Staged, UnpackError> {
    let root = Metadata::root_owned(0o755, Timestamp::default());
    let writer = store.layers().stage(&root)?.unpacker()?;
    let diff_id = pipeline::hashed(blob, |tar| entries::unpack_layer(tar, &writer)).map_err(UnpackError::told)?;
    if let Some(expected) = expected
        && *expected != diff_id
    {
        return Err(UnpackError::DiffIdMismatch { expected: expected.clone(), actual: diff_id });
    }
    Ok(Staged { writer, diff_id })
}

/// Unpacks an image layer although the store may hold one with that diff id: to put it in the place of a damaged one.
/// It has no diff id yet.
///
/// # Errors
/// A blob that is damaged, or whose bytes are others than `expected`.
pub fn anew<R: Read + Send>(store: &Store, blob: R, expected: &Digest) -> Result<Layer, UnpackError> {
    let root = Metadata::root_owned(0o755, Timestamp::default());
    let writer = store.layers().stage(&root)?.unpacker()?;
    let actual = pipeline::hashed(blob, |tar| entries::unpack_layer(tar, &writer)).map_err(UnpackError::told)?;
    if actual != *expected {
        return Err(UnpackError::DiffIdMismatch { expected: expected.clone(), actual });
    }
    Ok(writer.commit()?)
}

impl Staged {
    /// Commits the layer, unless another one with the same diff id came in between.
    pub(crate) fn keep(self, store: &Store) -> Result<Unpacked, UnpackError> {
        let Self { writer, diff_id } = self;
        let layer = match store.layers().by_diff_id(&diff_id)? {
            Some(layer) => layer,
            None => {
                let layer = writer.commit()?;
                store.layers().set_diff_id(&layer, &diff_id, true)?;
                layer
            }
        };
        Ok(Unpacked { layer, diff_id })
    }
}

impl UnpackError {
    /// The same, or if a limit is behind it, that limit.
    fn told(self) -> UnpackError {
        let limit = match &self {
            UnpackError::Read(source) | UnpackError::Tar(TarError::Read { source, .. }) => {
                LimitExceeded::behind(source)
            }
            _ => None,
        };
        limit.map_or(self, UnpackError::Limit)
    }
}

/// An archive's path for a message.
fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// Reads entries in any compression.
fn open<R: Read>(archive: R) -> Result<TarReader<limits::Bounded<R>>, UnpackError> {
    let plain = limits::bounded(archive, Limits::settled()).map_err(UnpackError::Read)?;
    Ok(TarReader::new(plain))
}

#[cfg(test)]
mod tests;
