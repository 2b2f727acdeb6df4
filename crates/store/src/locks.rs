//! Locks between processes and threads: byte ranges of one file, which is never deleted.
//!
//! A lock is an open-file-description lock on the one byte whose offset is made from the key. Every guard has
//! its own open file description, so threads of one process exclude each other as processes do, and a process
//! that inherits a guard's descriptor holds the same lock. This module knows no sessions and no layers.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::error::{At, Error, Result};
use crate::fault::{self, Operation};

/// How long a waiter sleeps between two tries, at first and at most.
const PATIENCE: (Duration, Duration) = (Duration::from_micros(200), Duration::from_millis(20));

/// The locks of a store.
#[derive(Debug, Clone)]
pub struct Locks {
    path: PathBuf,
}

/// Names a lock: any bytes, hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LockKey(i64);

/// Alone or with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Nobody else.
    Exclusive,
    /// Others who share, too.
    Shared,
}

/// A held lock. It is free when this and every duplicate of its descriptor, in any process, is closed.
#[derive(Debug)]
pub struct LockGuard {
    file: OwnedFd,
    path: PathBuf,
}

impl LockKey {
    /// The key for `name` among locks of one `kind` ("step", "cache-mount").
    pub fn new(kind: &str, name: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(kind.len() as u64).to_le_bytes()).update(kind.as_bytes()).update(name);
        let mut offset = [0; 8];
        hasher.finalize_xof().fill(&mut offset);
        // The range's end must fit the kernel's signed offsets.
        Self(i64::from_le_bytes(offset) & (i64::MAX >> 1))
    }
}

impl Locks {
    /// Locks in the file `path`, which is created if missing.
    pub(crate) fn new(path: PathBuf) -> Result<Self> {
        let locks = Self { path };
        locks.open()?;
        Ok(locks)
    }

    /// Waits for the lock, asking `cancelled` every few milliseconds; [`Error::Cancelled`] if it says so.
    pub fn acquire(&self, key: LockKey, sharing: Sharing, cancelled: &dyn Fn() -> bool) -> Result<LockGuard> {
        let file = self.open()?;
        let mut pause = PATIENCE.0;
        let take = || lock(file.as_fd(), key, sharing);
        while !fault::run(Operation::Lock, take).at("lock", &self.path)? {
            if cancelled() {
                return Err(Error::Cancelled);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(PATIENCE.1);
        }
        Ok(LockGuard { file, path: self.path.clone() })
    }

    /// Takes the lock if it is free.
    pub fn try_acquire(&self, key: LockKey, sharing: Sharing) -> Result<Option<LockGuard>> {
        let file = self.open()?;
        let take = || lock(file.as_fd(), key, sharing);
        let held = fault::run(Operation::Lock, take).at("lock", &self.path)?;
        Ok(held.then(|| LockGuard { file, path: self.path.clone() }))
    }

    fn open(&self) -> Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rustix::fs::open(&self.path, flags, Mode::RUSR | Mode::WUSR).at("open", &self.path)
    }
}

impl LockGuard {
    /// The descriptor that holds the lock (close-on-exec).
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// A duplicate for a helper process: it holds the same lock.
    pub fn duplicate(&self) -> Result<OwnedFd> {
        self.file.try_clone().at("duplicate the descriptor of", &self.path)
    }
}

/// Tries to lock; false if somebody else has it.
fn lock(file: BorrowedFd<'_>, key: LockKey, sharing: Sharing) -> Result<bool, Errno> {
    let kind = match sharing {
        Sharing::Exclusive => libc::F_WRLCK,
        Sharing::Shared => libc::F_RDLCK,
    };
    let range = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: key.0,
        l_len: 1,
        l_pid: 0,
    };
    loop {
        // SAFETY: the descriptor is open for the call, and the kernel only reads the initialised struct.
        let answer = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &range) };
        if answer == 0 {
            return Ok(true);
        }
        match std::io::Error::last_os_error().raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::EAGAIN | libc::EACCES) => return Ok(false),
            Some(errno) => return Err(Errno::from_raw_os_error(errno)),
            None => return Err(Errno::IO),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Command, Stdio};
    use std::sync::atomic::{AtomicUsize, Ordering};

    const HELPER: &str = "KILN_TEST_LOCK_FILE";

    fn locks() -> (tempfile::TempDir, Locks) {
        let directory = tempfile::tempdir().unwrap();
        let locks = Locks::new(directory.path().join("locks")).unwrap();
        (directory, locks)
    }

    fn key(name: &str) -> LockKey {
        LockKey::new("test", name.as_bytes())
    }

    #[test]
    fn threads_exclude_each_other() {
        let (_directory, locks) = locks();
        let (inside, entered) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let guard = locks.acquire(key("a"), Sharing::Exclusive, &|| false).unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        entered.fetch_add(1, Ordering::SeqCst);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(guard);
                    }
                });
            }
        });
        assert_eq!(entered.load(Ordering::SeqCst), 200);
    }

    #[test]
    fn sharers_share_and_keys_are_independent() {
        let (_directory, locks) = locks();
        let first = locks.try_acquire(key("a"), Sharing::Shared).unwrap();
        assert!(first.is_some());
        assert!(locks.try_acquire(key("a"), Sharing::Shared).unwrap().is_some());
        assert!(locks.try_acquire(key("a"), Sharing::Exclusive).unwrap().is_none());
        assert!(locks.try_acquire(key("b"), Sharing::Exclusive).unwrap().is_some());
    }

    #[test]
    fn a_duplicate_holds_the_lock_until_it_is_closed() {
        let (_directory, locks) = locks();
        let guard = locks.try_acquire(key("a"), Sharing::Exclusive).unwrap().unwrap();
        let duplicate = guard.duplicate().unwrap();
        drop(guard);
        assert!(locks.try_acquire(key("a"), Sharing::Exclusive).unwrap().is_none());
        drop(duplicate);
        assert!(locks.try_acquire(key("a"), Sharing::Exclusive).unwrap().is_some());
    }

    #[test]
    fn waiting_ends_when_cancelled() {
        let (_directory, locks) = locks();
        let _held = locks.try_acquire(key("a"), Sharing::Exclusive).unwrap();
        let asked = AtomicUsize::new(0);
        let cancelled = || asked.fetch_add(1, Ordering::SeqCst) == 3;
        let answer = locks.acquire(key("a"), Sharing::Exclusive, &cancelled);
        assert!(matches!(answer, Err(Error::Cancelled)));
    }

    /// Not a test by itself: what the other process in the next test runs.
    #[test]
    fn helper_that_holds_a_lock() {
        let Ok(path) = std::env::var(HELPER) else { return };
        let locks = Locks::new(path.into()).unwrap();
        let _held = locks.try_acquire(key("a"), Sharing::Exclusive).unwrap().unwrap();
        println!("held");
        std::io::stdout().flush().unwrap();
        std::io::stdin().read_line(&mut String::new()).unwrap();
    }

    #[test]
    fn a_killed_process_lets_go() {
        let (directory, locks) = locks();
        let mut other = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "locks::tests::helper_that_holds_a_lock", "--nocapture"])
            .env(HELPER, directory.path().join("locks"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(other.stdout.take().unwrap());
        assert!(output.lines().any(|line| line.unwrap().contains("held")));
        assert!(locks.try_acquire(key("a"), Sharing::Exclusive).unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
        assert!(locks.try_acquire(key("a"), Sharing::Exclusive).unwrap().is_some());
    }
}
