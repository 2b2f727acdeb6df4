//! The entries of a layer in its tar: what BuildKit writes, in sorted order.
//!
//! Directories that are only there for what is in them come with it, or not at all; those that an archive did not
//! have stay away. What an opaque
//! directory hides is written as one whiteout for each child, or as a mark where an archive of ADD had
//! one. Names of one file become hard links to the first. The root is written (as `./`) only if its
//! mode or owner changed; BuildKit never writes it and so loses that.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};

use kiln_store::{Entry as IndexEntry, Index, Kind, Layer, Metadata, Timestamp, Union};

use super::PackError;
use super::ahead::ReadAhead;
use crate::tar::{Entry, EntryKind, TarWriter};

/// Writes every entry of `layer`; see [`super::write_layer`].
pub(super) fn write_entries<W: Write>(
    tar: &mut TarWriter<ReadAhead<W>>,
    layer: &Layer,
    lower: &Union,
    newest: Option<Timestamp>,
) -> Result<(), PackError> {
    let index = layer.index()?;
    let mut packer =
        Packer { tar, lower, index: &index, newest, waiting: Vec::new(), opaque: None, first_names: HashMap::new() };
    for entry in index.entries() {
        packer.entry(&entry)?;
    }
    Ok(())
}

struct Packer<'a, W> {
    tar: &'a mut TarWriter<ReadAhead<W>>,
    lower: &'a Union,
    index: &'a Index,
    newest: Option<Timestamp>,
    /// Directories that are written only if something under them is, the topmost first.
    waiting: Vec<IndexEntry<'a>>,
    /// The opaque directory that the current entry is in.
    opaque: Option<&'a [u8]>,
    /// The first name of each hard-linked file.
    first_names: HashMap<u32, &'a [u8]>,
}

impl<'a, W: Write> Packer<'a, W> {
    fn entry(&mut self, entry: &IndexEntry<'a>) -> Result<(), PackError> {
        let path = entry.path();
        if path.is_empty() {
            return self.root(entry);
        }
        self.waiting.retain(|directory| is_beneath(path, directory.path()));
        self.opaque = self.opaque.filter(|directory| is_beneath(path, directory));
        if entry.implied() && self.opaque.is_none() {
            return Ok(());
        }
        if entry.parent_only() {
            self.waiting.push(*entry);
            return Ok(());
        }
        for directory in std::mem::take(&mut self.waiting) {
            self.append(&tar_entry(&directory, self.newest))?;
        }
        match entry.kind() {
            Kind::Whiteout => self.whiteout(path),
            Kind::Directory => self.directory(entry),
            _ => self.non_directory(entry),
        }
    }

    fn root(&mut self, entry: &IndexEntry<'a>) -> Result<(), PackError> {
        let owner_and_mode = |entry: &IndexEntry<'_>| (entry.mode(), entry.uid(), entry.gid());
        let below = self.lower.lookup(b"").map(|found| owner_and_mode(&found.entry));
        if entry.parent_only() || owner_and_mode(entry) == below.unwrap_or((0o755, 0, 0)) {
            return Ok(());
        }
        let mut root = tar_entry(entry, self.newest);
        root.path = b"./".to_vec();
        self.append(&root)
    }

    fn directory(&mut self, entry: &IndexEntry<'a>) -> Result<(), PackError> {
        self.append(&tar_entry(entry, self.newest))?;
        if entry.opaque_mark() && self.opaque.is_none() {
            let path = [entry.path(), b"/.wh..wh..opq"].concat();
            return self.append(&Entry { path, ..Entry::default() });
        }
        if entry.opaque() && self.opaque.is_none() {
            self.opaque = Some(entry.path());
        }
        if self.opaque.is_none() {
            return Ok(());
        }
        for child in self.lower.children(entry.path()) {
            let path = [entry.path(), b"/", child.entry.name()].concat();
            if self.index.get(&path).is_none() {
                self.whiteout(&path)?;
            }
        }
        Ok(())
    }

    fn non_directory(&mut self, entry: &IndexEntry<'a>) -> Result<(), PackError> {
        let mut header = tar_entry(entry, self.newest);
        if let Some(group) = entry.link_group() {
            let first = *self.first_names.entry(group).or_insert(entry.path());
            if first != entry.path() {
                header.kind = EntryKind::HardLink { target: first.to_vec() };
                return self.append(&header);
            }
        }
        self.append(&header)?;
        if entry.kind() == Kind::File && entry.size() > 0 {
            self.tar.content().file(entry)?;
        }
        Ok(())
    }

    fn whiteout(&mut self, path: &[u8]) -> Result<(), PackError> {
        let name_at = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
        let (parent, name) = path.split_at(name_at);
        self.append(&Entry { path: [parent, b".wh.", name].concat(), ..Entry::default() })
    }

    fn append(&mut self, entry: &Entry) -> Result<(), PackError> {
        self.tar.append(entry).map_err(PackError::Write)
    }
}

fn is_beneath(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
}

/// The tar header of an entry that is no whiteout: times in whole seconds, of extended attributes
/// only `security.capability`.
pub(crate) fn tar_entry(entry: &IndexEntry<'_>, newest: Option<Timestamp>) -> Entry {
    let mut path = entry.path().to_vec();
    let kind = match entry.kind() {
        Kind::File | Kind::Whiteout => EntryKind::File,
        Kind::Directory => {
            path.push(b'/');
            EntryKind::Directory
        }
        Kind::Symlink => EntryKind::Symlink { target: entry.target().to_vec() },
        Kind::CharacterDevice => EntryKind::CharacterDevice(entry.device()),
        Kind::BlockDevice => EntryKind::BlockDevice(entry.device()),
        Kind::Fifo => EntryKind::Fifo,
    };
    let mtime = newest.map_or(entry.mtime(), |newest| newest.min(entry.mtime()));
    let capability: &[u8] = b"security.capability";
    let value = entry.xattr(capability).map(|value| (capability.to_vec(), value.to_vec()));
    let metadata = Metadata {
        mode: entry.mode(),
        uid: entry.uid(),
        gid: entry.gid(),
        mtime: Timestamp::from_seconds(mtime.seconds),
        xattrs: value.into_iter().collect(),
    };
    let size = if kind == EntryKind::File { entry.size() } else { 0 };
    Entry { path, kind, metadata, size, offset: 0 }
}

/// Copies the content of a layer's file to `output`, and compares size and digest with its entry in the index.
pub(crate) fn copy_content<E: From<PackError>>(
    mut file: File,
    layer: &Layer,
    entry: &IndexEntry<'_>,
    output: &mut impl Write,
    write_error: impl Fn(io::Error) -> E,
) -> Result<(), E> {
    let (path, size, digest) = (entry.path(), entry.size(), entry.digest());
    let shown = || String::from_utf8_lossy(path).into_owned();
    let damaged = |what| PackError::Store(layer.damaged(path, what));
    let mut hasher = digest.map(|_| blake3::Hasher::new());
    // One byte more than the file should have, so that a file that grew is noticed.
    let wanted = usize::try_from(size).unwrap_or(usize::MAX).saturating_add(1);
    let mut buffer = vec![0; wanted.min(256 * 1024)];
    let mut left = size;
    loop {
        let count = match file.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(PackError::Read { path: shown(), source }.into()),
        };
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        left = left.checked_sub(count as u64).ok_or_else(|| damaged("it is longer than when it was made"))?;
        if let Some(hasher) = &mut hasher {
            hasher.update(bytes);
        }
        output.write_all(bytes).map_err(&write_error)?;
    }
    if left > 0 {
        return Err(damaged("it is shorter than when it was made").into());
    }
    match (hasher, digest) {
        (Some(hasher), Some(digest)) if hasher.finalize() != digest.0 => {
            Err(damaged("its bytes are not those that were stored").into())
        }
        _ => Ok(()),
    }
}
