//! Pulls images from a registry into the store.
use kiln_oci::{Descriptor, Platform, Reference};
use kiln_progress::Task;
use kiln_store::{Image, Layer, Store};

/// Why a pull failed.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] kiln_store::Error),
}
