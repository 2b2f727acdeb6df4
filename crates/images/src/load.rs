//! `kiln load`: images from an archive into the store.
use std::io::Read;
use std::path::Path;

use kiln_oci::{Digest, Platform};
use kiln_progress::Task;
use kiln_store::{Image, Store};

/// Why an archive or layout cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] kiln_store::Error),
}

/// An image that came with the archive.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Full names that it was given; may be none.
    pub names: Vec<String>,
    /// Its id.
    pub id: Digest,
}

/// Loads every image of an OCI archive, docker archive or both in one, in any known compression, from a file or a pipe.
/// Of images for several platforms, the one for `platform`.
pub fn load<R: Read>(store: &Store, archive: R, platform: &Platform, task: &Task) -> Result<Vec<Loaded>, LoadError> {
    todo!()
}

/// Which image of an OCI layout is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// The only one, or the one tagged `latest`.
    Default,
    /// By `org.opencontainers.image.ref.name`.
    Tag(String),
    /// By digest of its manifest or index.
    Digest(Digest),
}

/// Takes one image of an OCI layout directory into the store, without naming it. Layers that the store has are not read.
pub fn from_layout(
    store: &Store,
    directory: &Path,
    selector: &Selector,
    platform: &Platform,
    task: &Task,
) -> Result<Image, LoadError> {
    todo!()
}
