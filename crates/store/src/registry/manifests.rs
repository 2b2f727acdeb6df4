//! Manifests of repositories, and their tags.

use std::fs;

use kiln_oci::Digest;
use rusqlite::{Connection, OptionalExtension, Row};

use super::{Registry, blobs, durable, uploads};
use crate::blobs::{BlobReader, Blobs};
use crate::database::{digest, now};
use crate::error::{At, Result};
use crate::fault::{self, Operation};

/// A manifest on its way into a repository.
#[derive(Debug, Clone, Copy)]
pub struct NewRegistryManifest<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Their digest; whoever calls has computed it.
    pub digest: &'a Digest,
    /// Its media type.
    pub media_type: &'a str,
    /// Blobs that it is made of.
    pub blobs: &'a [Digest],
    /// Manifests that it is made of.
    pub manifests: &'a [Digest],
    /// It is taken even if what it is made of is not there.
    pub is_partial: bool,
    /// The manifest that it says something about.
    pub subject: Option<&'a Digest>,
    /// What a list of referrers says of it.
    pub artifact_type: Option<&'a str>,
    /// The same: JSON.
    pub annotations: Option<&'a str>,
}

/// What is known of a manifest besides its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryManifest {
    /// Its digest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Its size in bytes.
    pub size: u64,
}

impl Registry<'_> {
    /// A manifest of a repository by digest.
    ///
    /// # Errors
    /// What the database refuses.
    pub fn manifest(&self, repository: &str, digest: &Digest) -> Result<Option<RegistryManifest>> {
        let query = "SELECT digest, media_type, m.size FROM registry_manifests m JOIN blobs USING (digest)
            WHERE repository = ?1 AND digest = ?2";
        self.store
            .database
            .read(|db| db.prepare_cached(query)?.query_row([repository, &digest.to_string()], manifest).optional())
    }

    /// The manifest that a tag means.
    ///
    /// # Errors
    /// What the database refuses.
    pub fn tagged(&self, repository: &str, tag: &str) -> Result<Option<RegistryManifest>> {
        let query = "SELECT digest, media_type, m.size FROM registry_tags t
            JOIN registry_manifests m ON m.repository = t.repository AND m.digest = t.manifest
            JOIN blobs USING (digest) WHERE t.repository = ?1 AND t.name = ?2";
        self.store.database.read(|db| db.prepare_cached(query)?.query_row([repository, tag], manifest).optional())
    }

    /// Reads a manifest; the digest is verified at its end.
    ///
    /// # Errors
    /// Damage, and what the disk or the database refuses.
    pub fn open_manifest(&self, repository: &str, digest: &Digest) -> Result<Option<BlobReader>> {
        match self.manifest(repository, digest)? {
            Some(_) => blobs::found(Blobs { store: self.store }.open(digest)),
            None => Ok(None),
        }
    }

    /// Takes a manifest into a repository and lets a tag mean it. Answers what the repository lacks of what it is made
    /// of: if that is anything, nothing was changed.
    ///
    /// # Errors
    /// What the disk or the database refuses.
    pub fn put_manifest(
        &self,
        repository: &str,
        manifest: &NewRegistryManifest<'_>,
        tag: Option<&str>,
    ) -> Result<Vec<Digest>> {
        let missing = self.store.database.read(|db| lacking(db, repository, manifest))?;
        if !missing.is_empty() {
            return Ok(missing);
        }
        let path = self.store.session.fresh_path();
        let file = fault::run(Operation::Create, || fs::File::create_new(&path)).at("create", &path)?;
        let size = manifest.bytes.len() as u64;
        let placed = fault::run(Operation::Write, || std::io::Write::write_all(&mut &file, manifest.bytes))
            .at("write", &path)
            .and_then(|()| durable::sync(&file, &path))
            .and_then(|()| {
                uploads::place_blob(self.store, &path, manifest.digest, size, |db| {
                    // Something may have gone meanwhile. The blob by itself does no harm.
                    let missing = lacking(db, repository, manifest)?;
                    if missing.is_empty() {
                        write(db, repository, manifest, tag)?;
                    }
                    Ok(missing)
                })
            });
        if placed.is_err() {
            // In its place nothing is left of it here; otherwise it goes with the session.
            let _ = fs::remove_file(&path);
        }
        let missing = placed?;
        if missing.is_empty() {
            self.sync()?;
        }
        Ok(missing)
    }

    /// Takes a manifest out of a repository with all its tags; its bytes go if nobody else needs them. False if it was not
    /// there.
    ///
    /// # Errors
    /// What the disk or the database refuses.
    pub fn delete_manifest(&self, repository: &str, digest: &Digest) -> Result<bool> {
        let text = digest.to_string();
        let gone = self.store.database.write(|db| delete(db, repository, &text))?;
        if gone {
            self.sync()?;
            crate::prune::free_blobs(self.store, &[text])?;
        }
        Ok(gone)
    }

    /// Takes a tag away; false if it was not there.
    ///
    /// # Errors
    /// What the disk or the database refuses.
    pub fn delete_tag(&self, repository: &str, tag: &str) -> Result<bool> {
        let delete = "DELETE FROM registry_tags WHERE repository = ?1 AND name = ?2";
        let gone = self.store.database.write(|db| db.prepare_cached(delete)?.execute([repository, tag]))? > 0;
        if gone {
            self.sync()?;
        }
        Ok(gone)
    }
}

/// What the repository lacks of what a manifest is made of.
fn lacking(db: &Connection, repository: &str, manifest: &NewRegistryManifest<'_>) -> rusqlite::Result<Vec<Digest>> {
    let mut missing = Vec::new();
    if manifest.is_partial {
        return Ok(missing);
    }
    for blob in manifest.blobs {
        if !blobs::holds_blob(db, repository, &blob.to_string())? {
            missing.push(blob.clone());
        }
    }
    let query = "SELECT 1 FROM registry_manifests JOIN blobs USING (digest) WHERE repository = ?1 AND digest = ?2";
    for listed in manifest.manifests {
        if !db.prepare_cached(query)?.exists([repository, &listed.to_string()])? {
            missing.push(listed.clone());
        }
    }
    Ok(missing)
}

fn write(
    db: &Connection,
    repository: &str,
    manifest: &NewRegistryManifest<'_>,
    tag: Option<&str>,
) -> rusqlite::Result<()> {
    let (digest, subject) = (manifest.digest.to_string(), manifest.subject.map(ToString::to_string));
    let insert = "INSERT OR REPLACE INTO registry_manifests
        (repository, digest, media_type, size, subject, artifact_type, annotations, pushed)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    db.prepare_cached(insert)?.execute((
        repository,
        &digest,
        manifest.media_type,
        manifest.bytes.len() as i64,
        subject,
        manifest.artifact_type,
        manifest.annotations,
        now(),
    ))?;
    let clear = "DELETE FROM registry_references WHERE repository = ?1 AND manifest = ?2";
    db.prepare_cached(clear)?.execute([repository, &digest])?;
    let refer =
        "INSERT OR IGNORE INTO registry_references (repository, manifest, kind, target) VALUES (?1, ?2, ?3, ?4)";
    let mut refer = db.prepare_cached(refer)?;
    let blobs = manifest.blobs.iter().map(|each| ("blob", each));
    for (kind, target) in blobs.chain(manifest.manifests.iter().map(|each| ("manifest", each))) {
        refer.execute((repository, &digest, kind, target.to_string()))?;
    }
    if let Some(tag) = tag {
        let insert =
            "INSERT OR REPLACE INTO registry_tags (repository, name, manifest, changed) VALUES (?1, ?2, ?3, ?4)";
        db.prepare_cached(insert)?.execute((repository, tag, &digest, now()))?;
    }
    Ok(())
}

/// Takes out a manifest's rows.
pub(super) fn delete(db: &Connection, repository: &str, digest: &str) -> rusqlite::Result<bool> {
    for statement in [
        "DELETE FROM registry_tags WHERE repository = ?1 AND manifest = ?2",
        "DELETE FROM registry_references WHERE repository = ?1 AND manifest = ?2",
    ] {
        db.prepare_cached(statement)?.execute([repository, digest])?;
    }
    let delete = "DELETE FROM registry_manifests WHERE repository = ?1 AND digest = ?2";
    Ok(db.prepare_cached(delete)?.execute([repository, digest])? > 0)
}

fn manifest(row: &Row<'_>) -> rusqlite::Result<RegistryManifest> {
    Ok(RegistryManifest { digest: digest(row, 0)?, media_type: row.get(1)?, size: row.get::<_, i64>(2)?.max(0) as u64 })
}
