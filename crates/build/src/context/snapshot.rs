//! The metadata of a context at one moment, as a sorted list. Knows no file system.

use std::cmp::Ordering;
use std::sync::Arc;

use kiln_sandbox::users::Owner;
use kiln_store::{Device, FileDigest, FileStamp, Kind};

/// One entry of a context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextEntry {
    /// The path from the context's root, without a leading slash; empty for the root.
    pub path: Arc<[u8]>,
    /// What it is; never a whiteout.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Whom it belongs to: in a directory of the user's everything is root's.
    pub owner: Owner,
    /// Which file it is and in which state: any write changes it.
    pub stamp: FileStamp,
    /// How many names the file has.
    pub links: u32,
    /// The device number of a device node.
    pub rdev: Device,
    /// Where a symbolic link points.
    pub target: Option<Box<[u8]>>,
    /// What a regular file holds, where that is known and does not change.
    pub digest: Option<FileDigest>,
}

/// All entries of a context, parents before children, siblings by name.
#[derive(Debug, Default)]
pub struct Snapshot {
    entries: Vec<ContextEntry>,
}

impl Snapshot {
    /// A snapshot of entries that are sorted as [`compare_paths`] says.
    pub(super) fn new(entries: Vec<ContextEntry>) -> Self {
        debug_assert!(entries.is_sorted_by(|a, b| compare_paths(&a.path, &b.path) == Ordering::Less));
        Snapshot { entries }
    }

    /// All entries but the root.
    pub fn entries(&self) -> &[ContextEntry] {
        &self.entries
    }

    /// The entry at a path, if there is one that is not ignored.
    pub fn get(&self, path: &[u8]) -> Option<&ContextEntry> {
        let place = self.entries.binary_search_by(|entry| compare_paths(&entry.path, path)).ok()?;
        Some(&self.entries[place])
    }

    /// What lies below a directory, at any depth; everything for the empty path.
    pub fn below(&self, directory: &[u8]) -> &[ContextEntry] {
        if directory.is_empty() {
            return &self.entries;
        }
        let start = self.entries.partition_point(|entry| compare_paths(&entry.path, directory) != Ordering::Greater);
        let rest = &self.entries[start..];
        let length = rest.partition_point(|entry| is_below(&entry.path, directory));
        &rest[..length]
    }
}

/// Orders paths by their components, so that what is below a directory follows it at once.
pub(crate) fn compare_paths(a: &[u8], b: &[u8]) -> Ordering {
    a.split(|c| *c == b'/').cmp(b.split(|c| *c == b'/'))
}

fn is_below(path: &[u8], directory: &[u8]) -> bool {
    path.len() > directory.len() && path.starts_with(directory) && path[directory.len()] == b'/'
}

#[cfg(test)]
mod tests {
    use kiln_store::Timestamp;

    use super::*;

    fn entry(path: &str, kind: Kind) -> ContextEntry {
        let moment = Timestamp::default();
        let stamp = FileStamp { device: 0, inode: 0, size: 0, mtime: moment, ctime: moment };
        ContextEntry {
            path: path.as_bytes().into(),
            kind,
            mode: 0o644,
            owner: Owner::default(),
            stamp,
            links: 1,
            rdev: Device::default(),
            target: None,
            digest: None,
        }
    }

    #[test]
    fn what_is_below_a_directory_is_one_stretch() {
        let snapshot = Snapshot::new(vec![
            entry("a", Kind::Directory),
            entry("a/x", Kind::File),
            entry("a/y", Kind::Directory),
            entry("a/y/z", Kind::File),
            entry("a-b", Kind::File),
            entry("a.txt", Kind::File),
        ]);
        let below: Vec<_> =
            snapshot.below(b"a").iter().map(|e| String::from_utf8_lossy(&e.path).into_owned()).collect();
        assert_eq!(below, ["a/x", "a/y", "a/y/z"]);
        assert!(snapshot.below(b"a.txt").is_empty());
        assert_eq!(snapshot.below(b"").len(), 6);
        assert!(snapshot.get(b"a-b").is_some());
        assert!(snapshot.get(b"b").is_none());
    }
}
