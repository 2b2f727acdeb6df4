//! Why a tar archive cannot be read: what is wrong, and at which byte.

use std::io;

/// The largest extended header or long name that is accepted, in bytes.
pub(super) const MAX_EXTENDED_HEADER: u64 = 1 << 20;

/// Why an archive cannot be read. Offsets count bytes of the (decompressed) archive.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The stream behind the archive failed.
    #[error("cannot read the archive at byte {offset}: {source}")]
    Read {
        /// How far reading had come.
        offset: u64,
        /// What the stream said.
        source: io::Error,
    },
    /// The archive ends in the middle of something.
    #[error("the archive is truncated: it ends at byte {offset}, within {within}")]
    Truncated {
        /// Where the archive ends.
        offset: u64,
        /// What is incomplete.
        within: &'static str,
    },
    /// A header's check sum does not fit its bytes, so this is no tar archive or a damaged one.
    #[error("not a tar header at byte {offset}: the check sum is wrong")]
    Checksum {
        /// Where the header begins.
        offset: u64,
    },
    /// A field of a header makes no sense.
    #[error("tar entry at byte {offset}: malformed {field}")]
    Malformed {
        /// Where the entry's header begins.
        offset: u64,
        /// Name of the field.
        field: &'static str,
    },
    /// A header claims more bytes than any real archive needs.
    #[error("tar entry at byte {offset}: {what} of {size} bytes is over the limit of {MAX_EXTENDED_HEADER}")]
    TooLarge {
        /// Where the entry's header begins.
        offset: u64,
        /// Which kind of header.
        what: &'static str,
        /// The size that it claims.
        size: u64,
    },
    /// An entry of a kind that a file system image cannot hold.
    #[error("tar entry at byte {offset}: unsupported type {kind:?}")]
    UnsupportedType {
        /// Where the entry's header begins.
        offset: u64,
        /// The type byte.
        kind: char,
    },
}

impl From<TarError> for io::Error {
    fn from(error: TarError) -> io::Error {
        match error {
            TarError::Read { source, .. } => source,
            TarError::Truncated { .. } => io::Error::new(io::ErrorKind::UnexpectedEof, error),
            other => io::Error::new(io::ErrorKind::InvalidData, other),
        }
    }
}

/// A field of the entry whose header begins at `offset` makes no sense.
pub(super) fn malformed(offset: u64, field: &'static str) -> TarError {
    TarError::Malformed { offset, field }
}
