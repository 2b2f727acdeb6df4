//! Cache records: which step, given which inputs, made which layers.
//!
//! A record is found by any of its keys, and only while all its layers are there. What its op, lineage, inputs and
//! effects mean is its owner's business.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row};

use crate::database::{json, now, to_json};
use crate::error::Result;
use crate::evictions::{self, EvictionCause};
use crate::layers::{self, LayerId};
use crate::leases;
use crate::metadata::Timestamp;
use crate::store::Inner;

/// The cache records of a store.
pub struct Records<'a> {
    pub(crate) store: &'a Arc<Inner>,
}

/// A cache key or op digest: 32 bytes of a hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Key(pub [u8; 32]);

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(blake3::Hash::from_bytes(self.0).to_hex().as_str())
    }
}
impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({self})")
    }
}

/// One input of a step, for `--explain`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Input {
    /// What it is: "base", "argument VERSION", "file src/main.c".
    pub name: String,
    /// Its value or digest, as it may be shown.
    pub value: String,
}

/// A record to be.
#[derive(Debug, Clone)]
pub struct NewRecord {
    /// The operation without its inputs.
    pub op: Key,
    /// Groups the records of one step over time (Dockerfile, stage, kind of op).
    pub lineage: String,
    /// What the step added, bottom first.
    pub layers: Vec<LayerId>,
    /// The inputs that the keys were made of.
    pub inputs: Vec<Input>,
    /// Anything else the step yielded, as its owner spells it.
    pub effects: String,
}

/// A completed step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Number in this store.
    pub id: i64,
    /// The operation without its inputs.
    pub op: Key,
    /// Groups the records of one step over time.
    pub lineage: String,
    /// What the step added, bottom first; held and pinned for this session.
    pub layers: Vec<LayerId>,
    /// The inputs that the keys were made of.
    pub inputs: Vec<Input>,
    /// Anything else.
    pub effects: String,
    /// When it was made.
    pub created: Timestamp,
}

const COLUMNS: &str = "id, op, lineage, inputs, effects, created";

impl Records<'_> {
    /// The record under this key whose layers are all there; they are pinned for this session in the same
    /// transaction.
    pub fn find(&self, key: &Key) -> Result<Option<Record>> {
        let query = format!("SELECT {COLUMNS} FROM records JOIN record_keys ON record = id WHERE key = ?1");
        let lookup = |db: &Connection| {
            let row = db.prepare_cached(&query)?.query_row([key.0], record).optional()?;
            row.map(|found| with_layers(db, found)).transpose()
        };
        // A miss, which is what a cold build mostly sees, needs no write transaction.
        if self.store.database.read(lookup)?.is_none() {
            return Ok(None);
        }
        let found = self.store.database.write(|db| {
            let Some(found) = lookup(db)? else { return Ok(None) };
            if !leases::pin_rows(db, self.store, &found.layers)? {
                return Ok(None);
            }
            touch(db, &found, self.store.recency.turn(db)?)?;
            Ok(Some(found))
        })?;
        let there = |id: &LayerId| layers::directory(self.store, *id).join("index").is_file();
        Ok(found.filter(|found| found.layers.iter().all(there)))
    }

    /// The record under this key, whether or not its layers are there. Nothing is pinned, nothing counts as used.
    pub fn known(&self, key: &Key) -> Result<Option<Record>> {
        let query = format!("SELECT {COLUMNS} FROM records JOIN record_keys ON record = id WHERE key = ?1");
        Ok(self.list(&query, [key.0])?.pop())
    }

    /// Whether any record has this op: only then a content key is worth computing.
    pub fn has_op(&self, op: &Key) -> Result<bool> {
        let query = "SELECT 1 FROM records WHERE op = ?1";
        self.store.database.read(|db| db.prepare_cached(query)?.exists([op.0]))
    }

    /// The records with this op, newest first. Not pinned; layers may be gone.
    pub fn candidates(&self, op: &Key) -> Result<Vec<Record>> {
        self.list(&format!("SELECT {COLUMNS} FROM records WHERE op = ?1 ORDER BY id DESC"), [op.0])
    }

    /// The newest records of a lineage, newest first. Not pinned; layers may be gone.
    pub fn lineage(&self, lineage: &str, limit: usize) -> Result<Vec<Record>> {
        let query = format!("SELECT {COLUMNS} FROM records WHERE lineage = ?1 ORDER BY id DESC LIMIT ?2");
        self.list(&query, (lineage, limit as i64))
    }

    /// Adds a record under all of `keys`, taking them from older records. An older record that is left without a
    /// key stays for `lineage` until it is pruned.
    pub fn insert(&self, new: &NewRecord, keys: &[Key]) -> Result<Record> {
        let time = now();
        self.store.database.write(|db| {
            db.prepare_cached(
                "INSERT INTO records (op, lineage, inputs, effects, created, used, turn) VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6)",
            )?
            .execute((new.op.0, &new.lineage, to_json(&new.inputs)?, &new.effects, time, self.store.recency.turn(db)?))?;
            let id = db.last_insert_rowid();
            for (position, layer) in new.layers.iter().enumerate() {
                db.prepare_cached("INSERT INTO record_layers (record, position, layer) VALUES (?1, ?2, ?3)")?
                    .execute((id, position as i64, layer.row()))?;
            }
            for key in keys {
                insert_key(db, id, key)?;
            }
            Ok(Record {
                id,
                op: new.op,
                lineage: new.lineage.clone(),
                layers: new.layers.clone(),
                inputs: new.inputs.clone(),
                effects: new.effects.clone(),
                created: Timestamp::from_seconds(time),
            })
        })
    }

    /// Adds a key to a record that was found under another.
    pub fn add_key(&self, record: i64, key: &Key) -> Result<()> {
        self.store.database.write(|db| {
            // The record may have been pruned meanwhile; then there is nothing to find.
            if db.prepare_cached("SELECT 1 FROM records WHERE id = ?1")?.exists([record])? {
                insert_key(db, record, key)?;
            }
            Ok(())
        })
    }

    /// Forgets a record, for instance because its layers proved damaged.
    pub fn remove(&self, record: i64) -> Result<()> {
        self.store.database.write(|db| evictions::evict(db, &[record], EvictionCause::Damaged)).map(drop)
    }

    fn list(&self, query: &str, parameters: impl rusqlite::Params) -> Result<Vec<Record>> {
        self.store.database.read(|db| {
            let mut statement = db.prepare_cached(query)?;
            let found: Vec<Record> = statement.query_map(parameters, record)?.collect::<Result<_, _>>()?;
            found.into_iter().map(|record| with_layers(db, record)).collect()
        })
    }
}

fn insert_key(db: &Connection, record: i64, key: &Key) -> rusqlite::Result<()> {
    evictions::revive(db, key)?;
    let insert = "INSERT OR REPLACE INTO record_keys (key, record) VALUES (?1, ?2)";
    db.prepare_cached(insert)?.execute((key.0, record)).map(drop)
}

/// Marks a record and its layers as just used.
fn touch(db: &Connection, record: &Record, turn: i64) -> rusqlite::Result<()> {
    let time = now();
    db.prepare_cached("UPDATE records SET used = ?2, turn = ?3, uses = uses + 1 WHERE id = ?1")?
        .execute((record.id, time, turn))?;
    let mut layer = db.prepare_cached("UPDATE layers SET used = ?2 WHERE id = ?1 AND used != ?2")?;
    for id in &record.layers {
        layer.execute((id.row(), time))?;
    }
    Ok(())
}

fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    Ok(Record {
        id: row.get(0)?,
        op: Key(row.get(1)?),
        lineage: row.get(2)?,
        layers: Vec::new(),
        inputs: json(row, 3)?,
        effects: row.get(4)?,
        created: Timestamp::from_seconds(row.get(5)?),
    })
}

fn with_layers(db: &Connection, mut record: Record) -> rusqlite::Result<Record> {
    let query = "SELECT layer FROM record_layers WHERE record = ?1 ORDER BY position";
    record.layers = db
        .prepare_cached(query)?
        .query_map([record.id], |row| row.get(0).map(LayerId::from_row))?
        .collect::<Result<_, _>>()?;
    Ok(record)
}
