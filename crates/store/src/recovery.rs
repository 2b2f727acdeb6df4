//! After a crash of the machine: what was not on the disk then is verified or dropped, and rows and files that lost
//! each other are tidied up. In an epoch in which that was done nothing is done but one look-up.
//!
//! Of a killed process there is less to look for: what it left is in `tmp/`, or is swept with it.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::blobs;
use crate::content::Unknown;
use crate::epoch;
use crate::error::Result;
use crate::evictions::{EvictionCause, evict};
use crate::images;
use crate::layers::{self, LayerId};
use crate::locks::{LockKey, Sharing};
use crate::stat_cache;
use crate::store::Inner;

/// What a crash may have damaged.
#[derive(Debug, Default)]
struct Doubtful {
    /// With the epochs in which they were written.
    layers: Vec<(LayerId, String)>,
    blobs: Vec<String>,
}

impl Doubtful {
    /// What an earlier epoch wrote and no sync covered.
    fn load(store: &Inner) -> Result<Self> {
        store.database.read(|db| {
            let layers = "SELECT id, epoch FROM layers WHERE synced = 0 AND epoch != ?1";
            let blobs = "SELECT digest FROM blobs WHERE synced = 0 AND epoch != ?1";
            Ok(Self {
                layers: db
                    .prepare_cached(layers)?
                    .query_map([&store.epoch], |row| Ok((LayerId::from_row(row.get(0)?), row.get(1)?)))?
                    .collect::<Result<_, _>>()?,
                blobs: db
                    .prepare_cached(blobs)?
                    .query_map([&store.epoch], |row| row.get(0))?
                    .collect::<Result<_, _>>()?,
            })
        })
    }

    fn is_empty(&self) -> bool {
        self.layers.is_empty() && self.blobs.is_empty()
    }

    /// Drops what is damaged; the rest is as good as if it had been written in this epoch. Answers how much went.
    ///
    /// A file whose digest is not known cannot be verified and its layer is dropped. Only where another mount namespace
    /// may have made one epoch look like two, a file of the right size passes.
    fn settle(self, store: &Arc<Inner>) -> Result<usize> {
        let (mut lost_layers, mut lost_blobs) = (Vec::new(), Vec::new());
        for (id, epoch) in &self.layers {
            let unknown = if epoch::may_be_one(epoch, &store.epoch) { Unknown::Passes } else { Unknown::Fails };
            if !layers::is_intact(store, *id, unknown) {
                lost_layers.push(*id);
            }
        }
        for digest in &self.blobs {
            if !blobs::is_intact(store, digest) {
                lost_blobs.push(digest.clone());
            }
        }
        forget(store, &lost_layers, &lost_blobs)?;
        store.database.write(|db| {
            for (id, _) in &self.layers {
                db.execute("UPDATE layers SET epoch = ?2 WHERE id = ?1", (id.row(), &store.epoch))?;
            }
            for digest in &self.blobs {
                db.execute("UPDATE blobs SET epoch = ?2 WHERE digest = ?1", (digest, &store.epoch))?;
            }
            Ok(())
        })?;
        Ok(lost_layers.len() + lost_blobs.len())
    }
}

/// Looks for what the crash left, if there was one since the last look; tells how many layers and blobs were dropped.
pub(crate) fn recover(store: &Arc<Inner>) -> Result<usize> {
    if epoch::is_known(&store.root, &store.epoch) && Doubtful::load(store)?.is_empty() {
        return Ok(0);
    }
    // Nobody works with what is not looked at yet: who comes later waits here.
    let key = LockKey::new("recovering", b"");
    let _alone = store.locks.acquire(key, Sharing::Exclusive, &|| false)?;
    let mut dropped = Doubtful::load(store)?.settle(store)?;
    if !epoch::is_known(&store.root, &store.epoch) {
        dropped += drop_fileless(store)?;
        stat_cache::drop_damaged(store)?;
        if store.sweep_places()? {
            epoch::remember(&store.root, &store.epoch, &store.session)?;
        }
    }
    Ok(dropped)
}

/// Drops rows whose files are gone: somebody was killed while deleting, or a deletion was on the disk and the end of the
/// database's log was not.
pub(crate) fn drop_fileless(store: &Inner) -> Result<usize> {
    let (ids, digests) = store.database.read(|db| {
        let ids: Vec<i64> =
            db.prepare("SELECT id FROM layers")?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        let digests: Vec<String> =
            db.prepare("SELECT digest FROM blobs")?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok((ids, digests))
    })?;
    let is_gone = |id: &LayerId| !layers::directory(store, *id).join("index").is_file();
    let lost_layers: Vec<LayerId> = ids.into_iter().map(LayerId::from_row).filter(is_gone).collect();
    let lost_blobs: Vec<String> = digests.into_iter().filter(|digest| !blobs::is_there(store, digest)).collect();
    forget(store, &lost_layers, &lost_blobs)?;
    Ok(lost_layers.len() + lost_blobs.len())
}

/// Drops layers and blobs, and what is nothing without them: cache records, and images that cannot be had again.
pub(crate) fn forget(store: &Inner, lost_layers: &[LayerId], lost_blobs: &[String]) -> Result<()> {
    if lost_layers.is_empty() && lost_blobs.is_empty() {
        return Ok(());
    }
    for digest in lost_blobs {
        blobs::remove(store, digest)?;
    }
    for &id in lost_layers {
        layers::remove(store, id)?;
    }
    store.database.write(|db| {
        let mut records = BTreeSet::new();
        let mut naming = db.prepare("SELECT record FROM record_layers WHERE layer = ?1")?;
        for id in lost_layers {
            let found = naming.query_map([id.row()], |row| row.get::<_, i64>(0))?;
            records.extend(found.collect::<rusqlite::Result<Vec<_>>>()?);
        }
        evict(db, &records.into_iter().collect::<Vec<_>>(), EvictionCause::Damaged)?;
        images::forget_lost(db)
    })
}
