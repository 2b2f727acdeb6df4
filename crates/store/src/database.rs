//! The metadata database: its schema and its connection. Knows SQL, not what the rows mean.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::error::{Error, Result};

/// How long a writer waits for writers of other processes.
const BUSY: Duration = Duration::from_secs(60);

/// Tables and indexes. `epoch` and `synced` are explained in `durability.rs`; times are seconds since 1970.
const SCHEMA: &str = "
CREATE TABLE counter (value INTEGER NOT NULL) STRICT;
INSERT INTO counter VALUES (0);
CREATE TABLE layers (
    id INTEGER PRIMARY KEY, diff_id TEXT, pulled INTEGER NOT NULL DEFAULT 0, content_id BLOB,
    entries INTEGER NOT NULL, bytes INTEGER NOT NULL, created INTEGER NOT NULL, used INTEGER NOT NULL,
    epoch TEXT NOT NULL, synced INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX layers_by_diff_id ON layers (diff_id) WHERE diff_id IS NOT NULL;
CREATE INDEX layers_by_content_id ON layers (content_id) WHERE content_id IS NOT NULL;
CREATE INDEX layers_unsynced ON layers (id) WHERE synced = 0;
CREATE TABLE blobs (
    digest TEXT PRIMARY KEY, size INTEGER NOT NULL, created INTEGER NOT NULL,
    epoch TEXT NOT NULL, synced INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX blobs_unsynced ON blobs (digest) WHERE synced = 0;
CREATE TABLE records (
    id INTEGER PRIMARY KEY, op BLOB NOT NULL, lineage TEXT NOT NULL, inputs TEXT NOT NULL, effects TEXT NOT NULL,
    created INTEGER NOT NULL, used INTEGER NOT NULL
) STRICT;
CREATE INDEX records_by_op ON records (op);
CREATE INDEX records_by_lineage ON records (lineage, id);
CREATE TABLE record_keys (
    key BLOB PRIMARY KEY, record INTEGER NOT NULL REFERENCES records ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX record_keys_by_record ON record_keys (record);
CREATE TABLE record_layers (
    record INTEGER NOT NULL REFERENCES records ON DELETE CASCADE, position INTEGER NOT NULL,
    layer INTEGER NOT NULL, PRIMARY KEY (record, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX record_layers_by_layer ON record_layers (layer);
CREATE TABLE images (
    id TEXT PRIMARY KEY, platform TEXT NOT NULL, manifest TEXT, layers TEXT NOT NULL, created INTEGER NOT NULL,
    serial INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE image_names (
    name TEXT NOT NULL, position INTEGER NOT NULL, image TEXT NOT NULL REFERENCES images ON DELETE CASCADE,
    PRIMARY KEY (name, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX image_names_by_image ON image_names (image);
CREATE TABLE resolutions (name TEXT PRIMARY KEY, digest TEXT NOT NULL, resolved INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE containers (
    serial INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL UNIQUE, image TEXT,
    layers TEXT NOT NULL, created INTEGER NOT NULL, value TEXT NOT NULL
) STRICT;
CREATE TABLE leases (
    session TEXT NOT NULL, kind TEXT NOT NULL, target TEXT NOT NULL, PRIMARY KEY (session, kind, target)
) STRICT, WITHOUT ROWID;
CREATE INDEX leases_by_target ON leases (kind, target);
";

/// The connection of this process; one statement at a time.
#[derive(Debug)]
pub(crate) struct Database {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl Database {
    /// Opens the database, creating its tables if it is empty. The caller keeps others from doing so meanwhile.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let wrap = |source| Error::Database { path: path.to_owned(), source };
        let connection = connect(path).map_err(wrap)?;
        Ok(Self { path: path.to_owned(), connection: Mutex::new(connection) })
    }

    /// Reads.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        work(&connection).map_err(|source| self.error(source))
    }

    /// Writes, all or nothing.
    pub(crate) fn write<T>(&self, work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|source| self.error(source))?;
        let value = work(&transaction).map_err(|source| self.error(source))?;
        transaction.commit().map_err(|source| self.error(source))?;
        Ok(value)
    }

    fn error(&self, source: rusqlite::Error) -> Error {
        Error::Database { path: self.path.clone(), source }
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.set_prepared_statement_cache_capacity(64);
    if table_count(&connection)? == 0 {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if table_count(&transaction)? == 0 {
            transaction.execute_batch(SCHEMA)?;
        }
        transaction.commit()?;
    }
    Ok(connection)
}

fn table_count(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
}

/// The wall clock in seconds.
pub(crate) fn now() -> i64 {
    crate::metadata::Timestamp::now().seconds
}

/// A digest in a text column.
pub(crate) fn digest(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<kiln_oci::Digest> {
    parsed(row.get::<_, String>(column)?.parse(), column)
}

/// A value that a column holds as JSON.
pub(crate) fn json<T: serde::de::DeserializeOwned>(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<T> {
    parsed(serde_json::from_str(&row.get::<_, String>(column)?), column)
}

/// A value as JSON for a column.
pub(crate) fn to_json(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

fn parsed<T, E: std::error::Error + Send + Sync + 'static>(
    value: std::result::Result<T, E>,
    column: usize,
) -> rusqlite::Result<T> {
    value.map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error.into()))
}
