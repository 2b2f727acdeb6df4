//! Cache records: which step, given which inputs, made which layers.
use crate::*;

/// The cache records of a store.
pub struct Records<'a> {
    pub(crate) store: &'a Store,
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

impl Records<'_> {
    /// The record under this key whose layers are all there; they are pinned for this session in the same transaction.
    pub fn find(&self, _key: &Key) -> Result<Option<Record>> {
        todo!()
    }
    /// Whether any record has this op: only then a content key is worth computing.
    pub fn has_op(&self, _op: &Key) -> Result<bool> {
        todo!()
    }
    /// The records with this op, newest first. Not pinned.
    pub fn candidates(&self, _op: &Key) -> Result<Vec<Record>> {
        todo!()
    }
    /// The newest records of a lineage, newest first. Not pinned; layers may be gone.
    pub fn lineage(&self, _lineage: &str, _limit: usize) -> Result<Vec<Record>> {
        todo!()
    }
    /// Adds a record under all of `keys`, taking them from older records.
    pub fn insert(&self, _record: &NewRecord, _keys: &[Key]) -> Result<Record> {
        todo!()
    }
    /// Adds a key to a record that was found under another.
    pub fn add_key(&self, _record: i64, _key: &Key) -> Result<()> {
        todo!()
    }
    /// Forgets a record, for instance because its layers proved damaged.
    pub fn remove(&self, _record: i64) -> Result<()> {
        todo!()
    }
}
