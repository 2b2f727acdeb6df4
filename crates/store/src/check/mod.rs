//! Checking everything that the store holds against what it says of itself, while others may be at work in it.
//!
//! Layers and blobs are pinned one at a time while they are looked at, so that no prune takes them away; what has no
//! row is looked at again when nobody is just putting something in its place; and what is found about something
//! that meanwhile lost its row is no finding. Memory is bounded by the largest layer's index for each thread.
//!
//! A check changes nothing but that it keeps the digests of files that nobody had hashed before.

mod blobs;
mod disk;
mod layer;
mod layers;
mod mend;
mod needs;
mod places;
mod report;
mod rows;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use layers::packed;
pub use mend::Mended;
pub(crate) use mend::{mend, set_aside};
pub use report::{Counted, Finding, Remedy, Report, Subject, Unverified};

use crate::error::{At, Error, Result};
use crate::layers::LayerId;
use crate::locks::{LockGuard, Sharing};
use crate::store::Inner;
use needs::Needs;

/// How long a check waits for others to finish what they are just putting in its place.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a check has in hand.
struct Checker<'a> {
    store: &'a Arc<Inner>,
    /// Told of the bytes that were read.
    advance: &'a (dyn Fn(u64) + Sync),
}

impl Checker<'_> {
    /// The lock under which nobody puts anything in its place; `None` if that cannot be had soon.
    fn nobody_places(&self) -> Result<Option<LockGuard>> {
        let started = Instant::now();
        let patience = || started.elapsed() > PATIENCE;
        match self.store.locks.acquire(Inner::placing_key(), Sharing::Exclusive, &patience) {
            Err(Error::Cancelled) => Ok(None),
            guard => guard.map(Some),
        }
    }
}

/// Checks everything. `watch` is told how many bytes were read of how many, from several threads.
pub(crate) fn check(store: &Arc<Inner>, watch: &(dyn Fn(u64, u64) + Sync)) -> Result<Report> {
    let mut report = rows::integrity(store)?;
    let (layer_rows, blob_rows) = (layers::rows(store)?, blobs::rows(store)?);
    let total = layer_rows.iter().map(|row| row.bytes as u64).chain(blob_rows.iter().map(|(_, size)| *size)).sum();
    let done = std::sync::atomic::AtomicU64::new(0);
    let advance = |bytes: u64| {
        let before = done.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
        watch((before + bytes).min(total), total);
    };
    watch(0, total);
    let checker = Checker { store, advance: &advance };
    let needs = Needs::load(store)?;
    report.add(layers::check(&checker, &layer_rows, &needs)?);
    report.findings.extend(layers::counter(store, &layer_rows)?);
    report.add(blobs::check(&checker, &blob_rows, &needs)?);
    report.add(rows::check(store, &needs)?);
    report.add(places::check(&checker, &needs)?);
    report.findings.sort_by(|a, b| (&a.subject, &a.path, &a.problem).cmp(&(&b.subject, &b.path, &b.problem)));
    // A check finds more than anybody stumbled over.
    store.noted.take();
    Ok(report)
}

/// The entries of a layer that are not as its index has them, the first few; none if it has no index.
pub(crate) fn damaged_entries(store: &Arc<Inner>, id: LayerId) -> Vec<PathBuf> {
    let layer = crate::layers::handle(store, id);
    let Ok(index) = layer.index() else { return Vec::new() };
    let state = layer::compare(&layer, &index, &disk::Disk::new(store), &|_| {});
    state.map_or_else(|_| Vec::new(), |state| state.damage.into_iter().map(|(entry, _)| entry.into()).collect())
}

/// What is in a directory, sorted; nothing if it is not there.
pub(crate) fn listed(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.at("list", directory)?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.at("list", directory)?.path());
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests;
