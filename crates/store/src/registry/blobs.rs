//! Blobs of repositories.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Take};
use std::ops::Range;

use kiln_oci::Digest;
use rusqlite::{Connection, OptionalExtension};

use super::Registry;
use crate::blobs::{BlobReader, Blobs, place};
use crate::database::now;
use crate::error::{At, Error, Result};

/// For how long a blob counts as young without being asked for again, in seconds.
const YOUNG: i64 = 600;

impl Registry<'_> {
    /// The size in bytes of a blob that the repository holds. It counts as young from then on: whoever asks may leave out
    /// sending it, and the manifest that needs it is yet to come.
    ///
    /// # Errors
    /// What the database refuses.
    pub fn blob(&self, repository: &str, digest: &Digest) -> Result<Option<u64>> {
        let query = "SELECT size, linked FROM registry_blobs JOIN blobs USING (digest)
            WHERE repository = ?1 AND digest = ?2";
        let text = digest.to_string();
        let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
        let found =
            self.store.database.read(|db| db.prepare_cached(query)?.query_row([repository, &text], row).optional())?;
        if found.is_some_and(|(_, linked)| linked < now() - YOUNG) {
            let update = "UPDATE registry_blobs SET linked = ?3 WHERE repository = ?1 AND digest = ?2";
            // Where nothing can be written nothing is collected.
            let _ = self.store.database.write(|db| db.prepare_cached(update)?.execute((repository, &text, now())));
        }
        Ok(found.map(|(size, _)| size.max(0) as u64))
    }

    /// Reads a blob that the repository holds; the digest is verified at its end.
    ///
    /// # Errors
    /// Damage, and what the disk or the database refuses.
    pub fn open_blob(&self, repository: &str, digest: &Digest) -> Result<Option<BlobReader>> {
        match self.blob(repository, digest)? {
            Some(_) => found(Blobs { store: self.store }.open(digest)),
            None => Ok(None),
        }
    }

    /// Reads bytes in the middle of a blob that the repository holds; they are as they are.
    ///
    /// # Errors
    /// A blob that ends earlier, and what the disk or the database refuses.
    pub fn open_part(&self, repository: &str, digest: &Digest, part: &Range<u64>) -> Result<Option<Take<File>>> {
        if self.blob(repository, digest)?.is_none() {
            return Ok(None);
        }
        let path = place(self.store, digest);
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.store.noted.blob(digest);
                return Ok(None);
            }
            file => file.at("open", &path)?,
        };
        file.seek(SeekFrom::Start(part.start)).at("read", &path)?;
        Ok(Some(file.take(part.end.saturating_sub(part.start))))
    }

    /// Makes a blob that `from` holds, or that is in the store for whatever reason, one of the repository, too. False if
    /// there is none.
    ///
    /// # Errors
    /// What the disk or the database refuses.
    pub fn mount(&self, repository: &str, digest: &Digest, from: Option<&str>) -> Result<bool> {
        let text = digest.to_string();
        let linked = self.store.database.write(|db| {
            let is_there = match from {
                Some(from) => holds_blob(db, from, &text)?,
                None => db.prepare_cached("SELECT 1 FROM blobs WHERE digest = ?1")?.exists([&text])?,
            };
            if is_there {
                link(db, repository, &text)?;
            }
            Ok(is_there)
        })?;
        if linked {
            self.sync_blob(digest)?;
            self.sync()?;
        }
        Ok(linked)
    }

    /// Takes a blob out of a repository; its bytes go if nobody else needs them. False if it was not there.
    ///
    /// # Errors
    /// What the disk or the database refuses.
    pub fn delete_blob(&self, repository: &str, digest: &Digest) -> Result<bool> {
        let text = digest.to_string();
        let delete = "DELETE FROM registry_blobs WHERE repository = ?1 AND digest = ?2";
        let gone = self.store.database.write(|db| db.prepare_cached(delete)?.execute([repository, &text]))? > 0;
        if gone {
            self.sync()?;
            crate::prune::free_blobs(self.store, &[text])?;
        }
        Ok(gone)
    }
}

/// Whether the repository holds the blob, and the store its bytes.
pub(super) fn holds_blob(db: &Connection, repository: &str, digest: &str) -> rusqlite::Result<bool> {
    let query = "SELECT 1 FROM registry_blobs JOIN blobs USING (digest) WHERE repository = ?1 AND digest = ?2";
    db.prepare_cached(query)?.exists([repository, digest])
}

/// Makes a blob one of the repository; it counts as young again.
pub(super) fn link(db: &Connection, repository: &str, digest: &str) -> rusqlite::Result<()> {
    let insert = "INSERT OR REPLACE INTO registry_blobs (repository, digest, linked) VALUES (?1, ?2, ?3)";
    db.prepare_cached(insert)?.execute((repository, digest, now())).map(drop)
}

/// What is gone in spite of its row is not there.
pub(super) fn found<T>(opened: Result<T>) -> Result<Option<T>> {
    match opened {
        Err(Error::MissingBlob(_)) => Ok(None),
        opened => opened.map(Some),
    }
}
