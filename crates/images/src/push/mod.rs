//! Images on their way to a registry: layers first, then configs and manifests, what names them last.
//!
//! Does not know credentials or hosts: that is the registry client's.

mod layers;
mod parcel;
mod source;

use std::sync::Arc;

use bytes::Bytes;
use kiln_oci::{Descriptor, Reference};
use kiln_progress::Task;
use kiln_registry::{BlobSource, Client};
use kiln_store::Store;

use crate::export::ExportError;
use crate::pull::PullError;

pub use layers::SentLayer;
pub use parcel::Parcel;
pub use source::StoredBlob;

/// Why a push failed.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The registry cannot be reached, or refuses.
    #[error(transparent)]
    Registry(#[from] kiln_registry::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] kiln_store::Error),
    /// A layer that only another registry has cannot be fetched there.
    #[error(transparent)]
    Pull(#[from] PullError),
    /// What was pushed cannot be remembered.
    #[error(transparent)]
    Remember(#[from] ExportError),
    /// A thread of the push ended early.
    #[error("the push of a layer was given up")]
    GivenUp,
}

/// Sends `parcel` to the repository of `reference`, and puts its tag (`latest` by default) on it, or none where
/// `reference` has a digest. What the store has of the images remembers that it is there. Each upload is a part of
/// `task`; `observe` is told of each layer that is there, as it comes. Returns what the name means now.
///
/// # Errors
/// A registry that cannot be reached or refuses, a blob that cannot be read.
pub async fn image(
    store: &Store,
    registry: &Client,
    reference: &Reference,
    parcel: &Parcel,
    task: &Task,
    observe: &(dyn Fn(&SentLayer) + Sync),
) -> Result<Descriptor, PushError> {
    layers::send(store, registry, reference, parcel.layers(), task, observe).await?;
    for part in &parcel.whole.parts {
        let config: Arc<dyn BlobSource> = Arc::new(Bytes::from(part.config.clone()));
        registry.push_blob(reference, &part.config_descriptor, None, config).await?;
        if parcel.whole.index.is_some() {
            let by_digest = reference.with_digest(part.descriptor.digest.clone());
            let manifest = Bytes::from(part.manifest.clone());
            registry.push_manifest(&by_digest, part.descriptor.media_type.clone(), manifest).await?;
        }
    }
    let raw = Bytes::copy_from_slice(parcel.whole.root_bytes());
    let pushed = registry.push_manifest(reference, parcel.whole.root.media_type.clone(), raw).await?;
    let (store, reference, parcel) = (store.clone(), reference.clone(), parcel.clone());
    let remembered = tokio::task::spawn_blocking(move || parcel.remember(&store, &reference)).await;
    remembered.map_err(|_| PushError::GivenUp)??;
    Ok(pushed)
}
