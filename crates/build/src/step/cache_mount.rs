//! Directories of `RUN --mount=type=cache` while a step uses them.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;

use kiln_graph::{CacheMount, CacheSharing};
use kiln_images::export;
use kiln_store::{LockGuard, Metadata, Sharing, Timestamp, Union};

use super::file::root_metadata;
use super::{Cancelled, Made, Steps};
use crate::error::StepProblem;

/// A cache directory and the lock that keeps others away, or in step.
pub(super) struct HeldCache {
    pub(super) directory: PathBuf,
    pub(super) lock: LockGuard,
}

impl Steps {
    /// The directory of a cache mount, locked as its sharing says; a new one starts with `seed`.
    pub(super) fn cache_directory(
        &self,
        cache: &CacheMount,
        seed: Option<&Made>,
        cancelled: Cancelled<'_>,
    ) -> Result<HeldCache, StepProblem> {
        let caches = self.store.cache_mounts();
        let fill = |directory: &File| self.fill(directory, cache, seed, cancelled);
        match cache.sharing {
            CacheSharing::Private => {
                let (directory, lock) = caches.private(&cache.id, fill)?;
                Ok(HeldCache { directory, lock })
            }
            CacheSharing::Shared | CacheSharing::Locked => {
                let sharing = if cache.sharing == CacheSharing::Locked { Sharing::Exclusive } else { Sharing::Shared };
                let key = caches.lock_key(&cache.id);
                let lock = self.store.locks().acquire(key, sharing, cancelled)?;
                Ok(HeldCache { directory: caches.directory(&cache.id, fill)?, lock })
            }
        }
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
