//! Writing what `--cache-to` names, after the result is where it belongs.

use std::sync::Arc;

use kiln_cache::{CacheTo, Cargo, Delivery, Manner, Mode, Place, PortableMount, mounts};
use kiln_graph::VertexId;
use kiln_oci::Reference;
use kiln_progress::{Outcome, Sink, Stream, Task, Warning};
use kiln_registry::Client;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::gather::ResultLayers;
use crate::bases::blocking;
use crate::error::{BuildError, chain};
use crate::step::{Made, Steps};

/// What a build has to give to caches.
pub(crate) struct Exports<'a> {
    pub(crate) steps: Arc<Steps>,
    pub(crate) targets: Vec<VertexId>,
    pub(crate) results: Vec<Made>,
    pub(crate) registry: &'a Client,
    /// Where the image was pushed to.
    pub(crate) pushed_to: Option<Reference>,
    pub(crate) progress: &'a Sink,
    pub(crate) cancellation: &'a CancellationToken,
}

/// Writes to all places, in order.
///
/// # Errors
/// The first that cannot be written, unless its errors are to be ignored.
pub(crate) async fn send_all(exports: &Exports<'_>, to: &[CacheTo]) -> Result<(), BuildError> {
    for each in to {
        let Some(place) = &each.place else { continue };
        let task = exports.progress.task(format!("exporting cache to {place}"));
        task.start();
        let sent = tokio::select! {
            sent = exports.send(place, each, &task) => sent,
            () = exports.cancellation.cancelled() => {
                task.finish(Outcome::Cancelled);
                return Err(BuildError::Cancelled);
            }
        };
        match sent {
            Ok(delivery) => {
                task.log(Stream::Stdout, format!("{}\n", told(&delivery)).as_bytes());
                task.finish(Outcome::Done);
            }
            Err(reason) => {
                task.finish(Outcome::Failed(reason.clone()));
                let short = format!("cannot export the cache to {place}: {reason}");
                if !each.ignore_error {
                    return Err(BuildError::CacheExport { place: place.to_string(), reason });
                }
                exports.progress.warn(Warning { short, detail: Vec::new() });
            }
        }
    }
    Ok(())
}

impl Exports<'_> {
    async fn send(&self, place: &Place, to: &CacheTo, task: &Task) -> Result<Delivery, String> {
        let depot = place.open(self.registry);
        let cargo = self.cargo(to, task).await?;
        let pushed_to = self.pushed_to.clone();
        let manner = Manner { format: to.format, pushed_to };
        let warn = |short: String| task.warn(Warning { short, detail: Vec::new() });
        let sent = kiln_cache::send(&self.steps.store, &depot, cargo, &manner, task, &warn).await;
        sent.map_err(|error| chain(&error))
    }

    async fn cargo(&self, to: &CacheTo, task: &Task) -> Result<Cargo, String> {
        let (steps, targets) = (Arc::clone(&self.steps), self.targets.clone());
        let only = (to.mode == Mode::Min).then(|| ResultLayers::of(&self.results));
        let records = blocking(move || steps.gather(&targets, only.as_ref())).await;
        let records = records.map_err(|error| chain(&error))?.map_err(|error| chain(&error))?;
        let mut mounts = Vec::new();
        if let Some(largest) = to.mounts {
            for id in self.steps.cache_mount_ids(&self.targets) {
                mounts.extend(self.mount(id, largest, task).await?);
            }
        }
        Ok(Cargo { records, mounts })
    }

    /// A mount's files, packed; one that cannot be packed is a warning.
    async fn mount(&self, id: String, largest: u64, task: &Task) -> Result<Option<PortableMount>, String> {
        let part = task.part(format!("packing cache mount {id}"));
        part.start();
        let (store, token, name) = (self.steps.store.clone(), self.cancellation.clone(), id.clone());
        let packed = blocking(move || mounts::pack(&store, &name, largest, &|| token.is_cancelled())).await;
        let packed = packed.map_err(|error| chain(&error))?;
        match packed {
            Ok(blob) => {
                part.finish(Outcome::Done);
                let packed = OffsetDateTime::now_utc().unix_timestamp();
                Ok(blob.map(|blob| PortableMount { id, blob, packed }))
            }
            Err(error) => {
                part.finish(Outcome::Failed(chain(&error)));
                let short = format!("a cache mount is left out: {}", chain(&error));
                task.warn(Warning { short, detail: Vec::new() });
                Ok(None)
            }
        }
    }
}

/// What was done, in a line.
fn told(delivery: &Delivery) -> String {
    let Delivery { records, layers, sent, bytes, folded, unchanged } = delivery;
    if *unchanged {
        return format!("nothing new: {records} records and {layers} layers are there");
    }
    let folding = if *folded > 0 { format!(", {folded} older entries folded") } else { String::new() };
    format!("{records} records, {layers} layers; sent {sent} blobs, {bytes} bytes{folding}")
}
