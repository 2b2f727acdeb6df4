//! Digests of a context's files that need not be read again.
use crate::*;

/// What of a file's status says that its bytes are the same as before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileStamp {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Last change of contents.
    pub mtime: Timestamp,
    /// Last change of anything.
    pub ctime: Timestamp,
}

/// The digests known of one context. Loaded whole, saved whole.
pub struct StatCache {}

impl StatCache {
    /// The digest of a file that still has this stamp.
    pub fn get(&self, _stamp: &FileStamp) -> Option<FileDigest> {
        todo!()
    }
    /// Replaces what is known by `files` and saves it. Files that changed so shortly before `scan_started` (taken before the first was looked at) that a later change could leave the same stamp are left out.
    pub fn save(&self, _files: Vec<(FileStamp, FileDigest)>, _scan_started: Timestamp) -> Result<()> {
        todo!()
    }
}
