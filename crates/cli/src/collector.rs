//! Keeping the store within what the configuration allows, beside a command's work and after it.
//!
//! What goes and what stays is the store's business; this module knows when to ask it, and what to say of it.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use kiln_store::{Collected, Limits, Store};

use crate::config::{GcConfig, Space};
use crate::failure::chain;
use crate::size;

/// How often the free space of the disk is looked at while a command works.
const LOOK: Duration = Duration::from_secs(1);

/// What of the disk stays free if nobody says anything: so many hundredths of it, at most so many bytes. It must do on
/// a disk that is nearly full for other reasons, where a larger floor would keep the cache empty.
const FLOOR: (f64, u64) = (2.0, 1 << 30);

/// A collector at work beside a command.
pub(crate) struct Collector {
    store: Store,
    limits: Limits,
    /// Dropped to end the thread.
    ended: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Collector {
    /// Keeps free what shall stay free, from now on until the end.
    pub(crate) fn beside(store: &Store, config: &GcConfig) -> Self {
        let limits = limits(store, config);
        let (ended, end) = channel();
        let (beside, floor) = (store.clone(), Limits { keep_free: limits.keep_free, ..Limits::default() });
        let floor = Limits { keep_newer_than: limits.keep_newer_than, ..floor };
        let look = move || {
            loop {
                // What cannot be collected now is tried again, at last when the command ends, which says why not.
                let _ = beside.collect(&floor, false);
                if end.recv_timeout(LOOK) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("collector".into()).spawn(look).ok();
        Self { store: store.clone(), limits, ended, thread }
    }

    /// The command is done with all that it used: collects what is too much now. What is to be said of it, if anything.
    pub(crate) fn finish(self) -> Option<String> {
        drop(self.ended);
        if let Some(thread) = self.thread {
            // A collector that panicked has said so.
            let _ = thread.join();
        }
        after(&self.store, &self.limits)
    }
}

/// Collects after something was put into the store by a command that is done with it, and prints what is to be said.
pub(crate) fn collect(store: &Store, config: &GcConfig) {
    if let Some(warning) = after(store, &limits(store, config)) {
        eprintln!("{warning}");
    }
}

fn after(store: &Store, limits: &Limits) -> Option<String> {
    let collected = store.leases().release().and_then(|()| store.collect(limits, true));
    match (collected, limits.quota) {
        (Ok(Collected { over_quota: Some(beyond), .. }), Some(quota)) => Some(format!(
            "WARNING: what images, containers and running builds need is {} more than the store's quota of {}: \
             no cache is kept. `kiln system df -v` shows what takes the room",
            size::words(beyond),
            size::words(quota)
        )),
        (Ok(_), _) => None,
        (Err(error), _) => Some(format!("WARNING: the cache could not be made smaller: {}", chain(&error))),
    }
}

/// In bytes, on the disk that the store is on. A disk that nobody can look at has no floor.
fn limits(store: &Store, config: &GcConfig) -> Limits {
    let (_, disk) = store.disk().unwrap_or_default();
    let bytes = |space: Space| space.of_disk(disk);
    let floor = || Space::Percent(FLOOR.0).of_disk(disk).min(FLOOR.1);
    Limits {
        quota: config.quota.map(bytes),
        keep_free: Some(config.keep_free.map_or_else(floor, bytes)),
        keep_newer_than: config.keep_newer_than,
        cache_mounts: config.cache_mounts_quota.map(bytes),
    }
}
