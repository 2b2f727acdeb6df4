//! Turns a layer of the store into a tar archive, its diff id, and a compressed blob.
//!
//! Bytes are compared with the layer's index on their way out. This does not know images: which
//! layers lie below is told by the caller.

mod ahead;
mod entries;
mod remembered;
mod streams;

use std::io::{self, Write};

use kiln_oci::{Descriptor, Digest};
use kiln_store::{Layer, LayerId, Store, Timestamp, Union};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use ahead::ReadAhead;

use crate::compression::{CompressedWriter, Format, decompress};
use crate::tar::TarWriter;

pub(crate) use entries::{copy_content, tar_entry};
pub(crate) use streams::Hashing;

/// Why a layer cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] kiln_store::Error),
    /// The archive cannot be written.
    #[error("cannot write the layer's archive: {0}")]
    Write(#[source] io::Error),
    /// A file of the layer cannot be read.
    #[error("cannot read {path:?} of a layer: {source}")]
    Read {
        /// The file, lossily.
        path: String,
        /// What the disk said.
        source: io::Error,
    },
    /// The layer's archive is another one than before.
    #[error(
        "layer {layer} cannot be written as it was: its diff id was {expected} and is now {actual}; \
         `kiln system check --repair` mends the store"
    )]
    Changed {
        /// The layer.
        layer: LayerId,
        /// What the store knows.
        expected: Digest,
        /// What the archive has now.
        actual: Digest,
    },
}

/// A layer as a blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackedLayer {
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// Media type, digest and size of the blob, which is in the store.
    pub descriptor: Descriptor,
}

/// Writes `layer` as a tar to `output` and returns that, not flushed.
///
/// `lower` are the layers below it, which tell what an opaque directory deletes. File times after
/// `newest` are written as `newest`.
pub fn write_layer<W: Write>(
    output: W,
    layer: &Layer,
    lower: &Union,
    newest: Option<Timestamp>,
) -> Result<W, PackError> {
    let mut tar = TarWriter::new(ReadAhead::new(output, layer));
    entries::write_entries(&mut tar, layer, lower, newest)?;
    tar.finish().map_err(PackError::Write)?.finish()
}

/// Whether the layer's tar is the same whatever lies below it.
///
/// # Errors
/// An index that cannot be read.
pub fn stands_alone(layer: &Layer) -> Result<bool, kiln_store::Error> {
    let index = layer.index()?;
    let root_is_its_own = index.get("").is_some_and(|root| !root.parent_only());
    Ok(!root_is_its_own && index.entries().all(|entry| !entry.opaque()))
}

/// The diff ids of all `layers` (bottom first), computed in parallel where the store does not know
/// them yet, and kept there.
pub fn diff_ids(store: &Store, layers: &[Layer]) -> Result<Vec<Digest>, PackError> {
    let at = |position: usize| layers.get(..position).unwrap_or_default().to_vec();
    let one = |(position, layer): (usize, &Layer)| match layer.diff_id()? {
        Some(diff_id) => Ok(diff_id),
        None => diff_id(store, layer, &Union::new(at(position))?),
    };
    layers.par_iter().enumerate().map(one).collect()
}

fn diff_id(store: &Store, layer: &Layer, lower: &Union) -> Result<Digest, PackError> {
    let hashing = write_layer(Hashing::new(io::sink()), layer, lower, None)?;
    let (_, diff_id) = hashing.finish();
    store.layers().set_diff_id(layer, &diff_id, false)?;
    Ok(diff_id)
}

/// Packs and compresses `layer` into a blob of the store, in one pass; an earlier result that is
/// still there is taken instead.
pub fn blob(
    store: &Store,
    layer: &Layer,
    lower: &Union,
    format: Format,
    newest: Option<Timestamp>,
) -> Result<PackedLayer, PackError> {
    let key = remembered::key(layer, format, newest);
    if let Some(packed) = remembered::find(store, &key)? {
        return Ok(packed);
    }
    let compressed = CompressedWriter::new(store.blobs().create()?, format);
    let hashing = write_layer(Hashing::new(compressed), layer, lower, newest)?;
    let (compressed, diff_id) = hashing.finish();
    let blob = compressed.finish().map_err(PackError::Write)?.commit(None, None)?;
    if newest.is_none() {
        settle_diff_id(store, layer, &diff_id)?;
    }
    let descriptor = Descriptor::new(format.media_type(), blob.digest, blob.size);
    let packed = PackedLayer { diff_id, descriptor };
    remembered::insert(store, &key, layer, &packed)?;
    Ok(packed)
}

/// The bytes of a layer that is a blob, in another compression: a blob of the store. An earlier result that is still
/// there is taken instead.
pub fn compressed_anew(
    store: &Store,
    layer: &Layer,
    packed: PackedLayer,
    format: Format,
) -> Result<PackedLayer, PackError> {
    let key = remembered::key(layer, format, None);
    if let Some(packed) = remembered::find(store, &key)? {
        return Ok(packed);
    }
    let name = packed.descriptor.digest.to_string();
    let failed = |source| PackError::Read { path: name.clone(), source };
    let mut plain = decompress(store.blobs().open(&packed.descriptor.digest)?).map_err(failed)?;
    let mut compressed = CompressedWriter::new(store.blobs().create()?, format);
    io::copy(&mut plain, &mut compressed).map_err(failed)?;
    let blob = compressed.finish().map_err(PackError::Write)?.commit(None, None)?;
    let descriptor = Descriptor::new(format.media_type(), blob.digest, blob.size);
    let packed = PackedLayer { diff_id: packed.diff_id, descriptor };
    remembered::insert(store, &key, layer, &packed)?;
    Ok(packed)
}

/// Remembers that packing `layer` in `format` gives the blob `descriptor`, which came from elsewhere and is in the
/// store: whoever packs the layer so later need not do it.
pub fn remember(
    store: &Store,
    layer: &Layer,
    format: Format,
    diff_id: &Digest,
    descriptor: &Descriptor,
) -> Result<(), kiln_store::Error> {
    let packed = PackedLayer { diff_id: diff_id.clone(), descriptor: descriptor.clone() };
    remembered::insert(store, &remembered::key(layer, format, None), layer, &packed)
}

/// Keeps the diff id, or finds the layer changed since it was first computed.
fn settle_diff_id(store: &Store, layer: &Layer, actual: &Digest) -> Result<(), PackError> {
    match layer.diff_id()? {
        None => store.layers().set_diff_id(layer, actual, false)?,
        Some(expected) if expected != *actual => {
            layer.note_damage();
            return Err(PackError::Changed { layer: layer.id(), expected, actual: actual.clone() });
        }
        Some(_) => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests;
