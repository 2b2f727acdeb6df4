//! Directories of `RUN --mount=type=cache` while a step uses them.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;

use kiln_graph::{CacheMount, CacheSharing, ExecOp, MountKind, Op, VertexId};
use kiln_images::export;
use kiln_store::{LockGuard, Metadata, Sharing, Timestamp, Union};

use super::file::root_metadata;
use super::{Cancelled, Made, Steps};
use crate::error::StepProblem;

/// A cache directory and the lock that keeps others away, or in step.
pub(crate) struct HeldCache {
    pub(super) id: String,
    pub(super) directory: PathBuf,
    pub(super) lock: LockGuard,
}

impl Steps {
    /// The ids of the cache directories that a step needs, each once. Whoever takes several takes them in this order,
    /// so that no two wait for each other.
    pub(crate) fn wanted_caches(&self, id: VertexId) -> Vec<String> {
        let Op::Exec(op) = &self.vertex(id).op else { return Vec::new() };
        let mut ids: Vec<String> = cache_mounts(op).map(|cache| cache.id.clone()).collect();
        ids.sort();
        ids.dedup();
        ids
    }

    /// Takes the cache directory of that id for a step if nobody is in the way. Where a step mounts it several times,
    /// the first mount says how it is shared and what it starts with.
    pub(crate) fn try_cache(
        &self,
        id: VertexId,
        cache: &str,
        inputs: &[Made],
        cancelled: Cancelled<'_>,
    ) -> Result<Option<HeldCache>, StepProblem> {
        let Op::Exec(op) = &self.vertex(id).op else { return Ok(None) };
        let Some(cache) = cache_mounts(op).find(|mount| mount.id == cache) else { return Ok(None) };
        let seed = cache.seed.map(|seed| &inputs[seed.0 as usize]);
        let caches = self.store.cache_mounts();
        let fill = |directory: &File| self.fill(directory, cache, seed, cancelled);
        let sharing = match cache.sharing {
            CacheSharing::Private => {
                let (directory, lock) = caches.private(&cache.id, fill)?;
                return Ok(Some(HeldCache { id: cache.id.clone(), directory, lock }));
            }
            CacheSharing::Shared => Sharing::Shared,
            CacheSharing::Locked => Sharing::Exclusive,
        };
        let Some(lock) = self.store.locks().try_acquire(caches.lock_key(&cache.id), sharing)? else {
            return Ok(None);
        };
        Ok(Some(HeldCache { id: cache.id.clone(), directory: caches.directory(&cache.id, fill)?, lock }))
    }

    /// Puts the seed into a new cache directory, and says what the directory itself is like: as the seed's, or as
    /// the mount's options say where there is none.
    fn fill(
        &self,
        directory: &File,
        cache: &CacheMount,
        seed: Option<&Made>,
        cancelled: Cancelled<'_>,
    ) -> Result<Metadata, StepProblem> {
        if let Some(root) = self.fill_from_seed(directory, &cache.id)? {
            return Ok(root);
        }
        let asked = Metadata { uid: cache.uid, gid: cache.gid, ..Metadata::root_owned(cache.mode, Timestamp::now()) };
        let (Some(seed), Some(from)) = (seed, cache.seed) else { return Ok(asked) };
        let copied = self.copy_of(seed.tree()?, (from, &cache.source), &|_| None, cancelled)?;
        let filled = Union::new(vec![copied.layer])?;
        export::materialize(directory.as_fd(), &filled, None, export::Owners::Image)?;
        Ok(root_metadata(&filled))
    }
}

fn cache_mounts(op: &ExecOp) -> impl Iterator<Item = &CacheMount> {
    op.mounts.iter().filter_map(|mount| match &mount.kind {
        MountKind::Cache(cache) => Some(cache),
        _ => None,
    })
}
