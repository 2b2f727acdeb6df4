//! Directories of `RUN --mount=type=cache` on their way between stores.
//!
//! A directory travels as a tar, compressed with Zstandard: sorted, with owners, modes, times, links and extended
//! attributes. It is read under its lock: of a mount that is used with `sharing=locked` or `private` nothing is read
//! while a step runs; of one that is used with `sharing=shared` each file is whole as its size was when it was
//! opened, but files that a step writes meanwhile may be of different moments.

mod walk;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use kiln_images::compression::{CompressedWriter, Format};
use kiln_images::export::{self, ExportError, Owners};
use kiln_images::tar::TarWriter;
use kiln_images::unpack::{self, UnpackError};
use kiln_oci::{Descriptor, MediaType};
use kiln_store::{Layer, Metadata, Sharing, Store, Timestamp, Union};

/// The media type of a mount's files.
pub const MOUNT: &str = "application/vnd.kiln.cache.mount.v1.tar+zstd";

/// The largest directory that travels unless the caller says otherwise, in bytes of its files.
pub const LARGEST_MOUNT: u64 = 4 << 30;

/// How often a directory is read again that changes while it is read.
const ATTEMPTS: usize = 3;

/// Why a cache mount does not travel.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// Its files are more than is wanted.
    #[error("the cache mount {id:?} holds more than {largest} bytes; mounts-limit=SIZE permits more")]
    TooLarge {
        /// Which.
        id: String,
        /// What is permitted.
        largest: u64,
    },
    /// Steps write into it all the time.
    #[error("the cache mount {id:?} changes while it is read: {file:?} became shorter")]
    Changing {
        /// Which.
        id: String,
        /// The file, lossily.
        file: String,
    },
    /// It cannot be read.
    #[error("cannot read {file:?} of the cache mount {id:?}: {source}")]
    Read {
        /// Which.
        id: String,
        /// The file, lossily.
        file: String,
        /// What the disk said.
        source: io::Error,
    },
    /// The archive cannot be written.
    #[error("cannot pack a cache mount: {0}")]
    Write(#[source] io::Error),
    /// What came from elsewhere is no archive of a mount.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// It cannot be put into its directory.
    #[error(transparent)]
    Fill(#[from] ExportError),
    /// The store failed, or nobody waits any more.
    #[error(transparent)]
    Store(#[from] kiln_store::Error),
}

/// Packs the files of the cache mount `id` into a blob of the store; `None` if there is no such directory or nothing
/// is in it. Waits for steps that use it alone.
///
/// # Errors
/// More bytes than `largest`, files that cannot be read, a store that fails.
pub fn pack(
    store: &Store,
    id: &str,
    largest: u64,
    cancelled: &dyn Fn() -> bool,
) -> Result<Option<Descriptor>, MountError> {
    let mounts = store.cache_mounts();
    let Some(path) = mounts.existing(id) else { return Ok(None) };
    let _lock = store.locks().acquire(mounts.lock_key(id), Sharing::Shared, cancelled)?;
    let mut attempt = 1;
    loop {
        match pack_once(store, id, &path, largest) {
            Err(MountError::Changing { .. }) if attempt < ATTEMPTS => attempt += 1,
            other => return other,
        }
    }
}

fn pack_once(store: &Store, id: &str, path: &std::path::Path, largest: u64) -> Result<Option<Descriptor>, MountError> {
    let unreadable = |source| MountError::Read { id: id.to_owned(), file: String::new(), source };
    let directory = File::open(path).map_err(unreadable)?;
    let compressed = CompressedWriter::new(store.blobs().create()?, Format::ZSTD);
    let mut tar = TarWriter::new(compressed);
    let entries = walk::write(&mut tar, directory.as_fd(), id, largest)?;
    let blob = tar.finish().and_then(CompressedWriter::finish).map_err(MountError::Write)?;
    if entries == 0 {
        return Ok(None);
    }
    let blob = blob.commit(None, None)?;
    store.leases().pin_blobs(std::slice::from_ref(&blob.digest))?;
    Ok(Some(Descriptor::new(MediaType::Other(MOUNT.to_owned()), blob.digest, blob.size)))
}

/// The files of a mount whose blob is in the store, as a layer: nothing of it is trusted, and nothing is where a step
/// could see it.
///
/// # Errors
/// Bytes that are no archive, entries that lead elsewhere, a store that fails.
pub fn unpack(store: &Store, blob: &Descriptor) -> Result<Layer, MountError> {
    Ok(unpack::layer(store, store.blobs().open(&blob.digest)?, None)?.layer)
}

/// Makes the mount `id` be what [`unpack`] gave; one that exists only if it is to be replaced, and then while nobody
/// uses it. Tells whether it did.
///
/// # Errors
/// A directory that cannot be written, a store that fails, nobody who waits any more.
pub fn restore(
    store: &Store,
    id: &str,
    files: &Layer,
    replace: bool,
    cancelled: &dyn Fn() -> bool,
) -> Result<bool, MountError> {
    let mounts = store.cache_mounts();
    let Some(path) = mounts.existing(id) else {
        mounts.directory(id, |directory| fill(directory, files))?;
        return Ok(true);
    };
    if !replace {
        return Ok(false);
    }
    let _lock = store.locks().acquire(mounts.lock_key(id), Sharing::Exclusive, cancelled)?;
    let unusable = |source| MountError::Read { id: id.to_owned(), file: String::new(), source };
    for entry in std::fs::read_dir(&path).map_err(unusable)? {
        let entry = entry.map_err(unusable)?;
        let is_directory = entry.file_type().map_err(unusable)?.is_dir();
        let removed =
            if is_directory { std::fs::remove_dir_all(entry.path()) } else { std::fs::remove_file(entry.path()) };
        removed.map_err(unusable)?;
    }
    fill(&File::open(&path).map_err(unusable)?, files)?;
    Ok(true)
}

/// Puts what [`unpack`] gave into a mount's new directory, and says what the directory itself is like.
///
/// # Errors
/// A directory that cannot be written.
pub fn fill(directory: &File, files: &Layer) -> Result<Metadata, MountError> {
    let files = Union::new(vec![files.clone()])?;
    export::materialize(directory.as_fd(), &files, None, Owners::Image)?;
    let default = Metadata::root_owned(0o755, Timestamp::now());
    Ok(files.lookup("").map_or(default, |found| found.entry.metadata()))
}

#[cfg(test)]
mod tests;
