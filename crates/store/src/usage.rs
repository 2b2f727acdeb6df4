//! What trees of files take on disk. It does not know what they are.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::{At, Error, Result};

/// Counts bytes on disk; an inode with several names once.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    seen: HashSet<(u64, u64)>,
}

impl Disk {
    /// What a tree adds to what was counted before.
    pub(crate) fn add(&mut self, tree: &Path) -> Result<u64> {
        let mut bytes = 0;
        walk(tree, &mut |_, status| {
            if status.nlink() < 2 || status.is_dir() || self.seen.insert((status.dev(), status.ino())) {
                bytes += status.blocks() * 512;
            }
        })?;
        Ok(bytes)
    }
}

/// Bytes that become free when these trees go: inodes with a name elsewhere do not count.
pub(crate) fn freed_with(trees: &[std::path::PathBuf]) -> Result<u64> {
    let mut bytes = 0;
    let mut names: HashMap<(u64, u64), u64> = HashMap::new();
    for tree in trees {
        walk(tree, &mut |_, status| {
            let seen = names.entry((status.dev(), status.ino())).or_default();
            *seen += 1;
            if status.is_dir() || *seen == status.nlink() {
                bytes += status.blocks() * 512;
            }
            if status.nlink() < 2 {
                names.remove(&(status.dev(), status.ino()));
            }
        })?;
    }
    Ok(bytes)
}

/// Shows every entry's path and status. What vanishes meanwhile, lies too deep or may not be looked into is passed over.
pub(crate) fn walk(tree: &Path, visit: &mut dyn FnMut(&Path, &fs::Metadata)) -> Result<()> {
    use std::io::ErrorKind::{InvalidFilename, NotFound, PermissionDenied};
    let passed_over = |error: &std::io::Error| matches!(error.kind(), InvalidFilename | NotFound | PermissionDenied);
    let mut open = vec![tree.to_owned()];
    while let Some(path) = open.pop() {
        let status = match fs::symlink_metadata(&path) {
            Err(error) if passed_over(&error) => continue,
            answer => answer.at("examine", &path)?,
        };
        visit(&path, &status);
        if !status.is_dir() {
            continue;
        }
        match fs::read_dir(&path) {
            Err(error) if passed_over(&error) => {}
            Err(error) => return Err(Error::io("list", path, error)),
            Ok(entries) => {
                for entry in entries {
                    open.push(entry.at("list", &path)?.path());
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inode_counts_once_and_is_freed_with_its_last_name() {
        let directory = crate::testing::directory();
        let path = |name: &str| directory.path().join(name);
        for name in ["a", "b"] {
            fs::create_dir(path(name)).unwrap();
        }
        fs::write(path("a/file"), vec![1; 100_000]).unwrap();
        fs::hard_link(path("a/file"), path("b/file")).unwrap();
        let mut disk = Disk::default();
        assert!(disk.add(&path("a")).unwrap() >= 100_000);
        assert!(disk.add(&path("b")).unwrap() < 100_000);
        assert!(freed_with(&[path("a")]).unwrap() < 100_000);
        let both = freed_with(&[path("a"), path("b"), path("none")]).unwrap();
        assert!((100_000..200_000).contains(&both));
    }
}
