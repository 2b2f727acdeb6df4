//! All blobs: rows and files both ways, sizes and digests.

use std::collections::BTreeSet;
use std::io::{self, Read};

use kiln_oci::Digest;
use rayon::prelude::*;

use super::needs::Needs;
use super::report::{Finding, Remedy, Report, Subject};
use super::{Checker, listed};
use crate::blobs::{self, Blobs};
use crate::content::with_block;
use crate::error::{Error, Result};
use crate::leases;
use crate::registry;
use crate::store::Inner;

/// A digest as the database has it, and a size.
pub(super) type BlobRow = (String, u64);

pub(super) fn rows(store: &Inner) -> Result<Vec<BlobRow>> {
    store.database.read(|db| {
        let mut statement = db.prepare_cached("SELECT digest, size FROM blobs ORDER BY digest")?;
        statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64)))?.collect()
    })
}

pub(super) fn check(checker: &Checker<'_>, rows: &[BlobRow], needs: &Needs) -> Result<Report> {
    let each = rows.par_iter().with_max_len(1).map(|row| one(checker, row, needs));
    let mut report = Report::default();
    for each in each.collect::<Result<Vec<_>>>()? {
        report.add(each);
    }
    report.add(strays(checker, rows)?);
    Ok(report)
}

fn one(checker: &Checker<'_>, (text, size): &BlobRow, needs: &Needs) -> Result<Report> {
    let store = checker.store;
    let mut report = Report::default();
    let Ok(digest) = text.parse::<Digest>() else {
        report.findings.push(Finding {
            subject: Subject::Database,
            path: store.root.join("db.sqlite"),
            problem: format!("it has a blob {text:?}, which is no digest"),
            needed_by: Vec::new(),
            remedy: Remedy::Correct,
        });
        return Ok(report);
    };
    report.counted.blobs = 1;
    leases::pin_blob(store, &digest)?;
    let verified = verify(checker, &digest, *size, &mut report);
    store.database.write(|db| {
        let delete = "DELETE FROM leases WHERE session = ?1 AND kind = 'blob' AND target = ?2";
        db.prepare_cached(delete)?.execute([store.session.name(), text])
    })?;
    if let Some(problem) = verified
        && is_held(store, text)?
    {
        let (path, mut needed_by) = (blobs::place(store, &digest), needs.of_blob(&digest));
        needed_by
            .extend(registry::holders(store, &digest)?.into_iter().map(|name| format!("registry repository {name}")));
        let remedy = needs.remedy_of_blob(&digest);
        report.findings.push(Finding { subject: Subject::Blob(digest), path, problem, needed_by, remedy });
    }
    Ok(report)
}

/// Reads it all; what is wrong with it.
fn verify(checker: &Checker<'_>, digest: &Digest, size: u64, report: &mut Report) -> Option<String> {
    let mut reader = match (Blobs { store: checker.store }).open(digest) {
        Ok(reader) => reader,
        Err(Error::MissingBlob(_)) => return Some("it is missing".into()),
        Err(Error::DamagedBlob { found, expected, .. }) => {
            return Some(format!("it has {found} bytes instead of {expected}"));
        }
        Err(error) => return Some(error.to_string()),
    };
    if !reader.is_verified() {
        report.unverified.blobs += 1;
        return None;
    }
    let read = with_block(|block| {
        loop {
            match reader.read(block) {
                Ok(0) => return Ok(()),
                Ok(count) => (checker.advance)(count as u64),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    });
    report.counted.bytes += size;
    match read {
        Ok(()) => None,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Some("its bytes differ".into()),
        Err(error) => Some(format!("it cannot be read: {error}")),
    }
}

/// Whether the row is still there; asked in a transaction that writes, after one that just removes it.
fn is_held(store: &Inner, digest: &str) -> Result<bool> {
    store.database.write(|db| db.prepare_cached("SELECT 1 FROM blobs WHERE digest = ?1")?.exists([digest]))
}

fn strays(checker: &Checker<'_>, rows: &[BlobRow]) -> Result<Report> {
    let store = checker.store;
    let known: BTreeSet<&str> = rows.iter().map(|(digest, _)| digest.as_str()).collect();
    let mut unknown = Vec::new();
    for algorithm in listed(&store.root.join("blobs"))? {
        let name = algorithm.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !algorithm.is_dir() {
            unknown.push((algorithm, name));
            continue;
        }
        for path in listed(&algorithm)? {
            let text = format!("{name}:{}", path.file_name().unwrap_or_default().to_string_lossy());
            if !known.contains(text.as_str()) {
                unknown.push((path, text));
            }
        }
    }
    let mut report = Report::default();
    if unknown.is_empty() {
        return Ok(report);
    }
    let Some(_alone) = checker.nobody_places()? else { return Ok(report) };
    for (path, text) in unknown {
        if is_held(store, &text)? || path.symlink_metadata().is_err() {
            continue;
        }
        let (subject, problem) = match text.parse::<Digest>() {
            Ok(digest) => (Subject::Blob(digest), "the database does not know this blob"),
            Err(_) => (Subject::Leftover(format!("blobs/{text}")), "it does not belong there"),
        };
        let (problem, needed_by, remedy) = (problem.into(), Vec::new(), Remedy::Remove);
        report.findings.push(Finding { subject, path, problem, needed_by, remedy });
    }
    Ok(report)
}
