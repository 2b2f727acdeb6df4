//! Databases that cannot be read, and what is made of them.

use super::*;
use crate::testing::{layer, mode, store};
use crate::{ImageLayer, Key, NewImage, NewRecord};
use kiln_oci::Platform;
use std::os::unix::fs::FileExt;

/// A store with layers, a record, an image with a name and a container, closed; and where it is.
fn filled() -> (tempfile::TempDir, PathBuf, Digest) {
    let (directory, store) = store();
    let mut id = None;
    for number in 0..60u8 {
        let made = layer(&store, None, &format!("f a {number}"));
        let diff_id = Digest::of(&[number]);
        store.layers().set_diff_id(&made, &diff_id, false).unwrap();
        let (op, lineage, effects) = (Key([number; 32]), "x".repeat(200), "{}".to_owned());
        let record = NewRecord { op, lineage, layers: vec![made.id()], inputs: Vec::new(), effects };
        store.records().insert(&record, &[op]).unwrap();
        let config =
            format!(r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#);
        let config = store.blobs().insert(config.as_bytes()).unwrap().digest;
        let layers = vec![ImageLayer { diff_id, layer: Some(made.id()), blob: None }];
        let image = NewImage { id: config.clone(), platform: Platform::host(), manifest: None, layers };
        store.images().insert(&image).unwrap();
        store.images().tag(&format!("docker.io/library/app:{number}"), &config).unwrap();
        id = Some(config);
    }
    let root = store.root().to_owned();
    fs::create_dir(root.join("containers/0123")).unwrap();
    fs::write(root.join("containers/0123/precious"), "x").unwrap();
    (directory, root, id.unwrap())
}

fn is_clear(error: &Error) -> bool {
    let text = error.to_string();
    text.contains("db.sqlite") && text.contains("`kiln system check --repair`")
}

/// Damages the database: every use says so, a rescue makes a store of it that has nothing wrong.
fn check(damage: impl FnOnce(&Path), names_are_kept: bool, records_are_kept: bool) {
    let (_directory, root, id) = filled();
    damage(&root.join("db.sqlite"));
    let used = Store::open(&root, mode()).and_then(|store| {
        store.images().list()?;
        store.records().find(&Key([7; 32]))?;
        store.check(&|_, _| {}).map(|report| report.findings)
    });
    match used {
        Err(error) => assert!(is_clear(&error), "{error}"),
        Ok(findings) => assert!(findings.iter().any(|each| each.remedy == crate::Remedy::Rebuild), "{findings:?}"),
    }
    let rescued = Store::rescue(&root, mode()).unwrap();
    assert!(rescued.set_aside.iter().any(|path| path.join("precious").is_file()), "{rescued:?}");
    let store = Store::open(&root, mode()).unwrap();
    for finding in store.check(&|_, _| {}).unwrap().findings {
        store.mend(&finding).unwrap();
    }
    assert_eq!(store.check(&|_, _| {}).unwrap().findings, []);
    assert!(store.blobs().contains(&id).unwrap());
    assert_eq!(store.layers().get("1".parse().unwrap()).unwrap().unwrap().index().unwrap().len(), 2);
    assert!(layer(&store, None, "f b x").id() > "1o".parse().unwrap(), "a number is given once");
    assert_eq!(store.images().resolve("docker.io/library/app:59").unwrap().is_some(), names_are_kept);
    assert_eq!(store.records().find(&Key([7; 32])).unwrap().is_some(), records_are_kept);
}

fn overwrite(path: &Path, at: u64, length: usize) {
    fs::File::options().write(true).open(path).unwrap().write_all_at(&vec![0xa5; length], at).unwrap();
}

#[test]
fn a_damaged_header_loses_nothing() {
    check(|path| overwrite(path, 0, 100), true, true);
}

#[test]
fn a_damaged_first_page_loses_nothing() {
    check(|path| overwrite(path, 0, PAGE), true, true);
}

#[test]
fn of_a_truncated_database_is_taken_what_is_there() {
    let half = |path: &Path| {
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    };
    let (_directory, root, _) = filled();
    half(&root.join("db.sqlite"));
    let rescued = Store::rescue(&root, mode()).unwrap();
    assert!(!rescued.rows.is_empty(), "{rescued:?}");
    let store = Store::open(&root, mode()).unwrap();
    for finding in store.check(&|_, _| {}).unwrap().findings {
        store.mend(&finding).unwrap();
    }
    assert_eq!(store.check(&|_, _| {}).unwrap().findings, []);
}

#[test]
fn without_any_database_layers_and_blobs_are_found_on_disk() {
    check(|path| fs::remove_file(path).unwrap(), false, false);
    check(|path| fs::write(path, "").unwrap(), false, false);
    check(|path| fs::write(path, vec![0xa5; 50_000]).unwrap(), false, false);
}

#[test]
fn a_version_file_that_makes_no_sense_is_written_anew_and_another_kinds_is_not() {
    let (_directory, root, _) = filled();
    fs::write(root.join("version"), "nonsense").unwrap();
    assert!(matches!(Store::open(&root, mode()), Err(Error::NotAStore { .. })));
    let rescued = Store::rescue(&root, mode()).unwrap();
    assert!(rescued.rows.iter().any(|(table, rows)| table == "images" && *rows == 60), "{rescued:?}");
    assert_eq!(Store::open(&root, mode()).unwrap().images().list().unwrap().len(), 60);
    fs::write(root.join("version"), "kiln store 99 root\n").unwrap();
    assert!(matches!(Store::rescue(&root, mode()), Err(Error::NewerFormat { .. })));
}

#[test]
fn nobody_else_may_be_at_work() {
    let (_directory, root, _) = filled();
    let _open = Store::open(&root, mode()).unwrap();
    assert!(matches!(Store::rescue(&root, mode()), Err(Error::StoreInUse { .. })));
}
