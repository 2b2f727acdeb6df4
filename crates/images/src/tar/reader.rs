//! Reads tar archives as a stream: old V7, ustar, GNU and PAX, with long names, base-256 numbers,
//! sub-second times, extended attributes and sparse files.
//!
//! Never trusts a length: extended headers are bounded, and everything else is streamed.

use std::io::{self, Read};

use ::tar::{EntryType, GnuHeader, Header};

use kiln_store::Metadata;

use super::error::{MAX_EXTENDED_HEADER, TarError, malformed};
use super::header::{Pending, checksum_fits, entry_kind, entry_path, field, mtime, owner, until_nul};
use super::pax::{self, Effective, PaxRecords};
use super::sparse::{self, Segment};
use super::{BLOCK, Entry, EntryKind};

/// A streaming reader of one archive.
///
/// [`TarReader::next_entry`] hands out the entries in order; between two calls the reader itself
/// is the content of the current one (holes of sparse files read as zeros, unless they are passed by). What is not read is
/// skipped.
pub struct TarReader<R> {
    inner: R,
    /// Bytes taken from `inner`.
    offset: u64,
    /// Bytes of the current entry's stored content that are still in `inner`.
    stored: u64,
    /// Zero bytes after the stored content.
    padding: u64,
    content: Content,
    global: PaxRecords,
    finished: bool,
}

/// The content of the current entry as it is handed out.
#[derive(Default)]
struct Content {
    /// Position in the file, holes counted.
    position: u64,
    /// Size of the file, holes counted.
    size: u64,
    /// What the archive holds of it, in order; the first `done` are behind `position`.
    segments: Vec<Segment>,
    done: usize,
}

impl<R: Read> TarReader<R> {
    /// Reads the archive that `inner` streams.
    pub fn new(inner: R) -> TarReader<R> {
        TarReader {
            inner,
            offset: 0,
            stored: 0,
            padding: 0,
            content: Content::default(),
            global: PaxRecords::default(),
            finished: false,
        }
    }

    /// The stream behind the archive, for instance to drain what follows its end.
    pub fn into_inner(self) -> R {
        self.inner
    }

    /// Bytes of the archive that were consumed so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next entry, or `None` at the end of the archive. Skips unread content.
    ///
    /// A stream that ends cleanly between two entries counts as the end, as for other readers.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        let mut pending = Pending::default();
        while !self.finished {
            self.skip_rest()?;
            let start = self.offset;
            let Some(header) = self.read_header(pending.any)? else {
                self.finished = true;
                break;
            };
            if let Some(entry) = self.interpret(start, &header, &mut pending)? {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// Passes by the hole of a sparse file that is next in the current entry; its length, 0 if bytes are next.
    pub fn skip_hole(&mut self) -> u64 {
        let (is_hole, length) = self.content.next_run(u64::MAX);
        if !is_hole {
            return 0;
        }
        self.content.position += length;
        length
    }

    /// Takes one header in: an extension is remembered, anything else becomes an entry.
    fn interpret(&mut self, start: u64, header: &Header, pending: &mut Pending) -> Result<Option<Entry>, TarError> {
        let size = field(start, "size", &header.as_old().size)?;
        let size = u64::try_from(size).map_err(|_| malformed(start, "size"))?;
        match header.entry_type() {
            EntryType::XHeader => {
                pending.pax = self.read_records(start, "extended header", size)?;
                pending.any = true;
            }
            EntryType::XGlobalHeader => {
                let records = self.read_records(start, "global header", size)?;
                self.global.extend(records);
            }
            EntryType::GNULongName => {
                pending.long_path = Some(self.read_long_name(start, size)?);
                pending.any = true;
            }
            EntryType::GNULongLink => {
                pending.long_link = Some(self.read_long_name(start, size)?);
                pending.any = true;
            }
            kind if kind.as_byte() == b'V' => self.begin_stored(size),
            _ => return self.begin_entry(start, header, size, std::mem::take(pending)).map(Some),
        }
        Ok(None)
    }

    /// Builds the entry and prepares the reader to hand out its content.
    fn begin_entry(&mut self, start: u64, header: &Header, size: u64, pending: Pending) -> Result<Entry, TarError> {
        let global = std::mem::take(&mut self.global);
        let records = Effective { own: &pending.pax, global: &global };
        let entry = self.build_entry(start, header, size, &pending, records);
        self.global = global;
        entry
    }

    fn build_entry(
        &mut self,
        start: u64,
        header: &Header,
        size: u64,
        pending: &Pending,
        records: Effective<'_>,
    ) -> Result<Entry, TarError> {
        let path = entry_path(header, pending, records);
        let kind = entry_kind(start, header, &path, pending, records)?;
        let metadata = Metadata {
            mode: (field(start, "mode", &header.as_old().mode)? & 0o7777) as u32,
            uid: owner(start, "user id", records.get(b"uid"), &header.as_old().uid)?,
            gid: owner(start, "group id", records.get(b"gid"), &header.as_old().gid)?,
            mtime: mtime(start, header, records)?,
            xattrs: records.xattrs(),
        };
        let mut entry = Entry { path, kind, metadata, size: 0, offset: start };
        if entry.path.is_empty() || entry.path.contains(&0) {
            return Err(malformed(start, "path"));
        }
        if entry.kind == EntryKind::File {
            let stored = match records.get(b"size") {
                Some(text) => pax::parse_decimal(text).ok_or(malformed(start, "size"))?,
                None => size,
            };
            self.begin_stored(stored);
            entry.size = self.begin_content(start, header, records)?;
        }
        Ok(entry)
    }

    fn begin_stored(&mut self, stored: u64) {
        self.stored = stored;
        self.padding = stored.wrapping_neg() % BLOCK as u64;
        self.content = Content::default();
    }

    /// Finds out which parts of the file follow; the size of the whole file, holes included.
    fn begin_content(&mut self, start: u64, header: &Header, records: Effective<'_>) -> Result<u64, TarError> {
        let (size, segments) = match self.sparse_map(start, header, records)? {
            Some(map) => map,
            None => {
                let length = self.stored;
                (length, vec![Segment { offset: 0, length }])
            }
        };
        if !sparse::is_consistent(&segments, size, self.stored) {
            return Err(malformed(start, "sparse map"));
        }
        self.content = Content { position: 0, size, segments, done: 0 };
        Ok(size)
    }

    /// Real size and segments of a sparse file, `None` for an ordinary one.
    fn sparse_map(
        &mut self,
        start: u64,
        header: &Header,
        records: Effective<'_>,
    ) -> Result<Option<(u64, Vec<Segment>)>, TarError> {
        if header.entry_type() == EntryType::GNUSparse {
            let gnu = header.as_gnu().ok_or(malformed(start, "sparse header"))?;
            return self.read_old_sparse_map(start, gnu).map(Some);
        }
        let real_size = records
            .get(b"GNU.sparse.realsize")
            .or_else(|| records.get(b"GNU.sparse.size"))
            .map(|text| pax::parse_decimal(text).ok_or(malformed(start, "sparse size")))
            .transpose()?;
        let segments = if records.get(b"GNU.sparse.major") == Some(b"1") {
            Some(self.read_stored_sparse_map(start)?)
        } else {
            sparse::from_records(records).map(|map| map.ok_or(malformed(start, "sparse map"))).transpose()?
        };
        match (real_size, segments) {
            (Some(size), Some(segments)) => Ok(Some((size, segments))),
            (None, Some(_)) => Err(malformed(start, "sparse size")),
            (_, None) => Ok(None),
        }
    }

    /// The map of an old GNU sparse header: four slots, then continuation blocks.
    fn read_old_sparse_map(&mut self, start: u64, gnu: &GnuHeader) -> Result<(u64, Vec<Segment>), TarError> {
        const CONTINUATION_SLOTS: usize = 21 * 24;
        let size = field(start, "sparse size", &gnu.realsize)?;
        let size = u64::try_from(size).map_err(|_| malformed(start, "sparse size"))?;
        let slots: Vec<u8> = gnu.sparse.iter().flat_map(|s| [s.offset, s.numbytes].concat()).collect();
        let mut segments = sparse::parse_slots(&slots).ok_or(malformed(start, "sparse map"))?;
        let mut extended = gnu.isextended[0] != 0;
        while extended {
            let mut block = [0; BLOCK];
            self.fill(&mut block, "a sparse map")?;
            let (slots, rest) = block.split_at(CONTINUATION_SLOTS);
            segments.extend(sparse::parse_slots(slots).ok_or(malformed(start, "sparse map"))?);
            extended = rest.first().is_some_and(|&flag| flag != 0);
            if segments.len() > sparse::MAX_SEGMENTS {
                return Err(malformed(start, "sparse map"));
            }
        }
        Ok((size, segments))
    }

    /// The map of sparse format 1.0: decimal lines in whole blocks in front of the content.
    fn read_stored_sparse_map(&mut self, start: u64) -> Result<Vec<Segment>, TarError> {
        let mut lines = BlockLines::default();
        let count = lines.next_number(self, start)?;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > sparse::MAX_SEGMENTS {
            return Err(malformed(start, "sparse map"));
        }
        let mut numbers = Vec::new();
        for _ in 0..count * 2 {
            numbers.push(lines.next_number(self, start)?);
        }
        sparse::pair_up(&numbers).ok_or(malformed(start, "sparse map"))
    }

    /// The next header block; `None` at the end of the archive.
    fn read_header(&mut self, mid_entry: bool) -> Result<Option<Header>, TarError> {
        let start = self.offset;
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        if !self.fill_or_end(block)? {
            return match mid_entry {
                true => Err(TarError::Truncated { offset: start, within: "an entry's headers" }),
                false => Ok(None),
            };
        }
        if block.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        match checksum_fits(&header) {
            true => Ok(Some(header)),
            false => Err(TarError::Checksum { offset: start }),
        }
    }

    fn read_records(&mut self, start: u64, what: &'static str, size: u64) -> Result<PaxRecords, TarError> {
        let payload = self.read_extension(start, what, size)?;
        PaxRecords::parse(&payload).ok_or(malformed(start, what))
    }

    fn read_long_name(&mut self, start: u64, size: u64) -> Result<Vec<u8>, TarError> {
        let mut name = self.read_extension(start, "long name", size)?;
        name.truncate(until_nul(&name).len());
        Ok(name)
    }

    fn read_extension(&mut self, start: u64, what: &'static str, size: u64) -> Result<Vec<u8>, TarError> {
        if size > MAX_EXTENDED_HEADER {
            return Err(TarError::TooLarge { offset: start, what, size });
        }
        let mut payload = vec![0; size as usize];
        self.fill(&mut payload, what)?;
        self.padding = size.wrapping_neg() % BLOCK as u64;
        Ok(payload)
    }

    /// Skips what is left of the current entry.
    fn skip_rest(&mut self) -> Result<(), TarError> {
        let mut scratch = [0; 16 * 1024];
        while self.stored > 0 {
            let wanted = scratch.len().min(usize::try_from(self.stored).unwrap_or(usize::MAX));
            self.stored -= wanted as u64;
            let Some(part) = scratch.get_mut(..wanted) else { break };
            self.fill(part, "a file's content")?;
        }
        // Some writers leave it out at the end of an archive, and no reader misses it there.
        let padding = std::mem::take(&mut self.padding) as usize;
        if let Some(part) = scratch.get_mut(..padding) {
            self.fill_some(part)?;
        }
        self.content = Content::default();
        Ok(())
    }

    /// Fills `buffer`; an early end is an error.
    fn fill(&mut self, buffer: &mut [u8], within: &'static str) -> Result<(), TarError> {
        match self.fill_some(buffer)? {
            filled if filled == buffer.len() => Ok(()),
            _ => Err(TarError::Truncated { offset: self.offset, within }),
        }
    }

    /// Fills `buffer`, or returns false if the stream ends exactly here.
    fn fill_or_end(&mut self, buffer: &mut [u8]) -> Result<bool, TarError> {
        match self.fill_some(buffer)? {
            0 => Ok(false),
            filled if filled == buffer.len() => Ok(true),
            _ => Err(TarError::Truncated { offset: self.offset, within: "a header" }),
        }
    }

    fn fill_some(&mut self, buffer: &mut [u8]) -> Result<usize, TarError> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.inner.read(rest) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(TarError::Read { offset: self.offset, source }),
            }
        }
        self.offset += filled as u64;
        Ok(filled)
    }
}

impl<R: Read> Read for TarReader<R> {
    /// Reads the content of the current entry.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (is_hole, length) = self.content.next_run(buffer.len() as u64);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some(part) = buffer.get_mut(..length).filter(|part| !part.is_empty()) else {
            return Ok(0);
        };
        let count = if is_hole {
            part.fill(0);
            length
        } else {
            let count = self.inner.read(part)?;
            if count == 0 {
                let offset = self.offset;
                return Err(TarError::Truncated { offset, within: "a file's content" }.into());
            }
            self.offset += count as u64;
            self.stored -= count as u64;
            count
        };
        self.content.position += count as u64;
        Ok(count)
    }
}

impl Content {
    /// Whether a hole is next, and for how many bytes, at most `limit`.
    fn next_run(&mut self, limit: u64) -> (bool, u64) {
        while let Some(segment) = self.segments.get(self.done) {
            if self.position < segment.offset + segment.length {
                break;
            }
            self.done += 1;
        }
        let (is_hole, end) = match self.segments.get(self.done) {
            Some(segment) if self.position >= segment.offset => (false, segment.offset + segment.length),
            Some(segment) => (true, segment.offset),
            None => (true, self.size),
        };
        (is_hole, (end - self.position).min(limit))
    }
}

/// Decimal lines that fill whole blocks, as sparse format 1.0 has them.
#[derive(Default)]
struct BlockLines {
    block: Vec<u8>,
    at: usize,
}

impl BlockLines {
    fn next_number<R: Read>(&mut self, reader: &mut TarReader<R>, start: u64) -> Result<u64, TarError> {
        let mut digits = Vec::new();
        loop {
            match self.next_byte(reader, start)? {
                b'\n' => break,
                byte if digits.len() < 20 => digits.push(byte),
                _ => return Err(malformed(start, "sparse map")),
            }
        }
        pax::parse_decimal(&digits).ok_or(malformed(start, "sparse map"))
    }

    fn next_byte<R: Read>(&mut self, reader: &mut TarReader<R>, start: u64) -> Result<u8, TarError> {
        if self.at == self.block.len() {
            self.block.resize(BLOCK, 0);
            self.at = 0;
            reader.stored = reader.stored.checked_sub(BLOCK as u64).ok_or(malformed(start, "sparse map"))?;
            reader.fill(&mut self.block, "a sparse map")?;
        }
        let byte = self.block.get(self.at).copied();
        self.at += 1;
        byte.ok_or(malformed(start, "sparse map"))
    }
}
