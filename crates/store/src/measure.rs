//! How many bytes each layer and cache mount takes on disk, measured once and kept with its row.
//!
//! An inode that several layers name counts for one of them: for the oldest that is left, which the others find by
//! following `shares`. So the sum of the rows is what all layers take. This module deletes nothing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, Metadata};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rusqlite::Connection;
use rustix::fs::OFlags;

use crate::beneath;
use crate::cache_mounts;
use crate::error::{At, Result};
use crate::layers;
use crate::layers::LayerId;
use crate::locks::Sharing;
use crate::store::Inner;
use crate::usage::{Disk, walk};

/// What an entry of a layer takes at most beside its bytes: its inode's share, its last block, its directory's.
const BESIDE_BYTES: i64 = 8192;

/// What is measured one by one, and what no quota is about: containers, volumes and what running sessions make.
const APART: [&str; 5] = ["layers", "cache-mounts", "containers", "volumes", "tmp"];

/// Bytes on disk.
#[derive(Debug, Default)]
pub(crate) struct Sizes {
    pub(crate) layers: BTreeMap<LayerId, u64>,
    pub(crate) mounts: BTreeMap<String, u64>,
    /// Everything else that a quota is about.
    pub(crate) rest: u64,
}

impl Sizes {
    /// What the store takes, without containers and running sessions.
    pub(crate) fn total(&self) -> u64 {
        self.layers.values().sum::<u64>() + self.mounts.values().sum::<u64>() + self.rest
    }
}

/// The most that the store can take, without a look at more than the rows and the root's own files; `None` if the rows
/// do not know. Logs and the like are left out: they are small.
pub(crate) fn at_most(store: &Inner) -> Result<Option<u64>> {
    let Some(mut bytes) = store.database.read(of_rows)? else { return Ok(None) };
    for entry in fs::read_dir(&store.root).at("list", &store.root)? {
        let entry = entry.at("list", &store.root)?;
        // What vanishes meanwhile takes nothing.
        bytes += entry.metadata().ok().filter(Metadata::is_file).map_or(0, |file| file.blocks() * 512);
    }
    Ok(Some(bytes))
}

/// The most that layers, blobs and cache mounts can take by their rows.
fn of_rows(db: &Connection) -> rusqlite::Result<Option<u64>> {
    let unknown = "SELECT 1 FROM cache_mounts WHERE disk IS NULL";
    if db.prepare_cached(unknown)?.exists([])? {
        return Ok(None);
    }
    let layers = "SELECT coalesce(sum(coalesce(disk, bytes + (entries + 4) * ?1)), 0) FROM layers";
    let layers: i64 = db.prepare_cached(layers)?.query_row([BESIDE_BYTES], |row| row.get(0))?;
    let rest = "SELECT (SELECT coalesce(sum(size + 4096), 0) FROM blobs)
        + (SELECT coalesce(sum(disk), 0) FROM cache_mounts)";
    let rest: i64 = db.prepare_cached(rest)?.query_row([], |row| row.get(0))?;
    Ok(Some((layers + rest).max(0) as u64))
}

/// Measures what was not measured yet.
pub(crate) fn sizes(store: &Inner) -> Result<Sizes> {
    let mut sizes = Sizes { layers: layers(store)?, mounts: mounts(store)?, rest: 0 };
    let mut disk = Disk::default();
    for entry in fs::read_dir(&store.root).at("list", &store.root)? {
        let entry = entry.at("list", &store.root)?;
        if !APART.iter().any(|name| entry.file_name() == *name) {
            sizes.rest += disk.add(&entry.path())?;
        }
    }
    Ok(sizes)
}

fn layers(store: &Inner) -> Result<BTreeMap<LayerId, u64>> {
    let mut sizes = BTreeMap::new();
    let (mut unknown, mut shares) = (Vec::new(), HashMap::new());
    store.database.read(|db| {
        let mut statement = db.prepare_cached("SELECT id, disk, shares FROM layers ORDER BY id")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id = LayerId::from_row(row.get(0)?);
            match row.get::<_, Option<i64>>(1)? {
                Some(disk) => drop(sizes.insert(id, disk.max(0) as u64)),
                None => unknown.push(id),
            }
            if let Some(older) = row.get::<_, Option<i64>>(2)? {
                shares.insert(id, LayerId::from_row(older));
            }
        }
        Ok(())
    })?;
    if unknown.is_empty() {
        return Ok(sizes);
    }
    let measured = unknown.into_iter().map(|id| Ok((id, layer(store, id, &shares)?))).collect::<Result<Vec<_>>>()?;
    store.database.write(|db| {
        // Who deleted a layer meanwhile may have given its files to another, which is then to be measured again.
        let mut update = db.prepare_cached("UPDATE layers SET disk = ?2 WHERE id = ?1 AND shares IS ?3")?;
        for (id, bytes) in &measured {
            update.execute((id.row(), *bytes as i64, shares.get(id).map(|older| older.row())))?;
        }
        Ok(())
    })?;
    sizes.extend(measured);
    Ok(sizes)
}

/// What a layer takes: all its inodes once, but those that an older layer names at the same path.
fn layer(store: &Inner, id: LayerId, shares: &HashMap<LayerId, LayerId>) -> Result<u64> {
    let directory = layers::directory(store, id);
    let older = older(store, id, shares);
    let (mut bytes, mut seen) = (0, HashSet::new());
    walk(&directory, &mut |path, status| {
        let linked = !status.is_dir() && status.nlink() > 1;
        let counts = !linked || (seen.insert(status.ino()) && !is_in(&older, &directory, path, status));
        bytes += if counts { status.blocks() * 512 } else { 0 };
    })?;
    Ok(bytes)
}

/// The layers that this one shares files with, opened; one that is not there shares nothing.
fn older(store: &Inner, id: LayerId, shares: &HashMap<LayerId, LayerId>) -> Vec<OwnedFd> {
    let (mut at, mut found, mut passed) = (id, Vec::new(), HashSet::from([id]));
    while let Some(next) = shares.get(&at).filter(|next| passed.insert(**next)) {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        found.extend(rustix::fs::open(layers::directory(store, *next), flags, rustix::fs::Mode::empty()).ok());
        at = *next;
    }
    found
}

fn is_in(older: &[OwnedFd], directory: &Path, path: &Path, status: &Metadata) -> bool {
    let Ok(within) = path.strip_prefix(directory) else { return false };
    older.iter().any(|older| {
        let file = beneath::open(older.as_fd(), within.as_os_str().as_bytes(), OFlags::PATH);
        let other = file.and_then(rustix::fs::fstat);
        other.is_ok_and(|other| (other.st_dev, other.st_ino) == (status.dev(), status.ino()))
    })
}

/// Cache mounts by the names of their directories. The size of one that is in use is measured, but not kept.
fn mounts(store: &Inner) -> Result<BTreeMap<String, u64>> {
    let known: HashMap<String, Option<i64>> = store.database.read(|db| {
        let mut statement = db.prepare_cached("SELECT name, disk FROM cache_mounts")?;
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    })?;
    let mut sizes = BTreeMap::new();
    for name in cache_mounts::names(store)? {
        if let Some(Some(disk)) = known.get(&name) {
            sizes.insert(name, (*disk).max(0) as u64);
            continue;
        }
        let idle = store.locks.try_acquire(cache_mounts::key(&name), Sharing::Exclusive)?;
        let bytes = Disk::default().add(&cache_mounts::directory(store, &name))?;
        if idle.is_some() {
            store.database.write(|db| {
                let update = "UPDATE cache_mounts SET disk = ?2 WHERE name = ?1";
                db.prepare_cached(update)?.execute((&name, bytes as i64))
            })?;
        }
        sizes.insert(name, bytes);
    }
    Ok(sizes)
}

/// Bytes of the disk that the store is on: free for this user, and all.
pub(crate) fn disk(store: &Inner) -> Result<(u64, u64)> {
    let status = rustix::fs::statvfs(&store.root).at("examine the disk of", &store.root)?;
    Ok((status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize))
}

/// Whether something is there under this path, whatever it is.
pub(crate) fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

#[cfg(test)]
#[path = "measure_tests.rs"]
mod tests;
