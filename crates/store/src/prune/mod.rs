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

use kiln_oci::Digest;

use crate::cache_mounts;
use crate::database::now;
use crate::error::{At, Result};
use crate::evictions::EvictionCause;
use crate::layers::{self, LayerId};
use crate::locks::{LockKey, Sharing};
use crate::measure;
use crate::origins;
use crate::partial;
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

/// How long the beginning of a blob stays whose download broke off, in seconds: a week.
const PARTIAL_KEEP: i64 = 7 * 24 * 3600;

/// What to delete. Nothing that an image, a container or a living process's lease needs is ever deleted.
#[derive(Debug, Clone, Default)]
pub struct Prune {
    /// Images without a name that no container uses.
    pub dangling_images: bool,
    /// Images, named or not, that no container uses.
    pub unused_images: bool,
    /// Of the images meant, only these.
    pub images: Option<BTreeSet<Digest>>,
    /// What of the build cache goes.
    pub cache: CachePart,
    /// Directories of cache mounts that nobody uses now.
    pub cache_mounts: bool,
    /// Of the cache, only the entries with these ids ([`CacheEntry::id`]).
    pub only: Option<BTreeSet<String>>,
    /// These containers count as gone, by their ids: what only they need is of no use.
    pub without_containers: BTreeSet<String>,
    /// Tell what would go, and delete nothing.
    pub dry_run: bool,
}

/// A part of the build cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CachePart {
    /// What nothing names any more, if images are deleted, and nothing otherwise.
    #[default]
    Nothing,
    /// What nothing names any more.
    Unnamed,
    /// The least recently used, until what only the cache needs takes at most so many bytes. No image goes then.
    DownTo(u64),
    /// Everything.
    All,
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
    /// The parts of the cache that went, as [`CacheEntry::id`] names them.
    pub entries: BTreeSet<String>,
    /// Bytes on disk that became free.
    pub bytes: u64,
}

pub(crate) fn prune(store: &Arc<Inner>, policy: &Prune) -> Result<Freed> {
    let (mut holdings, sizes) = (Holdings::load(store)?, measure::sizes(store)?);
    holdings.containers.retain(|container| !policy.without_containers.contains(&container.id));
    let plan = match policy.cache {
        CachePart::DownTo(limit) => plan::down_to(&holdings, &sizes, policy, limit),
        _ => plan::of_policy(holdings, &sizes, policy),
    };
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
        entries: plan.records.iter().map(|(id, _)| entries::of_record(*id)).collect(),
        ..Freed::default()
    };
    for name in &plan.mounts {
        if store.locks.try_acquire(cache_mounts::key(name), Sharing::Exclusive)?.is_some() {
            freed.cache_mounts += 1;
            freed.entries.insert(entries::of_mount(name));
            trees.push(cache_mounts::directory(store, name));
        }
    }
    freed.bytes = freed_with(&trees)?;
    freed.name_layers_and_blobs();
    Ok(freed)
}

/// Deletes a plan.
fn execute(store: &Arc<Inner>, plan: &plan::Plan, why: EvictionCause) -> Result<Freed> {
    let unnamed = why != EvictionCause::Prune;
    let images = delete::images(store, &plan.images, unnamed)?;
    let records = delete::records(store, &plan.records, why)?;
    let entries = records.iter().map(|id| entries::of_record(*id)).collect();
    let mut freed = Freed { images, records: records.len() as u64, entries, ..Freed::default() };
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
            freed.entries.insert(entries::of_mount(name));
            trash.push(path);
        }
    }
    freed.bytes = freed_with(&trash)?;
    freed.name_layers_and_blobs();
    trash.iter().try_for_each(|path| crate::remove::tree(path))?;
    Ok(freed)
}

/// Deletes those of these blobs that nobody needs; answers the bytes that became free.
pub(crate) fn free_blobs(store: &Inner, blobs: &[String]) -> Result<u64> {
    let trash: Vec<PathBuf> = delete::take_blobs(store, blobs)?.into_iter().map(|(_, path)| path).collect();
    let bytes = freed_with(&trash)?;
    trash.iter().try_for_each(|path| crate::remove::tree(path))?;
    Ok(bytes)
}

/// Bytes that would become free if the registry did not need these blobs any more.
pub(crate) fn would_free_blobs(store: &Inner, blobs: &[String]) -> Result<u64> {
    let free = delete::free_but_for_registry(store, blobs)?;
    freed_with(&free.iter().map(|digest| crate::blobs::place(store, digest)).collect::<Vec<_>>())
}

/// Files that no table knows: logs, digests of contexts, fetched repositories.
fn prune_files(store: &Inner, policy: &Prune, freed: &mut Freed) -> Result<()> {
    if policy.cache == CachePart::Nothing {
        return Ok(());
    }
    let oldest = now() - UNWRITTEN_KEEP;
    let goes = |id: String, otherwise: bool| policy.only.as_ref().map_or(otherwise, |only| only.contains(&id));
    for place in chosen(&store.root.join("logs"), &|_, written| written <= oldest)? {
        discard(store, &place, policy.dry_run, freed)?;
    }
    let context = |name: &str, written| goes(entries::of_context(name), written <= oldest);
    for place in chosen(&store.root.join("contexts"), &context)? {
        freed.entries.insert(entries::of_context(&name_of(&place)));
        discard(store, &place, policy.dry_run, freed)?;
    }
    let all = policy.cache == CachePart::All;
    if !policy.dry_run {
        store.database.write(|db| origins::forget_unnamed(db))?;
    }
    for place in chosen(&store.root.join(partial::DIRECTORY), &|_, written| all || written <= now() - PARTIAL_KEEP)? {
        if let Some(_alone) = store.locks.try_acquire(partial::key(&name_of(&place)), Sharing::Exclusive)? {
            discard(store, &place, policy.dry_run, freed)?;
        }
    }
    let repository = |name: &str, used| goes(entries::of_repository(name), all || used <= oldest);
    for place in chosen(&store.root.join(repositories::DIRECTORY), &repository)? {
        if let Some(_alone) = store.locks.try_acquire(repositories::key(&name_of(&place)), Sharing::Exclusive)? {
            freed.entries.insert(entries::of_repository(&name_of(&place)));
            discard(store, &place, policy.dry_run, freed)?;
        }
    }
    Ok(())
}

fn name_of(place: &Path) -> String {
    place.file_name().unwrap_or_default().to_string_lossy().into_owned()
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

impl Freed {
    /// Layers and blobs may be entries of their own.
    fn name_layers_and_blobs(&mut self) {
        self.entries.extend(self.layers.iter().map(|id| entries::of_layer(*id)));
        self.entries.extend(self.blobs.iter().map(|digest| entries::of_blob(&digest.to_string())));
    }
}

/// Held by the one process that collects.
fn collecting_key() -> LockKey {
    LockKey::new("collecting", b"")
}

#[cfg(test)]
mod tests;
