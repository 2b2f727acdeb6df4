//! Entries of a layer that is still being made, kept sorted.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::heap;
use crate::metadata::{Device, FileDigest, Kind, Metadata, Timestamp, Xattrs};

/// So many entries, some 25 MB, are not worth giving their memory back.
const GIVEN_BACK_AFTER: usize = 1 << 17;

/// Everything about an entry but its path. Small for files and directories: what is rare is boxed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Body {
    pub(crate) kind: Kind,
    pub(crate) parent_only: bool,
    pub(crate) opaque: bool,
    pub(crate) opaque_mark: bool,
    pub(crate) implied: bool,
    /// At most `0o7777`.
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Timestamp,
    pub(crate) size: u64,
    /// 0: none.
    pub(crate) link_group: u32,
    pub(crate) digest: Option<FileDigest>,
    /// What the disk said of a file when it came into the layer, 0 for nothing; see `stamp.rs`.
    pub(crate) stamp: u32,
    pub(crate) extra: Option<Box<Extra>>,
}

/// What few entries have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Extra {
    pub(crate) target: Vec<u8>,
    pub(crate) device: Device,
    pub(crate) xattrs: Xattrs,
}

impl Body {
    pub(crate) fn new(kind: Kind, metadata: &Metadata) -> Self {
        let extra = (!metadata.xattrs.is_empty())
            .then(|| Box::new(Extra { xattrs: metadata.xattrs.clone(), ..Extra::default() }));
        Self {
            kind,
            parent_only: false,
            opaque: false,
            opaque_mark: false,
            implied: false,
            mode: (metadata.mode & 0o7777) as u16,
            uid: metadata.uid,
            gid: metadata.gid,
            mtime: metadata.mtime,
            size: 0,
            link_group: 0,
            digest: None,
            stamp: 0,
            extra,
        }
    }

    pub(crate) fn whiteout() -> Self {
        Self::new(Kind::Whiteout, &Metadata::default())
    }

    pub(crate) fn target(&self) -> &[u8] {
        self.extra.as_ref().map_or(&[], |extra| &extra.target)
    }

    pub(crate) fn device(&self) -> Device {
        self.extra.as_ref().map_or(Device::default(), |extra| extra.device)
    }

    pub(crate) fn xattrs(&self) -> impl ExactSizeIterator<Item = (&Vec<u8>, &Vec<u8>)> {
        static NONE: Xattrs = Xattrs::new();
        self.extra.as_ref().map_or(&NONE, |extra| &extra.xattrs).iter()
    }

    pub(crate) fn set_target(&mut self, target: &[u8]) {
        if !target.is_empty() {
            self.extra.get_or_insert_default().target = target.to_vec();
        }
    }

    pub(crate) fn set_device(&mut self, device: Device) {
        if device != Device::default() {
            self.extra.get_or_insert_default().device = device;
        }
    }

    pub(crate) fn metadata(&self) -> Metadata {
        Metadata {
            mode: u32::from(self.mode),
            uid: self.uid,
            gid: self.gid,
            mtime: self.mtime,
            xattrs: self.extra.as_ref().map(|extra| extra.xattrs.clone()).unwrap_or_default(),
        }
    }
}

impl AsRef<Body> for Body {
    fn as_ref(&self) -> &Body {
        self
    }
}

/// Entries by path (normal form).
///
/// Keys have NUL, which no path contains, in place of slashes: so byte order is the order of the index.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// Boxed, for the map keeps room for almost as many entries again.
    entries: BTreeMap<Box<[u8]>, Box<Body>>,
}

impl Tree {
    pub(crate) fn get(&self, path: &[u8]) -> Option<&Body> {
        self.entries.get(&*key(path)).map(Box::as_ref)
    }

    pub(crate) fn get_mut(&mut self, path: &[u8]) -> Option<&mut Body> {
        self.entries.get_mut(&*key(path)).map(Box::as_mut)
    }

    pub(crate) fn insert(&mut self, path: &[u8], body: Body) {
        self.entries.insert(key(path), Box::new(body));
    }

    /// Takes out the entry and everything below it; tells whether there was anything.
    pub(crate) fn remove(&mut self, path: &[u8]) -> bool {
        let top = key(path);
        let below: Vec<Box<[u8]>> = self
            .entries
            .range::<[u8], _>((Bound::Excluded(&*top), Bound::Unbounded))
            .map(|(each, _)| each)
            .take_while(|each| top.is_empty() || (each.starts_with(&top) && each[top.len()] == 0))
            .cloned()
            .collect();
        for each in &below {
            self.entries.remove(each);
        }
        self.entries.remove(&top).is_some() || !below.is_empty()
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The entries in the order of the index. Memory is given back on the way.
    pub(crate) fn into_entries(self) -> impl Iterator<Item = (Vec<u8>, Box<Body>)> {
        let entries = self.entries.into_iter().enumerate();
        entries.map(|(number, (key, body))| {
            if number % GIVEN_BACK_AFTER == GIVEN_BACK_AFTER - 1 {
                heap::trim();
            }
            (path(&key), body)
        })
    }

    /// In the order of the index.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (Vec<u8>, &Body)> {
        self.entries.iter().map(|(key, body)| (path(key), &**body))
    }
}

fn key(path: &[u8]) -> Box<[u8]> {
    path.iter().map(|&byte| if byte == b'/' { 0 } else { byte }).collect()
}

fn path(key: &[u8]) -> Vec<u8> {
    key.iter().map(|&byte| if byte == 0 { b'/' } else { byte }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removal_takes_what_is_below_and_nothing_beside() {
        let mut tree = Tree::default();
        for path in [&b""[..], b"a", b"a/b", b"a/b/c", b"a-b", b"ab"] {
            tree.insert(path, Body::whiteout());
        }
        assert!(tree.remove(b"a"));
        assert!(!tree.remove(b"a"));
        let left: Vec<_> = tree.iter().map(|(path, _)| path).collect();
        assert_eq!(left, [&b""[..], b"a-b", b"ab"]);
    }
}
