//! Builds that were run, each with a document about its steps. What the document says is its owner's business.
//!
//! Bounded: of each Dockerfile in each context the newest [`KEPT_OF_ONE`], of all together the newest [`KEPT`].

use std::sync::Arc;

use rusqlite::{OptionalExtension, Row};

use crate::error::Result;
use crate::store::Inner;

/// How many builds of one Dockerfile in one context are remembered.
const KEPT_OF_ONE: i64 = 50;

/// How many builds are remembered.
const KEPT: i64 = 500;

/// The builds of a store.
pub struct Builds<'a> {
    pub(crate) store: &'a Arc<Inner>,
}

/// A build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// Names it in this store.
    pub id: String,
    /// The name of its Dockerfile.
    pub dockerfile: String,
    /// Which context it was of.
    pub context: String,
    /// When it began, in milliseconds since 1970.
    pub started: i64,
    /// What is told of it.
    pub document: String,
}

const COLUMNS: &str = "id, dockerfile, context, started, document";

impl Builds<'_> {
    /// Remembers a build. One of the same id is replaced, the oldest beyond what is kept are forgotten.
    pub fn insert(&self, build: &Build) -> Result<()> {
        self.store.database.write(|db| {
            db.prepare_cached(&format!("INSERT OR REPLACE INTO builds ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5)"))?
                .execute((&build.id, &build.dockerfile, &build.context, build.started, &build.document))?;
            let of_one = "DELETE FROM builds WHERE serial IN (SELECT serial FROM builds
                WHERE dockerfile = ?1 AND context = ?2 ORDER BY serial DESC LIMIT -1 OFFSET ?3)";
            db.prepare_cached(of_one)?.execute((&build.dockerfile, &build.context, KEPT_OF_ONE))?;
            let of_all = "DELETE FROM builds WHERE serial <= (SELECT max(serial) FROM builds) - ?1";
            db.prepare_cached(of_all)?.execute([KEPT]).map(drop)
        })
    }

    /// The builds of a Dockerfile in a context, the newest first.
    pub fn of(&self, dockerfile: &str, context: &str, limit: usize) -> Result<Vec<Build>> {
        let query = format!(
            "SELECT {COLUMNS} FROM builds WHERE dockerfile = ?1 AND context = ?2 ORDER BY serial DESC LIMIT ?3"
        );
        self.list(&query, (dockerfile, context, limit as i64))
    }

    /// The builds of a Dockerfile in other contexts than this, the newest first.
    pub fn elsewhere(&self, dockerfile: &str, context: &str, limit: usize) -> Result<Vec<Build>> {
        let query = format!(
            "SELECT {COLUMNS} FROM builds WHERE dockerfile = ?1 AND context != ?2 ORDER BY serial DESC LIMIT ?3"
        );
        self.list(&query, (dockerfile, context, limit as i64))
    }

    /// All builds, the newest first.
    pub fn newest(&self, limit: usize) -> Result<Vec<Build>> {
        self.list(&format!("SELECT {COLUMNS} FROM builds ORDER BY serial DESC LIMIT ?1"), [limit as i64])
    }

    /// The build of this id.
    pub fn get(&self, id: &str) -> Result<Option<Build>> {
        let query = format!("SELECT {COLUMNS} FROM builds WHERE id = ?1");
        self.store.database.read(|db| db.prepare_cached(&query)?.query_row([id], build).optional())
    }

    fn list(&self, query: &str, parameters: impl rusqlite::Params) -> Result<Vec<Build>> {
        self.store.database.read(|db| db.prepare_cached(query)?.query_map(parameters, build)?.collect())
    }
}

fn build(row: &Row<'_>) -> rusqlite::Result<Build> {
    Ok(Build {
        id: row.get(0)?,
        dockerfile: row.get(1)?,
        context: row.get(2)?,
        started: row.get(3)?,
        document: row.get(4)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::store;

    fn build(number: i64, context: &str) -> Build {
        let (id, dockerfile) = (format!("{context}{number}"), "Dockerfile".to_owned());
        Build { id, dockerfile, context: context.into(), started: number, document: "{}".into() }
    }

    #[test]
    fn the_newest_of_each_context_are_kept() {
        let (_directory, store) = store();
        store.builds().insert(&build(0, "/b")).unwrap();
        for number in 0..60 {
            store.builds().insert(&build(number, "/a")).unwrap();
        }
        let kept = store.builds().of("Dockerfile", "/a", 100).unwrap();
        assert_eq!((kept.len() as i64, kept[0].started, kept.last().unwrap().started), (KEPT_OF_ONE, 59, 10));
        assert_eq!(store.builds().elsewhere("Dockerfile", "/a", 9).unwrap(), [build(0, "/b")]);
        assert_eq!(store.builds().of("Other", "/a", 9).unwrap(), []);
        assert_eq!(store.builds().newest(1).unwrap(), [build(59, "/a")]);
        assert_eq!(store.builds().get("/a59").unwrap(), Some(build(59, "/a")));
        assert_eq!(store.builds().get("/a1").unwrap(), None);
    }

    #[test]
    fn many_contexts_push_out_the_oldest() {
        let (_directory, store) = store();
        for number in 0..KEPT + 5 {
            store.builds().insert(&build(0, &format!("/{number}"))).unwrap();
        }
        let kept = store.builds().newest(2 * KEPT as usize).unwrap();
        assert_eq!((kept.len() as i64, kept.last().unwrap().context.as_str()), (KEPT, "/5"));
    }
}
