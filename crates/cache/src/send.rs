//! Records, layers and mounts of a store into a depot: only what it lacks is packed and sent.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use kiln_images::compression::Format;
use kiln_images::pack::{self, PackError};
use kiln_images::push::StoredBlob;
use kiln_oci::{Descriptor, Digest, MediaType, Reference};
use kiln_progress::{Stream, Task};
use kiln_store::{Layer, LayerId, Store, Union};
use rayon::prelude::*;
use tokio::task::JoinSet;

use crate::catalogue::{
    CATALOGUE, Catalogue, CatalogueError, LARGEST_DOCUMENT, PortableLayer, PortableMount, PortableRecord,
};
use crate::depot::{self, Depot, Entry, Parcel, Put, United};
use crate::fetch::{self, FetchError};
use crate::format;
use crate::shelf::RemoteLayer;

/// Records that no exported build used for so long, in seconds, are left behind when entries are folded.
const LIFETIME: i64 = 30 * 24 * 60 * 60;
/// What was used so long ago, in seconds, is said to be used anew though nothing else is new.
const REFRESH: i64 = 24 * 60 * 60;
/// How many blobs are on their way at once.
const AT_ONCE: usize = 4;

/// A record on its way.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// As it travels; its layers are those beside it.
    pub record: PortableRecord,
    /// The layers, bottom first.
    pub layers: Vec<OutgoingLayer>,
}

/// A layer on its way.
#[derive(Clone, Debug)]
pub enum OutgoingLayer {
    /// It is in the store, above those that come before it.
    Here(Layer),
    /// It lies in another depot, or in the same one.
    Elsewhere(Arc<RemoteLayer>),
}

/// What goes into a depot.
#[derive(Clone, Debug, Default)]
pub struct Cargo {
    /// The records.
    pub records: Vec<Outgoing>,
    /// The packed mounts, whose blobs are in the store.
    pub mounts: Vec<PortableMount>,
}

/// How it goes there.
#[derive(Clone, Debug)]
pub struct Manner {
    /// The compression of layers that are packed now.
    pub format: Format,
    /// A repository that probably holds the result's layers: that of the image which was pushed.
    pub pushed_to: Option<Reference>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Records of this writer.
    pub records: usize,
    /// Layers of these.
    pub layers: usize,
    /// Blobs whose bytes were sent.
    pub sent: usize,
    /// Bytes of these.
    pub bytes: u64,
    /// Entries of earlier writers that were folded.
    pub folded: usize,
    /// Whether all of it was there.
    pub unchanged: bool,
}

/// Why nothing came to be in a depot.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The depot cannot be reached, or refuses.
    #[error(transparent)]
    Depot(#[from] depot::Error),
    /// A layer cannot be packed.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// A layer that lies elsewhere cannot be had.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The catalogue cannot be written.
    #[error("the list of records cannot be written: {0}")]
    Catalogue(#[from] CatalogueError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] kiln_store::Error),
    /// A thread ended early.
    #[error("the export of a cache was given up")]
    GivenUp,
}

/// Brings `cargo` into `depot` and publishes it. `warn` hears of what others left there damaged.
///
/// # Errors
/// See [`SendError`]; nothing of it is visible then.
pub async fn send(
    store: &Store,
    depot: &Depot,
    cargo: Cargo,
    manner: &Manner,
    task: &Task,
    warn: &(dyn Fn(String) + Sync),
) -> Result<Delivery, SendError> {
    let now = seconds();
    let united = match depot.unite(LARGEST_DOCUMENT).await {
        // So do registries where a repository does not exist yet; if it is meant, the first blob is denied as well.
        Err(error) if error.is_denial() => United::default(),
        united => united?,
    };
    let there = catalogues(&united, warn);
    let sender = Sender { store, depot, manner, task };
    let (mut catalogue, puts) = sender.catalogue(cargo, &there, now).await?;
    let mut delivery = Delivery { records: catalogue.records.len(), layers: catalogue.layers.len(), ..puts };
    let fresh = |known: &Catalogue| known.covers(&catalogue) && known.is_used_since(&catalogue, now - REFRESH);
    if there.iter().any(fresh) {
        return Ok(Delivery { unchanged: true, ..delivery });
    }
    let folds = depot.to_fold(&united, |leaflet| Catalogue::parse(&leaflet.records).is_ok());
    if !folds.is_empty() {
        // An entry lists only what is there; of a blob that went the record goes, too.
        let mut blobs: HashMap<Digest, Descriptor> = HashMap::new();
        blobs.extend(there.iter().flat_map(Catalogue::blobs).map(|blob| (blob.digest.clone(), blob)));
        let held = depot.holds_of(blobs.into_values().collect()).await?;
        for mut known in there {
            known.keep_held(&held);
            catalogue.absorb(&known, now - LIFETIME);
        }
        delivery.folded = folds.len();
    }
    let document = Parcel::of(MediaType::Other(CATALOGUE.to_owned()), catalogue.to_document()?.into());
    depot.put(&document).await?;
    let (entry, manifest) = Entry::new(document.descriptor, catalogue.blobs(), folds);
    depot.publish(&entry, manifest).await?;
    if let Err(error) = depot.retire(&united).await {
        warn(format!("older entries stay: {error}"));
    }
    Ok(delivery)
}

/// What the entries of a depot say, newest first; those that cannot be read are told of and left out.
pub(crate) fn catalogues(united: &United, warn: &(dyn Fn(String) + Sync)) -> Vec<Catalogue> {
    for (id, error) in &united.damaged {
        warn(format!("entry {id} is left out: {error}"));
    }
    let read = |leaflet: &depot::Leaflet| match Catalogue::parse(&leaflet.records) {
        Ok(catalogue) => Some(catalogue),
        Err(error) => {
            warn(format!("entry {} is left out: {error}", leaflet.entry.id));
            None
        }
    };
    united.leaflets.iter().filter_map(read).collect()
}

struct Sender<'a> {
    store: &'a Store,
    depot: &'a Depot,
    manner: &'a Manner,
    task: &'a Task,
}

/// A layer that is ready to be listed, and whether its blob has to be put first.
struct Ready {
    layer: PortableLayer,
    put: bool,
}

impl Sender<'_> {
    /// The catalogue of a cargo; all that it refers to is in the depot afterwards.
    async fn catalogue(&self, cargo: Cargo, there: &[Catalogue], now: i64) -> Result<(Catalogue, Delivery), SendError> {
        let held: HashMap<Digest, PortableLayer> = there
            .iter()
            .rev()
            .flat_map(|known| &known.layers)
            .map(|layer| (layer.diff_id.clone(), layer.clone()))
            .collect();
        let here = self.layers_here(&cargo, held.clone()).await?;
        let elsewhere = self.layers_elsewhere(&cargo, &held).await?;
        let mut puts: HashMap<Digest, Descriptor> = HashMap::new();
        for ready in here.values().chain(elsewhere.values()).filter(|ready| ready.put) {
            puts.insert(ready.layer.blob.digest.clone(), ready.layer.blob.clone());
        }
        puts.extend(cargo.mounts.iter().map(|mount| (mount.blob.digest.clone(), mount.blob.clone())));
        let delivery = self.put_all(puts.into_values().collect()).await?;
        let mut catalogue = Catalogue::new();
        catalogue.mounts = cargo.mounts;
        for outgoing in cargo.records {
            let ready = outgoing.layers.iter().map(|layer| match layer {
                OutgoingLayer::Here(layer) => here.get(&layer.id()),
                OutgoingLayer::Elsewhere(layer) => elsewhere.get(&layer.diff_id),
            });
            // A layer of another depot that is gone: the record does not travel.
            let Some(ready) = ready.collect::<Option<Vec<_>>>() else { continue };
            let layers = ready.into_iter().map(|ready| catalogue.place_of(&ready.layer)).collect();
            catalogue.records.push(PortableRecord { layers, used: now, ..outgoing.record });
        }
        Ok((catalogue, delivery))
    }

    /// The layers of the store that records need, packed unless the depot has them.
    async fn layers_here(
        &self,
        cargo: &Cargo,
        held: HashMap<Digest, PortableLayer>,
    ) -> Result<HashMap<LayerId, Ready>, SendError> {
        let mut wanted: HashMap<LayerId, (Layer, Vec<Layer>)> = HashMap::new();
        for outgoing in &cargo.records {
            let mut below = Vec::new();
            for layer in &outgoing.layers {
                let OutgoingLayer::Here(layer) = layer else { break };
                wanted.entry(layer.id()).or_insert_with(|| (layer.clone(), below.clone()));
                below.push(layer.clone());
            }
        }
        let held = self.confirmed(held, wanted.values().map(|(layer, _)| layer)).await?;
        let (store, format) = (self.store.clone(), self.manner.format);
        let ready = blocking(move || {
            let known = kiln_images::export::known_blobs(&store)
                .map_err(|error| PackError::Write(std::io::Error::other(error)))?;
            let one = |(layer, below): (Layer, Vec<Layer>)| {
                let id = layer.id();
                Ok::<_, SendError>((id, ready(&store, &layer, below, format, &held, &known)?))
            };
            wanted.into_values().collect::<Vec<_>>().into_par_iter().map(one).collect()
        });
        ready.await
    }

    /// Those of `held` that `layers` are and that the depot really has.
    async fn confirmed<'l>(
        &self,
        held: HashMap<Digest, PortableLayer>,
        layers: impl Iterator<Item = &'l Layer>,
    ) -> Result<HashMap<Digest, PortableLayer>, SendError> {
        let mut asked = Vec::new();
        for layer in layers {
            let known = layer.diff_id()?.and_then(|diff_id| held.get(&diff_id));
            asked.extend(known.map(|known| known.blob.clone()));
        }
        let there = self.depot.holds_of(asked).await?;
        Ok(held.into_iter().filter(|(_, known)| there.contains(&known.blob.digest)).collect())
    }

    /// The layers that lie elsewhere, brought here unless the depot has them. One that cannot be had is left out.
    async fn layers_elsewhere(
        &self,
        cargo: &Cargo,
        held: &HashMap<Digest, PortableLayer>,
    ) -> Result<HashMap<Digest, Ready>, SendError> {
        let mut ready = HashMap::new();
        for layer in cargo.records.iter().flat_map(|outgoing| &outgoing.layers) {
            let OutgoingLayer::Elsewhere(layer) = layer else { continue };
            if ready.contains_key(&layer.diff_id) {
                continue;
            }
            if let Some(known) = held.get(&layer.diff_id)
                && self.depot.holds(&known.blob).await?
            {
                ready.insert(layer.diff_id.clone(), Ready { layer: known.clone(), put: false });
                continue;
            }
            for source in layer.sources() {
                match fetch::blob(self.store, &source.depot, &source.blob, self.task).await {
                    Ok(()) => {
                        let portable = PortableLayer {
                            diff_id: layer.diff_id.clone(),
                            blob: source.blob,
                            packed_as: source.packed_as,
                        };
                        ready.insert(layer.diff_id.clone(), Ready { layer: portable, put: true });
                        break;
                    }
                    Err(FetchError::Depot(_)) => {}
                    Err(other) => return Err(other.into()),
                }
            }
        }
        Ok(ready)
    }

    async fn put_all(&self, blobs: Vec<Descriptor>) -> Result<Delivery, SendError> {
        let mut delivery = Delivery::default();
        let mut waiting = blobs.into_iter();
        let mut jobs = JoinSet::new();
        loop {
            while jobs.len() < AT_ONCE
                && let Some(descriptor) = waiting.next()
            {
                let source = Arc::new(StoredBlob::new(self.store.clone(), descriptor.digest.clone()));
                let parcel = Parcel { descriptor, source, elsewhere: self.manner.pushed_to.clone() };
                let depot = self.depot.clone();
                jobs.spawn(async move { Ok::<_, depot::Error>((depot.put(&parcel).await?, parcel.descriptor)) });
            }
            let Some(done) = jobs.join_next().await else { return Ok(delivery) };
            let (put, blob) = done.map_err(|_| SendError::GivenUp)??;
            let how = match put {
                Put::Held => "is there already",
                Put::Mounted => "mounted from the pushed image",
                Put::Sent => "sent",
            };
            self.task.log(Stream::Stdout, format!("{} {how}\n", blob.digest.short()).as_bytes());
            if put == Put::Sent {
                delivery.sent += 1;
                delivery.bytes += blob.size;
            }
        }
    }
}

/// One layer: as the depot has it, as it came from a registry, or packed now.
fn ready(
    store: &Store,
    layer: &Layer,
    below: Vec<Layer>,
    format: Format,
    held: &HashMap<Digest, PortableLayer>,
    known: &HashMap<Digest, Descriptor>,
) -> Result<Ready, SendError> {
    let diff_id = layer.diff_id()?;
    if let Some(held) = diff_id.as_ref().and_then(|diff_id| held.get(diff_id)) {
        return Ok(Ready { layer: held.clone(), put: false });
    }
    if let Some(diff_id) = diff_id
        && let Some(blob) = known.get(&diff_id)
    {
        let layer = PortableLayer { diff_id, blob: blob.clone(), packed_as: None };
        return Ok(Ready { layer, put: true });
    }
    let packed = pack::blob(store, layer, &Union::new(below)?, format, None)?;
    let (diff_id, blob) = (packed.diff_id, packed.descriptor);
    let layer = PortableLayer { diff_id, blob, packed_as: Some(format::word(format)) };
    Ok(Ready { layer, put: true })
}

/// Seconds since 1970.
pub(crate) fn seconds() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SendError> + Send + 'static,
) -> Result<T, SendError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| SendError::GivenUp)?
}
