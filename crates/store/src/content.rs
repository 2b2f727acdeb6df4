//! Digests of files and of layers' contents.
//!
//! A content id is the BLAKE3 of a layer's entries in order: path, kind, mode, owner, time, size, file digest, link
//! target, device, opaqueness, xattrs, hard links: all that a process can see. Entries that are only there as parents
//! do not count. A pulled layer's follows from its diff id alone.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use kiln_oci::Digest;
use rayon::prelude::*;

use crate::error::{At, Error, Result, shown};
use crate::fault::{self, Operation};
use crate::index::{Entry, Index};
use crate::layers::{ContentId, Layer};
use crate::metadata::{FileDigest, Kind};
use crate::store::Inner;

/// How many bytes are read at once.
pub(crate) const BLOCK: usize = 256 * 1024;

pub(crate) fn of_pulled(diff_id: &Digest) -> ContentId {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"kiln pulled layer\0").update(diff_id.to_string().as_bytes());
    ContentId(*hasher.finalize().as_bytes())
}

/// Of an index that knows the digests of all files.
pub(crate) fn of_index(index: &Index) -> ContentId {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"kiln layer\0");
    let mut first_of_group = std::collections::HashMap::new();
    for entry in index.entries().filter(|entry| !entry.parent_only()) {
        field(&mut hasher, entry.path());
        let device = entry.device();
        hasher.update(&[entry.kind() as u8, u8::from(entry.opaque())]);
        for number in [entry.mode(), entry.uid(), entry.gid(), device.major, device.minor] {
            hasher.update(&number.to_le_bytes());
        }
        let mtime = entry.mtime();
        hasher.update(&mtime.seconds.to_le_bytes()).update(&mtime.nanoseconds.to_le_bytes());
        hasher.update(&entry.size().to_le_bytes());
        field(&mut hasher, entry.target());
        field(&mut hasher, entry.digest().as_ref().map_or(&[], |digest| &digest.0));
        for (name, value) in entry.xattr_list() {
            field(&mut hasher, name);
            field(&mut hasher, value);
        }
        let partner = entry.link_group().map(|group| *first_of_group.entry(group).or_insert(entry.path()));
        // Longer than any xattr's name, so it ends their list without doubt.
        hasher.update(&u64::MAX.to_le_bytes());
        field(&mut hasher, partner.unwrap_or_default());
    }
    ContentId(*hasher.finalize().as_bytes())
}

/// Whether two layers with the same content id also show the same directories as parents. Those are not in the id, but
/// an overlay takes a directory's metadata from the uppermost layer that has it.
pub(crate) fn show_the_same_parents(one: &Index, other: &Index) -> bool {
    let agree = |these: &Index, those: &Index| {
        these.entries().filter(|entry| entry.parent_only()).all(|parent| {
            let counterpart = those.get(parent.path());
            counterpart.is_some_and(|entry| entry.kind() == Kind::Directory && same_owner(&parent, &entry))
        })
    };
    agree(one, other) && agree(other, one)
}

fn same_owner(one: &Entry<'_>, other: &Entry<'_>) -> bool {
    (one.mode(), one.uid(), one.gid()) == (other.mode(), other.uid(), other.gid())
        && one.xattr_list().eq(other.xattr_list())
}

fn field(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
}

/// Fills in the digests that the layer's index lacks, and writes it back.
pub(crate) fn hash_files(store: &Inner, layer: &Layer) -> Result<Arc<Index>> {
    let index = layer.index()?;
    let wanted: Vec<u32> = index.entries().filter(lacks_digest).map(|entry| entry.position()).collect();
    if wanted.is_empty() {
        return Ok(index);
    }
    let digests: Vec<(u32, FileDigest)> = wanted
        .par_iter()
        .with_min_len(16)
        .map(|&position| {
            let file = layer.open(index.at(position).path())?;
            Ok((position, digest_of(file, layer)?))
        })
        .collect::<Result<_>>()?;
    keep_digests(store, layer, &index, &digests)
}

/// Writes the index of a layer anew, with these digests by position.
pub(crate) fn keep_digests(
    store: &Inner,
    layer: &Layer,
    index: &Index,
    digests: &[(u32, FileDigest)],
) -> Result<Arc<Index>> {
    let hashed = Arc::new(index.with_digests(digests));
    let (new, place) = (store.session.fresh_path(), layer.directory().join("index"));
    fault::run(Operation::Write, || std::fs::write(&new, hashed.bytes())).at("write", &new)?;
    // The layer may count as synced already, or just come to, and it keeps no other index.
    let file = File::open(&new).at("open", &new)?;
    fault::run(Operation::Sync, || file.sync_data()).at("sync", &new)?;
    fault::run(Operation::Rename, || std::fs::rename(&new, &place)).at("rename", &new)?;
    layer.replace_index(Arc::clone(&hashed));
    Ok(hashed)
}

/// What a file of the right size is whose digest nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// Good enough.
    Passes,
    /// Damaged, for all one can tell.
    Fails,
}

/// Whether all files have the sizes and digests of the index.
pub(crate) fn verify(layer: &Layer, unknown: Unknown) -> Result<()> {
    let index = layer.index()?;
    let files: Vec<Entry<'_>> = index.entries().filter(|entry| entry.kind() == Kind::File).collect();
    files.par_iter().try_for_each(|entry| {
        let file = layer.open(entry.path())?;
        let damaged = |what| Error::DamagedLayer { layer: layer.id(), path: shown(entry.path()), what };
        match entry.digest() {
            _ if entry.size() == 0 => Ok(()),
            None if unknown == Unknown::Passes => Ok(()),
            None => Err(damaged("its digest is not known")),
            Some(digest) if digest_of(file, layer)? == digest => Ok(()),
            Some(_) => Err(damaged("its bytes differ")),
        }
    })
}

fn lacks_digest(entry: &Entry<'_>) -> bool {
    entry.kind() == Kind::File && entry.digest().is_none()
}

pub(crate) fn digest_of(mut file: File, layer: &Layer) -> Result<FileDigest> {
    let mut hasher = blake3::Hasher::new();
    with_block(|block| {
        loop {
            let count = file.read(block).at("read a file of", layer.directory())?;
            if count == 0 {
                return Ok(FileDigest(*hasher.finalize().as_bytes()));
            }
            hasher.update(&block[..count]);
        }
    })
}

/// Lends this thread's buffer of [`BLOCK`] bytes.
pub(crate) fn with_block<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    thread_local! {
        static BUFFER: std::cell::Cell<Vec<u8>> = const { std::cell::Cell::new(Vec::new()) };
    }
    let mut buffer = BUFFER.take();
    buffer.resize(BLOCK, 0);
    let value = work(&mut buffer);
    BUFFER.set(buffer);
    value
}
