//! Uploads: bytes on their way into a repository, which survive the process that takes them.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use kiln_oci::{Algorithm, Digest, Hasher};
use rusqlite::OptionalExtension;

use super::{Registry, blobs, durable};
use crate::blobs::place;
use crate::content::with_block;
use crate::database::now;
use crate::error::{At, Error, Result};
use crate::fault::{self, Operation};
use crate::locks::{LockGuard, LockKey, Sharing};
use crate::store::{Inner, create_directory};

/// How long to wait for another process that goes on with the same upload.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the bytes of all uploads are.
pub(super) fn directory(store: &Inner) -> PathBuf {
    store.root.join("uploads")
}

/// An upload that somebody is going on with. Dropped, it stays as it is.
pub struct RegistryUpload {
    store: Arc<Inner>,
    id: String,
    repository: String,
    path: PathBuf,
    file: File,
    size: u64,
    /// Of all bytes so far, if it has seen all of them.
    hasher: Option<Hasher>,
    /// Taken off when there is no upload any more.
    is_open: bool,
    _alone: LockGuard,
}

impl std::fmt::Debug for RegistryUpload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RegistryUpload({}, {} bytes)", self.id, self.size)
    }
}

impl Registry<'_> {
    /// Begins an upload and answers its id, which nobody can guess.
    ///
    /// # Errors
    /// What the disk or the database refuses.
    pub fn begin_upload(&self, repository: &str) -> Result<String> {
        let directory = directory(self.store);
        create_directory(&directory)?;
        let id = fresh_id()?;
        let path = directory.join(&id);
        fault::run(Operation::Create, || File::create_new(&path)).at("create", &path)?;
        let insert = "INSERT INTO registry_uploads (id, repository, started) VALUES (?1, ?2, ?3)";
        let inserted =
            self.store.database.write(|db| db.prepare_cached(insert)?.execute((&id, repository, now())).map(drop));
        if let Err(error) = inserted {
            // What cannot be removed is an upload without a row, which is swept.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok(id)
    }

    /// Bytes that an upload of the repository has; `None` if there is none of this id.
    ///
    /// # Errors
    /// What the disk or the database refuses.
    pub fn upload(&self, repository: &str, id: &str) -> Result<Option<u64>> {
        let Some(path) = self.place_of(repository, id)? else { return Ok(None) };
        match fs::metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            status => Ok(Some(status.at("examine", &path)?.len())),
        }
    }

    /// Reads what an upload has, and what is added to it later; `None` if there is none of this id.
    ///
    /// # Errors
    /// What the disk or the database refuses.
    pub fn read_upload(&self, repository: &str, id: &str) -> Result<Option<File>> {
        let Some(path) = self.place_of(repository, id)? else { return Ok(None) };
        match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            file => Ok(Some(file.at("open", &path)?)),
        }
    }

    /// Goes on with an upload, whose digest will probably be one of `algorithm`; `None` if there is none of this id.
    ///
    /// # Errors
    /// [`Error::Cancelled`] if another process goes on with it for long; what the disk or the database refuses.
    pub fn resume_upload(&self, repository: &str, id: &str, algorithm: Algorithm) -> Result<Option<RegistryUpload>> {
        if self.place_of(repository, id)?.is_none() {
            return Ok(None);
        }
        let began = Instant::now();
        let alone = self.store.locks.acquire(key(id), Sharing::Exclusive, &|| began.elapsed() > PATIENCE)?;
        // It may have come to its end meanwhile.
        let Some(path) = self.place_of(repository, id)? else { return Ok(None) };
        let file = match File::options().append(true).read(true).open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file.at("open", &path)?,
        };
        let size = file.metadata().at("examine", &path)?.len();
        let known = self.store.registry.hashers().remove(id).filter(|hasher| hasher.length() == size);
        let hasher = if size == 0 { Hasher::new(algorithm) } else { known };
        Ok(Some(RegistryUpload {
            store: Arc::clone(self.store),
            id: id.to_owned(),
            repository: repository.to_owned(),
            path,
            file,
            size,
            hasher,
            is_open: true,
            _alone: alone,
        }))
    }

    /// Gives an upload up; false if there is none of this id.
    ///
    /// # Errors
    /// As for [`Registry::resume_upload`].
    pub fn cancel_upload(&self, repository: &str, id: &str) -> Result<bool> {
        match self.resume_upload(repository, id, Algorithm::Sha256)? {
            Some(upload) => upload.discard().map(|()| true),
            None => Ok(false),
        }
    }

    /// Removes uploads into which nothing came for so long, and what is left of others. Tells how many went, and how
    /// many bytes; a dry run only tells.
    ///
    /// # Errors
    /// What the disk or the database refuses.
    pub fn sweep_uploads(&self, idle: Duration, dry_run: bool) -> Result<(u64, u64)> {
        let (mut count, mut bytes) = (0, 0);
        for path in crate::check::listed(&directory(self.store))? {
            let id = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Some(_alone) = self.store.locks.try_acquire(key(&id), Sharing::Exclusive)? else { continue };
            let Ok(status) = path.symlink_metadata() else { continue };
            let written = status.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            if SystemTime::now().duration_since(written).unwrap_or_default() < idle {
                continue;
            }
            (count, bytes) = (count + 1, bytes + status.blocks() * 512);
            if !dry_run {
                forget(self.store, &id)?;
                self.store.session.discard(&path)?;
            }
        }
        if !dry_run {
            self.forget_fileless()?;
        }
        Ok((count, bytes))
    }

    /// Rows whose file is gone.
    fn forget_fileless(&self) -> Result<()> {
        let ids: Vec<String> = self.store.database.read(|db| {
            db.prepare_cached("SELECT id FROM registry_uploads")?.query_map([], |row| row.get(0))?.collect()
        })?;
        let place = directory(self.store);
        ids.iter().filter(|id| !place.join(id).exists()).try_for_each(|id| forget(self.store, id))
    }

    /// Where the bytes of an upload are, if its row is there. Ids are only ever those of rows: no path is made of what a
    /// client says.
    fn place_of(&self, repository: &str, id: &str) -> Result<Option<PathBuf>> {
        let query = "SELECT id FROM registry_uploads WHERE id = ?1 AND repository = ?2";
        let found: Option<String> = self
            .store
            .database
            .read(|db| db.prepare_cached(query)?.query_row([id, repository], |row| row.get(0)).optional())?;
        Ok(found.map(|id| directory(self.store).join(id)))
    }
}

impl RegistryUpload {
    /// Bytes so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds bytes. After an error some of them may be there.
    ///
    /// # Errors
    /// What the disk refuses.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let mut left = bytes;
        while !left.is_empty() {
            match fault::run(Operation::Write, || self.file.write(left)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(0) => return Err(Error::io("write", &self.path, ErrorKind::WriteZero)),
                written => {
                    let count = written.at("write", &self.path)?;
                    if let Some(hasher) = &mut self.hasher {
                        hasher.update(&left[..count]);
                    }
                    self.size += count as u64;
                    left = &left[count..];
                }
            }
        }
        Ok(())
    }

    /// Makes it a blob of its repository, which survives a crash of the machine. False if the bytes have another digest;
    /// the upload is gone in either case.
    ///
    /// # Errors
    /// A hash function that is not known, and what the disk or the database refuses; the upload may stay then.
    pub fn finish(mut self, digest: &Digest) -> Result<bool> {
        let actual = self.digest(digest)?;
        if actual != *digest {
            self.discard()?;
            return Ok(false);
        }
        durable::sync(&self.file, &self.path)?;
        let store = Arc::clone(&self.store);
        let (id, repository, size) = (self.id.clone(), self.repository.clone(), self.size);
        place_blob(&store, &self.path, digest, size, |db| {
            blobs::link(db, &repository, &digest.to_string())?;
            db.prepare_cached("DELETE FROM registry_uploads WHERE id = ?1")?.execute([&id]).map(drop)
        })?;
        self.is_open = false;
        Registry { store: &store }.sync()?;
        Ok(true)
    }

    /// The digest of all bytes, by the hash function of `like`.
    fn digest(&mut self, like: &Digest) -> Result<Digest> {
        let mut fresh = like.hasher().ok_or_else(|| Error::UnsupportedDigest(like.clone()))?;
        if let Some(hasher) = self.hasher.take() {
            let digest = hasher.finish();
            if digest.algorithm() == like.algorithm() {
                return Ok(digest);
            }
        }
        let mut file = File::open(&self.path).at("open", &self.path)?;
        with_block(|block| {
            loop {
                match file.read(block).at("read", &self.path)? {
                    0 => return Ok(fresh.clone().finish()),
                    count => fresh.update(&block[..count]),
                }
            }
        })
    }

    fn discard(mut self) -> Result<()> {
        self.is_open = false;
        forget(&self.store, &self.id)?;
        self.store.session.discard(&self.path)
    }
}

impl Drop for RegistryUpload {
    fn drop(&mut self) {
        if let Some(hasher) = self.hasher.take().filter(|_| self.is_open) {
            self.store.registry.hashers().insert(self.id.clone(), hasher);
        }
    }
}

/// Puts a synced file in a blob's place, and gives it its row together with what else shall be written. On an error
/// nothing is written, and a file that nobody needs is gone.
pub(super) fn place_blob<T>(
    store: &Inner,
    file: &Path,
    digest: &Digest,
    size: u64,
    besides: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<T>,
) -> Result<T> {
    let path = place(store, digest);
    if let Some(parent) = path.parent() {
        create_directory(parent)?;
    }
    let _placing = store.locks.acquire(Inner::placing_key(), Sharing::Shared, &|| false)?;
    let is_known = crate::blobs::row(store, digest)?.is_some();
    fault::run(Operation::Rename, || fs::rename(file, &path)).at("rename", file)?;
    let written = store.database.write(|db| {
        let insert = "INSERT OR REPLACE INTO blobs (digest, size, created, epoch, synced) VALUES (?1, ?2, ?3, ?4, 1)";
        db.prepare_cached(insert)?.execute((digest.to_string(), size as i64, now(), &store.epoch))?;
        besides(db)
    });
    match written {
        Ok(value) => {
            store.recency.grew();
            Ok(value)
        }
        Err(error) => {
            if !is_known {
                // Without its row it is nothing. What cannot be removed now is found by `system check`.
                let _ = store.session.discard(&path);
            }
            Err(error)
        }
    }
}

fn forget(store: &Inner, id: &str) -> Result<()> {
    store.registry.hashers().remove(id);
    let delete = "DELETE FROM registry_uploads WHERE id = ?1";
    store.database.write(|db| db.prepare_cached(delete)?.execute([id]).map(drop))
}

fn key(id: &str) -> LockKey {
    LockKey::new("registry-upload", id.as_bytes())
}

fn fresh_id() -> Result<String> {
    let source = Path::new("/dev/urandom");
    let mut bytes = [0; 16];
    File::open(source).and_then(|mut file| file.read_exact(&mut bytes)).at("read", source)?;
    Ok(uuid(bytes))
}

/// Random bytes as a UUID (RFC 9562, version 4), as the distribution specification wants it.
fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
