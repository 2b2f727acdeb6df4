//! Directories of `RUN --mount=type=cache`.
use crate::*;
use std::path::PathBuf;

/// The cache mounts of a store.
pub struct CacheMounts<'a> {
    pub(crate) store: &'a Store,
}

impl CacheMounts<'_> {
    /// The directory for `id`; made with this mode and owner if it does not exist.
    pub fn directory(&self, _id: &str, _root: &Metadata) -> Result<PathBuf> {
        todo!()
    }
    /// The key to lock with `Sharing::Exclusive` for `sharing=locked`, `Sharing::Shared` for `shared`.
    pub fn lock_key(&self, _id: &str) -> LockKey {
        todo!()
    }
    /// A directory for `sharing=private`: one that nobody uses now, and the lock that says so.
    pub fn private(&self, _id: &str, _root: &Metadata) -> Result<(PathBuf, LockGuard)> {
        todo!()
    }
}
