//! Writes tar archives as BuildKit does: ustar headers, with a PAX header in front only of entries
//! that need one, names of owners left empty.
//!
//! Writes exactly what it is told; which entries, xattrs and times belong into a layer is decided
//! by the caller.

use std::io::{self, Write};

use ::tar::{EntryType, Header};
use kiln_store::{Device, Metadata, Timestamp};

use super::{BLOCK, Entry, EntryKind, number, pax};

/// A streaming writer of one archive.
///
/// After [`TarWriter::append`] of a file exactly `size` bytes must be written to the writer itself.
pub struct TarWriter<W> {
    inner: W,
    /// Bytes of the current file that are still missing.
    missing: u64,
    /// Bytes that fill the last block of the current file.
    padding: usize,
}

impl<W: Write> TarWriter<W> {
    /// Writes an archive to `inner`.
    pub fn new(inner: W) -> TarWriter<W> {
        TarWriter { inner, missing: 0, padding: 0 }
    }

    /// Writes the header of `entry`; its `offset` is ignored. Fails with `InvalidInput` if the
    /// previous file is incomplete, or something cannot be expressed (a NUL in a name).
    pub fn append(&mut self, entry: &Entry) -> io::Result<()> {
        self.close_entry()?;
        let payload = extended_header(entry)?;
        if !payload.is_empty() {
            self.write_extended_header(entry, &payload)?;
        }
        let mut header = plain_header(entry);
        header.set_cksum();
        self.inner.write_all(header.as_bytes())?;
        if entry.kind == EntryKind::File {
            self.begin_content(entry.size);
        }
        Ok(())
    }

    /// Writes the end of the archive and returns the stream behind it, not flushed.
    pub fn finish(mut self) -> io::Result<W> {
        self.close_entry()?;
        self.inner.write_all(&[0; 2 * BLOCK])?;
        Ok(self.inner)
    }

    /// The stream behind, to which exactly the content of the current file must be written next.
    pub(crate) fn content(&mut self) -> &mut W {
        self.missing = 0;
        &mut self.inner
    }

    fn begin_content(&mut self, size: u64) {
        self.missing = size;
        self.padding = (size.wrapping_neg() % BLOCK as u64) as usize;
    }

    fn close_entry(&mut self) -> io::Result<()> {
        if self.missing > 0 {
            let text = format!("{} bytes of the previous tar entry are missing", self.missing);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let zeros = [0; BLOCK];
        let padding = zeros.get(..self.padding).unwrap_or_default();
        self.inner.write_all(padding)?;
        self.padding = 0;
        Ok(())
    }

    fn write_extended_header(&mut self, entry: &Entry, payload: &[u8]) -> io::Result<()> {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XHeader);
        copy_truncated(&mut header.as_old_mut().name, &extended_header_name(&entry.path));
        write_numbers(&mut header, &Metadata::default(), payload.len() as u64);
        header.set_cksum();
        self.inner.write_all(header.as_bytes())?;
        self.inner.write_all(payload)?;
        self.begin_content(payload.len() as u64);
        self.missing = 0;
        self.close_entry()
    }
}

impl<W: Write> Write for TarWriter<W> {
    /// Writes content of the current file; more than its size is `InvalidInput`.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.missing {
            let text = "more bytes than the size of the tar entry";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let count = self.inner.write(bytes)?;
        self.missing -= count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// The PAX records of an entry, empty if the plain header says it all.
fn extended_header(entry: &Entry) -> io::Result<Vec<u8>> {
    let mut records: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut need = |key: &str, value: &[u8]| records.push((key.as_bytes().to_vec(), value.to_vec()));
    let old = Header::new_old();
    let fields = old.as_old();
    if !fits_text(fields.name.len(), &entry.path) {
        need("path", &entry.path);
    }
    if let EntryKind::Symlink { target } | EntryKind::HardLink { target } = &entry.kind
        && !fits_text(fields.linkname.len(), target)
    {
        need("linkpath", target);
    }
    for (key, id) in [("uid", entry.metadata.uid), ("gid", entry.metadata.gid)] {
        if !number::fits_octal(fields.uid.len(), i64::from(id)) {
            need(key, id.to_string().as_bytes());
        }
    }
    let size = i64::try_from(entry.size).map_err(|_| unwritable("size"))?;
    if entry.kind == EntryKind::File && !number::fits_octal(fields.size.len(), size) {
        need("size", size.to_string().as_bytes());
    }
    if entry.metadata.mtime.nanoseconds != 0 || !number::fits_octal(fields.mtime.len(), entry.metadata.mtime.seconds) {
        need("mtime", time_text(entry.metadata.mtime).as_bytes());
    }
    for (name, value) in &entry.metadata.xattrs {
        if name.contains(&b'=') || name.contains(&0) {
            return Err(unwritable("name of an extended attribute"));
        }
        records.push(([b"SCHILY.xattr.", name.as_slice()].concat(), value.clone()));
    }
    records.sort();
    let mut payload = Vec::new();
    for (key, value) in &records {
        if (key == b"path" || key == b"linkpath") && value.contains(&0) {
            return Err(unwritable("path"));
        }
        pax::write_record(&mut payload, key, value);
    }
    Ok(payload)
}

fn unwritable(what: &str) -> io::Error {
    let text = format!("a tar archive cannot hold this {what}");
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// Only ASCII goes into the plain header, so that no reader guesses an encoding.
fn fits_text(width: usize, text: &[u8]) -> bool {
    text.len() <= width && text.iter().all(|byte| byte.is_ascii() && *byte != 0)
}

/// Decimal seconds with as many digits of the fraction as needed.
fn time_text(time: Timestamp) -> String {
    if time.nanoseconds == 0 {
        return time.seconds.to_string();
    }
    let (sign, whole, fraction) = match time.seconds {
        seconds if seconds < 0 => ("-", -(seconds + 1), 1_000_000_000 - time.nanoseconds),
        seconds => ("", seconds, time.nanoseconds),
    };
    let text = format!("{sign}{whole}.{fraction:09}");
    text.trim_end_matches('0').to_owned()
}

fn plain_header(entry: &Entry) -> Header {
    let mut header = Header::new_ustar();
    let mut device = Device::default();
    let mut target: &[u8] = b"";
    header.set_entry_type(match &entry.kind {
        EntryKind::File => EntryType::Regular,
        EntryKind::Directory => EntryType::Directory,
        EntryKind::Fifo => EntryType::Fifo,
        EntryKind::Symlink { target: to } => {
            target = to;
            EntryType::Symlink
        }
        EntryKind::HardLink { target: to } => {
            target = to;
            EntryType::Link
        }
        EntryKind::CharacterDevice(number) => {
            device = *number;
            EntryType::Char
        }
        EntryKind::BlockDevice(number) => {
            device = *number;
            EntryType::Block
        }
    });
    copy_truncated(&mut header.as_old_mut().name, &entry.path);
    copy_truncated(&mut header.as_old_mut().linkname, target);
    let size = if entry.kind == EntryKind::File { entry.size } else { 0 };
    write_numbers(&mut header, &entry.metadata, size);
    if let Some(ustar) = header.as_ustar_mut() {
        number::write_octal(&mut ustar.dev_major, i64::from(device.major));
        number::write_octal(&mut ustar.dev_minor, i64::from(device.minor));
    }
    header
}

/// Fills the numeric fields; what does not fit becomes 0, the PAX header has the truth.
fn write_numbers(header: &mut Header, metadata: &Metadata, size: u64) {
    let fields = header.as_old_mut();
    number::write_octal(&mut fields.mode, i64::from(metadata.mode));
    number::write_octal(&mut fields.uid, i64::from(metadata.uid));
    number::write_octal(&mut fields.gid, i64::from(metadata.gid));
    number::write_octal(&mut fields.size, i64::try_from(size).unwrap_or(-1));
    number::write_octal(&mut fields.mtime, metadata.mtime.seconds);
}

/// Copies the part of `text` that fits; a plain header keeps only ASCII.
fn copy_truncated(field: &mut [u8], text: &[u8]) {
    let ascii = text.iter().filter(|byte| byte.is_ascii());
    for (to, from) in field.iter_mut().zip(ascii) {
        *to = *from;
    }
}

/// `dir/PaxHeaders.0/file`, which is what a reader without PAX would extract.
fn extended_header_name(path: &[u8]) -> Vec<u8> {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => {
            let (directory, file) = path.split_at(slash);
            [directory, b"/PaxHeaders.0", file].concat()
        }
        None => [b"PaxHeaders.0/", path].concat(),
    }
}
