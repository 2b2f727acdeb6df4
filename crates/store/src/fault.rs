//! Every operation that changes the store passes through here. In ordinary builds that is all there is to it; with
//! the feature `fault-injection`, which only the tests' binary has, the n-th of them fails or ends the process.
//!
//! - `KILN_FAULT=die@N`: before the N-th operation the process is gone, as by `kill -9`.
//! - `KILN_FAULT=ENOSPC@N` (`EIO`, `EDQUOT`, `EROFS`): the N-th operation fails. `ENOSPC@N+`: from then on everything
//!   that needs space.
//! - `KILN_FAULT_LOG=FILE`: a line for each operation.
//!
//! What a container writes in its own files is no operation of the store.

/// What is about to be done to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "fault-injection"), allow(dead_code, reason = "only the tests' binary looks at it"))]
pub(crate) enum Operation {
    /// A file is made, or a link to one, or a device.
    Create,
    /// A directory is made.
    MakeDirectory,
    /// Bytes are written or copied.
    Write,
    /// Owner, mode, times or xattrs are set.
    SetMetadata,
    /// What was written shall be on the disk.
    Sync,
    /// Something gets its place, or loses it.
    Rename,
    /// A name is removed.
    Remove,
    /// A lock is taken.
    Lock,
    /// A transaction begins.
    Begin,
    /// A transaction is committed.
    Commit,
}

/// Does it, unless a test wants it to fail.
#[cfg(not(feature = "fault-injection"))]
pub(crate) fn run<T, E>(_: Operation, action: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    action()
}

/// The same for an operation on the database.
#[cfg(not(feature = "fault-injection"))]
pub(crate) fn run_on_database<T>(_: Operation, action: impl FnOnce() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    action()
}

#[cfg(feature = "fault-injection")]
pub(crate) use injected::{run, run_on_database};

#[cfg(feature = "fault-injection")]
mod injected {
    use std::fs::File;
    use std::io::Write;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{LazyLock, Mutex, PoisonError};

    use rustix::io::Errno;

    use super::Operation;

    /// What the environment asks for.
    struct Wish {
        effect: Effect,
        at: u64,
        /// From then on, not only then.
        lasting: bool,
    }

    enum Effect {
        Die,
        Fail(Errno),
    }

    static COUNT: AtomicU64 = AtomicU64::new(0);

    #[allow(clippy::expect_used, reason = "a test that asks for nonsense shall hear of it")]
    static WISH: LazyLock<Option<Wish>> = LazyLock::new(|| {
        let text = std::env::var("KILN_FAULT").ok()?;
        Some(parse(&text).expect("KILN_FAULT is EFFECT@N or EFFECT@N+"))
    });

    #[allow(clippy::expect_used, reason = "the same")]
    static LOG: LazyLock<Option<Mutex<File>>> = LazyLock::new(|| {
        let path = std::env::var_os("KILN_FAULT_LOG")?;
        let file = File::options().append(true).create(true).open(path);
        Some(Mutex::new(file.expect("KILN_FAULT_LOG can be written")))
    });

    fn parse(text: &str) -> Option<Wish> {
        let (effect, at) = text.split_once('@')?;
        let effect = match effect {
            "die" => Effect::Die,
            "ENOSPC" => Effect::Fail(Errno::NOSPC),
            "EDQUOT" => Effect::Fail(Errno::DQUOT),
            "EIO" => Effect::Fail(Errno::IO),
            "EROFS" => Effect::Fail(Errno::ROFS),
            _ => return None,
        };
        let at_once = at.strip_suffix('+');
        Some(Wish { effect, at: at_once.unwrap_or(at).parse().ok()?, lasting: at_once.is_some() })
    }

    /// Counts the operation, and answers with the error that it shall have.
    fn count(operation: Operation) -> Option<Errno> {
        let number = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(log) = &*LOG {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = writeln!(log, "{number} {operation:?}");
        }
        let wish = WISH.as_ref()?;
        let is_meant = number == wish.at || (wish.lasting && number > wish.at && needs_space(operation));
        match wish.effect {
            _ if !is_meant => None,
            Effect::Fail(errno) => Some(errno),
            Effect::Die => {
                let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
                // The signal may take a moment to reach this thread, which must do nothing more.
                loop {
                    std::thread::park();
                }
            }
        }
    }

    fn needs_space(operation: Operation) -> bool {
        use Operation::{Commit, Create, MakeDirectory, Write};
        matches!(operation, Create | MakeDirectory | Write | Commit)
    }

    pub(crate) fn run<T, E: From<Errno>>(operation: Operation, action: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        match count(operation) {
            Some(errno) => Err(errno.into()),
            None => action(),
        }
    }

    pub(crate) fn run_on_database<T>(
        operation: Operation,
        action: impl FnOnce() -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let code = match count(operation) {
            None => return action(),
            Some(Errno::NOSPC | Errno::DQUOT) => rusqlite::ffi::SQLITE_FULL,
            Some(Errno::ROFS) => rusqlite::ffi::SQLITE_READONLY,
            Some(_) => rusqlite::ffi::SQLITE_IOERR,
        };
        Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), Some("injected fault".into())))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn wishes_are_read() {
            let wish = parse("ENOSPC@12+").unwrap();
            assert!(matches!(wish, Wish { effect: Effect::Fail(Errno::NOSPC), at: 12, lasting: true }));
            assert!(matches!(parse("die@3"), Some(Wish { effect: Effect::Die, at: 3, lasting: false })));
            assert!(parse("die").is_none() && parse("die@x").is_none() && parse("boom@1").is_none());
        }
    }
}
