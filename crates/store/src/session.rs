//! This process's part of `tmp/`, and the sweeping of what killed processes left in theirs.
//!
//! A session is a directory `tmp/<name>/` and a held lock of the same name, taken first: a directory whose lock
//! is free belongs to nobody alive. This module does not know what sessions put into their directories.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::io::Errno;

use crate::error::{At, Error, Result};
use crate::fault::{self, Operation};
use crate::locks::{LockGuard, LockKey, Locks, Sharing};
use crate::remove;

/// The session of an open store.
#[derive(Debug)]
pub(crate) struct Session {
    name: String,
    path: PathBuf,
    lock: LockGuard,
    next: AtomicU64,
    is_left: AtomicBool,
}

impl Session {
    /// Begins a session below `tmp`.
    pub(crate) fn begin(tmp: &Path, locks: &Locks) -> Result<Self> {
        let pid = rustix::process::getpid().as_raw_nonzero();
        for attempt in 0u32.. {
            let name = format!("{pid}-{attempt}");
            let Some(lock) = locks.try_acquire(key(&name), Sharing::Exclusive)? else { continue };
            let path = tmp.join(&name);
            match fault::run(Operation::MakeDirectory, || rustix::fs::mkdir(&path, rustix::fs::Mode::RWXU)) {
                Ok(()) => {
                    return Ok(Self { name, path, lock, next: AtomicU64::new(0), is_left: AtomicBool::new(false) });
                }
                Err(Errno::EXIST) => continue,
                Err(errno) => return Err(Error::io("create", path, errno)),
            }
        }
        Err(Error::io("begin a session in", tmp, Errno::EXIST))
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn lock(&self) -> &LockGuard {
        &self.lock
    }

    /// A path in the session's directory that nobody else gets.
    pub(crate) fn fresh_path(&self) -> PathBuf {
        self.path.join(self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// Leaves the directory there at the end, so that the next process sees that there is something to tidy up.
    pub(crate) fn leave(&self) {
        self.is_left.store(true, Ordering::Relaxed);
    }

    /// Makes something vanish in one step, then deletes it. Not there is fine. What cannot be removed is looked for by the
    /// next process.
    pub(crate) fn discard(&self, path: &Path) -> Result<()> {
        let trash = self.fresh_path();
        match fault::run(Operation::Rename, || std::fs::rename(path, &trash)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => {
                self.leave();
                Err(Error::io("rename", path, error))
            }
            Ok(()) => remove::tree(&trash),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // What cannot be removed now is swept by the next process that opens the store.
        if !self.is_left.load(Ordering::Relaxed) {
            let _ = remove::tree(&self.path);
        }
    }
}

/// Names of the sessions whose process is gone, each with the lock that keeps others from sweeping it too.
pub(crate) fn dead(tmp: &Path, locks: &Locks) -> Result<Vec<(String, LockGuard)>> {
    let mut dead = Vec::new();
    for entry in std::fs::read_dir(tmp).at("list", tmp)? {
        let name = entry.at("list", tmp)?.file_name().to_string_lossy().into_owned();
        if let Some(lock) = locks.try_acquire(key(&name), Sharing::Exclusive)? {
            dead.push((name, lock));
        }
    }
    Ok(dead)
}

/// Whether the session's process, or a helper that holds its lock, lives.
pub(crate) fn is_alive(name: &str, locks: &Locks) -> Result<bool> {
    Ok(locks.try_acquire(key(name), Sharing::Shared)?.is_none())
}

/// The lock without which whatever is called `name` in `tmp` is swept.
pub(crate) fn key(name: &str) -> LockKey {
    LockKey::new("session", name.as_bytes())
}
