//! Pulls images from a registry into the store: manifest and config at once, layers when somebody
//! needs files.
//!
//! Bytes go one way: download, verify, decompress, unpack, with bounded channels in between, several
//! layers at a time. Does not know credentials or hosts: that is the registry client's.

mod download;
mod feed;
mod layers;

use kiln_oci::{Descriptor, Digest, ManifestOrIndex, Platform, Reference};
use kiln_progress::Task;
use kiln_registry::{Client, WebError};
use kiln_store::{Image, Store};

pub use layers::{Unpulled, blob, blobs, layer, layers};

use crate::import::{Described, ImportError};

/// Why a pull failed.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The registry cannot be reached, refuses, or sends something else than it promised.
    #[error(transparent)]
    Registry(#[from] kiln_registry::Error),
    /// The image cannot be taken in.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] kiln_store::Error),
    /// A web server that a layer's descriptor names cannot be reached.
    #[error(transparent)]
    Web(#[from] WebError),
    /// A web server that a layer's descriptor names does not give it.
    #[error("{url} answered with the status {status}")]
    Refused {
        /// The layer's address.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The store does not hold a layer, and nobody is known who has it.
    #[error(
        "layer {diff_id} is not in the store, and it is not known which registry has it; pull or load the image again"
    )]
    NowhereToBeHad {
        /// The layer.
        diff_id: Digest,
    },
    /// A thread of the pull ended early.
    #[error("the pull of a layer was given up")]
    GivenUp,
}

impl PullError {
    /// Whether somebody else might give what this one did not.
    fn is_of_its_source(&self) -> bool {
        matches!(self, PullError::Registry(_) | PullError::Web(_) | PullError::Refused { .. })
    }

    /// Whether what came was other than promised.
    fn is_of_bytes(&self) -> bool {
        use kiln_registry::Error;
        match self {
            PullError::Registry(error) => {
                matches!(error, Error::DigestMismatch { .. } | Error::SizeMismatch { .. } | Error::Protocol { .. })
            }
            PullError::Import(ImportError::Unpack { source, .. }) => !download::is_of_disk(source),
            _ => false,
        }
    }
}

/// An image of a registry whose manifest and config are in the store.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// The image; its layers may not be there yet.
    pub image: Image,
    /// What the reference names: the digest of the index, or of the manifest where there is none.
    pub root: Digest,
    /// Digest of the manifest.
    pub manifest: Digest,
    /// Digests of all manifests of the index; none where there is no index.
    pub listed: Vec<Digest>,
    /// The index, whose bytes are in the store; `None` where there is no index.
    pub index: Option<Descriptor>,
}

/// Fetches manifest and config for `platform`, adds the image to the store, and records what the
/// name was resolved to. The image gets no name, and its layers are not downloaded.
pub async fn manifest(
    store: &Store,
    client: &Client,
    reference: &Reference,
    platform: &Platform,
) -> Result<Pulled, PullError> {
    let remote = client.image(reference, platform).await?;
    let config = client.small_blob(reference, &remote.manifest.config).await?;
    let (store, name, repository) = (store.clone(), reference.with_default_tag().to_string(), reference.name());
    blocking(move || {
        store.leases().pin_blobs(&[remote.descriptor.digest.clone(), remote.manifest.config.digest.clone()])?;
        let digest = store.blobs().insert(&remote.raw)?.digest;
        let id = store.blobs().insert(&config)?.digest;
        let described = Described::new(Some(digest.clone()), id, remote.manifest.layers, &config)?;
        let blobs: Vec<Digest> = described.layers.iter().map(|layer| layer.digest.clone()).collect();
        let image = described.insert(&store)?;
        store.origins().add(&repository, &blobs)?;
        let root = remote.root.descriptor.digest.clone();
        let (listed, index) = match remote.root.content {
            ManifestOrIndex::Index(index) => {
                store.blobs().insert(&remote.root.raw)?;
                let listed = index.manifests.into_iter().map(|entry| entry.digest).collect();
                (listed, Some(remote.root.descriptor))
            }
            ManifestOrIndex::Manifest(_) => (Vec::new(), None),
        };
        store.resolutions().set(&name, &root)?;
        Ok(Pulled { image, root, manifest: digest, listed, index })
    })
    .await
}

/// Pulls an image with all its layers, and gives it the name of `reference`. Images for other platforms that have the
/// name keep it if they are of the same index.
pub async fn image(
    store: &Store,
    client: &Client,
    reference: &Reference,
    platform: &Platform,
    task: &Task,
) -> Result<Pulled, PullError> {
    let mut pulled = manifest(store, client, reference, platform).await?;
    layers(store, client, &pulled.image, task).await?;
    let (store, name) = (store.clone(), reference.with_default_tag().to_string());
    let (manifest, listed, index) = (pulled.manifest.clone(), pulled.listed.clone(), pulled.index.clone());
    let image = blocking(move || {
        // Once more, so that the image names its unpacked layers.
        let image = Described::read(&store, &manifest)?.insert(&store)?;
        name_among_platforms(&store, &name, &image, &listed)?;
        if let Some(index) = index {
            store.images().set_root(&name, &index)?;
        }
        Ok(store.images().get(&image.id)?.unwrap_or(image))
    });
    pulled.image = image.await?;
    Ok(pulled)
}

/// Names an image, beside those for other platforms whose manifests are among `listed`.
fn name_among_platforms(store: &Store, name: &str, image: &Image, listed: &[Digest]) -> Result<(), PullError> {
    let is_sibling = |other: &Image| {
        other.platform != image.platform && other.manifest.as_ref().is_some_and(|manifest| listed.contains(manifest))
    };
    let mut ids = vec![image.id.clone()];
    ids.extend(store.images().platforms(name)?.into_iter().filter(is_sibling).map(|other| other.id));
    store.images().tag_all(name, &ids)?;
    Ok(())
}

/// Runs what blocks where it may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PullError> + Send + 'static,
) -> Result<T, PullError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| PullError::GivenUp)?
}

#[cfg(test)]
mod tests;
