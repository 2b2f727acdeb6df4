//! The formats of the store's database: the tables of the oldest that is still opened, and the steps from each to
//! the next. A new database takes the same steps as an old one, so that the two cannot differ.
//!
//! To change the tables, append to the newest step's file (`migrations/<format>.sql`) as long as no kiln with that
//! format was released; otherwise add a file and a step, and raise nothing by hand: [`FORMAT`] follows the list.
//!
//! **A step only adds**: tables, indexes, columns that are nullable or have a default. Processes of an older kiln
//! may be in the middle of their work (a container that runs for days holds its session); their statements must
//! go on working on the migrated tables, and what they leave out must be a value that means "not known".
//!
//! The number in the database is written in the step's transaction and is the truth for this module. That in the
//! file `version` follows it, and keeps older programs away.

use std::path::Path;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::error::{Error, Result};
use crate::fault::{self, Operation};

/// The oldest format that can be brought up to date. It had no number in the database.
pub(crate) const OLDEST: u32 = 2;

/// The tables of [`OLDEST`].
const TABLES: &str = include_str!("migrations/2.sql");

/// What leads from one format to the next, beginning with [`OLDEST`].
const STEPS: &[&str] = &[include_str!("migrations/3.sql"), include_str!("migrations/4.sql")];

/// The format that this program writes.
pub(crate) const FORMAT: u32 = OLDEST + STEPS.len() as u32;

/// Makes the tables, or takes the steps that are missing: all of them or none.
///
/// # Errors
/// [`Error::NewerFormat`] for a database that a later kiln migrated; nothing is changed then.
pub(crate) fn bring_up(connection: &mut Connection, path: &Path) -> Result<()> {
    let wrap = |source| Error::Database { path: path.to_owned(), source };
    match found(connection).map_err(wrap)? {
        Some(FORMAT) => return Ok(()),
        Some(newer) if newer > FORMAT => return Err(newer_format(path, newer)),
        _ => {}
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(wrap)?;
    // Another process may have done it while this one waited for the transaction.
    match found(&transaction).map_err(wrap)? {
        Some(newer) if newer > FORMAT => return Err(newer_format(path, newer)),
        old => take_steps(&transaction, old, FORMAT).map_err(wrap)?,
    }
    fault::run_on_database(Operation::Commit, || transaction.commit()).map_err(wrap)
}

/// Takes the steps from a format (`None`: nothing is there) to another.
fn take_steps(db: &Transaction<'_>, from: Option<u32>, to: u32) -> rusqlite::Result<()> {
    if from.is_none() {
        db.execute_batch(TABLES)?;
    }
    let (from, to) = (from.unwrap_or(OLDEST), to.min(FORMAT));
    for step in STEPS.iter().take((to - OLDEST) as usize).skip((from - OLDEST) as usize) {
        db.execute_batch(step)?;
    }
    db.pragma_update(None, "user_version", to)
}

/// The database's format; `None` if it has no tables.
fn found(db: &Connection) -> rusqlite::Result<Option<u32>> {
    match db.pragma_query_value(None, "user_version", |row| row.get(0))? {
        0 => {
            let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
            Ok((tables > 0).then_some(OLDEST))
        }
        format => Ok(Some(format)),
    }
}

/// Whether anything was ever made in the database.
pub(crate) fn has_tables(db: &Connection) -> rusqlite::Result<bool> {
    found(db).map(|format| format.is_some())
}

fn newer_format(path: &Path, found: u32) -> Error {
    let path = path.parent().unwrap_or(path).to_owned();
    Error::NewerFormat { path, found, known: FORMAT, kiln: None }
}

#[cfg(test)]
#[path = "migrations_tests.rs"]
mod tests;
