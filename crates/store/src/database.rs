//! The metadata database: its connection. Knows SQL, not what the rows mean; the tables are in `migrations.rs`.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::error::{Error, Result};
use crate::fault::{self, Operation};
use crate::migrations;

/// How long a writer waits for writers of other processes.
const BUSY: Duration = Duration::from_secs(60);

/// The connection of this process; one statement at a time.
#[derive(Debug)]
pub(crate) struct Database {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl Database {
    /// Opens the database; an empty one gets its tables, one of an older format is migrated.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let mut connection = connect(path).map_err(|source| Error::Database { path: path.to_owned(), source })?;
        migrations::bring_up(&mut connection, path)?;
        Ok(Self { path: path.to_owned(), connection: Mutex::new(connection) })
    }

    /// The same for a store that exists: unless `is_new` says that nothing is in it, the database must have tables.
    ///
    /// # Errors
    /// [`Error::LostDatabase`] if it is missing or empty: a new one would know nothing of what the store holds, and
    /// what nobody knows is swept.
    pub(crate) fn open_existing(path: &Path, is_new: impl Fn() -> bool) -> Result<Self> {
        let wrap = |source| Error::Database { path: path.to_owned(), source };
        let lost = || Error::LostDatabase { path: path.to_owned() };
        if !path.exists() && !is_new() {
            return Err(lost());
        }
        let mut connection = connect(path).map_err(wrap)?;
        if !migrations::has_tables(&connection).map_err(wrap)? && !is_new() {
            return Err(lost());
        }
        migrations::bring_up(&mut connection, path)?;
        Ok(Self { path: path.to_owned(), connection: Mutex::new(connection) })
    }

    /// Reads.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        work(&connection).map_err(|source| self.error(source))
    }

    /// Brings what was written lately from the log into the database and empties the log, unless others are reading.
    pub(crate) fn empty_log(&self) -> Result<()> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        connection.busy_timeout(Duration::ZERO).map_err(|source| self.error(source))?;
        // That others are in the way is an answer, not an error.
        let emptied = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        connection.busy_timeout(BUSY).and(emptied).map_err(|source| self.error(source))
    }

    /// Writes, all or nothing.
    pub(crate) fn write<T>(&self, work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = fault::run_on_database(Operation::Begin, || {
            connection.transaction_with_behavior(TransactionBehavior::Immediate)
        })
        .map_err(|source| self.error(source))?;
        let value = work(&transaction).map_err(|source| self.error(source))?;
        fault::run_on_database(Operation::Commit, || transaction.commit()).map_err(|source| self.error(source))?;
        Ok(value)
    }

    fn error(&self, source: rusqlite::Error) -> Error {
        Error::Database { path: self.path.clone(), source }
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.set_prepared_statement_cache_capacity(64);
    allocate_log_index(&connection, path)?;
    Ok(connection)
}

/// Gives the index of the log all its blocks now. It is mapped memory with holes in it: a hole that is written to when the
/// disk is full would end the process by a signal.
fn allocate_log_index(connection: &Connection, path: &Path) -> rusqlite::Result<()> {
    // Reading anything makes it.
    connection.pragma_query_value(None, "user_version", |_| Ok(()))?;
    let mut index = path.as_os_str().to_owned();
    index.push("-shm");
    let full = || rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL), None);
    let Ok(file) = std::fs::File::options().write(true).open(&index) else { return Ok(()) };
    let size = file.metadata().map_or(0, |found| found.len());
    // Never closed: that would let go of the locks that SQLite holds on the same file.
    let file = std::mem::ManuallyDrop::new(file);
    let allocate = || rustix::fs::fallocate(&*file, rustix::fs::FallocateFlags::KEEP_SIZE, 0, size.max(1));
    match fault::run(Operation::Write, allocate) {
        Err(rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT) => Err(full()),
        // Where blocks cannot be had in advance it is as it was.
        _ => Ok(()),
    }
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
