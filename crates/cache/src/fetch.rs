//! A layer from a depot into the store: fetched, verified, unpacked, and its blob kept for those who push it on.
//!
//! Of several processes and threads that want a layer one fetches it.

use std::io::{self, Write};
use std::time::Duration;

use bytes::Bytes;
use kiln_images::pack;
use kiln_images::unpack::{self, UnpackError};
use kiln_oci::{Descriptor, Digest};
use kiln_progress::{Outcome, Task};
use kiln_store::{Layer, LockGuard, LockKey, Sharing, Store};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::depot::{self, Depot, Fetch};
use crate::format;
use crate::shelf::{RemoteLayer, Shelf, Source};

/// How often a layer that somebody else fetches is looked at.
const PATIENCE: Duration = Duration::from_millis(20);
/// Pieces of the network that may wait for the disk.
const WAITING: usize = 16;

/// Why a layer, or another blob, cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No depot has it any more, or what they have is damaged. For a build this is a miss.
    #[error("layer {diff_id} cannot be had from any cache: {reason}")]
    Lost {
        /// The layer.
        diff_id: Digest,
        /// What the last depot that was asked said.
        reason: String,
    },
    /// The depot cannot give it.
    #[error(transparent)]
    Depot(#[from] depot::Error),
    /// The bytes are no layer.
    #[error("{digest} cannot be unpacked: {source}")]
    Unpack {
        /// The blob.
        digest: Digest,
        /// Why not.
        source: Box<unpack::UnpackError>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] kiln_store::Error),
    /// A thread ended early.
    #[error("fetching was given up")]
    GivenUp,
}

impl Shelf {
    /// The unpacked layer; it is fetched if the store does not hold it. One that cannot be had is marked as lost.
    ///
    /// # Errors
    /// [`FetchError::Lost`], and a store that fails.
    pub async fn fetch(&self, store: &Store, layer: &RemoteLayer, task: &Task) -> Result<Layer, FetchError> {
        if let Some(held) = held(store, &layer.diff_id).await? {
            return Ok(held);
        }
        let part = task.part(format!("{} from a cache", layer.diff_id.short()));
        let _lock = lock(store, &layer.diff_id, &part).await?;
        if let Some(held) = held(store, &layer.diff_id).await? {
            part.finish(Outcome::Cached);
            return Ok(held);
        }
        let _turn = self.turns.acquire().await.map_err(|_| FetchError::GivenUp)?;
        part.start();
        let fetched = from_any(store, layer, &part).await;
        part.finish(match &fetched {
            Ok(_) => Outcome::Done,
            Err(error) => Outcome::Failed(error.to_string()),
        });
        if matches!(fetched, Err(FetchError::Lost { .. })) {
            self.mark_lost(&layer.diff_id);
        }
        fetched
    }
}

/// Tries one depot after the other.
async fn from_any(store: &Store, layer: &RemoteLayer, task: &Task) -> Result<Layer, FetchError> {
    let mut reason = "no cache has it".to_owned();
    for source in layer.sources() {
        match from_one(store, layer, &source, task).await {
            Ok(layer) => return Ok(layer),
            Err(error @ (FetchError::Depot(_) | FetchError::Unpack { .. })) => reason = error.to_string(),
            Err(other) => return Err(other),
        }
    }
    Err(FetchError::Lost { diff_id: layer.diff_id.clone(), reason })
}

async fn from_one(store: &Store, layer: &RemoteLayer, source: &Source, task: &Task) -> Result<Layer, FetchError> {
    blob(store, &source.depot, &source.blob, task).await?;
    let (store, source) = (store.clone(), source.clone());
    let diff_id = layer.diff_id.clone();
    blocking(move || {
        let digest = source.blob.digest.clone();
        let bad = |error| not_unpacked(&digest, error);
        let unpacked = unpack::layer(&store, store.blobs().open(&digest)?, Some(&diff_id)).map_err(bad)?;
        if let Some(format) = source.packed_as.as_deref().and_then(format::parse) {
            pack::remember(&store, &unpacked.layer, format, &diff_id, &source.blob)?;
        }
        Ok(unpacked.layer)
    })
    .await
}

/// A disk that fails is no fault of the depot's.
fn not_unpacked(digest: &Digest, error: UnpackError) -> FetchError {
    let of_store = match error {
        UnpackError::Store(error) => Ok(error),
        UnpackError::Write { path, source } => Ok(kiln_store::Error::Io { action: "write", path: path.into(), source }),
        other => Err(other),
    };
    match of_store {
        Ok(error) if error.is_of_disk() => FetchError::Store(error),
        Ok(error) => FetchError::Unpack { digest: digest.clone(), source: Box::new(UnpackError::Store(error)) },
        Err(other) => FetchError::Unpack { digest: digest.clone(), source: Box::new(other) },
    }
}

/// Brings a blob into the store, verified, and pins it for this session.
///
/// # Errors
/// A depot that does not have it or cannot be reached, other bytes than promised, a store that fails.
pub async fn blob(store: &Store, depot: &Depot, blob: &Descriptor, task: &Task) -> Result<(), FetchError> {
    let (inside, digest) = (store.clone(), blob.digest.clone());
    let there = blocking(move || {
        inside.leases().pin_blobs(std::slice::from_ref(&digest))?;
        Ok(inside.blobs().contains(&digest)?)
    });
    if there.await? {
        return Ok(());
    }
    let stream = depot.fetch(blob).await?;
    let (sender, receiver) = channel(WAITING);
    let (inside, wanted) = (store.clone(), blob.clone());
    let disk = tokio::task::spawn_blocking(move || receive(&inside, receiver, &wanted));
    let network = forward(stream, sender, blob.size, task).await;
    let disk = disk.await.map_err(|_| FetchError::GivenUp)?;
    // When the network fails the disk fails too, and knows less about why.
    network?;
    disk
}

async fn forward(mut stream: Fetch, sender: Sender<Bytes>, size: u64, task: &Task) -> Result<(), FetchError> {
    while let Some(piece) = stream.chunk().await? {
        task.progress(stream.received(), Some(size));
        if sender.send(piece).await.is_err() {
            // The disk is gone, and has its own error.
            return Ok(());
        }
    }
    Ok(())
}

fn receive(store: &Store, mut pieces: Receiver<Bytes>, blob: &Descriptor) -> Result<(), FetchError> {
    let mut writer = store.blobs().create_for(Some(&blob.digest))?;
    while let Some(piece) = pieces.blocking_recv() {
        writer.write_all(&piece).map_err(|source: io::Error| kiln_store::Error::Io {
            action: "write",
            path: blob.digest.to_string().into(),
            source,
        })?;
    }
    writer.commit(Some(&blob.digest), Some(blob.size))?;
    Ok(())
}

async fn held(store: &Store, diff_id: &Digest) -> Result<Option<Layer>, FetchError> {
    let (store, diff_id) = (store.clone(), diff_id.clone());
    blocking(move || Ok(store.layers().by_diff_id(&diff_id)?)).await
}

/// The lock that whoever pulls the layer takes, too.
async fn lock(store: &Store, diff_id: &Digest, task: &Task) -> Result<LockGuard, FetchError> {
    let key = LockKey::new("pull", diff_id.to_string().as_bytes());
    let mut told = false;
    loop {
        if let Some(guard) = store.locks().try_acquire(key, Sharing::Exclusive)? {
            return Ok(guard);
        }
        if !std::mem::replace(&mut told, true) {
            task.wait("another download of this layer");
        }
        tokio::time::sleep(PATIENCE).await;
    }
}

/// Runs what blocks where it may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FetchError> + Send + 'static,
) -> Result<T, FetchError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| FetchError::GivenUp)?
}
