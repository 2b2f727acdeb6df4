//! Images on their way to a registry: layers first, then configs and manifests, what names them last.
//!
//! Does not know credentials or hosts: that is the registry client's.

mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use kiln_oci::{Descriptor, Digest, Reference};
use kiln_progress::{Sink, Task};
use kiln_registry::{BlobSource, Client, Sent};
use kiln_store::{Image, Store};
use tokio::task::JoinSet;

use crate::export::{ExportError, ExportOptions, Exported, ImageContent, Whole};
use crate::pull::{self, PullError, Unpulled};
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
    /// A thread of the push ended early.
    #[error("the push of a layer was given up")]
    GivenUp,
}

/// An image, or several platforms of one, made ready: every document is known, and every blob is in the store or can be
/// had elsewhere.
#[derive(Clone, Debug)]
pub struct Parcel {
    whole: Whole,
}

/// What became of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentLayer {
    /// Which.
    pub digest: Digest,
    /// How it got there.
    pub sent: Sent,
}

impl Parcel {
    /// Packs images that were just built.
    ///
    /// # Errors
    /// All that packing can meet.
    pub fn of_contents(
        store: &Store,
        images: &[ImageContent],
        options: &ExportOptions,
        task: &Task,
    ) -> Result<Parcel, ExportError> {
        Ok(Parcel { whole: Whole::of_contents(store, images, options, task)? })
    }

    /// Packs images of the store, one a platform, with the manifests that they came with or were kept with. `known` is
    /// what they go by together ([`kiln_store::Images::root`]): it is sent as it is if it lists these images and no
    /// others.
    ///
    /// # Errors
    /// All that packing can meet.
    pub fn of_images(store: &Store, images: &[Image], known: Option<&Descriptor>) -> Result<Parcel, ExportError> {
        Ok(Parcel { whole: Whole::of_images(store, images, known)? })
    }

    /// The manifest, or the index of several platforms.
    pub fn descriptor(&self) -> &Descriptor {
        &self.whole.root
    }

    /// What there is to tell of it.
    pub fn exported(&self) -> Exported {
        self.whole.exported()
    }

    /// The layers, bottom first, each once.
    fn layers(&self) -> Vec<Descriptor> {
        let mut seen = BTreeSet::new();
        let all = self.whole.parts.iter().flat_map(|part| &part.layers);
        all.filter(|layer| seen.insert(layer.digest.clone())).cloned().collect()
    }
}

/// Sends `parcel` to the repository of `reference`, and puts its tag (`latest` by default) on it, or none where
/// `reference` has a digest. Tells `observe` of each layer that is there, as it comes. Returns what the name means
/// now.
///
/// # Errors
/// A registry that cannot be reached or refuses, a blob that cannot be read.
pub async fn image(
    store: &Store,
    registry: &Client,
    reference: &Reference,
    parcel: &Parcel,
    observe: &(dyn Fn(&SentLayer) + Sync),
) -> Result<Descriptor, PushError> {
    send_layers(store, registry, reference, parcel, observe).await?;
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
    Ok(registry.push_manifest(reference, parcel.whole.root.media_type.clone(), raw).await?)
}

async fn send_layers(
    store: &Store,
    registry: &Client,
    reference: &Reference,
    parcel: &Parcel,
    observe: &(dyn Fn(&SentLayer) + Sync),
) -> Result<(), PushError> {
    let known = repositories(store, reference)?;
    let mut jobs = JoinSet::new();
    // The registry's client says how many go at once.
    for layer in parcel.layers() {
        let (store, registry, reference) = (store.clone(), registry.clone(), reference.clone());
        let from = known.get(&layer.digest).cloned();
        jobs.spawn(async move {
            let sent = send_layer(&store, &registry, &reference, &layer, from.as_deref()).await?;
            Ok::<_, PushError>(SentLayer { digest: layer.digest, sent })
        });
    }
    while let Some(finished) = jobs.join_next().await {
        observe(&finished.map_err(|_| PushError::GivenUp)??);
    }
    Ok(())
}

/// Sends one layer. What the store does not hold is fetched only if the registry neither has it nor takes it from
/// another repository.
async fn send_layer(
    store: &Store,
    registry: &Client,
    reference: &Reference,
    layer: &Descriptor,
    from: Option<&str>,
) -> Result<Sent, PushError> {
    let source = Arc::new(StoredBlob::new(store.clone(), layer.digest.clone()));
    if store.blobs().contains(&layer.digest)? {
        return Ok(registry.push_blob(reference, layer, from, source).await?);
    }
    let origins = origins(store, &layer.digest)?;
    let other =
        origins.iter().find(|origin| origin.domain() == reference.domain() && origin.path() != reference.path());
    let other = other.map(|origin| origin.path().to_owned());
    let from = other.as_deref().or(from);
    match registry.push_blob(reference, layer, from, source.clone()).await {
        Err(kiln_registry::Error::Source { .. }) => {
            let wanted = Unpulled { diff_id: layer.digest.clone(), blob: layer.clone(), repositories: origins };
            pull::blob(store, registry, &wanted, &Sink::none().task("")).await?;
            Ok(registry.push_blob(reference, layer, from, source).await?)
        }
        sent => Ok(sent?),
    }
}

fn origins(store: &Store, blob: &Digest) -> Result<Vec<Reference>, PushError> {
    let names = store.origins().of(blob)?;
    Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
}

/// For each blob of the store: another repository of the same registry that an image with it came from or went to.
fn repositories(store: &Store, reference: &Reference) -> Result<BTreeMap<Digest, String>, PushError> {
    let mut known = BTreeMap::new();
    for image in store.images().list()? {
        let names = image.names.iter().filter_map(|name| name.parse::<Reference>().ok());
        let mut elsewhere = names.filter(|name| name.domain() == reference.domain() && name.path() != reference.path());
        let Some(other) = elsewhere.next() else { continue };
        for blob in image.layers.iter().filter_map(|layer| layer.blob.as_ref()) {
            known.entry(blob.digest.clone()).or_insert_with(|| other.path().to_owned());
        }
    }
    Ok(known)
}
