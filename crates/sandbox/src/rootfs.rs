//! From a list of layers to what overlayfs can mount.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use kiln_store::{Layer, Metadata, StagedLayer, Store, Timestamp, Union};

use crate::Error;

/// More lower directories one overlay does not take.
pub(crate) const LAYER_LIMIT: usize = 500;

/// What to mount; keep it while it is.
pub(crate) struct Lowers {
    /// The directories, topmost first.
    pub(crate) paths: Vec<PathBuf>,
    /// The highest and the lowest of them, where one is needed that is no layer.
    _top: Option<StagedLayer>,
    _bottom: Option<StagedLayer>,
}

impl Lowers {
    /// The same with an empty directory where there is none: an overlay must have something below.
    pub(crate) fn or_empty(mut self, store: &Store) -> Result<Lowers, Error> {
        if self.paths.is_empty() {
            let bottom = store.layers().stage(&Metadata::root_owned(0o755, Timestamp::now()))?;
            self.paths.push(bottom.fs_path().to_owned());
            self._bottom = Some(bottom);
        }
        Ok(self)
    }
}

/// The directories to mount: without empty layers, and of equal ones the topmost. What the others
/// would show, it shows, too.
pub(crate) fn lowers(store: &Store, layers: &[Layer]) -> Result<Lowers, Error> {
    let union = Union::new(layers.to_vec())?;
    let mut seen = HashSet::new();
    let mut paths = Vec::with_capacity(layers.len());
    let top = implied(store, &union)?;
    paths.extend(top.as_ref().map(|top| top.fs_path().to_owned()));
    for layer in layers.iter().rev() {
        if seen.insert(layer.id()) && !layer.is_empty()? {
            paths.push(layer.fs_path());
        }
    }
    let bottom = merging(store, &union)?;
    paths.extend(bottom.as_ref().map(|bottom| bottom.fs_path().to_owned()));
    if paths.len() > LAYER_LIMIT {
        return Err(Error::TooManyLayers { count: paths.len(), limit: LAYER_LIMIT });
    }
    Ok(Lowers { paths, _top: top, _bottom: bottom })
}

/// Directories that a layer implies without saying what they are like, as the layers below have them: an overlay would
/// take them for what they are in the layer.
fn implied(store: &Store, union: &Union) -> Result<Option<StagedLayer>, Error> {
    let directories = union.implied_directories();
    if directories.is_empty() {
        return Ok(None);
    }
    let root = union.lookup("").map(|found| found.entry.metadata()).unwrap_or_default();
    let writer = store.layers().stage(&root)?.writer_over(union.clone())?;
    for found in directories {
        writer.directory(found.entry.path(), &found.entry.metadata())?;
    }
    Ok(Some(writer.into_staged()?))
}

/// Empty directories to be merged with those in which a layer hides names that no other has; without that overlayfs
/// lists such names.
fn merging(store: &Store, union: &Union) -> Result<Option<StagedLayer>, Error> {
    let directories = union.idle_whiteouts();
    if directories.is_empty() {
        return Ok(None);
    }
    let bottom = store.layers().stage(&Metadata::root_owned(0o755, Timestamp::now()))?;
    for directory in directories {
        // Where a path is too long for this, a name stays listed that cannot be opened.
        let _ = std::fs::create_dir_all(bottom.fs_path().join(OsStr::from_bytes(&directory)));
    }
    Ok(Some(bottom))
}

/// An upper directory for changes that nobody wants to keep, with the root's owner and mode.
pub(crate) fn discarded_upper(store: &Store, layers: &[Layer]) -> Result<StagedLayer, Error> {
    let union = Union::new(layers.to_vec())?;
    let root = union.lookup("").map(|found| found.entry.metadata());
    let root = root.unwrap_or_else(|| Metadata::root_owned(0o755, Timestamp::now()));
    Ok(store.layers().stage(&root)?)
}
