//! All layers: rows and directories both ways, indexes, what the rows say of them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kiln_oci::Digest;
use rayon::prelude::*;

use super::disk::Disk;
use super::layer::{self, LayerState};
use super::needs::Needs;
use super::report::{Finding, Remedy, Report, Subject};
use super::{Checker, listed};
use crate::content;
use crate::database::digest;
use crate::error::Result;
use crate::index::Index;
use crate::layers::{self, LayerId};
use crate::leases;
use crate::store::Inner;

/// How often, and how long apart, something that just vanishes is looked at again.
const PATIENCE: (u32, Duration) = (20, Duration::from_millis(50));

/// What the database says of a layer.
pub(super) struct LayerRow {
    pub(super) id: LayerId,
    diff_id: Option<String>,
    pulled: bool,
    content_id: Option<Vec<u8>>,
    entries: i64,
    pub(super) bytes: i64,
}

pub(super) fn rows(store: &Inner) -> Result<Vec<LayerRow>> {
    let query = "SELECT id, diff_id, pulled, content_id, entries, bytes FROM layers ORDER BY id";
    store.database.read(|db| {
        let mut statement = db.prepare_cached(query)?;
        let rows = statement.query_map([], |row| {
            Ok(LayerRow {
                id: LayerId::from_row(row.get(0)?),
                diff_id: row.get(1)?,
                pulled: row.get(2)?,
                content_id: row.get(3)?,
                entries: row.get(4)?,
                bytes: row.get(5)?,
            })
        })?;
        rows.collect()
    })
}

/// Checks every layer that has a row, several at once.
pub(super) fn check(checker: &Checker<'_>, rows: &[LayerRow], needs: &Needs) -> Result<Report> {
    let disk = Disk::new(checker.store);
    let reports = rows.par_iter().with_max_len(1).map(|row| one(checker, row, needs, &disk));
    let mut report = Report::default();
    for each in reports.collect::<Result<Vec<_>>>()? {
        report.add(each);
    }
    report.add(strays(checker, rows)?);
    Ok(report)
}

fn one(checker: &Checker<'_>, row: &LayerRow, needs: &Needs, disk: &Disk) -> Result<Report> {
    let store = checker.store;
    // Pinned, so that no prune takes it away meanwhile; not longer than that.
    if !leases::pin_layers(store, &[row.id])? {
        return Ok(Report::default());
    }
    let mut report = examine(checker, row, needs, disk);
    store.database.write(|db| {
        let delete = "DELETE FROM leases WHERE session = ?1 AND kind = 'layer' AND target = ?2";
        db.prepare_cached(delete)?.execute([store.session.name(), &row.id.to_string()])
    })?;
    if let Ok(report) = &mut report
        && !report.findings.is_empty()
        && !has_row(store, row.id)?
    {
        // Whoever made it threw it away.
        report.findings.clear();
    }
    report
}

fn examine(checker: &Checker<'_>, row: &LayerRow, needs: &Needs, disk: &Disk) -> Result<Report> {
    let store = checker.store;
    let directory = layers::directory(store, row.id);
    let mut found = Found { row, directory, needs, report: Report::default() };
    found.report.counted.layers = 1;
    if !found.directory.is_dir() {
        if is_gone_for_good(store, row.id)? {
            found.add(PathBuf::new(), "its directory is missing");
        }
        return Ok(found.report);
    }
    found.names()?;
    if !found.directory.join("fs").is_dir() {
        found.add("fs".into(), "its files are missing");
        return Ok(found.report);
    }
    let index = match layers::read_index(&found.directory.join("index")) {
        Ok(index) => Arc::new(index),
        Err(error) => {
            found.add("index".into(), index_problem(&error));
            return Ok(found.report);
        }
    };
    let layer = layers::handle(store, row.id);
    let state = layer::compare(&layer, &index, disk, checker.advance)?;
    let index = learn(store, &layer, index, &state);
    found.take(state);
    found.row_against(&index);
    Ok(found.report)
}

/// Keeps the digests that were computed on the way. What cannot be written now is computed again another time.
fn learn(store: &Inner, layer: &layers::Layer, index: Arc<Index>, state: &LayerState) -> Arc<Index> {
    if state.learnt.is_empty() || !state.damage.is_empty() {
        return index;
    }
    content::keep_digests(store, layer, &index, &state.learnt).unwrap_or(index)
}

fn index_problem(error: &crate::Error) -> String {
    match error {
        crate::Error::DamagedIndex { what, .. } => format!("its index is damaged: {what}"),
        crate::Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            "its index is missing".to_owned()
        }
        other => other.to_string(),
    }
}

/// What is found about one layer.
struct Found<'a> {
    row: &'a LayerRow,
    directory: PathBuf,
    needs: &'a Needs,
    report: Report,
}

impl Found<'_> {
    fn add(&mut self, path: PathBuf, problem: impl Into<String>) {
        let path = if path.as_os_str().is_empty() { self.directory.clone() } else { self.directory.join(path) };
        self.push(path, problem.into(), self.needs.remedy_of_layer(self.row.id));
    }

    fn push(&mut self, path: PathBuf, problem: String, remedy: Remedy) {
        let needed_by = self.needs.of_layer(self.row.id);
        self.report.findings.push(Finding { subject: Subject::Layer(self.row.id), path, problem, needed_by, remedy });
    }

    /// Besides `fs` and `index` nothing is in a layer's directory.
    fn names(&mut self) -> Result<()> {
        for path in listed(&self.directory)? {
            let name = path.file_name().unwrap_or_default();
            if name != "fs" && name != "index" {
                self.push(path, "it does not belong there".into(), Remedy::Remove);
            }
        }
        Ok(())
    }

    fn take(&mut self, state: LayerState) {
        self.report.counted.entries = state.entries;
        self.report.counted.bytes = state.bytes;
        self.report.unverified.hashed_now = state.untouched;
        self.report.unverified.unknown = state.unknown;
        self.report.unverified.closed = state.closed;
        for (entry, problem) in state.damage {
            self.add(PathBuf::from("fs").join(entry), problem);
        }
        if state.more > 0 {
            self.add("fs".into(), format!("{} further entries are damaged", state.more));
        }
    }

    /// What the row says, against the index. Only what the index proves can be told.
    fn row_against(&mut self, index: &Index) {
        let (row, directory) = (self.row, self.directory.clone());
        let mut wrong = |problem: &str| self.push(directory.clone(), problem.into(), Remedy::Correct);
        if row.entries != index.len() as i64 {
            wrong("the database has another number of entries for it");
        }
        if row.bytes != layers::bytes_of(index) as i64 {
            wrong("the database has another size for it");
        }
        let diff_id = row.diff_id.as_ref().map(|text| text.parse::<Digest>());
        if matches!(diff_id, Some(Err(_))) {
            wrong("the database has a diff id for it that is none");
        }
        let Some(known) = &row.content_id else { return };
        let hashed = index.entries().all(|entry| entry.kind() != crate::Kind::File || entry.digest().is_some());
        let content = match diff_id {
            Some(Ok(diff_id)) if row.pulled => content::of_pulled(&diff_id),
            _ if hashed && !row.pulled => content::of_index(index),
            _ => return,
        };
        if known.as_slice() != content.0 {
            wrong("the database has another content id for it");
        }
    }
}

fn has_row(store: &Inner, id: LayerId) -> Result<bool> {
    // In a transaction that writes: one that just removes the layer is over then.
    store.database.write(|db| db.prepare_cached("SELECT 1 FROM layers WHERE id = ?1")?.exists([id.row()]))
}

/// Whether the directory is gone and the row stays: whoever removes a layer takes the row away soon after.
fn is_gone_for_good(store: &Inner, id: LayerId) -> Result<bool> {
    for _ in 0..PATIENCE.0 {
        if !has_row(store, id)? || layers::directory(store, id).is_dir() {
            return Ok(false);
        }
        std::thread::sleep(PATIENCE.1);
    }
    Ok(true)
}

/// Directories that no row knows.
fn strays(checker: &Checker<'_>, rows: &[LayerRow]) -> Result<Report> {
    let store = checker.store;
    let known: BTreeSet<String> = rows.iter().map(|row| row.id.to_string()).collect();
    let place = store.root.join("layers");
    let mut unknown = Vec::new();
    for path in listed(&place)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !known.contains(&name) {
            unknown.push((path, name));
        }
    }
    let mut report = Report::default();
    if unknown.is_empty() {
        return Ok(report);
    }
    let Some(_alone) = checker.nobody_places()? else { return Ok(report) };
    for (path, name) in unknown {
        let id = name.parse::<LayerId>().ok();
        let is_known = match id {
            Some(id) => id.to_string() == name && has_row(store, id)?,
            None => false,
        };
        if !is_known && path.symlink_metadata().is_ok() {
            let (subject, problem) = match id {
                Some(id) => (Subject::Layer(id), "the database does not know this layer"),
                None => (Subject::Leftover(format!("layers/{name}")), "it does not belong there"),
            };
            let (problem, needed_by, remedy) = (problem.into(), Vec::new(), Remedy::Remove);
            report.findings.push(Finding { subject, path, problem, needed_by, remedy });
        }
    }
    Ok(report)
}

/// The largest number that was given to a layer, as the database has it, is no smaller than any that is in use.
pub(super) fn counter(store: &Inner, rows: &[LayerRow]) -> Result<Option<Finding>> {
    let value: i64 = store.database.read(|db| db.query_row("SELECT max(value) FROM counter", [], |row| row.get(0)))?;
    let largest = rows.iter().map(|row| row.id.row()).max().unwrap_or(0);
    Ok((value < largest).then(|| Finding {
        subject: Subject::Database,
        path: store.root.join("db.sqlite"),
        problem: format!("the number of the next layer would be {}, and layer {largest} exists", value + 1),
        needed_by: Vec::new(),
        remedy: Remedy::Correct,
    }))
}

/// The blobs that layers were packed into, as their records say: layer and blob.
pub(crate) fn packed(store: &Inner) -> Result<Vec<(LayerId, Digest)>> {
    let query = "SELECT layer, digest FROM record_layers JOIN records ON record = id
        JOIN blobs ON digest = json_extract(effects, '$.descriptor.digest')
        WHERE lineage = 'packed layer' AND json_valid(effects)";
    store.database.read(|db| {
        let mut statement = db.prepare_cached(query)?;
        let rows = statement.query_map([], |row| Ok((LayerId::from_row(row.get(0)?), digest(row, 1)?)))?;
        rows.collect()
    })
}
