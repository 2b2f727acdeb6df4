//! What the names in `FROM` were resolved to.

use std::sync::Arc;

use kiln_oci::Digest;
use rusqlite::{OptionalExtension, Row};

use crate::database::now;
use crate::error::Result;
use crate::metadata::Timestamp;
use crate::store::Inner;

/// The resolutions of a store.
pub struct Resolutions<'a> {
    pub(crate) store: &'a Arc<Inner>,
}

/// One resolution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// The normalised name, with platform if the caller wants it to count.
    pub name: String,
    /// What the registry said: the manifest's or index's digest.
    pub digest: Digest,
    /// When.
    pub resolved: Timestamp,
}

impl Resolutions<'_> {
    /// The last resolution of a name.
    pub fn get(&self, name: &str) -> Result<Option<Resolution>> {
        let query = "SELECT name, digest, resolved FROM resolutions WHERE name = ?1";
        self.store.database.read(|db| db.prepare_cached(query)?.query_row([name], resolution).optional())
    }

    /// Remembers one, in place of an earlier one.
    pub fn set(&self, name: &str, digest: &Digest) -> Result<()> {
        let insert = "INSERT OR REPLACE INTO resolutions (name, digest, resolved) VALUES (?1, ?2, ?3)";
        self.store.database.write(|db| db.execute(insert, (name, digest.to_string(), now())))?;
        Ok(())
    }

    /// All, newest first.
    pub fn list(&self) -> Result<Vec<Resolution>> {
        let query = "SELECT name, digest, resolved FROM resolutions ORDER BY resolved DESC, name";
        self.store.database.read(|db| db.prepare_cached(query)?.query_map([], resolution)?.collect())
    }
}

fn resolution(row: &Row<'_>) -> rusqlite::Result<Resolution> {
    Ok(Resolution {
        name: row.get(0)?,
        digest: crate::database::digest(row, 1)?,
        resolved: Timestamp::from_seconds(row.get(2)?),
    })
}
