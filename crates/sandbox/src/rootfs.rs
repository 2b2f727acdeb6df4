//! From a list of layers to what overlayfs can mount.

use std::collections::HashSet;
use std::path::PathBuf;

use kiln_store::{Layer, Metadata, StagedLayer, Store, Timestamp, Union};

use crate::Error;

/// More lower directories one overlay does not take.
pub(crate) const LAYER_LIMIT: usize = 500;

/// The directories to mount, topmost first: without empty layers, and of equal ones the topmost.
/// What the others would show, it shows, too.
pub(crate) fn lowers(layers: &[Layer]) -> Result<Vec<PathBuf>, Error> {
    let mut seen = HashSet::new();
    let mut paths = Vec::with_capacity(layers.len());
    for layer in layers.iter().rev() {
        if seen.insert(layer.id()) && !layer.is_empty()? {
            paths.push(layer.fs_path());
        }
    }
    if paths.len() > LAYER_LIMIT {
        return Err(Error::TooManyLayers { count: paths.len(), limit: LAYER_LIMIT });
    }
    Ok(paths)
}

/// An upper directory for changes that nobody wants to keep, with the root's owner and mode.
pub(crate) fn discarded_upper(store: &Store, layers: &[Layer]) -> Result<StagedLayer, Error> {
    let union = Union::new(layers.to_vec())?;
    let root = union.lookup("").map(|found| found.entry.metadata());
    let root = root.unwrap_or_else(|| Metadata::root_owned(0o755, Timestamp::now()));
    Ok(store.layers().stage(&root)?)
}
