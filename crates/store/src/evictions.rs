//! What is left of cache records that were deleted: their keys and inputs, when they went, and why.
//!
//! Whatever deletes a record calls [`evict`] in the same transaction, so that a later miss can be told from a step
//! that never ran. The newest [`KEPT`] are kept. What inputs and effects mean is their owner's business.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row};
use serde::{Deserialize, Serialize};

use crate::database::{json, now, to_json};
use crate::error::Result;
use crate::metadata::Timestamp;
use crate::records::{Input, Key};
use crate::store::Inner;

/// How many deleted records are remembered.
const KEPT: i64 = 4096;

/// Why a record was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvictionCause {
    /// The cache was larger than its quota.
    Quota,
    /// Nobody had used it for as long as the policy keeps things.
    KeepNewerThan,
    /// The disk had less free space than the policy demands.
    FreeSpace,
    /// Somebody asked for it: `builder prune`, `system prune`.
    Prune,
    /// What it named proved damaged or missing.
    Damaged,
}

/// A record that was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evicted {
    /// The operation without its inputs.
    pub op: Key,
    /// Groups the records of one step over time.
    pub lineage: String,
    /// The inputs that the keys were made of.
    pub inputs: Vec<Input>,
    /// Anything else that the record said.
    pub effects: String,
    /// When it was deleted.
    pub at: Timestamp,
    /// Why.
    pub why: EvictionCause,
}

/// The deleted records of a store.
pub struct Evictions<'a> {
    pub(crate) store: &'a Arc<Inner>,
}

const COLUMNS: &str = "op, lineage, inputs, effects, evicted, why";

impl Evictions<'_> {
    /// The record that would have been found under this key, had it not been deleted.
    pub fn find(&self, key: &Key) -> Result<Option<Evicted>> {
        let query = format!("SELECT {COLUMNS} FROM evictions JOIN eviction_keys ON eviction = id WHERE key = ?1");
        self.store.database.read(|db| db.prepare_cached(&query)?.query_row([key.0], evicted).optional())
    }

    /// The deleted records with this op, the one deleted last first.
    pub fn with_op(&self, op: &Key) -> Result<Vec<Evicted>> {
        let query = format!("SELECT {COLUMNS} FROM evictions WHERE op = ?1 ORDER BY id DESC");
        self.store.database.read(|db| db.prepare_cached(&query)?.query_map([op.0], evicted)?.collect())
    }
}

/// Deletes records and remembers why; those that are not there any more are skipped. Tells how many went. Call it in
/// the transaction in which whatever else goes with the records is deleted.
pub(crate) fn evict(db: &Connection, records: &[i64], why: EvictionCause) -> rusqlite::Result<usize> {
    let mut gone = 0;
    for record in records {
        bury(db, *record, why)?;
        gone += db.prepare_cached("DELETE FROM records WHERE id = ?1")?.execute([record])?;
    }
    db.prepare_cached("DELETE FROM evictions WHERE id <= (SELECT max(id) FROM evictions) - ?1")?.execute([KEPT])?;
    Ok(gone)
}

/// Copies what is remembered of a record. One that names no inputs is of no step: nobody asks why it is gone.
fn bury(db: &Connection, record: i64, why: EvictionCause) -> rusqlite::Result<()> {
    let copied = db
        .prepare_cached(
            "INSERT INTO evictions (op, lineage, inputs, effects, evicted, why)
             SELECT op, lineage, inputs, effects, ?2, ?3 FROM records
             WHERE id = ?1 AND inputs != '[]' AND EXISTS (SELECT 1 FROM record_keys WHERE record = ?1)",
        )?
        .execute((record, now(), to_json(&why)?))?;
    if copied > 0 {
        let keys =
            "INSERT OR REPLACE INTO eviction_keys (key, eviction) SELECT key, ?2 FROM record_keys WHERE record = ?1";
        db.prepare_cached(keys)?.execute((record, db.last_insert_rowid()))?;
    }
    Ok(())
}

/// A key is found again.
pub(crate) fn revive(db: &Connection, key: &Key) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM eviction_keys WHERE key = ?1")?.execute([key.0]).map(drop)
}

fn evicted(row: &Row<'_>) -> rusqlite::Result<Evicted> {
    Ok(Evicted {
        op: Key(row.get(0)?),
        lineage: row.get(1)?,
        inputs: json(row, 2)?,
        effects: row.get(3)?,
        at: Timestamp::from_seconds(row.get(4)?),
        why: json(row, 5)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NewRecord;
    use crate::testing::store;

    fn record(store: &crate::Store, number: u8) -> i64 {
        let inputs = vec![Input { name: "instruction".into(), value: format!("RUN {number}") }];
        let new =
            NewRecord { op: Key([number; 32]), lineage: "a".into(), layers: vec![], inputs, effects: String::new() };
        store.records().insert(&new, &[Key([number; 32]), Key([100 + number; 32])]).unwrap().id
    }

    fn gone(store: &crate::Store, records: &[i64], why: EvictionCause) -> usize {
        store.inner.database.write(|db| evict(db, records, why)).unwrap()
    }

    #[test]
    fn a_deleted_record_is_remembered_under_all_its_keys() {
        let (_directory, store) = store();
        let id = record(&store, 1);
        assert_eq!(gone(&store, &[id, 999], EvictionCause::Quota), 1);
        assert_eq!(store.records().find(&Key([1; 32])).unwrap(), None);
        for key in [1, 101] {
            let found = store.evictions().find(&Key([key; 32])).unwrap().unwrap();
            assert_eq!((found.why, found.inputs[0].value.as_str()), (EvictionCause::Quota, "RUN 1"));
        }
        assert_eq!(store.evictions().with_op(&Key([1; 32])).unwrap().len(), 1);
        assert_eq!(store.evictions().find(&Key([2; 32])).unwrap(), None);
    }

    #[test]
    fn a_key_that_is_found_again_is_no_eviction_any_more() {
        let (_directory, store) = store();
        let id = record(&store, 1);
        gone(&store, &[id], EvictionCause::Prune);
        record(&store, 1);
        assert_eq!(store.evictions().find(&Key([1; 32])).unwrap(), None);
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let (_directory, store) = store();
        let first = record(&store, 1);
        gone(&store, &[first], EvictionCause::KeepNewerThan);
        store
            .inner
            .database
            .write(|db| {
                db.execute(
                    "INSERT INTO evictions SELECT id + ?1, op, lineage, inputs, effects, evicted, why FROM evictions",
                    [KEPT],
                )
            })
            .unwrap();
        let second = record(&store, 2);
        gone(&store, &[second], EvictionCause::Damaged);
        assert_eq!(store.evictions().find(&Key([1; 32])).unwrap(), None);
        assert_eq!(store.evictions().find(&Key([2; 32])).unwrap().unwrap().why, EvictionCause::Damaged);
    }
}
