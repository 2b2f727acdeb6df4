//! A store of format 2, made from the tables as they were then, is opened by this kiln; older processes go on.

use std::path::PathBuf;

use rusqlite::params;

use super::*;
use crate::testing::{directory, layer, mode, store};
use crate::{Key, Mode, Store};

/// What a kiln of format 2 wrote, statement by statement, for one of everything.
const ROWS: &str = "
INSERT INTO layers (id, entries, bytes, created, used, epoch) VALUES (7, 3, 100, 10, 11, 'e');
INSERT INTO blobs (digest, size, created, epoch) VALUES ('sha256:aa', 5, 10, 'e');
INSERT INTO records (op, lineage, inputs, effects, created, used) VALUES (x'01', 'l', '[]', '{}', 10, 11);
INSERT INTO record_keys (key, record) VALUES (x'0202020202020202020202020202020202020202020202020202020202020202', 1);
INSERT INTO record_layers (record, position, layer) VALUES (1, 0, 7);
INSERT INTO images (id, platform, manifest, layers, created, serial) VALUES ('sha256:bb', 'linux/amd64', NULL, '[]', 10, 1);
INSERT INTO image_names (name, position, image) VALUES ('a:1', 0, 'sha256:bb');
INSERT INTO resolutions (name, digest, resolved) VALUES ('a', 'sha256:cc', 10);
INSERT INTO containers (id, name, image, layers, created, value) VALUES ('c', 'box', NULL, '[]', 10, '{}');
INSERT INTO leases (session, kind, target) VALUES ('1-0', 'layer', '7');
";

fn old_database() -> (tempfile::TempDir, PathBuf, Connection) {
    let directory = directory();
    let path = directory.path().join("db.sqlite");
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "journal_mode", "WAL").unwrap();
    connection.execute_batch(TABLES).unwrap();
    (directory, path, connection)
}

fn current(path: &Path) -> Connection {
    let mut connection = Connection::open(path).unwrap();
    bring_up(&mut connection, path).unwrap();
    connection
}

/// Tables and columns, in order of their names.
fn tables(db: &Connection) -> Vec<(String, String, String, bool, Option<String>)> {
    let query = "SELECT m.name, c.name, c.type, c.\"notnull\", c.dflt_value
        FROM sqlite_schema m JOIN pragma_table_info(m.name) c WHERE m.type = 'table' ORDER BY 1, 2";
    let mut statement = db.prepare(query).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)));
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn a_migrated_database_is_as_a_new_one_and_keeps_its_rows() {
    let (directory, path, old) = old_database();
    old.execute_batch(ROWS).unwrap();
    drop(old);
    let migrated = current(&path);
    let new = current(&directory.path().join("new.sqlite"));
    assert_eq!(tables(&migrated), tables(&new));
    assert_eq!(found(&migrated).unwrap(), Some(FORMAT));
    for (table, column) in [("layers", "id"), ("record_layers", "layer"), ("leases", "target")] {
        let value: i64 = migrated
            .query_row(&format!("SELECT CAST({column} AS INTEGER) FROM {table}"), [], |row| row.get(0))
            .unwrap();
        assert_eq!(value, 7, "{table}");
    }
    for table in ["blobs", "records", "record_keys", "images", "image_names", "resolutions", "containers"] {
        let count: i64 = migrated.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
        assert_eq!(count, 1, "{table}");
    }
}

#[test]
fn an_older_kiln_that_is_still_running_goes_on() {
    let (_directory, path, old) = old_database();
    let migrated = current(&path);
    old.execute_batch(ROWS).unwrap();
    let layer = old.query_row("SELECT * FROM layers", [], |row| row.get::<_, i64>(0)).unwrap();
    old.execute("UPDATE records SET used = ?1", [99]).unwrap();
    old.execute("DELETE FROM layers WHERE id = ?1", [layer]).unwrap();
    let used: i64 = migrated.query_row("SELECT used FROM records", [], |row| row.get(0)).unwrap();
    assert_eq!(used, 99);
}

#[test]
fn every_step_only_adds() {
    for (number, step) in STEPS.iter().enumerate() {
        let plain: String = step.lines().filter(|line| !line.starts_with("--")).collect::<Vec<_>>().join(" ");
        for statement in plain.split(';').map(str::trim).filter(|each| !each.is_empty()) {
            let adds = ["CREATE TABLE ", "CREATE INDEX ", "INSERT INTO turns "]
                .iter()
                .any(|start| statement.starts_with(start))
                || (statement.starts_with("ALTER TABLE ") && statement.contains(" ADD COLUMN "));
            assert!(adds, "step to format {} does more than add: {statement}", OLDEST as usize + number + 1);
        }
    }
}

#[test]
fn a_newer_database_is_refused_and_left_alone() {
    let (_directory, path, old) = old_database();
    old.pragma_update(None, "user_version", FORMAT + 1).unwrap();
    let before = tables(&old);
    let error = bring_up(&mut Connection::open(&path).unwrap(), &path).unwrap_err();
    assert!(matches!(error, Error::NewerFormat { found, .. } if found == FORMAT + 1), "{error}");
    assert_eq!(tables(&old), before);
}

#[test]
fn a_step_that_fails_leaves_the_old_format() {
    let (_directory, path, old) = old_database();
    // What stands where the step wants to put something makes it fail halfway.
    old.execute_batch("CREATE TABLE cache_mounts (other TEXT)").unwrap();
    let before = tables(&old);
    assert!(bring_up(&mut Connection::open(&path).unwrap(), &path).is_err());
    assert_eq!((tables(&old), found(&old).unwrap()), (before, Some(OLDEST)));
}

/// Makes an open store one of format 2: its tables without what came later, its version file as it was.
fn make_old(store: Store) -> PathBuf {
    let root = store.root().to_owned();
    drop(store);
    let new = Connection::open(root.join("db.sqlite")).unwrap();
    let old_path = root.join("old.sqlite");
    let old = Connection::open(&old_path).unwrap();
    old.execute_batch(TABLES).unwrap();
    for table in ["layers", "blobs", "records", "record_keys", "record_layers"] {
        let columns: Vec<String> = tables(&old).into_iter().filter(|each| each.0 == table).map(|each| each.1).collect();
        let columns = columns.join(", ");
        old.execute("ATTACH ?1 AS new", params![root.join("db.sqlite").to_string_lossy()]).unwrap();
        old.execute_batch(&format!("INSERT INTO main.{table} ({columns}) SELECT {columns} FROM new.{table}")).unwrap();
        old.execute("DETACH new", []).unwrap();
    }
    drop((new, old));
    for name in ["db.sqlite-wal", "db.sqlite-shm"] {
        let _ = std::fs::remove_file(root.join(name));
    }
    std::fs::rename(old_path, root.join("db.sqlite")).unwrap();
    let word = if mode() == Mode::Root { "root" } else { "rootless" };
    std::fs::write(root.join("version"), format!("kiln store 2 {word}\n")).unwrap();
    root
}

#[test]
fn a_store_of_format_2_is_opened_with_all_that_is_in_it() {
    let (_directory, first) = store();
    let kept = layer(&first, None, "f a x");
    let record = crate::NewRecord {
        op: Key([1; 32]),
        lineage: "l".into(),
        layers: vec![kept.id()],
        inputs: vec![],
        effects: "{}".into(),
    };
    first.records().insert(&record, &[Key([2; 32])]).unwrap();
    let id = kept.id();
    drop(kept);
    let root = make_old(first);
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let root = root.clone();
            std::thread::spawn(move || Store::open(&root, mode()).unwrap())
        })
        .collect();
    let stores: Vec<Store> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(stores[0].records().find(&Key([2; 32])).unwrap().unwrap().layers, [id]);
    assert!(stores[1].layers().get(id).unwrap().is_some());
    let text = std::fs::read_to_string(root.join("version")).unwrap();
    assert!(text.starts_with(&format!("kiln store {FORMAT} ")), "{text}");
}

#[test]
fn a_migration_that_was_cut_off_before_the_version_file_is_finished() {
    let (_directory, first) = store();
    let root = first.root().to_owned();
    drop(first);
    let word = if mode() == Mode::Root { "root" } else { "rootless" };
    std::fs::write(root.join("version"), format!("kiln store 2 {word}\n")).unwrap();
    drop(Store::open(&root, mode()).unwrap());
    let text = std::fs::read_to_string(root.join("version")).unwrap();
    assert!(text.starts_with(&format!("kiln store {FORMAT} ")), "{text}");
}
