//! Lists, page by page: repositories, tags, referrers.

use std::collections::BTreeMap;

use kiln_oci::Digest;
use rusqlite::params;

use super::{Registry, RegistryManifest};
use crate::database::digest;
use crate::error::Result;

/// A tag with what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryTag {
    /// The tag.
    pub name: String,
    /// The manifest.
    pub manifest: Digest,
    /// Since when it means that, in seconds since 1970.
    pub changed: i64,
}

/// Which referrers are asked for.
#[derive(Debug, Clone, Copy)]
pub struct RegistryReferrers<'a> {
    /// In which repository.
    pub repository: &'a str,
    /// Of which manifest.
    pub subject: &'a Digest,
    /// Only those of this type.
    pub artifact_type: Option<&'a str>,
    /// Only those after this digest.
    pub after: Option<&'a Digest>,
}

/// A manifest that says something about another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryReferrer {
    /// The manifest.
    pub manifest: RegistryManifest,
    /// Its artefact type.
    pub artifact_type: Option<String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

impl Registry<'_> {
    /// At most `limit` repositories that hold anything, in the order of their bytes, after the one given.
    ///
    /// # Errors
    /// What the database refuses.
    pub fn repositories(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        let query = "SELECT DISTINCT repository FROM registry_manifests WHERE repository > ?1 ORDER BY 1 LIMIT ?2";
        self.store.database.read(|db| {
            let mut statement = db.prepare_cached(query)?;
            statement.query_map(params![after.unwrap_or_default(), limit as i64], |row| row.get(0))?.collect()
        })
    }

    /// Whether a repository holds anything.
    ///
    /// # Errors
    /// What the database refuses.
    pub fn is_repository(&self, name: &str) -> Result<bool> {
        let query = "SELECT EXISTS (SELECT 1 FROM registry_manifests WHERE repository = ?1)
            OR EXISTS (SELECT 1 FROM registry_blobs WHERE repository = ?1)";
        self.store.database.read(|db| db.prepare_cached(query)?.query_row([name], |row| row.get(0)))
    }

    /// At most `limit` tags of a repository after the one given, in lexical order: as in the specification, capitals do
    /// not count, but for tags that are the same otherwise.
    ///
    /// # Errors
    /// What the database refuses.
    pub fn tags(&self, repository: &str, after: Option<&str>, limit: usize) -> Result<Vec<RegistryTag>> {
        let query = "SELECT name, manifest, changed FROM registry_tags WHERE repository = ?1
            AND lower(name) >= lower(?2) AND (lower(name), name) > (lower(?2), ?2) ORDER BY lower(name), name LIMIT ?3";
        self.store.database.read(|db| {
            let mut statement = db.prepare_cached(query)?;
            let row = |row: &rusqlite::Row<'_>| {
                Ok(RegistryTag { name: row.get(0)?, manifest: digest(row, 1)?, changed: row.get(2)? })
            };
            statement.query_map(params![repository, after.unwrap_or_default(), limit as i64], row)?.collect()
        })
    }

    /// At most `limit` manifests with a subject, in the order of their digests.
    ///
    /// # Errors
    /// What the database refuses.
    pub fn referrers(&self, wanted: &RegistryReferrers<'_>, limit: usize) -> Result<Vec<RegistryReferrer>> {
        let query = "SELECT digest, media_type, m.size, artifact_type, annotations FROM registry_manifests m
            JOIN blobs USING (digest) WHERE repository = ?1 AND subject = ?2 AND digest > ?3
            AND (?4 IS NULL OR artifact_type = ?4) ORDER BY digest LIMIT ?5";
        let after = wanted.after.map(ToString::to_string).unwrap_or_default();
        let (subject, kind) = (wanted.subject.to_string(), wanted.artifact_type);
        self.store.database.read(|db| {
            let mut statement = db.prepare_cached(query)?;
            statement.query_map(params![wanted.repository, subject, after, kind, limit as i64], referrer)?.collect()
        })
    }
}

fn referrer(row: &rusqlite::Row<'_>) -> rusqlite::Result<RegistryReferrer> {
    let size = row.get::<_, i64>(2)?.max(0) as u64;
    let annotations: Option<String> = row.get(4)?;
    Ok(RegistryReferrer {
        manifest: RegistryManifest { digest: digest(row, 0)?, media_type: row.get(1)?, size },
        artifact_type: row.get(3)?,
        annotations: match annotations {
            Some(_) => crate::database::json(row, 4)?,
            None => BTreeMap::new(),
        },
    })
}
