//! Content-addressed bytes: configs, manifests, compressed layers.
//!
//! A blob is written in the session's directory, renamed to `blobs/<algorithm>/<hex>` and then gets its row. A row
//! without its file is a miss, a file without a row is swept.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_oci::{Digest, Hasher};
use rusqlite::OptionalExtension;

use crate::content::with_block;
use crate::database::now;
use crate::error::{At, Error, Result, named};
use crate::fault::{self, Operation};
use crate::leases;
use crate::locks::{LockGuard, Sharing};
use crate::store::{Inner, create_directory};

/// The blobs of a store.
pub struct Blobs<'a> {
    pub(crate) store: &'a Arc<Inner>,
}

/// A blob that the store holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Digest of the bytes.
    pub digest: Digest,
    /// How many there are.
    pub size: u64,
}

/// Bytes on their way in. Dropped without `commit`, they are gone, unless [`BlobWriter::keep_for_later`] said otherwise.
pub struct BlobWriter {
    pub(crate) store: Arc<Inner>,
    pub(crate) path: PathBuf,
    pub(crate) file: File,
    pub(crate) sha256: Hasher,
    pub(crate) other: Option<Hasher>,
    pub(crate) size: u64,
    /// Held by whoever writes a blob that another process may continue.
    pub(crate) partial: Option<LockGuard>,
    pub(crate) is_kept: bool,
}

/// Bytes on their way out: the last read fails if they do not have their digest.
pub struct BlobReader {
    store: Arc<Inner>,
    file: File,
    digest: Digest,
    size: u64,
    left: u64,
    pub(crate) hasher: Option<Hasher>,
}

impl std::fmt::Debug for BlobWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BlobWriter({}, {} bytes)", self.path.display(), self.size)
    }
}

impl std::fmt::Debug for BlobReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BlobReader({}, {} of {} bytes left)", self.digest, self.left, self.size)
    }
}

impl Blobs<'_> {
    /// Starts a new blob.
    pub fn create(&self) -> Result<BlobWriter> {
        self.create_for(None)
    }

    /// Starts a blob whose digest is known, so that it is computed with the right hash function while writing.
    pub fn create_for(&self, expected: Option<&Digest>) -> Result<BlobWriter> {
        let path = self.store.session.fresh_path();
        let file = fault::run(Operation::Create, || File::create_new(&path)).at("create", &path)?;
        let other =
            expected.filter(|digest| digest.algorithm() != kiln_oci::Algorithm::Sha256).and_then(Digest::hasher);
        let (store, sha256) = (Arc::clone(self.store), Hasher::sha256());
        Ok(BlobWriter { store, path, file, sha256, other, size: 0, partial: None, is_kept: false })
    }

    /// Stores bytes that are in memory.
    pub fn insert(&self, bytes: &[u8]) -> Result<Blob> {
        let digest = Digest::of(bytes);
        // What is there is compared, so that a damaged document is replaced.
        let there = || fs::read(place(self.store, &digest)).is_ok_and(|held| held == bytes);
        if self.size(&digest)? == Some(bytes.len() as u64) {
            // Pinned before it is read: what is there then stays.
            leases::pin_blob(self.store, &digest)?;
            if self.size(&digest)?.is_some() && there() {
                return Ok(Blob { digest, size: bytes.len() as u64 });
            }
        }
        let mut writer = self.create()?;
        writer.write_all(bytes).at("write", &writer.path)?;
        writer.commit(Some(&digest), None)
    }

    /// Reads a blob from its beginning; the digest is verified at its end.
    pub fn open(&self, digest: &Digest) -> Result<BlobReader> {
        let missing = || Error::MissingBlob(digest.clone());
        let expected = row(self.store, digest)?.ok_or_else(missing)?;
        let path = place(self.store, digest);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.store.noted.blob(digest);
                return Err(missing());
            }
            answer => answer.at("open", &path)?,
        };
        let found = file.metadata().at("examine", &path)?.len();
        if found != expected {
            self.store.noted.blob(digest);
            return Err(Error::DamagedBlob { digest: digest.clone(), expected, found });
        }
        let hasher = digest.hasher();
        let store = Arc::clone(self.store);
        Ok(BlobReader { store, file, digest: digest.clone(), size: found, left: found, hasher })
    }

    /// A whole small blob, verified. Fails if it is longer than `limit` bytes.
    pub fn read(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let mut reader = self.open(digest)?;
        if reader.size > limit {
            return Err(Error::TooLarge { path: digest.to_string(), size: reader.size, limit });
        }
        let mut bytes = Vec::with_capacity(reader.size as usize);
        reader.read_to_end(&mut bytes).at("read", &place(self.store, digest))?;
        Ok(bytes)
    }

    /// Digests and sizes in bytes of all blobs.
    pub fn list(&self) -> Result<Vec<(Digest, u64)>> {
        let rows: Vec<(String, i64)> = self.store.database.read(|db| {
            let mut statement = db.prepare_cached("SELECT digest, size FROM blobs ORDER BY digest")?;
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })?;
        Ok(rows.into_iter().filter_map(|(digest, size)| Some((digest.parse().ok()?, size as u64))).collect())
    }

    /// Whether the store holds the blob.
    pub fn contains(&self, digest: &Digest) -> Result<bool> {
        Ok(self.size(digest)?.is_some())
    }

    /// The blob's size in bytes, or `None` if the store does not hold it whole.
    pub fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        let Some(size) = row(self.store, digest)? else { return Ok(None) };
        let on_disk = fs::metadata(place(self.store, digest)).ok().map(|status| status.len());
        Ok(on_disk.filter(|&found| found == size))
    }

    /// Deletes a blob, if it is there.
    pub fn remove(&self, digest: &Digest) -> Result<()> {
        remove(self.store, &digest.to_string())
    }
}

impl BlobWriter {
    /// Bytes written so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Puts the bytes in their place. Digest and size in bytes are verified if given; the blob is kept under the
    /// expected digest, or else under its SHA-256. Pinned for this session.
    pub fn commit(mut self, expected: Option<&Digest>, size: Option<u64>) -> Result<Blob> {
        // Other bytes than expected are no beginning of anything.
        self.is_kept = false;
        let actual = self.digest_like(expected)?;
        if let Some(expected) = expected.filter(|&expected| *expected != actual) {
            return Err(Error::DigestMismatch { expected: expected.clone(), actual });
        }
        if let Some(expected) = size.filter(|&expected| expected != self.size) {
            return Err(Error::SizeMismatch { digest: actual, expected, found: self.size });
        }
        let path = place(&self.store, &actual);
        if let Some(parent) = path.parent() {
            create_directory(parent)?;
        }
        let _placing = self.store.locks.acquire(Inner::placing_key(), Sharing::Shared, &|| false)?;
        let is_known = row(&self.store, &actual)?.is_some();
        if is_known {
            // In place of a file that may count as synced.
            fault::run(Operation::Sync, || self.file.sync_data()).at("sync", &self.path)?;
        }
        fault::run(Operation::Rename, || fs::rename(&self.path, &path)).at("rename", &self.path)?;
        let store = &self.store;
        let inserted = store.database.write(|db| {
            db.prepare_cached("INSERT OR REPLACE INTO blobs (digest, size, created, epoch) VALUES (?1, ?2, ?3, ?4)")?
                .execute((actual.to_string(), self.size as i64, now(), &store.epoch))?;
            leases::insert(db, store.session.name(), "blob", &actual.to_string())
        });
        if let Err(error) = inserted {
            if !is_known {
                // Without its row it is nothing. What cannot be removed now is found by `system check`.
                let _ = store.session.discard(&path);
            }
            return Err(error);
        }
        store.recency.grew();
        Ok(Blob { digest: actual, size: self.size })
    }

    /// The digest of what was written, by the hash function of `expected`.
    fn digest_like(&mut self, expected: Option<&Digest>) -> Result<Digest> {
        let sha256 = || self.sha256.clone().finish();
        let Some(expected) = expected else { return Ok(sha256()) };
        if expected.algorithm() == kiln_oci::Algorithm::Sha256 {
            return Ok(sha256());
        }
        let unsupported = || Error::UnsupportedDigest(expected.clone());
        let hasher = match self.other.take() {
            Some(hasher) => hasher,
            None => self.rehash(expected.hasher().ok_or_else(unsupported)?)?,
        };
        let digest = hasher.finish();
        if digest.algorithm() == expected.algorithm() { Ok(digest) } else { Err(unsupported()) }
    }

    fn rehash(&self, mut hasher: Hasher) -> Result<Hasher> {
        let mut file = File::open(&self.path).at("open", &self.path)?;
        with_block(|block| {
            loop {
                let count = file.read(block).at("read", &self.path)?;
                if count == 0 {
                    return Ok(hasher);
                }
                hasher.update(&block[..count]);
            }
        })
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = fault::run(Operation::Write, || self.file.write(bytes));
        let count = written.map_err(|error| named("write", &self.path, error))?;
        self.sha256.update(&bytes[..count]);
        if let Some(other) = &mut self.other {
            other.update(&bytes[..count]);
        }
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        // After a commit there is nothing under this name; otherwise what stays goes with the session.
        if !self.is_kept {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl BlobReader {
    /// The blob's size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether its hash function is known, so that its end is a proof.
    pub(crate) fn is_verified(&self) -> bool {
        self.hasher.is_some()
    }

    /// Compares the digest once all bytes were read.
    pub(crate) fn verify(&mut self) -> io::Result<()> {
        let Some(hasher) = self.hasher.take() else { return Ok(()) };
        let actual = hasher.finish();
        if self.left == 0 && actual == self.digest {
            return Ok(());
        }
        let expected = self.digest.clone();
        self.store.noted.blob(&expected);
        Err(io::Error::new(io::ErrorKind::InvalidData, Error::ChangedBlob { digest: expected, actual }))
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let count = self.file.read(buffer)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
        }
        self.left = self.left.saturating_sub(count as u64);
        if count == 0 || self.left == 0 {
            self.verify()?;
        }
        Ok(count)
    }
}

/// Where a blob is.
pub(crate) fn place(store: &Inner, digest: &Digest) -> PathBuf {
    store.root.join("blobs").join(digest.algorithm().as_str()).join(digest.hex())
}

pub(crate) fn row(store: &Inner, digest: &Digest) -> Result<Option<u64>> {
    let query = "SELECT size FROM blobs WHERE digest = ?1";
    let size: Option<i64> = store
        .database
        .read(|db| db.prepare_cached(query)?.query_row([digest.to_string()], |row| row.get(0)).optional())?;
    Ok(size.map(|size| size as u64))
}

pub(crate) fn remove(store: &Inner, digest: &str) -> Result<()> {
    if let Ok(parsed) = digest.parse::<Digest>() {
        store.session.discard(&place(store, &parsed))?;
    }
    store.database.write(|db| {
        db.execute("DELETE FROM leases WHERE kind = 'blob' AND target = ?1", [digest])?;
        db.execute("DELETE FROM blobs WHERE digest = ?1", [digest])
    })?;
    Ok(())
}

/// Whether the blob's bytes have its digest.
pub(crate) fn is_intact(store: &Arc<Inner>, digest: &str) -> bool {
    let Ok(digest) = digest.parse::<Digest>() else { return false };
    let reader = Blobs { store }.open(&digest);
    reader.is_ok_and(|mut reader| reader.hasher.is_some() && io::copy(&mut reader, &mut io::sink()).is_ok())
}

/// Whether a file is in the blob's place.
pub(crate) fn is_there(store: &Inner, digest: &str) -> bool {
    digest.parse::<Digest>().is_ok_and(|digest| place(store, &digest).is_file())
}

/// Removes files without a row. The caller keeps others from placing any.
pub(crate) fn sweep(store: &Inner) -> Result<()> {
    for algorithm in list(&store.root.join("blobs"))? {
        for path in list(&algorithm)? {
            let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
            let text = format!("{}:{}", name(&algorithm).unwrap_or_default(), name(&path).unwrap_or_default());
            let known = match text.parse::<Digest>() {
                Ok(digest) => row(store, &digest)?.is_some(),
                Err(_) => false,
            };
            if !known {
                store.session.discard(&path)?;
            }
        }
    }
    Ok(())
}

fn list(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).at("list", directory)?;
    entries.map(|entry| Ok(entry.at("list", directory)?.path())).collect()
}
