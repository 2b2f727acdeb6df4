//! The index as bytes, on disk and in memory.
//!
//! Little endian. A header of 64 bytes: magic `kilnidx1`, number of entries (u32), 0 (u32), length of the heap (u64),
//! BLAKE3 of everything after the header (32 bytes), 8 zero bytes. Then one record of 104 bytes per entry in order
//! of their paths, then the heap with paths, link targets and xattrs. A record:
//!
//! | at | type | field | at | type | field |
//! |---|---|---|---|---|---|
//! | 0 | u32 | path: place in the heap | 44 | u32 | device minor |
//! | 4 | u16 | path: length | 48 | u32 | target: place |
//! | 6 | u8 | kind | 52 | u16 | target: length |
//! | 7 | u8 | 1 parent only, 2 opaque, 4 digest known, 8 opaque mark, 16 implied | 54 | u16 | number of xattrs |
//! | 8 | u32 | mode | 56 | u32 | xattrs: place |
//! | 12 | u32 | uid | 60 | u32 | link group, 0 for none |
//! | 16 | u32 | gid | 64 | u32 | subtree end: the first entry not below this one |
//! | 20 | u32 | mtime, nanoseconds | 68 | u32 | stamp of a file that came unhashed, 0 for none |
//! | 24 | i64 | mtime, seconds | 72 | 32 bytes | BLAKE3 of a regular file |
//! | 32 | u64 | size | | | |
//! | 40 | u32 | device major | | | |
//!
//! In the heap an xattr is name length (u32), value length (u32), name, value. Everything is checked when an index
//! is read, so that looking things up cannot fail.

use std::ops::Range;

use super::{Body, Entry};
use crate::metadata::{Device, FileDigest, Kind, Timestamp};
use crate::path;

const MAGIC: &[u8; 8] = b"kilnidx1";
const HEADER: usize = 64;
const RECORD: usize = 104;
const PARENT_ONLY: u8 = 1;
const OPAQUE: u8 = 2;
const DIGEST_KNOWN: u8 = 4;
const OPAQUE_MARK: u8 = 8;
const IMPLIED: u8 = 16;

/// The entries of a layer, sorted by path component by component: a directory comes right before what is in it.
pub struct Index {
    /// The whole file; checked.
    bytes: Vec<u8>,
    count: u32,
}

impl Index {
    /// Checks and takes the bytes of an index file; the error says what is wrong with them.
    pub(crate) fn decode(bytes: Vec<u8>) -> Result<Self, &'static str> {
        let header = bytes.get(..HEADER).ok_or("it is too short")?;
        if &header[..8] != MAGIC {
            return Err("it does not begin as an index");
        }
        let count = u32_at(header, 8);
        let body = (count as u64) * RECORD as u64;
        let expected = (HEADER as u64).checked_add(body).and_then(|n| n.checked_add(u64_at(header, 16)));
        if expected != Some(bytes.len() as u64) {
            return Err("its length is wrong");
        }
        if blake3::hash(&bytes[HEADER..]).as_bytes() != &header[24..56] {
            return Err("its checksum is wrong");
        }
        let index = Self { bytes, count };
        (0..count).try_for_each(|position| index.check(position))?;
        Ok(index)
    }

    /// Lays out so many entries, which come in order. `None` if they are too many for the format (4 GiB of paths).
    pub(crate) fn encode(
        count: usize,
        entries: impl Iterator<Item = (impl AsRef<[u8]>, impl AsRef<Body>)>,
    ) -> Option<Self> {
        let records = HEADER + count * RECORD;
        let mut encoder = Encoder { bytes: vec![0; records], records, count: 0, open: Vec::new() };
        for (path, body) in entries {
            encoder.add(path.as_ref(), body.as_ref())?;
        }
        (encoder.count as usize == count).then(|| encoder.finish())
    }

    /// The same index with these digests filled in, by position.
    pub(crate) fn with_digests(&self, digests: &[(u32, FileDigest)]) -> Self {
        let mut bytes = self.bytes.clone();
        for &(position, digest) in digests {
            let start = HEADER + position as usize * RECORD;
            bytes[start + 7] |= DIGEST_KNOWN;
            bytes[start + 72..start + RECORD].copy_from_slice(&digest.0);
        }
        seal(&mut bytes);
        Self { bytes, count: self.count }
    }

    /// How many entries, the root included.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Bytes that it takes in memory and on disk.
    pub fn memory(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn record(&self, position: u32) -> &[u8] {
        let start = HEADER + position as usize * RECORD;
        &self.bytes[start..start + RECORD]
    }

    fn heap(&self) -> &[u8] {
        &self.bytes[HEADER + self.count as usize * RECORD..]
    }

    fn check(&self, position: u32) -> Result<(), &'static str> {
        let record = self.record(position);
        let heap = self.heap();
        let path = heap.get(range(record, 0, 4)).ok_or("a path lies outside")?;
        heap.get(range(record, 48, 52)).ok_or("a link target lies outside")?;
        kind(record[6]).ok_or("an entry is of no known kind")?;
        let mut at = u32_at(record, 56) as usize;
        for _ in 0..u16_at(record, 54) {
            let lengths = heap.get(at..at + 8).ok_or("an xattr lies outside")?;
            at += 8 + u32_at(lengths, 0) as usize + u32_at(lengths, 4) as usize;
            heap.get(..at).ok_or("an xattr lies outside")?;
        }
        let end = u32_at(record, 64);
        if end <= position || end > self.count {
            return Err("a directory's extent is wrong");
        }
        if position > 0 && path::compare(self.at(position - 1).path(), path).is_ge() {
            return Err("its paths are not in order");
        }
        Ok(())
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.entries()).finish()
    }
}

impl<'a> Entry<'a> {
    /// Path from the layer's root, no leading or trailing slash; empty for the root.
    pub fn path(&self) -> &'a [u8] {
        self.in_heap(0, 4)
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        kind(self.record()[6]).unwrap_or(Kind::File)
    }

    /// Permission bits, at most `0o7777`.
    pub fn mode(&self) -> u32 {
        self.number(8)
    }

    /// Owner.
    pub fn uid(&self) -> u32 {
        self.number(12)
    }

    /// Group.
    pub fn gid(&self) -> u32 {
        self.number(16)
    }

    /// Bytes of a regular file, 0 otherwise.
    pub fn size(&self) -> u64 {
        u64_at(self.record(), 32)
    }

    /// Last change of the contents.
    pub fn mtime(&self) -> Timestamp {
        let seconds = u64_at(self.record(), 24) as i64;
        Timestamp { seconds, nanoseconds: self.number(20) }
    }

    /// The target of a symlink, empty otherwise.
    pub fn target(&self) -> &'a [u8] {
        self.in_heap(48, 52)
    }

    /// The number of a device, 0:0 otherwise.
    pub fn device(&self) -> Device {
        Device { major: self.number(40), minor: self.number(44) }
    }

    /// BLAKE3 of a regular file, if known.
    pub fn digest(&self) -> Option<FileDigest> {
        let record = self.record();
        let digest = record[72..RECORD].try_into().ok()?;
        (record[7] & DIGEST_KNOWN != 0).then_some(FileDigest(digest))
    }

    /// Only there because something below it changed; equal, apart from its time, to what the lower layers have.
    pub fn parent_only(&self) -> bool {
        self.record()[7] & PARENT_ONLY != 0
    }

    /// A directory that hides the lower layers' directory of the same path.
    pub fn opaque(&self) -> bool {
        self.record()[7] & OPAQUE != 0
    }

    /// An opaque directory whose archive says so by a mark of its own, and not by what it deletes.
    pub fn opaque_mark(&self) -> bool {
        self.record()[7] & OPAQUE_MARK != 0
    }

    /// A directory of which the layer's archive says nothing, only that something is in it: what it is like, a lower
    /// layer says.
    pub fn implied(&self) -> bool {
        self.record()[7] & IMPLIED != 0
    }

    /// Entries with the same number are names of one file; the first in order stands for it.
    pub fn link_group(&self) -> Option<u32> {
        Some(self.number(60)).filter(|&group| group != 0)
    }

    /// Extended attributes, sorted by name.
    pub(crate) fn xattr_list(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let heap = self.index.heap();
        let mut at = self.number(56) as usize;
        (0..u16_at(self.record(), 54)).map(move |_| {
            let (name, value) = (u32_at(heap, at) as usize, u32_at(heap, at + 4) as usize);
            let start = at + 8;
            at = start + name + value;
            (&heap[start..start + name], &heap[start + name..at])
        })
    }

    /// What the disk said of the file when it came into the layer, 0 for nothing; of the root, of its directory.
    pub(crate) fn stamp(&self) -> u32 {
        self.number(68)
    }

    pub(crate) fn subtree_end(&self) -> u32 {
        self.number(64)
    }

    fn record(&self) -> &'a [u8] {
        self.index.record(self.position)
    }

    fn number(&self, at: usize) -> u32 {
        u32_at(self.record(), at)
    }

    fn in_heap(&self, place: usize, length: usize) -> &'a [u8] {
        &self.index.heap()[range(self.record(), place, length)]
    }
}

struct Encoder {
    /// The header and the records, of which the first `count` are filled, then the heap.
    bytes: Vec<u8>,
    /// Where the heap begins.
    records: usize,
    count: u32,
    /// Directories (any entries) whose subtree is not yet closed.
    open: Vec<(u32, Vec<u8>)>,
}

impl Encoder {
    fn add(&mut self, path: &[u8], body: &Body) -> Option<()> {
        self.close_all_but_ancestors(path);
        let path_at = self.put(path)?;
        let target = body.target();
        let target_at = self.put(target)?;
        let xattrs_at = self.place()?;
        for (name, value) in body.xattrs() {
            self.put(&u32::try_from(name.len()).ok()?.to_le_bytes())?;
            self.put(&u32::try_from(value.len()).ok()?.to_le_bytes())?;
            self.put(name)?;
            self.put(value)?;
        }
        let flag = |set, bit| if set { bit } else { 0 };
        let flags = flag(body.parent_only, PARENT_ONLY)
            | flag(body.opaque, OPAQUE)
            | flag(body.digest.is_some(), DIGEST_KNOWN)
            | flag(body.opaque_mark, OPAQUE_MARK)
            | flag(body.implied, IMPLIED);
        let device = body.device();
        let mut out = Vec::with_capacity(RECORD);
        out.extend(path_at.to_le_bytes());
        out.extend(u16::try_from(path.len()).ok()?.to_le_bytes());
        out.extend([kind_code(body.kind), flags]);
        for number in [u32::from(body.mode), body.uid, body.gid, body.mtime.nanoseconds] {
            out.extend(number.to_le_bytes());
        }
        out.extend(body.mtime.seconds.to_le_bytes());
        out.extend(body.size.to_le_bytes());
        out.extend(device.major.to_le_bytes());
        out.extend(device.minor.to_le_bytes());
        out.extend(target_at.to_le_bytes());
        out.extend(u16::try_from(target.len()).ok()?.to_le_bytes());
        out.extend(u16::try_from(body.xattrs().len()).ok()?.to_le_bytes());
        out.extend(xattrs_at.to_le_bytes());
        out.extend(body.link_group.to_le_bytes());
        out.extend([0; 4]);
        out.extend(body.stamp.to_le_bytes());
        out.extend(body.digest.map_or([0; 32], |digest| digest.0));
        let at = HEADER + self.count as usize * RECORD;
        self.bytes.get_mut(at..at + RECORD).filter(|_| at < self.records)?.copy_from_slice(&out);
        self.open.push((self.count, path.to_vec()));
        self.count = self.count.checked_add(1)?;
        Some(())
    }

    fn put(&mut self, bytes: &[u8]) -> Option<u32> {
        let place = self.place()?;
        self.bytes.extend_from_slice(bytes);
        Some(place)
    }

    /// Where in the heap comes what is put there next.
    fn place(&self) -> Option<u32> {
        u32::try_from(self.bytes.len() - self.records).ok()
    }

    fn close_all_but_ancestors(&mut self, path: &[u8]) {
        while let Some((position, open)) = self.open.last() {
            if path::is_within(path, open) {
                break;
            }
            let end = HEADER + *position as usize * RECORD + 64;
            self.bytes[end..end + 4].copy_from_slice(&self.count.to_le_bytes());
            self.open.pop();
        }
    }

    fn finish(mut self) -> Index {
        for (position, _) in std::mem::take(&mut self.open) {
            let end = HEADER + position as usize * RECORD + 64;
            self.bytes[end..end + 4].copy_from_slice(&self.count.to_le_bytes());
        }
        let heap = (self.bytes.len() - self.records) as u64;
        let mut bytes = self.bytes;
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&self.count.to_le_bytes());
        bytes[16..24].copy_from_slice(&heap.to_le_bytes());
        bytes.shrink_to_fit();
        seal(&mut bytes);
        Index { bytes, count: self.count }
    }
}

fn seal(bytes: &mut [u8]) {
    let checksum = blake3::hash(&bytes[HEADER..]);
    bytes[24..56].copy_from_slice(checksum.as_bytes());
}

fn range(record: &[u8], place: usize, length: usize) -> Range<usize> {
    let start = u32_at(record, place) as usize;
    start..start + usize::from(u16_at(record, length))
}

fn kind_code(kind: Kind) -> u8 {
    match kind {
        Kind::File => 0,
        Kind::Directory => 1,
        Kind::Symlink => 2,
        Kind::CharacterDevice => 3,
        Kind::BlockDevice => 4,
        Kind::Fifo => 5,
        Kind::Whiteout => 6,
    }
}

fn kind(code: u8) -> Option<Kind> {
    use Kind::*;
    [File, Directory, Symlink, CharacterDevice, BlockDevice, Fifo, Whiteout].get(usize::from(code)).copied()
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Tree;
    use crate::metadata::Metadata;
    use proptest::prelude::*;

    fn body() -> impl Strategy<Value = Body> {
        let kind = (0u8..7).prop_map(|code| kind(code).unwrap());
        let xattrs = prop::collection::btree_map("[a-z.]{1,9}", prop::collection::vec(any::<u8>(), 0..9), 0..3);
        let numbers = (0u32..0o10000, any::<u32>(), any::<u32>(), any::<i64>(), 0u32..1_000_000_000);
        let rest = (any::<u64>(), any::<[u8; 32]>(), any::<[bool; 5]>(), 0u32..9, "[a-z/]{0,9}", any::<[u32; 2]>());
        (kind, xattrs, numbers, rest).prop_map(|(kind, xattrs, numbers, rest)| {
            let (mode, uid, gid, seconds, nanoseconds) = numbers;
            let (size, digest, flags, link_group, target, [major, minor]) = rest;
            let xattrs = xattrs.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect();
            let mtime = Timestamp { seconds, nanoseconds };
            let mut body = Body::new(kind, &Metadata { mode, uid, gid, mtime, xattrs });
            body.size = size;
            body.digest = flags[0].then_some(FileDigest(digest));
            body.stamp = major ^ minor;
            (body.parent_only, body.opaque, body.link_group) = (flags[1], flags[2], link_group);
            (body.opaque_mark, body.implied) = (flags[3], flags[4]);
            body.set_target(target.as_bytes());
            body.set_device(Device { major, minor });
            body
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn what_goes_in_comes_out(
            entries in prop::collection::btree_map("([ab.-]{1,2}/){0,3}[ab.-]{1,2}", body(), 0..40)
        ) {
            let mut tree = Tree::default();
            for (path, body) in &entries {
                tree.insert(path.as_bytes(), body.clone());
            }
            let index = Index::decode(Index::encode(tree.len(), tree.iter()).unwrap().bytes).unwrap();
            let expected: Vec<_> = tree.iter().map(|(path, body)| (path, body.clone())).collect();
            let found: Vec<_> = index.entries().map(|each| (each.path().to_vec(), each.body())).collect();
            prop_assert_eq!(found, expected);
            for (path, body) in &entries {
                prop_assert_eq!(index.get(path).unwrap().body(), body.clone());
                let entry = index.get(path).unwrap();
                let below: Vec<_> = index.descendants(&entry).map(|each| each.path().to_vec()).collect();
                let prefix = format!("{path}/");
                let expected = tree.iter().map(|(each, _)| each);
                let expected: Vec<_> = expected.filter(|each| each.starts_with(prefix.as_bytes())).collect();
                prop_assert_eq!(below, expected);
            }
        }

        #[test]
        fn damage_is_found(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0usize..400) {
            prop_assert!(Index::decode(bytes).is_err());
            let mut tree = Tree::default();
            tree.insert(b"", Body::whiteout());
            tree.insert(b"some/path", Body::whiteout());
            let mut good = Index::encode(tree.len(), tree.iter()).unwrap().bytes;
            let at = at % good.len();
            good[at] ^= 1;
            // Bytes 12 to 15 and 56 to 63 mean nothing.
            prop_assert_eq!(Index::decode(good).is_ok(), (12..16).contains(&at) || (56..64).contains(&at));
        }
    }

    #[test]
    fn children_skip_what_is_deeper() {
        let mut tree = Tree::default();
        for path in ["", "a", "a/b", "a/b/c", "a/d", "e"] {
            tree.insert(path.as_bytes(), Body::new(Kind::Directory, &Metadata::default()));
        }
        let index = Index::encode(tree.len(), tree.iter()).unwrap();
        let children =
            |path: &str| -> Vec<&[u8]> { index.children(&index.get(path).unwrap()).map(|each| each.path()).collect() };
        assert_eq!(children(""), [b"a", b"e"]);
        assert_eq!(children("a"), [b"a/b", b"a/d"]);
        assert!(children("e").is_empty());
    }

    #[test]
    fn an_entry_takes_less_than_300_bytes() {
        let mut tree = Tree::default();
        tree.insert(b"", Body::new(Kind::Directory, &Metadata::default()));
        for number in 0..10_000 {
            let path = format!("usr/lib/python3/dist-packages/some_package/sub_package/module_{number:05}.py");
            tree.insert(path.as_bytes(), Body::new(Kind::File, &Metadata::default()));
        }
        let index = Index::encode(tree.len(), tree.iter()).unwrap();
        assert!(index.memory() / index.len() <= 200, "{}", index.memory() / index.len());
        // While it is being made: key, body, the key's bytes rounded up, and the map's nodes half empty at worst.
        let building = 2 * (size_of::<Box<[u8]>>() + size_of::<Body>()) + 80;
        assert!(building <= 300, "{building}");
    }
}
