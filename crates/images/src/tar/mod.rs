//! Tar archives as image layers use them: a streaming reader and a streaming writer.
//!
//! Everything here is about bytes and headers. It does not know layers, whiteouts or where an
//! entry ends up: paths are handed out exactly as the archive spells them, hostile or not.

mod error;
mod header;
mod number;
mod pax;
mod reader;
mod sparse;
mod writer;

use kiln_store::{Device, Metadata};

pub use error::TarError;
pub use reader::TarReader;
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
    /// Mode (`0..=0o7777`), owner, time and extended attributes (`SCHILY.xattr.` records).
    pub metadata: Metadata,
    /// Number of content bytes, holes included; 0 for everything but files.
    pub size: u64,
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
    CharacterDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A named pipe.
    Fifo,
}

/// Whether bytes begin with a header, or with the zeros that end an archive.
pub(crate) fn is_header(start: &[u8]) -> bool {
    let mut header = ::tar::Header::new_old();
    let Some(block) = start.get(..BLOCK) else { return false };
    header.as_mut_bytes().copy_from_slice(block);
    block.iter().all(|&byte| byte == 0) || header::checksum_fits(&header)
}

#[cfg(test)]
mod tests;
