//! A layer being made.
use crate::*;
use std::path::Path;

/// A layer being made, in the session's directory. Dropped without commit, it is gone.
pub struct StagedLayer {}

impl StagedLayer {
    /// The directory that becomes the layer: an overlay mount's upper directory.
    pub fn fs_path(&self) -> &Path {
        todo!()
    }
    /// The overlay mount's work directory.
    pub fn work_path(&self) -> &Path {
        todo!()
    }
    /// Makes a layer of what an overlay mount over `lower` left in the upper directory. Nothing may be mounted or running any more.
    pub fn commit_upper(self, _lower: &Union) -> Result<Layer> {
        todo!()
    }
    /// For putting entries in one by one, on an empty tree: missing parent directories are made 0755, root's.
    pub fn writer(self) -> Result<LayerWriter> {
        todo!()
    }
    /// The same over lower layers: missing parents are as they are there, and count as unchanged.
    pub fn writer_over(self, _lower: Union) -> Result<LayerWriter> {
        todo!()
    }
}
