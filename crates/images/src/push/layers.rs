//! The layers of a parcel on their way, several at once: what the registry has or takes from another repository is not
//! sent, and what the store does not hold is fetched only then.

use std::collections::BTreeMap;
use std::sync::Arc;

use kiln_oci::{Descriptor, Digest, Reference};
use kiln_progress::{Outcome, Task};
use kiln_registry::{Client, Sent};
use kiln_store::Store;
use tokio::task::JoinSet;

use super::{PushError, StoredBlob};
use crate::pull::{self, Unpulled};

/// What became of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentLayer {
    /// Which.
    pub digest: Digest,
    /// How it got there; `None` if it need not be there: its descriptor names web servers that have it.
    pub sent: Option<Sent>,
}

/// Sends `layers` to the repository of `reference`; the registry's client says how many go at once. Each has a part of
/// `task`.
pub(super) async fn send(
    store: &Store,
    registry: &Client,
    reference: &Reference,
    layers: Vec<Descriptor>,
    task: &Task,
    observe: &(dyn Fn(&SentLayer) + Sync),
) -> Result<(), PushError> {
    let known = repositories(store, reference)?;
    let mut jobs = JoinSet::new();
    for layer in layers {
        if !layer.media_type.is_distributable() {
            observe(&SentLayer { digest: layer.digest, sent: None });
            continue;
        }
        let job = Job {
            store: store.clone(),
            registry: registry.clone(),
            reference: reference.clone(),
            from: known.get(&layer.digest).cloned(),
            task: task.part(format!("pushing {}", layer.digest.short())),
            layer,
        };
        jobs.spawn(job.run());
    }
    while let Some(finished) = jobs.join_next().await {
        observe(&finished.map_err(|_| PushError::GivenUp)??);
    }
    Ok(())
}

/// One layer.
struct Job {
    store: Store,
    registry: Client,
    reference: Reference,
    layer: Descriptor,
    /// Another repository of the registry that may have it.
    from: Option<String>,
    task: Task,
}

impl Job {
    async fn run(self) -> Result<SentLayer, PushError> {
        self.task.start();
        let sent = self.send().await;
        self.task.finish(match &sent {
            Ok(Sent::Uploaded) => Outcome::Done,
            Ok(_) => Outcome::Cached,
            Err(error) => Outcome::Failed(error.to_string()),
        });
        Ok(SentLayer { sent: Some(sent?), digest: self.layer.digest })
    }

    async fn send(&self) -> Result<Sent, PushError> {
        if self.store.blobs().contains(&self.layer.digest)? {
            return Ok(self.push(self.from.as_deref()).await?);
        }
        let origins = origins(&self.store, &self.layer.digest)?;
        let from = origins.iter().find(|origin| is_beside(origin, &self.reference)).map(Reference::path);
        let from = from.or(self.from.as_deref());
        // Without a byte of it: that is enough where the registry has it in some repository.
        match self.push(from).await {
            Err(kiln_registry::Error::Source { .. }) => {}
            sent => return Ok(sent?),
        }
        let (diff_id, blob) = (self.layer.digest.clone(), self.layer.clone());
        let wanted = Unpulled { diff_id, blob, repositories: origins.clone() };
        pull::blob(&self.store, &self.registry, &wanted, &self.task).await?;
        Ok(self.push(from).await?)
    }

    async fn push(&self, from: Option<&str>) -> Result<Sent, kiln_registry::Error> {
        let source = StoredBlob::new(self.store.clone(), self.layer.digest.clone());
        let source = Arc::new(source.observed(self.task.clone(), self.layer.size));
        self.registry.push_blob(&self.reference, &self.layer, from, source).await
    }
}

/// The repositories that should have a blob.
fn origins(store: &Store, blob: &Digest) -> Result<Vec<Reference>, PushError> {
    let names = store.origins().of(blob)?;
    Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
}

/// Whether it is another repository of the same registry.
fn is_beside(other: &Reference, reference: &Reference) -> bool {
    other.domain() == reference.domain() && other.path() != reference.path()
}

/// For each blob that images of the store name: another repository of the same registry that an image with it came
/// from or went to.
fn repositories(store: &Store, reference: &Reference) -> Result<BTreeMap<Digest, String>, PushError> {
    let mut known = BTreeMap::new();
    for image in store.images().list()? {
        let names = image.names.iter().chain(&image.names_by_platform);
        let names: Vec<Reference> = names.filter_map(|name| name.parse().ok()).collect();
        for blob in image.layers.iter().filter_map(|layer| layer.blob.as_ref()) {
            if known.contains_key(&blob.digest) {
                continue;
            }
            let told = origins(store, &blob.digest)?;
            // A name says where an image came from or goes to; an origin, where its blob really was.
            let other = told.iter().chain(&names).find(|other| is_beside(other, reference));
            if let Some(other) = other {
                known.insert(blob.digest.clone(), other.path().to_owned());
            }
        }
    }
    Ok(known)
}
