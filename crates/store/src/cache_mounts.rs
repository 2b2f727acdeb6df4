//! Directories of `RUN --mount=type=cache`: one per id, and more where an id's users do not want to share.
//!
//! The store does not know what is in them. A directory is named by a hash of its id, so that any id is a name.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::database::now;
use crate::error::{At, Error, Result};
use crate::fault::{self, Operation};
use crate::locks::{LockGuard, LockKey, Sharing};
use crate::metadata::Metadata;
use crate::staged::apply;
use crate::store::Inner;

/// The cache mounts of a store.
pub struct CacheMounts<'a> {
    pub(crate) store: &'a Arc<Inner>,
}

impl CacheMounts<'_> {
    /// The directory for `id`. If it does not exist, `fill` puts into the new one what it starts with, and says
    /// which metadata it has; others see it only then.
    ///
    /// # Errors
    /// Those of `fill`, and a directory that cannot be made; nothing is there then.
    pub fn directory<E: From<Error>>(
        &self,
        id: &str,
        fill: impl FnOnce(&File) -> Result<Metadata, E>,
    ) -> Result<PathBuf, E> {
        self.make(id, &name(id, 0), fill)
    }

    /// The key to lock while the directory for `id` is in use: exclusively for `sharing=locked`, shared for
    /// `sharing=shared`. A prune leaves locked directories alone.
    pub fn lock_key(&self, id: &str) -> LockKey {
        key(&name(id, 0))
    }

    /// A directory for `sharing=private`: one that nobody uses now, and the lock that says so. `fill` as for
    /// [`directory`](Self::directory).
    ///
    /// # Errors
    /// As for [`directory`](Self::directory).
    pub fn private<E: From<Error>>(
        &self,
        id: &str,
        fill: impl FnOnce(&File) -> Result<Metadata, E>,
    ) -> Result<(PathBuf, LockGuard), E> {
        let mut number = 0;
        loop {
            let name = name(id, number);
            if let Some(guard) = self.store.locks.try_acquire(key(&name), Sharing::Exclusive)? {
                return Ok((self.make(id, &name, fill)?, guard));
            }
            number += 1;
        }
    }

    /// Writes down that somebody uses a directory from now on, which changes its size.
    fn note_use(&self, id: &str, name: &str) -> Result<()> {
        self.store.recency.grew();
        self.store.database.write(|db| {
            db.prepare_cached(
                "INSERT INTO cache_mounts (name, id, created, used, turn, uses) VALUES (?1, ?2, ?3, ?3, ?4, 1)
                 ON CONFLICT (name) DO UPDATE SET used = excluded.used, turn = excluded.turn, uses = uses + 1,
                 disk = NULL",
            )?
            .execute((name, id, now(), self.store.recency.turn(db)?))
            .map(drop)
        })
    }

    /// Made aside and renamed, so that nobody sees it half filled or with the wrong owner.
    fn make<E: From<Error>>(
        &self,
        id: &str,
        name: &str,
        fill: impl FnOnce(&File) -> Result<Metadata, E>,
    ) -> Result<PathBuf, E> {
        let path = directory(self.store, name);
        self.note_use(id, name)?;
        if path.is_dir() {
            return Ok(path);
        }
        let new = self.store.session.fresh_path();
        fault::run(Operation::MakeDirectory, || rustix::fs::mkdir(&new, rustix::fs::Mode::RWXU)).at("create", &new)?;
        let directory = File::open(&new).at("open", &new)?;
        let root = fill(&directory)?;
        apply(directory.as_fd(), &root, self.store.mode).at("set the metadata of", &new)?;
        match fault::run(Operation::Rename, || renameat_with(CWD, &new, CWD, &path, RenameFlags::NOREPLACE)) {
            Ok(()) => Ok(path),
            Err(Errno::EXIST) => {
                crate::remove::tree(&new)?;
                Ok(path)
            }
            Err(errno) => Err(Error::io("create", path, errno).into()),
        }
    }
}

/// The names of all directories.
pub(crate) fn names(store: &Inner) -> Result<Vec<String>> {
    let directory = store.root.join("cache-mounts");
    let entries = std::fs::read_dir(&directory).at("list", &directory)?;
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.map(|entry| entry.file_name().to_string_lossy().into_owned()).at("list", &directory)
    };
    entries.map(name).collect()
}

/// The directory called `name`.
pub(crate) fn directory(store: &Inner, name: &str) -> PathBuf {
    store.root.join("cache-mounts").join(name)
}

/// The lock of the directory called `name`.
pub(crate) fn key(name: &str) -> LockKey {
    LockKey::new("cache-mount", name.as_bytes())
}

/// Of an id, or of the `number`th directory of one that is private.
pub(crate) fn name(id: &str, number: u32) -> String {
    let hash = blake3::hash(id.as_bytes()).to_hex();
    if number == 0 { hash[..32].to_string() } else { format!("{}-{number}", &hash[..32]) }
}
