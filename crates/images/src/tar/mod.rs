//! Tar archives as image layers use them: a streaming reader and a streaming writer.
//!
//! Everything here is about bytes and headers. It does not know layers, whiteouts or where an
//! entry ends up: paths are handed out exactly as the archive spells them, hostile or not.

mod number;
mod pax;
mod reader;
mod sparse;
mod writer;

pub use reader::{TarError, TarReader};
pub use writer::TarWriter;

/// Size of a tar block: headers are one block, contents are padded to whole blocks.
pub(crate) const BLOCK: usize = 512;

/// One member of an archive, with every extension (PAX, GNU) already applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The path as written in the archive: any bytes but NUL, perhaps absolute, perhaps with `..`.
    pub path: Vec<u8>,
    /// What the entry is, with what only that kind has.
    pub kind: EntryKind,
    /// Permission bits with setuid, setgid and sticky: `0..=0o7777`.
    pub mode: u32,
    /// Owner's user id.
    pub uid: u32,
    /// Owner's group id.
    pub gid: u32,
    /// Time of the last change of the content.
    pub mtime: Timestamp,
    /// Number of content bytes, holes included; 0 for everything but files.
    pub size: u64,
    /// Extended attributes (`SCHILY.xattr.` records), sorted by name, without duplicates.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the entry's own header begins in the archive, in bytes; 0 in entries to be written.
    pub offset: u64,
}

/// The kinds of entries that a root file system can hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file; its bytes follow the header.
    #[default]
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// The text of the link, never resolved here.
        target: Vec<u8>,
    },
    /// Another name of an entry that came before.
    HardLink {
        /// Path of the earlier entry, as the archive spells it.
        target: Vec<u8>,
    },
    /// A character device.
    CharacterDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// A point in time, as tar archives hold it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Whole seconds since 1970-01-01T00:00:00Z, rounded down (negative before it).
    pub seconds: i64,
    /// Nanoseconds after `seconds`: `0..1_000_000_000`.
    pub nanoseconds: u32,
}

impl Timestamp {
    /// The time `nanoseconds` after (or before) 1970.
    #[must_use]
    pub fn from_nanoseconds(nanoseconds: i64) -> Timestamp {
        Timestamp {
            seconds: nanoseconds.div_euclid(1_000_000_000),
            nanoseconds: nanoseconds.rem_euclid(1_000_000_000) as u32,
        }
    }

    /// Nanoseconds since 1970, clamped to what 64 bits hold (the years 1677 to 2262).
    #[must_use]
    pub fn to_nanoseconds(self) -> i64 {
        self.seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(self.nanoseconds))
    }
}

#[cfg(test)]
mod tests;
