//! Which blob a layer was packed into, so that the next export only copies it.
//!
//! Kept as a record of the store: it goes when the layer goes, and counts only while the blob is
//! there.

use kiln_store::{Key, Layer, NewRecord, Store, Timestamp};

use super::PackedLayer;
use crate::compression::Format;

/// Names the packing of a layer in a format. Changes with everything that changes bytes.
pub(super) fn key(layer: &Layer, format: Format, newest: Option<Timestamp>) -> Key {
    let newest = newest.map(|time| (time.seconds, time.nanoseconds));
    let text = format!("packed layer 1 {} {format:?} {newest:?}", layer.id());
    Key(*blake3::hash(text.as_bytes()).as_bytes())
}

/// The blob of an earlier packing, if it is still there.
pub(super) fn find(store: &Store, key: &Key) -> Result<Option<PackedLayer>, kiln_store::Error> {
    let Some(record) = store.records().find(key)? else {
        return Ok(None);
    };
    let Ok(packed) = serde_json::from_str::<PackedLayer>(&record.effects) else {
        return Ok(None);
    };
    // Pinned before it is looked at: what is there then stays.
    store.leases().pin_blobs(std::slice::from_ref(&packed.descriptor.digest))?;
    let size = store.blobs().size(&packed.descriptor.digest)?;
    Ok((size == Some(packed.descriptor.size)).then_some(packed))
}

/// Remembers a packing.
pub(super) fn insert(store: &Store, key: &Key, layer: &Layer, packed: &PackedLayer) -> Result<(), kiln_store::Error> {
    let Ok(effects) = serde_json::to_string(packed) else {
        return Ok(());
    };
    store.leases().pin_blobs(std::slice::from_ref(&packed.descriptor.digest))?;
    let record = NewRecord {
        op: *key,
        lineage: "packed layer".to_owned(),
        layers: vec![layer.id()],
        inputs: Vec::new(),
        effects,
    };
    store.records().insert(&record, &[*key])?;
    Ok(())
}
