//! `kiln cache export` and `kiln cache import`: what a store's cache holds, without a build.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::try_join_all;
use kiln_cache::depot::{self, Depot};
use kiln_cache::mounts::{self, MountError};
use kiln_cache::{
    Cargo, Delivery, FetchError, Found, Manner, Outgoing, OutgoingLayer, Place, PortableMount, PortableRecord,
    RemoteMount, RemoteRecord, SendError, Shelf, SpecError,
};
use kiln_images::compression::Format;
use kiln_oci::Reference;
use kiln_progress::{Outcome, Sink, Task, Warning};
use kiln_registry::Client;
use kiln_store::{Key, Layer, LayerId, Record, Store};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::fetch::adopted;
use crate::bases::blocking;
use crate::error::{BuildError, StepProblem, chain};
use crate::step::Effects;

/// A store's cache, which goes elsewhere or takes in what is there.
#[derive(Clone)]
pub struct CacheStore {
    /// The store.
    pub store: Store,
    /// How registries are talked to.
    pub registry: Client,
    /// Who watches.
    pub progress: Sink,
    /// Who may end it.
    pub cancellation: CancellationToken,
}

/// Which records of a store.
#[derive(Clone, Debug, Default)]
pub struct CacheFilter {
    /// Those whose layers are in this image.
    pub image: Option<Reference>,
    /// Those of this stage.
    pub target: Option<String>,
}

/// What is exported, and how.
#[derive(Clone, Debug, Default)]
pub struct CacheExport {
    /// Which records.
    pub filter: CacheFilter,
    /// Cache mounts too, each up to so many bytes.
    pub mounts: Option<u64>,
    /// The compression of layers that are packed now.
    pub format: Format,
}

/// What is imported, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheImport {
    /// Cache mounts, too.
    pub mounts: bool,
    /// Cache mounts even where they exist.
    pub replace_mounts: bool,
}

/// What came into a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportedCache {
    /// Records that are new here.
    pub records: usize,
    /// Records that were here.
    pub known: usize,
    /// Records that are left out because a layer cannot be had.
    pub lost: usize,
    /// Cache mounts that were filled.
    pub mounts: usize,
}

/// Why a cache did not travel.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// What was asked for cannot be done.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// There is nothing that kiln reads.
    #[error("{place} holds no cache that kiln wrote: {reason}")]
    NoCache {
        /// Where.
        place: String,
        /// What is there.
        reason: String,
    },
    /// The store has no such image.
    #[error("no such image: {0}")]
    NoImage(String),
    /// The place cannot be read.
    #[error(transparent)]
    Depot(#[from] depot::Error),
    /// The place cannot be written.
    #[error(transparent)]
    Send(#[from] SendError),
    /// A blob cannot be had.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A cache mount cannot be packed or filled.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] kiln_store::Error),
    /// A record cannot be written.
    #[error("{0}")]
    Record(StepProblem),
    /// Nobody waits for it any more, or a thread ended early.
    #[error(transparent)]
    Build(#[from] BuildError),
}

impl CacheStore {
    /// Writes the store's records and what they need to `place`.
    ///
    /// # Errors
    /// See [`CacheError`]; nothing of it is visible at the place then.
    pub async fn export(&self, place: &Place, export: &CacheExport) -> Result<Delivery, CacheError> {
        let depot = place.open(&self.registry);
        let task = self.progress.task(format!("exporting cache to {place}"));
        self.watched(&task, async {
            let (own, filter) = (self.clone(), export.filter.clone());
            let records = blocking(move || own.records(&filter)).await??;
            let mounts = match export.mounts {
                Some(largest) => self.packed_mounts(largest, &task).await?,
                None => Vec::new(),
            };
            let manner = Manner { format: export.format, pushed_to: None };
            let warn = |short: String| task.warn(Warning { short, detail: Vec::new() });
            Ok(kiln_cache::send(&self.store, &depot, Cargo { records, mounts }, &manner, &task, &warn).await?)
        })
        .await
    }

    /// Takes all that is at `place` into the store.
    ///
    /// # Errors
    /// See [`CacheError`]; what came before stays.
    pub async fn import(&self, place: &Place, import: &CacheImport) -> Result<ImportedCache, CacheError> {
        let depot = place.open(&self.registry);
        let task = self.progress.task(format!("importing cache from {place}"));
        self.watched(&task, async {
            let shelf = read(&depot, place, &task).await?;
            let mut imported = ImportedCache::default();
            for record in shelf.records() {
                self.import_record(&shelf, record, &task, &mut imported).await?;
            }
            for mount in shelf.mounts().filter(|_| import.mounts) {
                imported.mounts += usize::from(self.import_mount(mount, import.replace_mounts, &task).await?);
            }
            Ok(imported)
        })
        .await
    }

    /// Runs `work` until it ends or is cancelled, and reports how it ended.
    async fn watched<T>(
        &self,
        task: &Task,
        work: impl Future<Output = Result<T, CacheError>>,
    ) -> Result<T, CacheError> {
        task.start();
        let done = tokio::select! {
            done = work => done,
            () = self.cancellation.cancelled() => Err(BuildError::Cancelled.into()),
        };
        task.finish(match &done {
            Ok(_) => Outcome::Done,
            Err(CacheError::Build(BuildError::Cancelled)) => Outcome::Cancelled,
            Err(error) => Outcome::Failed(chain(error)),
        });
        done
    }

    /// The records of steps that are whole and that `filter` wants.
    fn records(&self, filter: &CacheFilter) -> Result<Vec<Outgoing>, CacheError> {
        let image = filter.image.as_ref().map(|image| self.layers_of(image)).transpose()?;
        let wanted = |lineage: &str| {
            stage_of(lineage).is_some_and(|stage| filter.target.as_deref().is_none_or(|target| stage == target))
        };
        let mut outgoing = Vec::new();
        for (record, keys) in self.store.records().with_keys(&wanted)? {
            let in_image = |layers: &HashSet<LayerId>| record.layers.iter().all(|layer| layers.contains(layer));
            if keys.is_empty() || image.as_ref().is_some_and(|layers| !in_image(layers)) {
                continue;
            }
            let layers = record.layers.iter().map(|id| self.store.layers().get(*id));
            let Some(layers) = layers.collect::<Result<Option<Vec<Layer>>, _>>()? else { continue };
            outgoing.push(Outgoing {
                record: portable(&record, keys),
                layers: layers.into_iter().map(OutgoingLayer::Here).collect(),
            });
        }
        Ok(outgoing)
    }

    fn layers_of(&self, image: &Reference) -> Result<HashSet<LayerId>, CacheError> {
        let name = image.with_default_tag().to_string();
        let images = self.store.images().platforms(&name)?;
        if images.is_empty() {
            return Err(CacheError::NoImage(image.familiar()));
        }
        Ok(images.iter().flat_map(|image| &image.layers).filter_map(|layer| layer.layer).collect())
    }

    async fn packed_mounts(&self, largest: u64, task: &Task) -> Result<Vec<PortableMount>, CacheError> {
        let mut packed = Vec::new();
        for id in self.store.cache_mounts().ids()? {
            let part = task.part(format!("packing cache mount {id}"));
            part.start();
            let (store, token, name) = (self.store.clone(), self.cancellation.clone(), id.clone());
            let blob = blocking(move || mounts::pack(&store, &name, largest, &|| token.is_cancelled())).await?;
            match blob {
                Ok(blob) => {
                    part.finish(Outcome::Done);
                    let now = OffsetDateTime::now_utc().unix_timestamp();
                    packed.extend(blob.map(|blob| PortableMount { id, blob, packed: now }));
                }
                Err(error) => {
                    part.finish(Outcome::Failed(chain(&error)));
                    task.warn(Warning { short: format!("left out: {}", chain(&error)), detail: Vec::new() });
                }
            }
        }
        Ok(packed)
    }

    async fn import_record(
        &self,
        shelf: &Shelf,
        record: &Arc<RemoteRecord>,
        task: &Task,
        imported: &mut ImportedCache,
    ) -> Result<(), CacheError> {
        let keys = record.record.recipes.clone();
        let store = self.store.clone();
        let missing = blocking(move || {
            let missing = |key: &Key| store.records().find(key).map(|found| found.is_none().then_some(*key));
            keys.iter().filter_map(|key| missing(key).transpose()).collect::<Result<Vec<Key>, _>>()
        });
        let missing = missing.await??;
        if missing.is_empty() {
            imported.known += 1;
            return Ok(());
        }
        let fetching = record.layers.iter().map(|layer| shelf.fetch(&self.store, layer, task));
        let layers = match try_join_all(fetching).await {
            Ok(layers) => layers.iter().map(Layer::id).collect(),
            Err(error @ FetchError::Lost { .. }) => {
                imported.lost += 1;
                task.warn(Warning { short: format!("a record is left out: {error}"), detail: Vec::new() });
                return Ok(());
            }
            Err(other) => return Err(other.into()),
        };
        let (store, new) = (self.store.clone(), adopted(record, layers).map_err(CacheError::Record)?);
        blocking(move || store.records().insert(&new, &missing)).await??;
        imported.records += 1;
        Ok(())
    }

    async fn import_mount(&self, mount: &RemoteMount, replace: bool, task: &Task) -> Result<bool, CacheError> {
        if !replace && self.store.cache_mounts().existing(&mount.mount.id).is_some() {
            return Ok(false);
        }
        kiln_cache::blob(&self.store, &mount.depot, &mount.mount.blob, task).await?;
        let (store, token, mount) = (self.store.clone(), self.cancellation.clone(), mount.mount.clone());
        let restored = blocking(move || {
            let files = mounts::unpack(&store, &mount.blob)?;
            mounts::restore(&store, &mount.id, &files, replace, &|| token.is_cancelled())
        });
        Ok(restored.await??)
    }
}

async fn read(depot: &Depot, place: &Place, task: &Task) -> Result<Shelf, CacheError> {
    let mut shelf = Shelf::default();
    let warn = |short: String| task.warn(Warning { short, detail: Vec::new() });
    let reason = match shelf.take_in(depot, &warn).await? {
        Found::Entries(_) => return Ok(shelf),
        Found::Nothing => "there is nothing".to_owned(),
        Found::Foreign(depot::Foreign::BuildKit) => super::open::BUILDKIT.to_owned(),
        Found::Foreign(depot::Foreign::Other(kind)) => format!("there is {kind:?}"),
    };
    Err(CacheError::NoCache { place: place.to_string(), reason })
}

/// The stage of a step's lineage; other records have none.
fn stage_of(lineage: &str) -> Option<&str> {
    let mut lines = lineage.lines();
    let stage = lines.nth(1)?;
    lines.nth(1).map(|_| stage)
}

/// A record under these keys as it travels, its layers still to come.
pub(super) fn portable(record: &Record, recipes: Vec<Key>) -> PortableRecord {
    let effects = Effects::parse(&record.effects).unwrap_or_default();
    PortableRecord {
        op: record.op,
        recipes,
        content: effects.content_key,
        lineage: record.lineage.clone(),
        inputs: record.inputs.clone(),
        contexts: effects.contexts,
        layers: Vec::new(),
        made_at: effects.made_at,
        used: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_steps_have_stages() {
        assert_eq!(stage_of("Dockerfile\nbuild\nlinux/amd64\nRUN"), Some("build"));
        assert_eq!(stage_of("packed layer"), None);
    }
}
