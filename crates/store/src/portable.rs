//! What a cache that travels asks of a store beyond what a build does: all records with their keys, and mounts
//! without making them.

use std::path::PathBuf;

use crate::error::Result;
use crate::{CacheMounts, Key, Record, Records};

impl Records<'_> {
    /// Every record of a lineage that `wanted` accepts, with the keys that lead to it, newest first. Not pinned;
    /// layers may be gone.
    pub fn with_keys(&self, wanted: &dyn Fn(&str) -> bool) -> Result<Vec<(Record, Vec<Key>)>> {
        let lineages: Vec<String> = self.store.database.read(|db| {
            let query = "SELECT DISTINCT lineage FROM records";
            db.prepare_cached(query)?.query_map([], |row| row.get(0))?.collect()
        })?;
        let mut found = Vec::new();
        for lineage in lineages.iter().filter(|lineage| wanted(lineage)) {
            for record in self.lineage(lineage, i64::MAX as usize)? {
                let keys = self.keys(record.id)?;
                found.push((record, keys));
            }
        }
        found.sort_by_key(|(record, _)| std::cmp::Reverse(record.id));
        Ok(found)
    }

    /// The keys that lead to a record.
    fn keys(&self, record: i64) -> Result<Vec<Key>> {
        let query = "SELECT key FROM record_keys WHERE record = ?1 ORDER BY key";
        self.store
            .database
            .read(|db| db.prepare_cached(query)?.query_map([record], |row| row.get(0).map(Key))?.collect())
    }
}

impl CacheMounts<'_> {
    /// The ids of the mounts that the store knows by id, sorted; their directories may be gone.
    pub fn ids(&self) -> Result<Vec<String>> {
        let query = "SELECT DISTINCT id FROM cache_mounts ORDER BY id";
        self.store.database.read(|db| db.prepare_cached(query)?.query_map([], |row| row.get(0))?.collect())
    }

    /// The directory for `id`, if there is one.
    pub fn existing(&self, id: &str) -> Option<PathBuf> {
        let path = self.store.root.join("cache-mounts").join(crate::cache_mounts::name(id, 0));
        path.is_dir().then_some(path)
    }
}
