//! The registry that is served from this store: repositories as rows over the store's blobs.
//!
//! A blob or manifest is in a repository by a row, and only by it; the bytes are blobs as any other, which nothing is
//! copied for and which stay as long as a row names them. What a method has changed when it returns is on the disk
//! (`durable.rs`). This module does not know what manifests look like.

mod blobs;
mod collect;
mod durable;
mod lists;
mod manifests;
#[cfg(test)]
mod tests;
mod uploads;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use kiln_oci::Hasher;
use rusqlite::Connection;

pub use collect::{RegistryCollected, RegistryPolicy};
pub use lists::{RegistryReferrer, RegistryReferrers, RegistryTag};
pub use manifests::{NewRegistryManifest, RegistryManifest};
pub use uploads::RegistryUpload;

use crate::error::Result;
use crate::store::Inner;

/// The registry of a store.
pub struct Registry<'a> {
    pub(crate) store: &'a Arc<Inner>,
}

/// What this process remembers of the registry.
#[derive(Default)]
pub(crate) struct State {
    barrier: durable::Barrier,
    /// Of uploads that nobody goes on with just now: the hash of what they have, so that it need not be read again.
    hashers: Mutex<HashMap<String, Hasher>>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "State({} uploads)", self.hashers().len())
    }
}

impl State {
    fn hashers(&self) -> std::sync::MutexGuard<'_, HashMap<String, Hasher>> {
        self.hashers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry<'_> {
    /// Prepares for serving: everything that the store held before survives a crash of the machine from now on.
    ///
    /// # Errors
    /// What the disk refuses.
    pub fn begin(&self) -> Result<()> {
        crate::store::create_directory(&uploads::directory(self.store))?;
        crate::durability::settle_now(self.store)?;
        self.sync()
    }
}

/// Whether a repository holds the blob, or a manifest in it.
pub(crate) fn needs(db: &Connection, digest: &str) -> rusqlite::Result<bool> {
    let query = "SELECT EXISTS (SELECT 1 FROM registry_blobs WHERE digest = ?1)
        OR EXISTS (SELECT 1 FROM registry_manifests WHERE digest = ?1)";
    db.prepare_cached(query)?.query_row([digest], |row| row.get(0))
}

/// All blobs that repositories hold, manifests among them, as texts.
pub(crate) fn held(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let query = "SELECT digest FROM registry_blobs UNION SELECT digest FROM registry_manifests";
    db.prepare_cached(query)?.query_map([], |row| row.get(0))?.collect()
}

/// Repositories that hold a blob, or it as a manifest, by name.
pub(crate) fn holders(store: &Inner, digest: &kiln_oci::Digest) -> Result<Vec<String>> {
    let query = "SELECT repository FROM registry_blobs WHERE digest = ?1
        UNION SELECT repository FROM registry_manifests WHERE digest = ?1 ORDER BY 1";
    store.database.read(|db| db.prepare_cached(query)?.query_map([digest.to_string()], |row| row.get(0))?.collect())
}
