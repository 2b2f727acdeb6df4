//! Turns a layer of the store into a tar archive, its diff id, and a compressed blob.
use std::io::Write;

use kiln_oci::{Descriptor, Digest};
use kiln_store::{Layer, Store, Timestamp, Union};

use crate::compression::Format;

/// Why a layer cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] kiln_store::Error),
    /// The archive cannot be written.
    #[error("cannot write the layer's archive: {0}")]
    Write(#[source] std::io::Error),
}

/// A layer as a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedLayer {
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// Media type, digest and size of the blob, which is in the store.
    pub descriptor: Descriptor,
}

/// Writes `layer` as a tar to `output`. `lower` are the layers below it; file times after
/// `newest` are written as `newest`. Every byte is verified against the index.
pub fn write_layer<W: Write>(
    output: W,
    layer: &Layer,
    lower: &Union,
    newest: Option<Timestamp>,
) -> Result<W, PackError> {
    todo!()
}

/// The diff ids of all `layers` (bottom first), computed in parallel where the store does not know them yet, and kept there.
pub fn diff_ids(store: &Store, layers: &[Layer]) -> Result<Vec<Digest>, PackError> {
    todo!()
}

/// Packs and compresses `layer` into a blob of the store, in one pass; reuses the blob of an earlier call.
pub fn blob(
    store: &Store,
    layer: &Layer,
    lower: &Union,
    format: Format,
    newest: Option<Timestamp>,
) -> Result<PackedLayer, PackError> {
    todo!()
}
