//! Directories that keep what was fetched of remote repositories, one per address, so that a later fetch brings only
//! what is new. The store does not know what is in them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, RenameFlags};

use crate::error::{At, Result};
use crate::fault::{self, Operation};
use crate::locks::LockKey;
use crate::store::{Inner, create_directory};

/// The directory of all of them.
pub(crate) const DIRECTORY: &str = "repositories";

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

/// The lock of the directory called `name`.
pub(crate) fn key(name: &str) -> LockKey {
    LockKey::new("repository", name.as_bytes())
}

fn name(address: &str) -> String {
    blake3::hash(address.as_bytes()).to_hex()[..32].to_owned()
}

#[cfg(test)]
mod tests {
    use crate::locks::Sharing;
    use crate::prune::Prune;
    use crate::testing::store;

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
        let all = Prune { cache: crate::CachePart::All, ..Prune::default() };
        let in_use = store.locks().acquire(repositories.lock_key("a"), Sharing::Exclusive, &|| false).unwrap();
        store.prune(&all).unwrap();
        assert!(path.is_dir());
        drop(in_use);
        store.prune(&Prune { cache: crate::CachePart::DownTo(1 << 30), ..Prune::default() }).unwrap();
        assert!(path.is_dir(), "it was used just now");
        store.prune(&all).unwrap();
        assert!(!path.exists());
    }
}
