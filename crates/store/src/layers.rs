//! Layers: immutable directories with an index.
use crate::*;
use kiln_oci::Digest;
use std::fmt;
use std::fs::File;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

/// The layers of a store.
pub struct Layers<'a> {
    pub(crate) store: &'a Store,
}

/// Number of a layer in its store; never reused. Shown in base 36.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, serde::Serialize, serde::Deserialize)]
pub struct LayerId(pub(crate) u64);

impl fmt::Display for LayerId {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}
impl FromStr for LayerId {
    type Err = Error;
    fn from_str(_text: &str) -> Result<Self> {
        todo!()
    }
}

/// What a layer's content is, apart from times: equal ids, equal layers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ContentId(pub [u8; 32]);

/// A committed layer. Cheap to clone. Pinned for this session.
#[derive(Clone, Debug)]
pub struct Layer {
    pub(crate) inner: Arc<LayerInner>,
}

#[derive(Debug)]
pub(crate) struct LayerInner {}

impl Layer {
    /// Its number.
    pub fn id(&self) -> LayerId {
        todo!()
    }
    /// The directory to mount as a lower layer.
    pub fn fs_path(&self) -> PathBuf {
        todo!()
    }
    /// What is in it. Read once, then shared.
    pub fn index(&self) -> Result<Arc<Index>> {
        todo!()
    }
    /// Digest of its uncompressed tar, if known.
    pub fn diff_id(&self) -> Result<Option<Digest>> {
        todo!()
    }
    /// Whether nothing is in it but an unchanged root: leave it out of mounts.
    pub fn is_empty(&self) -> Result<bool> {
        todo!()
    }
    /// Opens a regular file of the layer by its path as in the index, never through a symlink. Fails if its size is not the index's.
    pub fn open(&self, _path: &[u8]) -> Result<File> {
        todo!()
    }
}

impl Layers<'_> {
    /// Starts a new layer whose root directory has this metadata.
    pub fn stage(&self, _root: &Metadata) -> Result<StagedLayer> {
        todo!()
    }
    /// A layer that the store holds, pinned.
    pub fn get(&self, _id: LayerId) -> Result<Option<Layer>> {
        todo!()
    }
    /// A layer with this diff id, pinned.
    pub fn by_diff_id(&self, _diff_id: &Digest) -> Result<Option<Layer>> {
        todo!()
    }
    /// Remembers the digest of the layer's uncompressed tar. `pulled`: the layer was made from that tar, so its content id follows from it.
    pub fn set_diff_id(&self, _layer: &Layer, _diff_id: &Digest, _pulled: bool) -> Result<()> {
        todo!()
    }
    /// What the layer holds, apart from times. Hashes the files that were not hashed yet, in parallel.
    pub fn content_id(&self, _layer: &Layer) -> Result<ContentId> {
        todo!()
    }
    /// The oldest layer with the same content id; if there is one, `layer` is thrown away.
    pub fn intern(&self, _layer: Layer) -> Result<Layer> {
        todo!()
    }
    /// The index with the digest of every regular file.
    pub fn hashed_index(&self, _layer: &Layer) -> Result<Arc<Index>> {
        todo!()
    }
    /// Deletes a layer, whoever needs it.
    pub fn remove(&self, _id: LayerId) -> Result<()> {
        todo!()
    }
}
