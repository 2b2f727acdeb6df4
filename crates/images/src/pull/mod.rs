//! Pulls images from a registry into the store: manifest and config at once, layers when somebody
//! needs files.
//!
//! Bytes go one way: download, verify, decompress, unpack, with bounded channels in between, several
//! layers at a time. Does not know credentials or hosts: that is the registry client's.

mod download;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use kiln_oci::{Descriptor, Digest, ManifestOrIndex, Platform, Reference};
use kiln_progress::{Outcome, Task};
use kiln_registry::{Client, retries};
use kiln_store::{Image, Layer, LockGuard, LockKey, Sharing, Store};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::import::{self, Described, ImportError};

/// Layers that are downloaded at the same time.
const AT_ONCE: usize = 4;
/// How often a layer that another process is pulling is looked at.
const PATIENCE: Duration = Duration::from_millis(20);

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
    /// A thread of the pull ended early.
    #[error("the pull of a layer was given up")]
    GivenUp,
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
    let (store, name) = (store.clone(), reference.with_default_tag().to_string());
    blocking(move || {
        store.leases().pin_blobs(&[remote.descriptor.digest.clone(), remote.manifest.config.digest.clone()])?;
        let digest = store.blobs().insert(&remote.raw)?.digest;
        let id = store.blobs().insert(&config)?.digest;
        let described = Described::new(Some(digest.clone()), id, remote.manifest.layers, &config)?;
        let image = described.insert(&store)?;
        let root = remote.root.descriptor.digest;
        let listed = match remote.root.content {
            ManifestOrIndex::Index(index) => index.manifests.into_iter().map(|entry| entry.digest).collect(),
            ManifestOrIndex::Manifest(_) => Vec::new(),
        };
        store.resolutions().set(&name, &root)?;
        Ok(Pulled { image, root, manifest: digest, listed })
    })
    .await
}

/// The unpacked layers of `image`, bottom first; those that are missing are downloaded from the
/// repository of `reference`, unless their blobs are in the store.
pub async fn layers(
    store: &Store,
    client: &Client,
    reference: &Reference,
    image: &Image,
    task: &Task,
) -> Result<Vec<Layer>, PullError> {
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut jobs = JoinSet::new();
    let mut seen = HashSet::new();
    for wanted in &image.layers {
        let Some(blob) = wanted.blob.clone().filter(|_| seen.insert(&wanted.diff_id)) else {
            continue;
        };
        let job = Job {
            store: store.clone(),
            client: client.clone(),
            reference: reference.clone(),
            task: task.part(format!("{} {}", reference.familiar_name(), blob.digest.short())),
            blob,
            diff_id: wanted.diff_id.clone(),
        };
        jobs.spawn(retries::inherited(job.run(Arc::clone(&turns))));
    }
    while let Some(finished) = jobs.join_next().await {
        finished.map_err(|_| PullError::GivenUp)??;
    }
    let (store, image) = (store.clone(), image.clone());
    blocking(move || collect(&store, &image)).await
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
    layers(store, client, reference, &pulled.image, task).await?;
    let (store, name) = (store.clone(), reference.with_default_tag().to_string());
    let (manifest, listed) = (pulled.manifest.clone(), pulled.listed.clone());
    let image = blocking(move || {
        // Once more, so that the image names its unpacked layers.
        let image = Described::read(&store, &manifest)?.insert(&store)?;
        name_among_platforms(&store, &name, &image, &listed)?;
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

/// The layers of an image that are all there.
fn collect(store: &Store, image: &Image) -> Result<Vec<Layer>, PullError> {
    let mut layers = Vec::new();
    for wanted in &image.layers {
        match store.layers().by_diff_id(&wanted.diff_id)? {
            Some(layer) => layers.push(layer),
            None => return Err(kiln_store::Error::MissingBlob(wanted.diff_id.clone()).into()),
        }
    }
    Ok(layers)
}

/// One layer on its way.
struct Job {
    store: Store,
    client: Client,
    reference: Reference,
    blob: Descriptor,
    diff_id: Digest,
    task: Task,
}

impl Job {
    async fn run(self, turns: Arc<Semaphore>) -> Result<(), PullError> {
        let _turn = turns.acquire().await.map_err(|_| PullError::GivenUp)?;
        self.task.start();
        let result = self.fetch().await;
        self.task.finish(match &result {
            Ok(outcome) => outcome.clone(),
            Err(error) => Outcome::Failed(error.to_string()),
        });
        result.map(|_| ())
    }

    async fn fetch(&self) -> Result<Outcome, PullError> {
        let _lock = self.lock().await?;
        if self.is_unpacked().await? {
            return Ok(Outcome::Cached);
        }
        let (store, blob, diff_id) = (self.store.clone(), self.blob.clone(), self.diff_id.clone());
        let from_blob = blocking(move || {
            if !store.blobs().contains(&blob.digest)? {
                return Ok(false);
            }
            import::unpack_blob(&store, &blob, &diff_id)?;
            Ok(true)
        });
        if from_blob.await? {
            return Ok(Outcome::Cached);
        }
        download::download(self).await?;
        Ok(Outcome::Done)
    }

    async fn is_unpacked(&self) -> Result<bool, PullError> {
        let (store, diff_id) = (self.store.clone(), self.diff_id.clone());
        blocking(move || Ok(store.layers().by_diff_id(&diff_id)?.is_some())).await
    }

    /// One process pulls a layer, the others wait for it.
    async fn lock(&self) -> Result<LockGuard, PullError> {
        let key = LockKey::new("pull", self.diff_id.to_string().as_bytes());
        let mut told = false;
        loop {
            if let Some(guard) = self.store.locks().try_acquire(key, Sharing::Exclusive)? {
                return Ok(guard);
            }
            if !std::mem::replace(&mut told, true) {
                self.task.wait("another pull of this layer");
            }
            tokio::time::sleep(PATIENCE).await;
        }
    }
}

/// Runs what blocks where it may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PullError> + Send + 'static,
) -> Result<T, PullError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| PullError::GivenUp)?
}

#[cfg(test)]
mod tests;
