//! Digests of a context's files that need not be read again.
//!
//! One file per context, `contexts/<hash of its name>`, little endian: magic `kilnstat`, number of records (u64),
//! BLAKE3 of the records (32 bytes); then records of 80 bytes, sorted by device and inode: device, inode, size (u64
//! each), mtime and ctime (i64 seconds, u32 nanoseconds each), digest (32 bytes). It is loaded and saved whole:
//! 50,000 files are 4 MB. A damaged file is an empty cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{At, Result};
use crate::fault::{self, Operation};
use crate::metadata::{FileDigest, Timestamp};
use crate::store::Inner;

const MAGIC: &[u8; 8] = b"kilnstat";
const HEADER: usize = 48;
const RECORD: usize = 80;

/// Two changes that are closer than this may leave the same time in a file's status: kernels tick, and some file
/// systems keep whole seconds only.
const TICK: Timestamp = Timestamp { seconds: 0, nanoseconds: 50_000_000 };
const COARSE_TICK: Timestamp = Timestamp { seconds: 2, nanoseconds: 0 };

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

/// Files of a context that the latest scan did not look at are remembered too, as many as it did or this many: another
/// build may ignore other files.
const OTHERS: usize = 10_000;

/// The digests known of one context. Loaded whole, saved whole.
#[derive(Debug)]
pub struct StatCache {
    store: Arc<Inner>,
    path: PathBuf,
    /// Checked when loaded.
    records: Vec<u8>,
}

impl StatCache {
    pub(crate) fn load(store: &Arc<Inner>, context: &Path) -> Result<Self> {
        use std::os::unix::ffi::OsStrExt;
        let name = blake3::hash(context.as_os_str().as_bytes()).to_hex();
        let path = store.root.join("contexts").join(&name[..32]);
        let records = match fs::read(&path) {
            Ok(bytes) => decode(bytes).unwrap_or_default(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            answer => answer.at("read", &path)?,
        };
        Ok(Self { store: Arc::clone(store), path, records })
    }

    /// The digest of a file that still has this stamp.
    pub fn get(&self, stamp: &FileStamp) -> Option<FileDigest> {
        let count = self.records.len() / RECORD;
        let record = |position: usize| &self.records[position * RECORD..(position + 1) * RECORD];
        let wanted = encode_stamp(stamp);
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low + (high - low) / 2;
            if key(record(middle)) < key(&wanted) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let found = (low < count).then(|| record(low))?;
        let (status, digest) = found.split_at(wanted.len());
        (status == wanted).then(|| digest.try_into().map(FileDigest).ok())?
    }

    /// How many files are known.
    pub fn len(&self) -> usize {
        self.records.len() / RECORD
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Adds `files` to what is known and saves it, with what other builds saved meanwhile. Files that changed so shortly
    /// before `scan_started` (taken before the first of them was looked at), or since, that another change could leave
    /// the same stamp are left out.
    pub fn save(&self, mut files: Vec<(FileStamp, FileDigest)>, scan_started: Timestamp) -> Result<()> {
        files.retain(|(stamp, _)| is_settled(stamp, scan_started));
        files.sort_unstable_by_key(|(stamp, _)| (stamp.device, stamp.inode));
        files.dedup_by_key(|(stamp, _)| (stamp.device, stamp.inode));
        let saved = fs::read(&self.path).ok().and_then(decode).unwrap_or_default();
        let is_other = |record: &&[u8]| files.binary_search_by_key(&key(record), |(s, _)| (s.device, s.inode)).is_err();
        let others = saved.chunks_exact(RECORD).filter(is_other).take(files.len().max(OTHERS));
        let mut records: Vec<[u8; RECORD]> = files.iter().map(|(stamp, digest)| encode(stamp, digest)).collect();
        records.extend(others.filter_map(|record| <[u8; RECORD]>::try_from(record).ok()));
        records.sort_unstable_by_key(|record| key(record));
        let records = records.concat();
        if records == saved {
            return Ok(());
        }
        self.write(&records)
    }

    fn write(&self, records: &[u8]) -> Result<()> {
        let mut bytes = Vec::with_capacity(HEADER + records.len());
        bytes.extend(MAGIC);
        bytes.extend(((records.len() / RECORD) as u64).to_le_bytes());
        bytes.extend(blake3::hash(records).as_bytes());
        bytes.extend(records);
        let new = self.store.session.fresh_path();
        fault::run(Operation::Write, || fs::write(&new, &bytes)).at("write", &new)?;
        fault::run(Operation::Rename, || fs::rename(&new, &self.path)).at("create", &self.path)
    }
}

/// Whether no later change can leave the same times in the file's status. A clock that was set back since could, but
/// only by a change in the very tick that the file had before; a clock that is ahead of this one's leaves files unsettled.
fn is_settled(stamp: &FileStamp, scan_started: Timestamp) -> bool {
    let coarse = stamp.mtime.nanoseconds == 0 && stamp.ctime.nanoseconds == 0;
    let tick = if coarse { COARSE_TICK } else { TICK };
    let mut seconds = stamp.ctime.seconds.saturating_add(tick.seconds);
    let mut nanoseconds = stamp.ctime.nanoseconds + tick.nanoseconds;
    if nanoseconds >= 1_000_000_000 {
        (seconds, nanoseconds) = (seconds.saturating_add(1), nanoseconds - 1_000_000_000);
    }
    Timestamp { seconds, nanoseconds } < scan_started
}

/// Removes the files that are not as they were saved: they would be taken for empty.
pub(crate) fn drop_damaged(store: &Inner) -> Result<()> {
    let directory = store.root.join("contexts");
    for entry in fs::read_dir(&directory).at("list", &directory)? {
        let path = entry.at("list", &directory)?.path();
        if !is_whole(fs::read(&path).at("read", &path)?) {
            store.session.discard(&path)?;
        }
    }
    Ok(())
}

/// Whether these are the bytes of a file as it was saved.
pub(crate) fn is_whole(bytes: Vec<u8>) -> bool {
    decode(bytes).is_some()
}

fn decode(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let header = bytes.get(..HEADER)?;
    let count = u64::from_le_bytes(header[8..16].try_into().ok()?);
    let records = &bytes[HEADER..];
    let whole = &header[..8] == MAGIC
        && count.checked_mul(RECORD as u64) == Some(records.len() as u64)
        && blake3::hash(records).as_bytes() == &header[16..48];
    whole.then(|| bytes.split_off(HEADER))
}

fn encode(stamp: &FileStamp, digest: &FileDigest) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    record[..RECORD - 32].copy_from_slice(&encode_stamp(stamp));
    record[RECORD - 32..].copy_from_slice(&digest.0);
    record
}

fn encode_stamp(stamp: &FileStamp) -> [u8; RECORD - 32] {
    let mut bytes = [0; RECORD - 32];
    let mut at = 0;
    let mut put = |part: &[u8]| {
        bytes[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    };
    for number in [stamp.device, stamp.inode, stamp.size] {
        put(&number.to_le_bytes());
    }
    for time in [stamp.mtime, stamp.ctime] {
        put(&time.seconds.to_le_bytes());
        put(&time.nanoseconds.to_le_bytes());
    }
    bytes
}

/// Device and inode.
fn key(record: &[u8]) -> (u64, u64) {
    let number = |at: usize| record[at..at + 8].try_into().map_or(0, u64::from_le_bytes);
    (number(0), number(8))
}
