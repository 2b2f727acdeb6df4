//! Puts the entries of a tar archive into a layer: image layers, and archives of `ADD`.
use std::io::{self, Read};

use kiln_oci::Digest;
use kiln_store::{Layer, LayerWriter, Store, Union};

/// Why an archive cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive is no good.
    #[error(transparent)]
    Tar(#[from] crate::tar::TarError),
    /// The store refuses.
    #[error(transparent)]
    Store(#[from] kiln_store::Error),
}

/// A layer made from an archive.
#[derive(Clone, Debug)]
pub struct Unpacked {
    /// The layer, with its diff id set.
    pub layer: Layer,
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
}

/// Unpacks an image layer: a tar archive in any known compression, with whiteouts. Reads `blob` to its end.
/// A layer that the store has with the same diff id is returned in place of a second one.
pub fn layer<R: Read>(store: &Store, blob: R, expected: Option<&Digest>) -> Result<Unpacked, UnpackError> {
    todo!()
}

/// How `ADD` extracts an archive.
#[derive(Clone, Debug, Default)]
pub struct ExtractOptions {
    /// uid and gid that every entry gets in place of its own.
    pub owner: Option<(u32, u32)>,
}

/// Extracts an archive (in any known compression) into the directory `destination` of a layer.
/// `destination` is a path without symlinks, which exists in `writer` or `lower`. `lower`: the layers below the one that is written.
/// Paths are clamped into the destination; `.wh.` names delete there.
pub fn extract<R: Read>(
    archive: R,
    writer: &LayerWriter,
    lower: &Union,
    destination: &[u8],
    options: &ExtractOptions,
) -> Result<(), UnpackError> {
    todo!()
}

/// Whether `ADD` takes the file for an archive: its first entry can be read, whatever the compression. Reads only the beginning.
pub fn is_archive<R: Read>(file: R) -> io::Result<bool> {
    todo!()
}
