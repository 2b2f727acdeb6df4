//! A new database in the place of one that cannot be read, made of what is left of it and of what is on disk.
//!
//! The old one is kept in `damaged/`. Of it every row is taken that can be read; then layers and blobs that are on
//! disk and whole get the rows that they lack, and rows lose what is gone. What the rows mean beyond that, such as
//! which image a config describes, is for those who know it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_oci::{Digest, Hasher};
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, params_from_iter};

use crate::check::set_aside;
use crate::database::{Database, now};
use crate::error::{At, Error, Result};
use crate::layers::{self, LayerId};
use crate::locks::{LockKey, Locks, Sharing};
use crate::session;
use crate::store::{Inner, create_directory};
use crate::{Mode, Store, version};

/// The database and what belongs to it.
const FILES: [&str; 3] = ["db.sqlite", "db.sqlite-wal", "db.sqlite-shm"];

/// The part of the file that says what it is.
const HEADER: usize = 100;

/// Bytes of a page, as SQLite makes them.
const PAGE: usize = 4096;

/// Where in the header its number of pages is.
const PAGES: std::ops::Range<usize> = 28..32;

/// The tables of cache records: useless in part.
const RECORDS: [&str; 3] = ["record_keys", "record_layers", "records"];

/// What was made of a store whose database could not be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rescued {
    /// Where the old database is now.
    pub set_aside: Vec<PathBuf>,
    /// Rows that could be read, by table.
    pub rows: Vec<(String, u64)>,
    /// Layers found on disk that no row knew.
    pub layers: u64,
    /// Blobs found on disk that no row knew.
    pub blobs: u64,
}

/// Makes the database anew. Nobody else may be at work in the store.
///
/// # Errors
/// [`Error::StoreInUse`] if somebody is; a store of another mode or of a later kiln; what the disk refuses.
pub(crate) fn rescue(root: &Path, mode: Mode) -> Result<Rescued> {
    create_directory(root)?;
    let root = fs::canonicalize(root).at("examine", root)?;
    let locks = Locks::new(root.join("locks"))?;
    let _alone = locks.acquire(LockKey::new("creating", b""), Sharing::Exclusive, &|| false)?;
    for name in ["blobs", "layers", "cache-mounts", "containers", "contexts", "logs", "tmp"] {
        create_directory(&root.join(name))?;
    }
    nobody_else(&root, &locks)?;
    restore_version(&root, mode)?;
    let mut rescued = Rescued::default();
    for name in FILES.iter().map(|name| root.join(name)).filter(|path| path.symlink_metadata().is_ok()) {
        rescued.set_aside.push(set_aside(&root, &name)?);
    }
    drop(Database::open(&root.join(FILES[0]))?);
    salvage(&root, &mut rescued)?;
    take_stock(&root, mode, &mut rescued)?;
    Ok(rescued)
}

/// Fails while another process has the store open.
fn nobody_else(root: &Path, locks: &Locks) -> Result<()> {
    for entry in fs::read_dir(root.join("tmp")).at("list", root)? {
        let name = entry.at("list", root)?.file_name().to_string_lossy().into_owned();
        if session::is_alive(&name, locks)? {
            return Err(Error::StoreInUse { path: root.to_owned(), session: name });
        }
    }
    Ok(())
}

/// A version file that makes no sense is written anew; one of another kind of store is respected.
fn restore_version(root: &Path, mode: Mode) -> Result<()> {
    match crate::store::format(root, mode) {
        Ok(Some(_)) => Ok(()),
        Ok(None) | Err(Error::NotAStore { .. }) => {
            let path = root.join("version");
            if path.symlink_metadata().is_ok() {
                set_aside(root, &path)?;
            }
            version::write(root, mode)
        }
        Err(error) => Err(error),
    }
}

/// Copies what can be read of the old database, which was set aside, into the new one.
fn salvage(root: &Path, rescued: &mut Rescued) -> Result<()> {
    let path = root.join(FILES[0]);
    let wrap = |source| Error::Database { path: path.clone(), source };
    let scratch = root.join("tmp").join("rescue");
    crate::remove::tree(&scratch)?;
    create_directory(&scratch)?;
    if let Some(old) = readable(root, &scratch, &rescued.set_aside)? {
        let mut new = Connection::open(&path).map_err(wrap)?;
        rescued.rows = copy(&old, &mut new).map_err(wrap)?;
    }
    crate::remove::tree(&scratch)
}

/// A copy of the old database that can be opened: as it was, or with its first page put right.
fn readable(root: &Path, scratch: &Path, old: &[PathBuf]) -> Result<Option<Connection>> {
    for attempt in 0..3 {
        let copy = scratch.join(format!("{attempt}-{}", FILES[0]));
        for name in &FILES[..2] {
            if let Some(from) = old.iter().find(|path| is_copy_of(path, name) && path.is_file()) {
                fs::copy(from, scratch.join(format!("{attempt}-{name}"))).at("copy", from)?;
            }
        }
        if !copy.is_file() {
            return Ok(None);
        }
        if attempt > 0 && !put_right(&copy, &root.join(FILES[0]), attempt)? {
            continue;
        }
        // With a writable schema SQLite reads what is there of a file that is shorter than it should be.
        let opened = Connection::open_with_flags(&copy, OpenFlags::SQLITE_OPEN_READ_WRITE)
            .and_then(|db| db.pragma_update(None, "writable_schema", true).map(|()| db));
        let tables = |db: &Connection| {
            db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0)).unwrap_or(0)
        };
        if let Ok(connection) = opened
            && tables(&connection) > 0
        {
            return Ok(Some(connection));
        }
    }
    Ok(None)
}

/// Copies all tables. Tells how many rows of each came.
fn copy(old: &Connection, new: &mut Connection) -> rusqlite::Result<Vec<(String, u64)>> {
    // Tables come by name, not in the order of their references.
    new.pragma_update(None, "foreign_keys", false)?;
    let db = new.transaction()?;
    let query = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name";
    let tables: Vec<String> = db.prepare(query)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let (mut copied, mut records_are_whole) = (Vec::new(), true);
    for table in tables {
        let (rows, whole) = copy_table(old, &db, &table)?;
        records_are_whole &= whole || !RECORDS.contains(&table.as_str());
        copied.push((table, rows));
    }
    if !records_are_whole {
        // A record that lost a layer would be taken for one that has fewer.
        RECORDS.iter().try_for_each(|table| db.execute(&format!("DELETE FROM {table}"), []).map(drop))?;
        copied.retain(|(table, _)| !RECORDS.contains(&table.as_str()));
    }
    drop_orphans(&db)?;
    db.commit()?;
    copied.retain(|(_, rows)| *rows > 0);
    Ok(copied)
}

/// Whether a path is where a file of this name was set aside to.
fn is_copy_of(path: &Path, name: &str) -> bool {
    let own = path.file_name().unwrap_or_default().to_string_lossy();
    own.rsplit_once('.').is_some_and(|(stem, _)| stem == name)
}

/// Takes the header (first attempt), then the whole first page, from the new database: both were made by the same
/// steps. False if there is nothing to put it into.
fn put_right(copy: &Path, new: &Path, attempt: usize) -> Result<bool> {
    use std::os::unix::fs::FileExt;
    let mut bytes = fs::read(new).at("read", new)?;
    if bytes.len() < PAGE || fs::metadata(copy).at("examine", copy)?.len() < 2 * PAGE as u64 {
        return Ok(false);
    }
    let length = if attempt == 1 { HEADER } else { PAGE };
    let pages = (fs::metadata(copy).at("examine", copy)?.len() / PAGE as u64) as u32;
    bytes[PAGES].copy_from_slice(&pages.to_be_bytes());
    let file = fs::File::options().write(true).open(copy).at("open", copy)?;
    file.write_all_at(&bytes[..length], 0).at("write", copy)?;
    Ok(true)
}

/// Copies the rows that can be read, from both ends where one in the middle cannot. Tells how many, and whether all.
fn copy_table(old: &Connection, new: &Connection, table: &str) -> rusqlite::Result<(u64, bool)> {
    let columns = |db: &Connection| -> rusqlite::Result<Vec<String>> {
        db.prepare("SELECT name FROM pragma_table_info(?1)")?.query_map([table], |row| row.get(0))?.collect()
    };
    let known = columns(new)?;
    let Ok(there) = columns(old) else { return Ok((0, false)) };
    let common: Vec<String> = known.into_iter().filter(|column| there.contains(column)).collect();
    if common.is_empty() {
        return Ok((0, true));
    }
    let (list, marks) = (common.join(", "), vec!["?"; common.len()].join(", "));
    let mut insert = new.prepare(&format!("INSERT OR IGNORE INTO {table} ({list}) VALUES ({marks})"))?;
    let mut count = 0;
    for order in ["", " ORDER BY 1 DESC"] {
        let Ok(mut select) = old.prepare(&format!("SELECT {list} FROM {table}{order}")) else { continue };
        let Ok(mut rows) = select.query([]) else { continue };
        let mut whole = true;
        loop {
            match rows.next() {
                Ok(Some(row)) => {
                    let values: rusqlite::Result<Vec<Value>> = (0..common.len()).map(|at| row.get(at)).collect();
                    // A row that breaks a rule of its table is damaged.
                    match values.and_then(|values| insert.execute(params_from_iter(values))) {
                        Ok(inserted) => count += inserted as u64,
                        Err(_) => whole = false,
                    }
                }
                Ok(None) if whole => return Ok((count, order.is_empty())),
                Ok(None) | Err(_) => break,
            }
        }
    }
    Ok((count, false))
}

/// Rows that refer to rows which were not saved, and what nobody alive needs.
fn drop_orphans(db: &Connection) -> rusqlite::Result<()> {
    for statement in [
        "DELETE FROM record_keys WHERE record NOT IN (SELECT id FROM records)",
        "DELETE FROM record_layers WHERE record NOT IN (SELECT id FROM records)",
        "DELETE FROM image_names WHERE image NOT IN (SELECT id FROM images)",
        "DELETE FROM eviction_keys WHERE eviction NOT IN (SELECT id FROM evictions)",
        "DELETE FROM leases",
    ] {
        db.execute(statement, [])?;
    }
    Ok(())
}

/// What is on disk and what the rows say, brought together.
fn take_stock(root: &Path, mode: Mode, rescued: &mut Rescued) -> Result<()> {
    let store = Store::open_unswept(root, mode)?;
    let inner = &store.inner;
    let mut largest = 0;
    for path in crate::check::listed(&root.join("layers"))? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(id) = name.parse::<LayerId>().ok().filter(|id| id.to_string() == name) else { continue };
        largest = largest.max(id.row());
        if !layers::has_row(inner, id)? && add_layer(inner, id, &path)? {
            rescued.layers += 1;
        }
    }
    for path in crate::check::listed(&root.join("blobs"))? {
        let algorithm = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for path in crate::check::listed(&path)? {
            let hex = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Ok(digest) = format!("{algorithm}:{hex}").parse::<Digest>() else { continue };
            if crate::blobs::row(inner, &digest)?.is_none() && add_blob(inner, &digest, &path)? {
                rescued.blobs += 1;
            }
        }
    }
    inner.database.write(|db| {
        let known: i64 = db.query_row("SELECT coalesce(max(value), 0) FROM counter", [], |row| row.get(0))?;
        db.execute("DELETE FROM counter", [])?;
        db.execute("INSERT INTO counter VALUES (?1)", [largest.max(known)]).map(drop)
    })?;
    name_layers(inner)?;
    containers_aside(inner, rescued)
}

/// Layers that only their images know by diff id get it back.
fn name_layers(store: &Arc<Inner>) -> Result<()> {
    for layer in (crate::Images { store }).list()?.iter().flat_map(|image| &image.layers) {
        if let Some(id) = layer.layer {
            let update = "UPDATE layers SET diff_id = ?2 WHERE id = ?1 AND diff_id IS NULL";
            store.database.write(|db| db.execute(update, (id.row(), layer.diff_id.to_string())))?;
        }
    }
    Ok(())
}

/// A layer whose index is whole gets a row; whether its files are is for a check to say.
fn add_layer(store: &Arc<Inner>, id: LayerId, path: &Path) -> Result<bool> {
    let Ok(index) = layers::read_index(&path.join("index")) else { return Ok(false) };
    let (entries, bytes, time) = (index.len() as i64, layers::bytes_of(&index) as i64, now());
    store.database.write(|db| {
        let insert = "INSERT INTO layers (id, entries, bytes, created, used, epoch) VALUES (?1, ?2, ?3, ?4, ?4, ?5)";
        db.execute(insert, (id.row(), entries, bytes, time, &store.epoch)).map(|_| true)
    })
}

fn add_blob(store: &Arc<Inner>, digest: &Digest, path: &Path) -> Result<bool> {
    let Some(hasher) = digest.hasher() else { return Ok(false) };
    let mut file = Hashed { file: fs::File::open(path).at("open", path)?, hasher };
    let size = io::copy(&mut file, &mut io::sink()).at("read", path)?;
    if file.hasher.finish() != *digest {
        return Ok(false);
    }
    store.database.write(|db| {
        let insert = "INSERT INTO blobs (digest, size, created, epoch) VALUES (?1, ?2, ?3, ?4)";
        db.execute(insert, (digest.to_string(), size as i64, now(), &store.epoch)).map(|_| true)
    })
}

struct Hashed {
    file: fs::File,
    hasher: Hasher,
}

impl io::Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

/// What containers wrote is nobody's to delete: directories whose rows are lost are kept aside.
fn containers_aside(store: &Arc<Inner>, rescued: &mut Rescued) -> Result<()> {
    let known = crate::containers::Containers { store }.list()?;
    for path in crate::check::listed(&store.root.join("containers"))? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !known.iter().any(|container| container.id == name) {
            rescued.set_aside.push(set_aside(&store.root, &path)?);
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "rescue_tests.rs"]
mod tests;
