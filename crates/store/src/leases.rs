//! What must not be pruned while this process lives.
use crate::*;
use kiln_oci::Digest;

/// The leases of this session. They end with it, however it ends.
pub struct Leases<'a> {
    pub(crate) store: &'a Store,
}

impl Leases<'_> {
    /// Pins layers.
    pub fn pin_layers(&self, _layers: &[LayerId]) -> Result<()> {
        todo!()
    }
    /// Pins blobs that no image names yet.
    pub fn pin_blobs(&self, _blobs: &[Digest]) -> Result<()> {
        todo!()
    }
    /// Ends all leases of this session.
    pub fn release(&self) -> Result<()> {
        todo!()
    }
}
