//! Directories that keep what was fetched of remote repositories, one per address, so that a later fetch brings only
//! what is new. The store does not know what is in them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, RenameFlags};

use crate::database::now;
use crate::error::{At, Result};
use crate::fault::{self, Operation};
use crate::locks::{LockKey, Sharing};
use crate::prune::Freed;
use crate::store::{Inner, create_directory};
use crate::usage::freed_with;

/// The directory of all of them.
pub(crate) const DIRECTORY: &str = "repositories";

/// How long one stays after it was last used, in seconds: 30 days.
const UNUSED_KEEP: i64 = 30 * 24 * 3600;

/// The fetched repositories of a store.
pub struct Repositories<'a> {
    pub(crate) store: &'a Arc<Inner>,
}

impl Repositories<'_> {
    /// The key to lock, exclusively, while the directory for `address` is in use.
    pub fn lock_key(&self, address: &str) -> LockKey {
        key(&name(address))
    }

    /// The directory for `address`, if there is one; it counts as used now. The caller holds its lock.
    pub fn get(&self, address: &str) -> Result<Option<PathBuf>> {
        let path = self.place(address);
        if !path.is_dir() {
            return Ok(None);
        }
        let directory = std::fs::File::open(&path).at("open", &path)?;
        directory.set_modified(std::time::SystemTime::now()).at("set the time of", &path)?;
        Ok(Some(path))
    }

    /// Takes a directory that was made aside ([`crate::Store::scratch`]) as the one for `address`. The caller holds its
    /// lock.
    pub fn install(&self, made: &Path, address: &str) -> Result<PathBuf> {
        let path = self.place(address);
        create_directory(&self.store.root.join(DIRECTORY))?;
        let install = || rustix::fs::renameat_with(CWD, made, CWD, &path, RenameFlags::NOREPLACE);
        fault::run(Operation::Rename, install).at("create", &path)?;
        Ok(path)
    }

    /// Deletes the directory for `address`, for instance because it proved damaged. The caller holds its lock.
    pub fn remove(&self, address: &str) -> Result<()> {
        self.store.session.discard(&self.place(address))
    }

    fn place(&self, address: &str) -> PathBuf {
        self.store.root.join(DIRECTORY).join(name(address))
    }
}

/// Deletes those that nobody uses now: `all` of them, or those that were not used for long.
pub(crate) fn prune(store: &Inner, all: bool, dry_run: bool, freed: &mut Freed) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let directory = store.root.join(DIRECTORY);
    if !directory.is_dir() {
        return Ok(());
    }
    for entry in std::fs::read_dir(&directory).at("list", &directory)? {
        let entry = entry.at("list", &directory)?;
        let key = key(&entry.file_name().to_string_lossy());
        let Some(_alone) = store.locks.try_acquire(key, Sharing::Exclusive)? else { continue };
        let used = entry.metadata().at("examine", &entry.path())?.mtime();
        if !all && used > now() - UNUSED_KEEP {
            continue;
        }
        freed.bytes += freed_with(&[entry.path()])?;
        if !dry_run {
            store.session.discard(&entry.path())?;
        }
    }
    Ok(())
}

fn key(name: &str) -> LockKey {
    LockKey::new("repository", name.as_bytes())
}

fn name(address: &str) -> String {
    blake3::hash(address.as_bytes()).to_hex()[..32].to_owned()
}

#[cfg(test)]
mod tests {
    use crate::prune::Prune;
    use crate::testing::store;

    use super::*;

    #[test]
    fn what_was_made_aside_is_found_until_it_is_pruned() {
        let (_directory, store) = store();
        let repositories = store.repositories();
        assert_eq!(repositories.get("a").unwrap(), None);
        let made = store.scratch().unwrap();
        std::fs::write(made.join("HEAD"), "x").unwrap();
        let path = repositories.install(&made, "a").unwrap();
        assert!(path.join("HEAD").is_file());
        assert_eq!(repositories.get("a").unwrap(), Some(path.clone()));
        assert_eq!(repositories.get("b").unwrap(), None);
        let all = Prune { cache_to: Some(0), ..Prune::default() };
        let in_use = store.locks().acquire(repositories.lock_key("a"), Sharing::Exclusive, &|| false).unwrap();
        store.prune(&all).unwrap();
        assert!(path.is_dir());
        drop(in_use);
        store.prune(&Prune { cache_to: Some(1 << 30), ..Prune::default() }).unwrap();
        assert!(path.is_dir(), "it was used just now");
        store.prune(&all).unwrap();
        assert!(!path.exists());
    }
}
