//! Taking out of the repositories what no manifest and no tag leads to.
//!
//! A push sends blobs before the manifest that is made of them, and manifests before the index: what is young stays.

use std::time::Duration;

use rusqlite::{Transaction, params};

use super::{Registry, manifests};
use crate::database::now;
use crate::error::Result;

/// What to take out.
#[derive(Debug, Clone, Copy)]
pub struct RegistryPolicy {
    /// Manifests that no tag leads to, by itself or through an index or a subject.
    pub untagged: bool,
    /// What came within this time stays.
    pub young: Duration,
    /// Tell what would go, and take out nothing.
    pub dry_run: bool,
}

/// What was taken out, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistryCollected {
    /// Repository and digest.
    pub manifests: Vec<(String, String)>,
    /// Repository and digest.
    pub blobs: Vec<(String, String)>,
    /// Uploads that nobody went on with.
    pub uploads: u64,
    /// Bytes that became free.
    pub bytes: u64,
}

/// Manifests that a tag leads to, or that came after a time.
const KEPT: &str = "WITH RECURSIVE kept (digest) AS (
    SELECT manifest FROM registry_tags WHERE repository = ?1
    UNION SELECT digest FROM registry_manifests WHERE repository = ?1 AND pushed >= ?2
    UNION SELECT target FROM registry_references JOIN kept ON manifest = kept.digest
        WHERE repository = ?1 AND kind = 'manifest'
    UNION SELECT m.digest FROM registry_manifests m JOIN kept ON m.subject = kept.digest WHERE m.repository = ?1)";

impl RegistryPolicy {
    /// What came later, in seconds since 1970, is young. If nothing shall be, what comes in this very second is not.
    fn oldest(&self) -> i64 {
        let young = i64::try_from(self.young.as_secs()).unwrap_or(i64::MAX);
        if self.young.is_zero() { i64::MAX } else { now().saturating_sub(young) }
    }
}

impl Registry<'_> {
    /// Takes out what the policy names; bytes go that nobody else needs.
    ///
    /// # Errors
    /// What the disk or the database refuses.
    pub fn collect(&self, policy: &RegistryPolicy) -> Result<RegistryCollected> {
        let mut collected = RegistryCollected::default();
        let oldest = policy.oldest();
        for repository in self.all()? {
            let found = match policy.dry_run {
                true => self.foresee(&repository, policy, oldest)?,
                false => self.store.database.write(|db| take_out(db, &repository, policy, oldest))?,
            };
            let named = |digest| (repository.clone(), digest);
            collected.manifests.extend(found.0.into_iter().map(named));
            collected.blobs.extend(found.1.into_iter().map(named));
        }
        let gone = collected.manifests.iter().chain(&collected.blobs).map(|(_, digest)| digest.clone());
        let mut gone: Vec<String> = gone.collect();
        gone.sort();
        gone.dedup();
        collected.bytes = match policy.dry_run {
            true => self.would_free(&collected, &gone)?,
            false => {
                self.sync()?;
                crate::prune::free_blobs(self.store, &gone)?
            }
        };
        let (uploads, bytes) = self.sweep_uploads(policy.young, policy.dry_run)?;
        collected.uploads = uploads;
        collected.bytes += bytes;
        Ok(collected)
    }

    /// Every repository that has a row.
    fn all(&self) -> Result<Vec<String>> {
        let query = "SELECT repository FROM registry_blobs UNION SELECT repository FROM registry_manifests
            UNION SELECT repository FROM registry_tags ORDER BY 1";
        self.store.database.read(|db| db.prepare_cached(query)?.query_map([], |row| row.get(0))?.collect())
    }

    /// What would go, found by doing it and undoing it.
    fn foresee(&self, repository: &str, policy: &RegistryPolicy, oldest: i64) -> Result<(Vec<String>, Vec<String>)> {
        self.store.database.write(|db| {
            db.execute_batch("SAVEPOINT foreseen")?;
            let found = take_out(db, repository, policy, oldest);
            db.execute_batch("ROLLBACK TO foreseen; RELEASE foreseen")?;
            found
        })
    }

    /// Bytes of what nobody would need any more.
    fn would_free(&self, collected: &RegistryCollected, gone: &[String]) -> Result<u64> {
        let rows = |digest: &String| {
            let own = collected.manifests.iter().chain(&collected.blobs).filter(|(_, each)| each == digest).count();
            let query = "SELECT (SELECT count(*) FROM registry_blobs WHERE digest = ?1)
                + (SELECT count(*) FROM registry_manifests WHERE digest = ?1)";
            let all: i64 =
                self.store.database.read(|db| db.prepare_cached(query)?.query_row([digest], |row| row.get(0)))?;
            Ok::<_, crate::Error>(all as usize == own)
        };
        let mut alone = Vec::new();
        for digest in gone {
            if rows(digest)? {
                alone.push(digest.clone());
            }
        }
        crate::prune::would_free_blobs(self.store, &alone)
    }
}

fn take_out(
    db: &Transaction<'_>,
    repository: &str,
    policy: &RegistryPolicy,
    oldest: i64,
) -> rusqlite::Result<(Vec<String>, Vec<String>)> {
    let mut untagged: Vec<String> = Vec::new();
    if policy.untagged {
        let query = format!(
            "{KEPT} SELECT digest FROM registry_manifests WHERE repository = ?1 AND digest NOT IN kept ORDER BY digest"
        );
        let mut statement = db.prepare_cached(&query)?;
        untagged = statement.query_map(params![repository, oldest], |row| row.get(0))?.collect::<Result<_, _>>()?;
    }
    for digest in &untagged {
        manifests::delete(db, repository, digest)?;
    }
    let query = "SELECT digest FROM registry_blobs b WHERE repository = ?1 AND linked < ?2 AND NOT EXISTS (
        SELECT 1 FROM registry_references r WHERE r.repository = ?1 AND r.kind = 'blob' AND r.target = b.digest)
        ORDER BY digest";
    let mut statement = db.prepare_cached(query)?;
    let loose: Vec<String> =
        statement.query_map(params![repository, oldest], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let unlink = "DELETE FROM registry_blobs WHERE repository = ?1 AND digest = ?2";
    for digest in &loose {
        db.prepare_cached(unlink)?.execute([repository, digest])?;
    }
    Ok((untagged, loose))
}
