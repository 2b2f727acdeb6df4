//! Layers that an image names and the store does not hold: where they can be had, and fetching them when somebody wants
//! their files or their blobs.
//!
//! One process fetches a layer, the others wait for it and find it in the store.

use std::collections::HashSet;
use std::time::Duration;

use kiln_oci::{Descriptor, Digest, Reference};
use kiln_progress::{Outcome, Task};
use kiln_registry::{Client, retries};
use kiln_store::{Image, ImageLayer, Layer, LockGuard, LockKey, Sharing, Store};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::download::{Download, Wanted};
use super::{PullError, blocking};
use crate::import;

/// Layers that this process fetches at the same time.
static TURNS: Semaphore = Semaphore::const_new(4);
/// How often a layer that another process is fetching is looked at.
const PATIENCE: Duration = Duration::from_millis(20);

/// A layer of an image that the store does not hold unpacked: its blob is here, or lies in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpulled {
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// The blob.
    pub blob: Descriptor,
    /// The repositories that should have it, the best first.
    pub repositories: Vec<Reference>,
}

impl Unpulled {
    /// What is known of a layer of `image`; `None` if nobody is known who could have it.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub fn of(store: &Store, image: &Image, layer: &ImageLayer) -> Result<Option<Unpulled>, kiln_store::Error> {
        let Some(blob) = layer.blob.clone() else { return Ok(None) };
        let repositories = repositories(store, image, &blob.digest)?;
        let has_address = !blob.media_type.is_distributable() && !blob.urls.is_empty();
        let can_be_had = !repositories.is_empty() || has_address || store.blobs().contains(&blob.digest)?;
        Ok(can_be_had.then(|| Unpulled { diff_id: layer.diff_id.clone(), blob, repositories }))
    }

    fn name(&self) -> String {
        let from = self.repositories.first().map(|from| format!("{} ", from.familiar_name()));
        format!("{}{}", from.unwrap_or_default(), self.blob.digest.short())
    }
}

/// Where a blob of `image` can be had: as it was told, or where an image with a manifest has its names from.
fn repositories(store: &Store, image: &Image, blob: &Digest) -> Result<Vec<Reference>, kiln_store::Error> {
    let told = store.origins().of(blob)?;
    let named = image.names.iter().chain(&image.names_by_platform).filter(|_| image.manifest.is_some());
    let mut seen = HashSet::new();
    let all = told.iter().chain(named).filter_map(|name| name.parse::<Reference>().ok());
    Ok(all.filter(|reference| seen.insert(reference.name())).collect())
}

/// The unpacked layer; it is fetched if the store does not hold it.
///
/// # Errors
/// A layer that nobody gives, or that is not what was promised.
pub async fn layer(store: &Store, client: &Client, wanted: &Unpulled, task: &Task) -> Result<Layer, PullError> {
    let held = held(store, &wanted.diff_id).await?;
    if let Some(layer) = held {
        return Ok(layer);
    }
    job(store, client, wanted, task, Want::Files).run().await?;
    let (store, diff_id) = (store.clone(), wanted.diff_id.clone());
    let gone = PullError::Store(kiln_store::Error::MissingBlob(wanted.blob.digest.clone()));
    blocking(move || store.layers().by_diff_id(&diff_id)?.ok_or(gone)).await
}

/// The unpacked layers of `image`, bottom first; those that are missing are fetched, several at once.
///
/// # Errors
/// As [`layer`].
pub async fn layers(store: &Store, client: &Client, image: &Image, task: &Task) -> Result<Vec<Layer>, PullError> {
    all(store, client, image, task, Want::Files).await?;
    let (store, image) = (store.clone(), image.clone());
    blocking(move || {
        let held = |wanted: &ImageLayer| {
            let layer = store.layers().by_diff_id(&wanted.diff_id)?;
            layer.ok_or_else(|| PullError::NowhereToBeHad { diff_id: wanted.diff_id.clone() })
        };
        image.layers.iter().map(held).collect()
    })
    .await
}

/// Fetches the blobs of those layers of `image` that the store holds in no form, so that the image can be written out.
///
/// # Errors
/// As [`layer`].
pub async fn blobs(store: &Store, client: &Client, image: &Image, task: &Task) -> Result<(), PullError> {
    all(store, client, image, task, Want::Blob).await
}

/// Fetches one blob, unless the store holds it.
///
/// # Errors
/// As [`layer`].
pub async fn blob(store: &Store, client: &Client, wanted: &Unpulled, task: &Task) -> Result<(), PullError> {
    job(store, client, wanted, task, Want::Blob).run().await.map(drop)
}

async fn all(store: &Store, client: &Client, image: &Image, task: &Task, want: Want) -> Result<(), PullError> {
    let (inside, of) = (store.clone(), image.clone());
    let missing = blocking(move || missing(&inside, &of, want)).await?;
    let mut jobs = JoinSet::new();
    for wanted in &missing {
        jobs.spawn(retries::inherited(job(store, client, wanted, task, want).run()));
    }
    while let Some(finished) = jobs.join_next().await {
        finished.map_err(|_| PullError::GivenUp)??;
    }
    Ok(())
}

/// The layers that `image` has to be given first, each once.
fn missing(store: &Store, image: &Image, want: Want) -> Result<Vec<Unpulled>, PullError> {
    let mut seen = HashSet::new();
    let mut missing = Vec::new();
    for layer in image.layers.iter().filter(|layer| seen.insert(&layer.diff_id)) {
        // A layer that is unpacked can be packed again, unless its very blob was promised by a manifest.
        let is_held = match (&layer.blob, want) {
            (Some(blob), Want::Blob) if image.manifest.is_some() => store.blobs().contains(&blob.digest)?,
            _ => store.layers().by_diff_id(&layer.diff_id)?.is_some(),
        };
        if is_held {
            continue;
        }
        match Unpulled::of(store, image, layer)? {
            Some(wanted) => missing.push(wanted),
            // What was unpacked is enough to go on with.
            None if store.layers().by_diff_id(&layer.diff_id)?.is_some() => {}
            None => return Err(PullError::NowhereToBeHad { diff_id: layer.diff_id.clone() }),
        }
    }
    Ok(missing)
}

async fn held(store: &Store, diff_id: &Digest) -> Result<Option<Layer>, PullError> {
    let (store, diff_id) = (store.clone(), diff_id.clone());
    blocking(move || Ok(store.layers().by_diff_id(&diff_id)?)).await
}

/// What of a layer somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    Files,
    Blob,
}

/// One layer on its way.
struct Job {
    store: Store,
    client: Client,
    layer: Unpulled,
    want: Want,
    task: Task,
}

fn job(store: &Store, client: &Client, layer: &Unpulled, task: &Task, want: Want) -> Job {
    let task = task.part(layer.name());
    Job { store: store.clone(), client: client.clone(), layer: layer.clone(), want, task }
}

impl Job {
    async fn run(self) -> Result<(), PullError> {
        let _turn = TURNS.acquire().await.map_err(|_| PullError::GivenUp)?;
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
        if self.is_here().await? {
            return Ok(Outcome::Cached);
        }
        let wanted = match self.want {
            Want::Files => Wanted::Layer(self.layer.diff_id.clone()),
            Want::Blob => Wanted::Blob,
        };
        Download { store: &self.store, client: &self.client, blob: &self.layer.blob, wanted, task: &self.task }
            .anywhere(&self.layer.repositories, &self.layer.diff_id)
            .await?;
        Ok(Outcome::Done)
    }

    /// Whether it is in the store; a blob that is there is unpacked where files are wanted.
    async fn is_here(&self) -> Result<bool, PullError> {
        let (store, layer, want) = (self.store.clone(), self.layer.clone(), self.want);
        blocking(move || {
            store.leases().pin_blobs(std::slice::from_ref(&layer.blob.digest))?;
            let has_blob = store.blobs().contains(&layer.blob.digest)?;
            if want == Want::Blob {
                return Ok(has_blob);
            }
            if has_blob {
                import::unpack_blob(&store, &layer.blob, &layer.diff_id)?;
            }
            Ok(has_blob || store.layers().by_diff_id(&layer.diff_id)?.is_some())
        })
        .await
    }

    /// One process pulls a layer, the others wait for it.
    async fn lock(&self) -> Result<LockGuard, PullError> {
        let key = LockKey::new("pull", self.layer.diff_id.to_string().as_bytes());
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
