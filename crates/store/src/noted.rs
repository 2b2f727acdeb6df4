//! What proved damaged while this process used it, so that whoever failed over it can have it mended.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use kiln_oci::Digest;

use crate::layers::LayerId;

/// Layers and blobs that were found damaged by this process.
#[derive(Debug, Default)]
pub(crate) struct Noted {
    found: Mutex<Damaged>,
}

/// Layers and blobs that are not what they were.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Damaged {
    /// By number.
    pub(crate) layers: BTreeSet<LayerId>,
    /// By digest.
    pub(crate) blobs: BTreeSet<Digest>,
}

impl Noted {
    pub(crate) fn layer(&self, id: LayerId) {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).layers.insert(id);
    }

    pub(crate) fn blob(&self, digest: &Digest) {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).blobs.insert(digest.clone());
    }

    /// All of it; forgotten then.
    pub(crate) fn take(&self) -> Damaged {
        std::mem::take(&mut *self.found.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
