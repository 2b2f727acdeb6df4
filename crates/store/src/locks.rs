//! Locks between processes and threads: byte ranges of one file.
use crate::*;
use std::os::fd::{BorrowedFd, OwnedFd};

/// The locks of a store.
pub struct Locks<'a> {
    pub(crate) store: &'a Store,
}

/// Names a lock: any bytes, hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LockKey(pub(crate) u64);

/// Alone or with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Nobody else.
    Exclusive,
    /// Others who share, too.
    Shared,
}

/// A held lock. It is free when this and every duplicate of its descriptor, in any process, is closed.
#[derive(Debug)]
pub struct LockGuard {
    pub(crate) file: OwnedFd,
}

impl LockKey {
    /// The key for `name` among locks of one `kind` ("step", "cache-mount").
    pub fn new(_kind: &str, _name: &[u8]) -> Self {
        todo!()
    }
}

impl Locks<'_> {
    /// Waits for the lock, asking `cancelled` every few milliseconds; [`Error::Cancelled`] if it says so.
    pub fn acquire(&self, _key: LockKey, _sharing: Sharing, _cancelled: &dyn Fn() -> bool) -> Result<LockGuard> {
        todo!()
    }
    /// Takes the lock if it is free.
    pub fn try_acquire(&self, _key: LockKey, _sharing: Sharing) -> Result<Option<LockGuard>> {
        todo!()
    }
}

impl LockGuard {
    /// The descriptor that holds the lock (close-on-exec).
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        todo!()
    }
    /// A duplicate for a helper process: it holds the same lock.
    pub fn duplicate(&self) -> Result<OwnedFd> {
        todo!()
    }
}
