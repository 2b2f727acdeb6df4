//! When what is in the store survives a crash of the machine.
//!
//! Nothing is synced file by file. A row of a layer or blob carries the epoch in which it was written (boot id
//! and mount) and whether one sync of the file system covered it since. Within its epoch an unsynced row is as good
//! as any: a killed process loses nothing. A row of an earlier epoch that was never synced is verified against
//! its index or digest when the store is opened, or dropped.

use std::path::Path;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

use rustix::fs::{AtFlags, StatxFlags};

use crate::content::Unknown;
use crate::database::Database;
use crate::error::{At, Error, Result};
use crate::fault::{self, Operation};
use crate::layers::{self, LayerId};
use crate::store::{Inner, Mode};

/// A sync of the whole store that runs in the background. Dropped, it goes on; its process may end before it does.
#[derive(Debug)]
pub struct Settling {
    thread: Option<JoinHandle<Result<()>>>,
    root: std::path::PathBuf,
}

impl Settling {
    /// Waits until everything committed before it began is on the disk.
    pub fn wait(self) -> Result<()> {
        match self.thread.map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(Error::io("sync", self.root, rustix::io::Errno::IO)),
        }
    }
}

/// Starts a sync beside the caller's work, unless nothing needs one.
pub(crate) fn settle(store: &Arc<Inner>) -> Settling {
    let root = store.root.clone();
    // The store itself stays out of the thread: its session ends when the command does, not when the disk is ready.
    let (database, weak, at) = (Arc::clone(&store.database), Arc::downgrade(store), root.clone());
    let thread = std::thread::Builder::new().name("settle".into()).spawn(move || sync(&database, &at, &weak));
    match thread {
        Ok(thread) => Settling { thread: Some(thread), root },
        Err(_) => Settling { thread: None, root },
    }
}

fn sync(database: &Database, root: &Path, store: &Weak<Inner>) -> Result<()> {
    let layers: Vec<i64> = database.read(|db| {
        db.prepare_cached("SELECT id FROM layers WHERE synced = 0")?.query_map([], |row| row.get(0))?.collect()
    })?;
    let blobs: Vec<String> = database.read(|db| {
        db.prepare_cached("SELECT digest FROM blobs WHERE synced = 0")?.query_map([], |row| row.get(0))?.collect()
    })?;
    if layers.is_empty() && blobs.is_empty() {
        return Ok(());
    }
    let synced = fault::run(Operation::Sync, || {
        std::fs::File::open(root).and_then(|directory| rustix::fs::syncfs(&directory).map_err(Into::into))
    });
    if let Err(error) = synced {
        // The kernel tells of a failed write only once: what it may have lost must not be used again.
        if let Some(store) = store.upgrade() {
            forget(&store, &layers, &blobs)?;
        }
        return Err(Error::io("sync", root, error));
    }
    database.write(|db| {
        let mut layer = db.prepare_cached("UPDATE layers SET synced = 1 WHERE id = ?1")?;
        for id in &layers {
            layer.execute([id])?;
        }
        let mut blob = db.prepare_cached("UPDATE blobs SET synced = 1 WHERE digest = ?1")?;
        for digest in &blobs {
            blob.execute([digest])?;
        }
        Ok(())
    })
}

fn forget(store: &Inner, layers: &[i64], blobs: &[String]) -> Result<()> {
    for &id in layers {
        layers::remove(store, LayerId::from_row(id))?;
    }
    for digest in blobs {
        crate::blobs::remove(store, digest)?;
    }
    Ok(())
}

/// Names the time between two moments at which unwritten data can be lost.
pub(crate) fn epoch(root: &Path, mode: Mode) -> Result<String> {
    let boot_path = Path::new("/proc/sys/kernel/random/boot_id");
    let boot = std::fs::read_to_string(boot_path).unwrap_or_default();
    let flags = StatxFlags::BASIC_STATS | StatxFlags::from_bits_retain(0x4000);
    let status = rustix::fs::statx(rustix::fs::CWD, root, AtFlags::empty(), flags).at("examine", root)?;
    // Rootless, every command has a mount namespace and so a mount of its own: the number would say nothing.
    let mount = match mode {
        Mode::Root => status.stx_mnt_id,
        Mode::Rootless => 0,
    };
    let device = rustix::fs::makedev(status.stx_dev_major, status.stx_dev_minor);
    Ok(format!("{} {device:x} {mount:x}", boot.trim()))
}

/// Verifies or drops what an earlier epoch left unsynced; returns how many were dropped.
///
/// After another boot, a file whose digest is not known cannot be verified and its layer is dropped. Within the same
/// boot the mount may only look different because it is seen from another mount namespace: there such a file
/// passes if its size is right.
pub(crate) fn recover(store: &Arc<Inner>) -> Result<usize> {
    let layers: Vec<(i64, String)> = store.database.read(|db| {
        db.prepare_cached("SELECT id, epoch FROM layers WHERE synced = 0 AND epoch != ?1")?
            .query_map([&store.epoch], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect()
    })?;
    let blobs: Vec<String> = store.database.read(|db| {
        db.prepare_cached("SELECT digest FROM blobs WHERE synced = 0 AND epoch != ?1")?
            .query_map([&store.epoch], |row| row.get(0))?
            .collect()
    })?;
    if layers.is_empty() && blobs.is_empty() {
        return Ok(0);
    }
    let boot = |epoch: &str| epoch.split(' ').next().map(str::to_owned);
    let damaged = |(id, epoch): &&(i64, String)| {
        let unknown = if boot(epoch) == boot(&store.epoch) { Unknown::Passes } else { Unknown::Fails };
        !layers::is_intact(store, LayerId::from_row(*id), unknown)
    };
    let bad_layers: Vec<i64> = layers.iter().filter(damaged).map(|(id, _)| *id).collect();
    let bad_blobs: Vec<String> =
        blobs.iter().filter(|digest| !crate::blobs::is_intact(store, digest)).cloned().collect();
    forget(store, &bad_layers, &bad_blobs)?;
    store.database.write(|db| {
        for (id, _) in &layers {
            db.execute("UPDATE layers SET epoch = ?2 WHERE id = ?1", (id, &store.epoch))?;
        }
        for digest in &blobs {
            db.execute("UPDATE blobs SET epoch = ?2 WHERE digest = ?1", (digest, &store.epoch))?;
        }
        Ok(())
    })?;
    Ok(bad_layers.len() + bad_blobs.len())
}
