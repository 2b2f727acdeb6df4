//! What the fields of a tar header mean, with the extensions in front of it applied. Pure functions.

use ::tar::{EntryType, Header};
use kiln_store::{Device, Timestamp};

use super::error::{TarError, malformed};
use super::pax::{self, Effective, PaxRecords};
use super::{EntryKind, number};

/// What Linux has room for in a device's number.
const MOST_MAJOR: u32 = (1 << 12) - 1;
const MOST_MINOR: u32 = (1 << 20) - 1;

/// Extensions that precede an entry's own header.
#[derive(Default)]
pub(super) struct Pending {
    pub(super) pax: PaxRecords,
    pub(super) long_path: Option<Vec<u8>>,
    pub(super) long_link: Option<Vec<u8>>,
    pub(super) any: bool,
}

/// A numeric field.
pub(super) fn field(offset: u64, name: &'static str, bytes: &[u8]) -> Result<i64, TarError> {
    number::parse(bytes).ok_or(malformed(offset, name))
}

/// The text of a field, which ends at its first NUL.
pub(super) fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// Accepts the sum of unsigned bytes, and of signed ones as some old programs wrote it.
pub(super) fn checksum_fits(header: &Header) -> bool {
    let Some(expected) = number::parse(&header.as_old().cksum) else {
        return false;
    };
    let bytes = || {
        header.as_bytes().iter().enumerate().map(|(at, &byte)| match at {
            148..156 => b' ',
            _ => byte,
        })
    };
    let unsigned: i64 = bytes().map(i64::from).sum();
    let signed: i64 = bytes().map(|byte| i64::from(byte as i8)).sum();
    expected == unsigned || expected == signed
}

/// The path: from the extensions, or prefix and name of the header itself.
pub(super) fn entry_path(header: &Header, pending: &Pending, records: Effective<'_>) -> Vec<u8> {
    if let Some(name) = records.get(b"GNU.sparse.name").or_else(|| records.get(b"path")) {
        return name.to_vec();
    }
    if let Some(name) = &pending.long_path {
        return name.clone();
    }
    let name = until_nul(&header.as_old().name);
    match header.as_ustar().map(|ustar| until_nul(&ustar.prefix)) {
        Some(prefix) if !prefix.is_empty() => [prefix, b"/", name].concat(),
        _ => name.to_vec(),
    }
}

/// The kind, with link target or device number.
pub(super) fn entry_kind(
    start: u64,
    header: &Header,
    path: &[u8],
    pending: &Pending,
    records: Effective<'_>,
) -> Result<EntryKind, TarError> {
    let target = || match (records.get(b"linkpath"), &pending.long_link) {
        (Some(target), _) => target.to_vec(),
        (None, Some(target)) => target.clone(),
        (None, None) => until_nul(&header.as_old().linkname).to_vec(),
    };
    let device = || {
        let (major, minor) = match (header.as_ustar(), header.as_gnu()) {
            (Some(ustar), _) => (ustar.dev_major, ustar.dev_minor),
            (None, Some(gnu)) => (gnu.dev_major, gnu.dev_minor),
            (None, None) => return Err(malformed(start, "device number")),
        };
        let part = |bytes: &[u8], most| number::parse(bytes).and_then(|n| u32::try_from(n).ok()).filter(|n| *n <= most);
        let device =
            part(&major, MOST_MAJOR).zip(part(&minor, MOST_MINOR)).map(|(major, minor)| Device { major, minor });
        device.ok_or(malformed(start, "device number"))
    };
    Ok(match header.entry_type() {
        // Archives from before directories had a type of their own: only those, for a file may be named so too.
        EntryType::Regular if header.as_old().linkflag == [0] && path.ends_with(b"/") => EntryKind::Directory,
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => EntryKind::File,
        EntryType::Directory => EntryKind::Directory,
        EntryType::Symlink => EntryKind::Symlink { target: target() },
        EntryType::Link => EntryKind::HardLink { target: target() },
        EntryType::Char => EntryKind::CharacterDevice(device()?),
        EntryType::Block => EntryKind::BlockDevice(device()?),
        EntryType::Fifo => EntryKind::Fifo,
        other => {
            let kind = char::from(other.as_byte());
            return Err(TarError::UnsupportedType { offset: start, kind });
        }
    })
}

/// A user or group id: from the record, or the header itself.
pub(super) fn owner(start: u64, name: &'static str, record: Option<&[u8]>, bytes: &[u8]) -> Result<u32, TarError> {
    let id = match record {
        Some(text) => pax::parse_decimal(text).and_then(|id| u32::try_from(id).ok()),
        None => number::parse(bytes).and_then(|id| u32::try_from(id).ok()),
    };
    // The largest number means no owner at all.
    id.filter(|&id| id != u32::MAX).ok_or(malformed(start, name))
}

/// The modification time, to the nanosecond where a record has it.
pub(super) fn mtime(start: u64, header: &Header, records: Effective<'_>) -> Result<Timestamp, TarError> {
    match records.get(b"mtime") {
        Some(text) => pax::parse_time(text).ok_or(malformed(start, "modification time")),
        None => Ok(Timestamp { seconds: field(start, "modification time", &header.as_old().mtime)?, nanoseconds: 0 }),
    }
}
