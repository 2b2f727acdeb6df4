//! Deleting what was planned, unless somebody came to need it since.
//!
//! What needs a layer or a blob is looked at in the transaction that takes it out of its place, so whoever pins,
//! records or names it does so before, and it stays, or after, and misses it.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use kiln_oci::Digest;
use rusqlite::Connection;

use super::holdings::blobs_of;
use crate::cache_mounts;
use crate::database::json;
use crate::error::{Error, Result};
use crate::evictions::{self, EvictionCause};
use crate::fault::{self, Operation};
use crate::images::{Image, ImageLayer};
use crate::layers::{self, LayerId};
use crate::locks::Sharing;
use crate::store::Inner;

/// How many are taken out in one transaction, which others wait for.
const BATCH: usize = 32;

/// What still needs something, in a transaction. Leases of dead sessions are dropped before.
struct Needed {
    layers: HashSet<LayerId>,
    blobs: HashSet<String>,
}

impl Needed {
    fn read(db: &Connection) -> rusqlite::Result<Self> {
        let mut needed = Self { layers: HashSet::new(), blobs: HashSet::new() };
        let mut images = db.prepare_cached("SELECT id, manifest, layers FROM images")?;
        let mut rows = images.query([])?;
        while let Some(row) = rows.next()? {
            let layers: Vec<ImageLayer> = json(row, 2)?;
            needed.layers.extend(layers.iter().filter_map(|layer| layer.layer));
            needed.blobs.extend(layers.iter().filter_map(|layer| Some(layer.blob.as_ref()?.digest.to_string())));
            needed.blobs.insert(row.get(0)?);
            needed.blobs.extend(row.get::<_, Option<String>>(1)?);
        }
        needed.blobs.extend(crate::roots::all(db)?);
        let mut containers = db.prepare_cached("SELECT layers FROM containers")?;
        let mut rows = containers.query([])?;
        while let Some(row) = rows.next()? {
            needed.layers.extend(json::<Vec<LayerId>>(row, 0)?);
        }
        let mut leases = db.prepare_cached("SELECT kind, target FROM leases")?;
        let mut rows = leases.query([])?;
        while let Some(row) = rows.next()? {
            let target: String = row.get(1)?;
            match (row.get::<_, String>(0)?.as_str(), target.parse()) {
                ("layer", Ok(id)) => drop(needed.layers.insert(id)),
                _ => drop(needed.blobs.insert(target)),
            }
        }
        Ok(needed)
    }

    fn needs_layer(&self, db: &Connection, id: LayerId) -> rusqlite::Result<bool> {
        let recorded = "SELECT 1 FROM record_layers WHERE layer = ?1";
        Ok(self.layers.contains(&id) || db.prepare_cached(recorded)?.exists([id.row()])?)
    }
}

/// Deletes records, except those that another session used after they were planned (`turn`), and tells which went.
pub(super) fn records(store: &Inner, records: &[(i64, i64)], why: EvictionCause) -> Result<Vec<i64>> {
    store.database.write(|db| {
        let unused = |(id, turn): &&(i64, i64)| {
            let query = "SELECT 1 FROM records WHERE id = ?1 AND turn = ?2";
            db.prepare_cached(query)?.exists([id, turn])
        };
        let mut gone = Vec::new();
        for each in records {
            if unused(&each)? {
                gone.push(each.0);
            }
        }
        evictions::evict(db, &gone, why)?;
        Ok(gone)
    })
}

/// Deletes images, except those that a container uses now, or, if `unnamed`, that have a name now.
pub(super) fn images(store: &Inner, images: &[Image], unnamed: bool) -> Result<Vec<(Digest, Vec<String>)>> {
    store.database.write(|db| {
        let delete =
            "DELETE FROM images WHERE id = ?1 AND id NOT IN (SELECT image FROM containers WHERE image NOT NULL)
            AND (NOT ?2 OR id NOT IN (SELECT image FROM image_names))";
        let mut gone = Vec::new();
        for image in images {
            if db.prepare_cached(delete)?.execute((image.id.to_string(), unnamed))? > 0 {
                gone.push((image.id.clone(), image.names.clone()));
            }
        }
        Ok(gone)
    })
}

/// Takes layers out of their places; answers them with where their directories are now.
pub(super) fn take_layers(store: &Inner, layers: &[LayerId]) -> Result<Vec<(LayerId, PathBuf)>> {
    drop_dead_leases(store)?;
    let mut taken = Vec::new();
    for batch in layers.chunks(BATCH) {
        let moved: Result<Result<Vec<_>>> = store.database.write(|db| {
            let needed = Needed::read(db)?;
            let mut moved = Vec::new();
            for &id in batch {
                if needed.needs_layer(db, id)? {
                    continue;
                }
                match take(store, layers::directory(store, id)) {
                    Ok(trash) => moved.push((id, trash)),
                    Err(error) => return Ok(Err(error)),
                }
                layers::delete_row(db, id)?;
            }
            Ok(Ok(moved))
        });
        // Rows whose transaction failed have lost their files: the next process looks for them.
        taken.extend(moved.inspect_err(|_| store.session.leave())??);
    }
    layers::forget_handles(store, taken.iter().map(|(id, _)| *id));
    Ok(taken.into_iter().filter_map(|(id, trash)| Some((id, trash?))).collect())
}

/// The same for blobs.
pub(super) fn take_blobs(store: &Inner, blobs: &[String]) -> Result<Vec<(Digest, PathBuf)>> {
    drop_dead_leases(store)?;
    let mut taken = Vec::new();
    for batch in blobs.chunks(BATCH) {
        let moved: Result<Result<Vec<_>>> = store.database.write(|db| {
            let needed = Needed::read(db)?;
            let mut moved = Vec::new();
            for digest in batch.iter().filter(|digest| !needed.blobs.contains(*digest)) {
                if crate::registry::needs(db, digest)? {
                    continue;
                }
                let Ok(parsed) = digest.parse::<Digest>() else { continue };
                match take(store, crate::blobs::place(store, &parsed)) {
                    Ok(trash) => moved.extend(trash.map(|trash| (parsed, trash))),
                    Err(error) => return Ok(Err(error)),
                }
                db.prepare_cached("DELETE FROM blobs WHERE digest = ?1")?.execute([digest])?;
            }
            Ok(Ok(moved))
        });
        // Rows whose transaction failed have lost their files: the next process looks for them.
        taken.extend(moved.inspect_err(|_| store.session.leave())??);
    }
    Ok(taken)
}

/// Which of these blobs nobody needs but the registry.
pub(super) fn free_but_for_registry(store: &Inner, blobs: &[String]) -> Result<Vec<Digest>> {
    drop_dead_leases(store)?;
    let needed = store.database.read(Needed::read)?;
    Ok(blobs.iter().filter(|digest| !needed.blobs.contains(*digest)).filter_map(|digest| digest.parse().ok()).collect())
}

/// Renames into the session's directory; `None` if nothing is there.
fn take(store: &Inner, path: PathBuf) -> Result<Option<PathBuf>> {
    let trash = store.session.fresh_path();
    match fault::run(Operation::Rename, || fs::rename(&path, &trash)) {
        Ok(()) => Ok(Some(trash)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("rename", path, error)),
    }
}

/// Drops the leases of sessions whose process is gone.
fn drop_dead_leases(store: &Inner) -> Result<()> {
    let sessions: Vec<String> = store.database.read(|db| {
        db.prepare_cached("SELECT DISTINCT session FROM leases")?.query_map([], |row| row.get(0))?.collect()
    })?;
    for name in sessions {
        if !crate::session::is_alive(&name, &store.locks)? {
            store.release_leases(&name)?;
        }
    }
    Ok(())
}

/// Blobs that only these images need among all images.
pub(super) fn only_of(images: &[Image], others: &HashSet<String>) -> Vec<String> {
    let mut blobs: Vec<String> = images.iter().flat_map(blobs_of).filter(|blob| !others.contains(blob)).collect();
    blobs.sort();
    blobs.dedup();
    blobs
}

/// Takes a cache mount's directory out of its place; `None` if somebody uses it, or if it is not there.
pub(super) fn take_mount(store: &Inner, name: &str) -> Result<Option<PathBuf>> {
    let Some(_alone) = store.locks.try_acquire(cache_mounts::key(name), Sharing::Exclusive)? else { return Ok(None) };
    let trash = take(store, cache_mounts::directory(store, name))?;
    store.database.write(|db| db.prepare_cached("DELETE FROM cache_mounts WHERE name = ?1")?.execute([name]))?;
    Ok(trash)
}
