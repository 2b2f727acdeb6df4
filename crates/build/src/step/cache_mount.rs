//! Directories of `RUN --mount=type=cache` while a step uses them.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use kiln_graph::{CacheMount, CacheSharing, Copy};
use kiln_images::export;
use kiln_store::{LockGuard, Metadata, Sharing, Timestamp, Union};

use super::identify::whole;
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
        let root = Metadata { uid: cache.uid, gid: cache.gid, ..Metadata::root_owned(cache.mode, Timestamp::now()) };
        let caches = self.store.cache_mounts();
        let held = match cache.sharing {
            CacheSharing::Private => {
                let (directory, lock) = caches.private(&cache.id, &root)?;
                HeldCache { directory, lock }
            }
            CacheSharing::Shared | CacheSharing::Locked => {
                let sharing = if cache.sharing == CacheSharing::Locked { Sharing::Exclusive } else { Sharing::Shared };
                let key = caches.lock_key(&cache.id);
                let lock = self.store.locks().acquire(key, sharing, cancelled)?;
                HeldCache { directory: caches.directory(&cache.id, &root)?, lock }
            }
        };
        if let (Some(seed), Some(from)) = (seed, cache.seed) {
            self.fill(&held.directory, seed, whole(from, &cache.source), cancelled)?;
        }
        Ok(held)
    }

    /// Puts what a copy takes from `seed` into a cache directory that is still empty.
    fn fill(&self, directory: &Path, seed: &Made, copy: Copy, cancelled: Cancelled<'_>) -> Result<(), StepProblem> {
        let io = |error: std::io::Error| StepProblem::Other(format!("cannot fill {}: {error}", directory.display()));
        if std::fs::read_dir(directory).map_err(io)?.next().is_some() {
            return Ok(());
        }
        let tree = seed.tree()?;
        let copied = self.copy_selection(tree, copy, &|_| None, cancelled)?;
        let filled = Union::new(vec![copied.layer])?;
        let handle = File::open(directory).map_err(io)?;
        Ok(export::materialize(handle.as_fd(), &filled, None, export::Owners::Image)?)
    }
}
