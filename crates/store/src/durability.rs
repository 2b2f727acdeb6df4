//! When what is in the store survives a crash of the machine.
//!
//! Nothing is synced file by file. A row of a layer or blob carries the epoch in which it was written and whether
//! one sync of the file system covered it since. Within its epoch an unsynced row is as good as any: a killed
//! process loses nothing. What becomes of one of an earlier epoch is told in `recovery.rs`.

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

use crate::database::{Database, now};
use crate::error::{At, Error, Result};
use crate::fault::{self, Operation};
use crate::layers::LayerId;
use crate::recovery;
use crate::store::Inner;

/// After so many seconds the kernel has written by itself what was put into files, and a sync has little to do.
const WRITTEN_BACK: i64 = 40;

/// What is younger than [`WRITTEN_BACK`] puts a sync off for so many seconds at most.
const PATIENCE: i64 = 600;

/// A sync of the whole store that runs in the background. Dropped, it goes on.
#[derive(Debug)]
pub struct Settling {
    thread: Option<JoinHandle<Result<()>>>,
    root: std::path::PathBuf,
}

impl Settling {
    /// Waits until everything that it was begun for is on the disk.
    pub fn wait(self) -> Result<()> {
        match self.thread.map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(Error::io("sync", self.root, rustix::io::Errno::IO)),
        }
    }
}

/// Starts a sync beside the caller's work, unless nothing needs one, or what does is so young that the sync would be long:
/// a process does not end before its system calls do.
pub(crate) fn settle(store: &Arc<Inner>) -> Settling {
    let root = store.root.clone();
    // The store itself stays out of the thread: its session ends when the command does, not when the disk is ready.
    let (database, weak, at) = (Arc::clone(&store.database), Arc::downgrade(store), root.clone());
    let work = move || match Unsynced::load(&database)? {
        unsynced if unsynced.is_ripe(now()) => sync(&database, &at, &weak, &unsynced),
        _ => Ok(()),
    };
    match std::thread::Builder::new().name("settle".into()).spawn(work) {
        Ok(thread) => Settling { thread: Some(thread), root },
        Err(_) => Settling { thread: None, root },
    }
}

/// Puts everything that was committed so far on the disk.
pub(crate) fn settle_now(store: &Arc<Inner>) -> Result<()> {
    let unsynced = Unsynced::load(&store.database)?;
    sync(&store.database, &store.root, &Arc::downgrade(store), &unsynced)
}

/// Rows that no sync covered yet.
#[derive(Debug, Default)]
struct Unsynced {
    layers: Vec<i64>,
    blobs: Vec<String>,
    /// When the first and the last of them were written, in seconds since 1970.
    written: Option<(i64, i64)>,
}

impl Unsynced {
    fn load(database: &Database) -> Result<Self> {
        database.read(|db| {
            let mut unsynced = Self::default();
            let mut layers = db.prepare_cached("SELECT id, created FROM layers WHERE synced = 0")?;
            for row in layers.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))? {
                let (id, created) = row?;
                unsynced.layers.push(id);
                unsynced.add_time(created);
            }
            let mut blobs = db.prepare_cached("SELECT digest, created FROM blobs WHERE synced = 0")?;
            for row in blobs.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))? {
                let (digest, created) = row?;
                unsynced.blobs.push(digest);
                unsynced.add_time(created);
            }
            Ok(unsynced)
        })
    }

    fn add_time(&mut self, time: i64) {
        let (first, last) = self.written.unwrap_or((time, time));
        self.written = Some((first.min(time), last.max(time)));
    }

    fn is_ripe(&self, now: i64) -> bool {
        self.written.is_some_and(|(first, last)| last + WRITTEN_BACK <= now || first + PATIENCE <= now)
    }
}

fn sync(database: &Database, root: &Path, store: &Weak<Inner>, unsynced: &Unsynced) -> Result<()> {
    let synced = fault::run(Operation::Sync, || {
        File::open(root).and_then(|directory| rustix::fs::syncfs(&directory).map_err(Into::into))
    });
    if let Err(error) = synced {
        // The kernel tells of a failed write only once: what it may have lost must not be used again.
        if let Some(store) = store.upgrade() {
            let layers: Vec<_> = unsynced.layers.iter().map(|id| LayerId::from_row(*id)).collect();
            recovery::forget(&store, &layers, &unsynced.blobs)?;
        }
        return Err(Error::io("sync", root, error));
    }
    database.write(|db| {
        let mut layer = db.prepare_cached("UPDATE layers SET synced = 1 WHERE id = ?1")?;
        for id in &unsynced.layers {
            layer.execute([id])?;
        }
        let mut blob = db.prepare_cached("UPDATE blobs SET synced = 1 WHERE digest = ?1")?;
        for digest in &unsynced.blobs {
            blob.execute([digest])?;
        }
        Ok(())
    })?;
    sync_marks(root)
}

/// The marks that were just set are on the disk too.
fn sync_marks(root: &Path) -> Result<()> {
    let log = root.join("db.sqlite-wal");
    match File::open(&log) {
        // The database keeps no log beside itself where it cannot map memory, and syncs each commit then.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        file => {
            let file = file.at("open", &log)?;
            fault::run(Operation::Sync, || file.sync_data()).at("sync", &log)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_waits_for_the_kernel_but_not_for_ever() {
        let ripe = |first, last| Unsynced { written: Some((first, last)), ..Unsynced::default() }.is_ripe(1000);
        assert!(!Unsynced::default().is_ripe(1000));
        assert!(!ripe(990, 990));
        assert!(ripe(950, 960));
        assert!(!ripe(950, 990));
        assert!(ripe(300, 990));
    }
}
