//! What was acknowledged is on the disk: one sync for all who wait for one.
//!
//! A blob's bytes are synced before they get their name. The name and the row that were made then are covered by a sync
//! of the directories and of the database's log; who comes while one is running shares the next.

use std::fs::File;
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};

use kiln_oci::Digest;

use super::Registry;
use crate::blobs::place;
use crate::error::{At, Result};
use crate::fault::{self, Operation};

/// Lets many wait for one sync.
#[derive(Debug, Default)]
pub(super) struct Barrier {
    turns: Mutex<Turns>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Turns {
    /// How many asked.
    asked: u64,
    /// How many of them a sync has covered.
    covered: u64,
    is_running: bool,
}

impl Barrier {
    /// Returns once a sync that began after the call has succeeded.
    fn wait(&self, sync: impl Fn() -> Result<()>) -> Result<()> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.asked += 1;
        let own = turns.asked;
        loop {
            if turns.covered >= own {
                return Ok(());
            }
            if turns.is_running {
                turns = self.changed.wait(turns).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            turns.is_running = true;
            let covers = turns.asked;
            drop(turns);
            let synced = sync();
            turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.is_running = false;
            if synced.is_ok() {
                turns.covered = covers;
            }
            self.changed.notify_all();
            synced?;
        }
    }
}

impl Registry<'_> {
    /// Returns when all rows and names of blobs that were made before are on the disk.
    pub(super) fn sync(&self) -> Result<()> {
        let root = &self.store.root;
        self.store.registry.barrier.wait(|| {
            let blobs = root.join("blobs");
            sync_directory(&blobs)?;
            for algorithm in crate::check::listed(&blobs)? {
                sync_directory(&algorithm)?;
            }
            // The database's own way to the disk is through its log, where it keeps one beside itself.
            let log = root.join("db.sqlite-wal");
            match File::open(&log) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                file => sync(&file.at("open", &log)?, &log),
            }
        })
    }

    /// Puts a blob's bytes on the disk, unless they are there. Its name follows with the next [`Registry::sync`].
    pub(super) fn sync_blob(&self, digest: &Digest) -> Result<()> {
        let text = digest.to_string();
        let query = "SELECT 1 FROM blobs WHERE digest = ?1 AND synced = 0";
        if !self.store.database.read(|db| db.prepare_cached(query)?.exists([&text]))? {
            return Ok(());
        }
        let path = place(self.store, digest);
        sync(&File::open(&path).at("open", &path)?, &path)?;
        let update = "UPDATE blobs SET synced = 1 WHERE digest = ?1";
        self.store.database.write(|db| db.prepare_cached(update)?.execute([&text]).map(drop))
    }
}

/// Puts a file's bytes on the disk.
pub(super) fn sync(file: &File, path: &Path) -> Result<()> {
    fault::run(Operation::Sync, || file.sync_data()).at("sync", path)
}

fn sync_directory(path: &Path) -> Result<()> {
    sync(&File::open(path).at("open", path)?, path)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier as Start;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::Error;

    #[test]
    fn who_waits_together_shares_a_sync_that_began_after_all_had_asked() {
        let (barrier, syncs, written) = (Barrier::default(), AtomicU64::new(0), AtomicU64::new(0));
        let (start, count) = (Start::new(8), 50);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    start.wait();
                    for _ in 0..count {
                        let mine = written.fetch_add(1, Ordering::SeqCst) + 1;
                        let covered = AtomicU64::new(0);
                        barrier
                            .wait(|| {
                                covered.store(written.load(Ordering::SeqCst), Ordering::SeqCst);
                                syncs.fetch_add(1, Ordering::SeqCst);
                                Ok(())
                            })
                            .unwrap();
                        let own = covered.load(Ordering::SeqCst);
                        assert!(own == 0 || own >= mine, "a sync of one's own covers one's own writing");
                    }
                });
            }
        });
        assert!(syncs.load(Ordering::SeqCst) <= 8 * count);
    }

    #[test]
    fn who_is_not_covered_hears_of_the_failure() {
        let barrier = Barrier::default();
        let fails = || Err(Error::io("sync", "x", rustix::io::Errno::IO));
        assert!(barrier.wait(fails).is_err());
        assert!(barrier.wait(|| Ok(())).is_ok());
        assert!(barrier.wait(fails).is_err());
    }
}
