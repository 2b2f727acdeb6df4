//! The database itself, and rows that are about nothing on disk but other rows: images, names, records, leases.

use std::sync::Arc;

use kiln_oci::{Digest, ImageConfig, Manifest};

use super::needs::{Needs, shown};
use super::report::{Finding, Remedy, Report, Subject};
use crate::blobs::Blobs;
use crate::error::Result;
use crate::images::{Image, Images};
use crate::layers::{self, Layers};
use crate::origins::Origins;
use crate::session;
use crate::store::Inner;

/// Larger documents are not read, in bytes.
const DOCUMENT_LIMIT: u64 = 8 << 20;

/// How many problems SQLite names.
const PROBLEMS: usize = 20;

/// What SQLite says of the file, and of references between rows.
pub(super) fn integrity(store: &Inner) -> Result<Report> {
    let problems: Vec<String> = store.database.read(|db| {
        let mut problems = Vec::new();
        let mut statement = db.prepare(&format!("PRAGMA integrity_check({PROBLEMS})"))?;
        let lines: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        problems.extend(lines.into_iter().filter(|line| line != "ok"));
        let mut statement = db.prepare("PRAGMA foreign_key_check")?;
        let row = |row: &rusqlite::Row<'_>| {
            let (table, parent): (String, String) = (row.get(0)?, row.get(2)?);
            Ok(format!("a row of {table} refers to a row of {parent} that does not exist"))
        };
        problems.extend(statement.query_map([], row)?.take(PROBLEMS).collect::<Result<Vec<_>, _>>()?);
        Ok(problems)
    })?;
    let finding = |problem| Finding {
        subject: Subject::Database,
        path: store.root.join("db.sqlite"),
        problem,
        needed_by: Vec::new(),
        remedy: Remedy::Rebuild,
    };
    Ok(Report { findings: problems.into_iter().map(finding).collect(), ..Report::default() })
}

pub(super) fn check(store: &Arc<Inner>, needs: &Needs) -> Result<Report> {
    let mut report = Report::default();
    for id in &needs.unreadable_images {
        report.findings.push(in_database(store, Subject::Name(id.clone()), "the database's row of it is malformed"));
    }
    for listed in &needs.images {
        report.counted.images += 1;
        // It may have been removed since.
        if let Some(image) = (Images { store }).get(&listed.id)? {
            let found = self::image(store, &image)?;
            if !found.is_empty() && still_there(store, &image.id)? {
                report.findings.extend(found);
            }
        }
    }
    records(store, &mut report)?;
    resolutions(store, &mut report)?;
    leases(store, &mut report)?;
    Ok(report)
}

/// Asked in a transaction that writes, after one that just removes the image; its blobs go after it.
fn still_there(store: &Inner, image: &Digest) -> Result<bool> {
    store.database.write(|db| db.prepare_cached("SELECT 1 FROM images WHERE id = ?1")?.exists([image.to_string()]))
}

fn in_database(store: &Inner, subject: Subject, problem: impl Into<String>) -> Finding {
    let path = store.root.join("db.sqlite");
    Finding { subject, path, problem: problem.into(), needed_by: Vec::new(), remedy: Remedy::Correct }
}

/// What is wrong with an image, apart from damage to its blobs and layers themselves.
fn image(store: &Arc<Inner>, image: &Image) -> Result<Vec<Finding>> {
    let mut problems = Vec::new();
    let blobs = Blobs { store };
    let mut is_lost = false;
    match blobs.size(&image.id)? {
        None if crate::blobs::row(store, &image.id)?.is_none() => {
            problems.push("its config is not in the store".to_owned());
            is_lost = true;
        }
        None => {}
        Some(_) => problems.extend(blobs.read(&image.id, DOCUMENT_LIMIT).ok().and_then(|raw| config(image, &raw))),
    }
    if let Some(manifest) = &image.manifest {
        match crate::blobs::row(store, manifest)? {
            None => problems.push("its manifest is not in the store".to_owned()),
            Some(_) => {
                problems.extend(blobs.read(manifest, DOCUMENT_LIMIT).ok().and_then(|raw| self::manifest(image, &raw)))
            }
        }
    }
    for layer in &image.layers {
        // The row only: of a layer whose directory is gone the layer's own finding tells.
        let by_id = layer.layer.map(|id| layers::has_row(store, id)).transpose()?.unwrap_or(false);
        let held = by_id || (Layers { store }).by_diff_id(&layer.diff_id)?.is_some();
        let blob = layer.blob.as_ref().map(|blob| crate::blobs::row(store, &blob.digest)).transpose()?.flatten();
        let has_origin = |blob: &kiln_oci::Descriptor| (Origins { store }).of(&blob.digest).map(|of| !of.is_empty());
        let has_origin = layer.blob.as_ref().map(has_origin).transpose()?.unwrap_or(false);
        let elsewhere = has_origin || (image.manifest.is_some() && layer.blob.is_some());
        if !held && blob.is_none() && !elsewhere {
            problems.push(format!("its layer {} is not in the store", layer.diff_id));
            is_lost = true;
        }
    }
    let pulled = image.manifest.is_some() && image.is_named();
    let remedy = || match is_lost {
        true if pulled => Remedy::Pull(shown(image)),
        true => Remedy::DropImages(vec![shown(image)]),
        false => Remedy::Correct,
    };
    let finding = |problem| Finding {
        subject: Subject::Image(image.id.clone()),
        path: crate::blobs::place(store, &image.id),
        problem,
        needed_by: image.names.iter().map(|name| format!("name {name}")).collect(),
        remedy: remedy(),
    };
    Ok(problems.into_iter().map(finding).collect())
}

fn config(image: &Image, raw: &[u8]) -> Option<String> {
    let Ok(config) = ImageConfig::parse(raw) else { return Some("its config is no image config".to_owned()) };
    let diff_ids: Vec<&Digest> = image.layers.iter().map(|layer| &layer.diff_id).collect();
    let same = config.rootfs.diff_ids.iter().eq(diff_ids);
    (!same).then(|| "the database has other layers for it than its config".to_owned())
}

fn manifest(image: &Image, raw: &[u8]) -> Option<String> {
    let Ok(manifest) = serde_json::from_slice::<Manifest>(raw) else {
        return Some("its manifest is no image manifest".to_owned());
    };
    let same = manifest.config.digest == image.id && manifest.layers.len() == image.layers.len();
    (!same).then(|| "its manifest is of another image".to_owned())
}

/// Rows of records that cannot be read. A record whose layer is gone is a miss, not an error.
fn records(store: &Inner, report: &mut Report) -> Result<()> {
    let bad: Vec<i64> = store.database.read(|db| {
        let query = "SELECT id FROM records WHERE length(op) != 32 OR NOT json_valid(inputs)
            UNION SELECT record FROM record_keys WHERE length(key) != 32";
        db.prepare(query)?.query_map([], |row| row.get(0))?.collect()
    })?;
    report.counted.records +=
        store.database.read(|db| db.query_row("SELECT count(*) FROM records", [], |row| row.get::<_, i64>(0)))? as u64;
    report.findings.extend(bad.into_iter().map(|id| in_database(store, Subject::Record(id), "it is malformed")));
    Ok(())
}

fn resolutions(store: &Inner, report: &mut Report) -> Result<()> {
    let all: Vec<(String, String)> = store.database.read(|db| {
        let mut statement = db.prepare("SELECT name, digest FROM resolutions")?;
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    })?;
    for (name, digest) in all {
        if digest.parse::<Digest>().is_err() {
            let problem = format!("it was resolved to {digest:?}, which is no digest");
            report.findings.push(in_database(store, Subject::Name(name), problem));
        }
    }
    Ok(())
}

/// Leases of sessions that are gone count for nothing; opening the store takes them away.
fn leases(store: &Inner, report: &mut Report) -> Result<()> {
    let sessions: Vec<String> = store
        .database
        .read(|db| db.prepare("SELECT DISTINCT session FROM leases")?.query_map([], |row| row.get(0))?.collect())?;
    for name in sessions {
        if name != store.session.name() && !session::is_alive(&name, &store.locks)? && still_leases(store, &name)? {
            report.findings.push(in_database(store, Subject::Lease(name), "its session is gone"));
        }
    }
    Ok(())
}

fn still_leases(store: &Inner, session: &str) -> Result<bool> {
    store.database.write(|db| db.prepare_cached("SELECT 1 FROM leases WHERE session = ?1")?.exists([session]))
}
