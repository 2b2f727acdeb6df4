//! What was used last: sessions take a number when they first use anything, and leave it at all that they use.
//!
//! Seconds would not do: many builds fit into one. Whatever has the smaller number was used longer ago.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;

/// A session's number, and whether it put anything into the store.
#[derive(Debug, Default)]
pub(crate) struct Recency {
    turn: Mutex<Option<i64>>,
    grown: AtomicBool,
}

impl Recency {
    /// This session's number; drawn within the caller's transaction if there is none yet.
    pub(crate) fn turn(&self, db: &Connection) -> rusqlite::Result<i64> {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = *turn {
            return Ok(turn);
        }
        let draw = "UPDATE turns SET value = value + 1 RETURNING value";
        let drawn = db.prepare_cached(draw)?.query_row([], |row| row.get(0))?;
        *turn = Some(drawn);
        Ok(drawn)
    }

    /// Something was put into the store.
    pub(crate) fn grew(&self) {
        self.grown.store(true, Ordering::Relaxed);
    }

    /// Whether something was put into the store since this was last asked.
    pub(crate) fn take_grown(&self) -> bool {
        self.grown.swap(false, Ordering::Relaxed)
    }
}
