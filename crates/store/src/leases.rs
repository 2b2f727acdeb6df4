//! What must not be pruned while this process lives.
//!
//! A lease is a row with a session's name; it counts while that session's lock is held.

use std::sync::Arc;

use kiln_oci::Digest;
use rusqlite::Connection;

use crate::error::Result;
use crate::layers::LayerId;
use crate::store::Inner;

/// The leases of this session. They end with it, however it ends.
pub struct Leases<'a> {
    pub(crate) store: &'a Arc<Inner>,
}

impl Leases<'_> {
    /// Pins layers; false if one of them is not there any more.
    pub fn pin_layers(&self, layers: &[LayerId]) -> Result<bool> {
        pin_layers(self.store, layers)
    }

    /// Pins blobs that no image names yet.
    pub fn pin_blobs(&self, blobs: &[Digest]) -> Result<()> {
        self.store.database.write(|db| {
            blobs.iter().try_for_each(|blob| insert(db, self.store.session.name(), "blob", &blob.to_string()))
        })
    }

    /// Ends all leases of this session.
    pub fn release(&self) -> Result<()> {
        self.store.release_leases(self.store.session.name())
    }
}

/// Pins layers in one transaction; false if one has no row.
pub(crate) fn pin_layers(store: &Inner, layers: &[LayerId]) -> Result<bool> {
    let session = store.session.name();
    if store.database.read(|db| all(layers, |id| is_pinned(db, session, id)))? {
        return Ok(true);
    }
    store.database.write(|db| pin_rows(db, store, layers))
}

/// Pins one blob, unless it is pinned already.
pub(crate) fn pin_blob(store: &Inner, digest: &Digest) -> Result<()> {
    let (session, target) = (store.session.name(), digest.to_string());
    let query = "SELECT 1 FROM leases WHERE session = ?1 AND kind = 'blob' AND target = ?2";
    if store.database.read(|db| db.prepare_cached(query)?.exists([session, &target]))? {
        return Ok(());
    }
    store.database.write(|db| insert(db, session, "blob", &target))
}

/// Pins layers within a transaction; false if one has no row.
pub(crate) fn pin_rows(db: &Connection, store: &Inner, layers: &[LayerId]) -> rusqlite::Result<bool> {
    let (session, turn) = (store.session.name(), store.recency.turn(db)?);
    let there = all(layers, |id| db.prepare_cached("SELECT 1 FROM layers WHERE id = ?1")?.exists([id.row()]))?;
    if there {
        for id in layers {
            insert(db, session, "layer", &id.to_string())?;
            db.prepare_cached("UPDATE layers SET turn = ?2 WHERE id = ?1 AND turn < ?2")?.execute((id.row(), turn))?;
        }
    }
    Ok(there)
}

pub(crate) fn insert(db: &Connection, session: &str, kind: &str, target: &str) -> rusqlite::Result<()> {
    let insert = "INSERT OR IGNORE INTO leases (session, kind, target) VALUES (?1, ?2, ?3)";
    db.prepare_cached(insert)?.execute([session, kind, target]).map(drop)
}

fn is_pinned(db: &Connection, session: &str, id: LayerId) -> rusqlite::Result<bool> {
    let query = "SELECT 1 FROM leases WHERE session = ?1 AND kind = 'layer' AND target = ?2";
    db.prepare_cached(query)?.exists([session, &id.to_string()])
}

fn all(layers: &[LayerId], holds: impl Fn(LayerId) -> rusqlite::Result<bool>) -> rusqlite::Result<bool> {
    for &id in layers {
        if !holds(id)? {
            return Ok(false);
        }
    }
    Ok(true)
}
