//! Making the store smaller: what goes is planned from one snapshot, then deleted piece by piece.
//!
//! Nothing that an image, a container or a living session's lease needs goes. Of the rest, cache records go least
//! recently used first; layers and blobs that nobody names any more go with any prune.

mod collect;
mod delete;
mod entries;
mod holdings;
mod plan;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kiln_oci::Digest;

use crate::cache_mounts;
use crate::database::now;
use crate::error::{At, Result};
use crate::evictions::EvictionCause;
use crate::layers::{self, LayerId};
use crate::locks::{LockKey, Sharing};
use crate::measure;
use crate::repositories;
use crate::store::Inner;
use crate::usage::freed_with;

pub(crate) use collect::collect;
pub use collect::{Collected, Limits};
pub(crate) use entries::list;
pub use entries::{CacheEntry, CacheKind};
pub(crate) use holdings::Holdings;

/// How long logs and digests of contexts stay after they were last written, in seconds: 30 days.
const UNWRITTEN_KEEP: i64 = 30 * 24 * 3600;

/// What to delete. Nothing that an image, a container or a living process's lease needs is ever deleted.
#[derive(Debug, Clone, Default)]
pub struct Prune {
    /// Images without a name that no container uses.
    pub dangling_images: bool,
    /// Images, named or not, that no container uses.
    pub unused_images: bool,
    /// Of the images meant, only these.
    pub images: Option<BTreeSet<Digest>>,
    /// Cache records, least recently used first, until what only the cache needs is at most so many bytes; `Some(0)` for all.
    pub cache_to: Option<u64>,
    /// Directories of cache mounts that nobody uses now.
    pub cache_mounts: bool,
    /// Of the cache, only the entries with these ids ([`CacheEntry::id`]).
    pub only: Option<BTreeSet<String>>,
    /// Of all the above, only what was not used for so long.
    pub unused_for: Option<Duration>,
    /// Tell what would go, and delete nothing.
    pub dry_run: bool,
}

/// What a prune deleted, or would delete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Freed {
    /// Images with their names at that time.
    pub images: Vec<(Digest, Vec<String>)>,
    /// Cache records.
    pub records: u64,
    /// Layers.
    pub layers: Vec<LayerId>,
    /// Blobs.
    pub blobs: Vec<Digest>,
    /// Cache mounts.
    pub cache_mounts: u64,
    /// Bytes on disk that became free.
    pub bytes: u64,
}

pub(crate) fn prune(store: &Arc<Inner>, policy: &Prune) -> Result<Freed> {
    let plan = plan::of_policy(Holdings::load(store)?, &measure::sizes(store)?, policy, now());
    let mut freed = match policy.dry_run {
        true => foreseen(store, &plan)?,
        false => execute(store, &plan, EvictionCause::Prune)?,
    };
    prune_files(store, policy, &mut freed)?;
    Ok(freed)
}

/// What deleting a plan would free.
fn foreseen(store: &Arc<Inner>, plan: &plan::Plan) -> Result<Freed> {
    let mut trees: Vec<PathBuf> = plan.layers.iter().map(|&id| layers::directory(store, id)).collect();
    let blobs: Vec<Digest> = plan.blobs.iter().filter_map(|digest| digest.parse().ok()).collect();
    trees.extend(blobs.iter().map(|digest| crate::blobs::place(store, digest)));
    let mut freed = Freed {
        images: plan.images.iter().map(|image| (image.id.clone(), image.names.clone())).collect(),
        records: plan.records.len() as u64,
        layers: plan.layers.clone(),
        blobs,
        ..Freed::default()
    };
    for name in &plan.mounts {
        if store.locks.try_acquire(cache_mounts::key(name), Sharing::Exclusive)?.is_some() {
            freed.cache_mounts += 1;
            trees.push(cache_mounts::directory(store, name));
        }
    }
    freed.bytes = freed_with(&trees)?;
    Ok(freed)
}

/// Deletes a plan.
fn execute(store: &Arc<Inner>, plan: &plan::Plan, why: EvictionCause) -> Result<Freed> {
    let unnamed = why != EvictionCause::Prune;
    let mut freed = Freed {
        images: delete::images(store, &plan.images, unnamed)?,
        records: delete::records(store, &plan.records, why)?,
        ..Freed::default()
    };
    let mut trash = Vec::new();
    for (id, path) in delete::take_layers(store, &plan.layers)? {
        freed.layers.push(id);
        trash.push(path);
    }
    for (digest, path) in delete::take_blobs(store, &plan.blobs)? {
        freed.blobs.push(digest);
        trash.push(path);
    }
    for name in &plan.mounts {
        if let Some(path) = delete::take_mount(store, name)? {
            freed.cache_mounts += 1;
            trash.push(path);
        }
    }
    freed.bytes = freed_with(&trash)?;
    trash.iter().try_for_each(|path| crate::remove::tree(path))?;
    Ok(freed)
}

/// Files that no table knows: logs, digests of contexts, fetched repositories.
fn prune_files(store: &Inner, policy: &Prune, freed: &mut Freed) -> Result<()> {
    let Some(limit) = policy.cache_to else { return Ok(()) };
    let all = limit == 0 && policy.unused_for.is_none() && policy.only.is_none();
    let only = |id: String| policy.only.as_ref().is_some_and(|only| only.contains(&id));
    let keep = policy.unused_for.map_or(UNWRITTEN_KEEP, |time| i64::try_from(time.as_secs()).unwrap_or(UNWRITTEN_KEEP));
    let oldest = now() - keep.min(UNWRITTEN_KEEP);
    let context = |name: &str, written| match policy.only {
        Some(_) => only(entries::of_context(name)),
        None => written <= oldest,
    };
    let repository = |name: &str, used| match policy.only {
        Some(_) => only(entries::of_repository(name)),
        None => all || used <= oldest,
    };
    let mut places = Vec::new();
    if policy.only.is_none() {
        places.extend(chosen(&store.root.join("logs"), &|_, written| written <= now() - UNWRITTEN_KEEP)?);
    }
    places.extend(chosen(&store.root.join("contexts"), &context)?);
    for place in chosen(&store.root.join(repositories::DIRECTORY), &repository)? {
        let name = place.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(_alone) = store.locks.try_acquire(repositories::key(&name), Sharing::Exclusive)? {
            discard(store, &place, policy.dry_run, freed)?;
        }
    }
    places.iter().try_for_each(|place| discard(store, place, policy.dry_run, freed))
}

/// Entries of a directory, by their names and the times when they were last written, in seconds since 1970.
fn chosen(directory: &Path, goes: &dyn Fn(&str, i64) -> bool) -> Result<Vec<PathBuf>> {
    use std::os::unix::fs::MetadataExt;
    if !measure::exists(directory) {
        return Ok(Vec::new());
    }
    let mut chosen = Vec::new();
    for entry in std::fs::read_dir(directory).at("list", directory)? {
        let entry = entry.at("list", directory)?;
        let written = entry.metadata().at("examine", &entry.path())?.mtime();
        if goes(&entry.file_name().to_string_lossy(), written) {
            chosen.push(entry.path());
        }
    }
    Ok(chosen)
}

fn discard(store: &Inner, place: &Path, dry_run: bool, freed: &mut Freed) -> Result<()> {
    freed.bytes += freed_with(&[place.to_owned()])?;
    if dry_run { Ok(()) } else { store.session.discard(place) }
}

/// Held by the one process that collects.
fn collecting_key() -> LockKey {
    LockKey::new("collecting", b"")
}

#[cfg(test)]
mod tests;
