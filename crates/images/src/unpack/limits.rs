//! How much one archive may unpack to, so that a small one cannot fill the disk or the memory.
//!
//! Three things are bounded: the bytes, how often more they are than the archive's own, and the entries. Does not know
//! where the numbers are set.

use std::io::{self, Read};
use std::sync::OnceLock;

use crate::compression::{Compression, Decompressor, decompress};
use crate::tar::{Entry, EntryKind};

/// Up to here nobody asks how well something was compressed, in bytes.
const UNSUSPICIOUS: u64 = 1 << 30;
/// What an entry may take for its name, target and attributes; one that takes more counts as several.
const BYTES_OF_AN_ENTRY: u64 = 256;

/// The most that is unpacked of one archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the uncompressed archive, and of all its files with their holes.
    pub size: u64,
    /// How many times its compressed size an archive may have, if it is larger than 1 GiB.
    pub expansion: u64,
    /// Entries. One whose name, link target and attributes take more than 256 bytes counts as several.
    pub entries: u64,
}

impl Default for Limits {
    /// 128 GiB, 500 times, 4 million: more than images have, less than makes a machine useless.
    fn default() -> Limits {
        Limits { size: 128 << 30, expansion: 500, entries: 4_000_000 }
    }
}

static SETTLED: OnceLock<Limits> = OnceLock::new();

impl Limits {
    /// Makes these the limits of everything that this process unpacks from now on; the first to do so wins.
    pub fn settle(self) {
        // A process has one configuration.
        let _ = SETTLED.set(self);
    }

    /// Those of this process.
    pub(crate) fn settled() -> Limits {
        SETTLED.get().copied().unwrap_or_default()
    }
}

/// Which limit an archive is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitExceeded {
    /// [`Limits::size`].
    #[error(
        "it unpacks to more than {limit} bytes; `layer-size` in [limits] of the configuration, or KILN_LIMITS, allows more"
    )]
    Size {
        /// The limit.
        limit: u64,
    },
    /// [`Limits::expansion`].
    #[error(
        "it unpacks to more than {limit} times its size; `layer-expansion` in [limits] of the configuration, or \
         KILN_LIMITS, allows more"
    )]
    Expansion {
        /// The limit.
        limit: u64,
    },
    /// [`Limits::entries`].
    #[error(
        "it has more than {limit} entries, long ones counting as several; `layer-entries` in [limits] of the \
         configuration, or KILN_LIMITS, allows more"
    )]
    Entries {
        /// The limit.
        limit: u64,
    },
}

impl LimitExceeded {
    /// The limit that a failed read was about, if it was about one.
    pub(super) fn behind(error: &io::Error) -> Option<LimitExceeded> {
        error.get_ref()?.downcast_ref().cloned()
    }
}

/// A stream without its compression that fails where it becomes too large. See [`bounded`].
pub(crate) struct Bounded<R: Read> {
    plain: Decompressor<Counted<R>>,
    given: u64,
    limits: Limits,
    unsuspicious: u64,
}

/// Takes the compression off, within `limits`.
pub(crate) fn bounded<R: Read>(archive: R, limits: Limits) -> io::Result<Bounded<R>> {
    let plain = decompress(Counted { inner: archive, taken: 0 })?;
    Ok(Bounded { plain, given: 0, limits, unsuspicious: UNSUSPICIOUS })
}

impl<R: Read> Bounded<R> {
    /// What the stream was found to be compressed with.
    pub(crate) fn compression(&self) -> Compression {
        self.plain.compression()
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.plain.read(buffer)?;
        self.given += count as u64;
        let Limits { size, expansion, .. } = self.limits;
        if self.given > size {
            return Err(io::Error::other(LimitExceeded::Size { limit: size }));
        }
        if self.given > self.unsuspicious && self.given / expansion.max(1) > self.plain.get_ref().taken {
            return Err(io::Error::other(LimitExceeded::Expansion { limit: expansion }));
        }
        Ok(count)
    }
}

/// A stream that says how much of it was read.
struct Counted<R> {
    inner: R,
    taken: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.taken += count as u64;
        Ok(count)
    }
}

/// What is left for the entries of one archive.
pub(super) struct Allowance {
    limits: Limits,
    entries: u64,
    size: u64,
}

impl Allowance {
    pub(super) fn new(limits: Limits) -> Allowance {
        Allowance { limits, entries: limits.entries, size: limits.size }
    }

    /// Takes the entry off.
    pub(super) fn take(&mut self, entry: &Entry) -> Result<(), LimitExceeded> {
        let target = match &entry.kind {
            EntryKind::Symlink { target } | EntryKind::HardLink { target } => target.len(),
            _ => 0,
        };
        let xattrs: usize = entry.metadata.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        let bytes = (entry.path.len() + target + xattrs) as u64;
        let over = LimitExceeded::Entries { limit: self.limits.entries };
        self.entries = self.entries.checked_sub(1 + bytes / BYTES_OF_AN_ENTRY).ok_or(over)?;
        let over = LimitExceeded::Size { limit: self.limits.size };
        self.size = self.size.checked_sub(entry.size).ok_or(over)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compression::{CompressedWriter, Format};

    fn read(archive: &[u8], limits: Limits) -> Result<u64, LimitExceeded> {
        let mut plain = Bounded { unsuspicious: 1 << 20, ..bounded(archive, limits).unwrap() };
        io::copy(&mut plain, &mut io::sink()).map_err(|error| LimitExceeded::behind(&error).unwrap())
    }

    #[test]
    fn more_bytes_than_allowed_are_not_read() {
        let limits = Limits { size: 1000, ..Limits::default() };
        assert_eq!(read(&[7; 1000], limits), Ok(1000));
        assert_eq!(read(&[7; 1001], limits), Err(LimitExceeded::Size { limit: 1000 }));
    }

    #[test]
    fn what_grows_too_much_is_not_read_to_its_end() {
        for format in [Format::GZIP, Format::ZSTD] {
            let mut bomb = CompressedWriter::new(Vec::new(), format);
            io::copy(&mut io::repeat(0).take(4 << 20), &mut bomb).unwrap();
            let bomb = bomb.finish().unwrap();
            let limits = Limits { expansion: 100, ..Limits::default() };
            assert_eq!(read(&bomb, limits), Err(LimitExceeded::Expansion { limit: 100 }));
            let limits = Limits { expansion: u64::MAX, ..Limits::default() };
            assert_eq!(read(&bomb, limits), Ok(4 << 20));
        }
    }

    #[test]
    fn an_entry_with_much_beside_its_content_counts_as_several() {
        let mut allowance = Allowance::new(Limits { entries: 10, size: 5, ..Limits::default() });
        let plain = Entry { path: b"name".to_vec(), size: 2, ..Entry::default() };
        let mut long = plain.clone();
        long.metadata.xattrs.insert(b"user.long".to_vec(), vec![0; 6 * 256]);
        assert_eq!(allowance.take(&plain), Ok(()));
        assert_eq!(allowance.take(&long), Ok(()));
        assert_eq!(allowance.take(&long), Err(LimitExceeded::Entries { limit: 10 }));
        assert_eq!(allowance.take(&plain), Err(LimitExceeded::Size { limit: 5 }));
    }
}
