//! What the names in `FROM` were resolved to.
use crate::*;
use kiln_oci::Digest;

/// The resolutions of a store.
pub struct Resolutions<'a> {
    pub(crate) store: &'a Store,
}

/// One resolution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// The normalised name, with platform if the caller wants it to count.
    pub name: String,
    /// What the registry said: the manifest's or index's digest.
    pub digest: Digest,
    /// When.
    pub resolved: Timestamp,
}

impl Resolutions<'_> {
    /// The last resolution of a name.
    pub fn get(&self, _name: &str) -> Result<Option<Resolution>> {
        todo!()
    }
    /// Remembers one, in place of an earlier one.
    pub fn set(&self, _name: &str, _digest: &Digest) -> Result<()> {
        todo!()
    }
    /// All, newest first.
    pub fn list(&self) -> Result<Vec<Resolution>> {
        todo!()
    }
}
