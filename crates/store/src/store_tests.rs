//! Life and death of stores: opening, crashes, concurrent users, what survives what.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use super::*;
use crate::testing::{directory, layer, metadata, mode, store, union};
use crate::{Error, Hashing, Key, NewRecord};
use kiln_oci::Digest;

const HELPER: &str = "KILN_TEST_STORE";

fn reopen(store: Store) -> Store {
    let root = store.root().to_owned();
    drop(store);
    Store::open(&root, mode()).unwrap()
}

fn names(directory: &std::path::Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn record(layers: &[&crate::Layer]) -> NewRecord {
    let layers = layers.iter().map(|layer| layer.id()).collect();
    NewRecord { op: Key([9; 32]), lineage: "l".into(), layers, inputs: vec![], effects: "{}".into() }
}

#[test]
fn a_store_is_as_its_version_file_says() {
    let directory = directory();
    let root = directory.path().join("a/b");
    drop(Store::open(&root, Mode::Rootless).unwrap());
    assert_eq!(fs::metadata(&root).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(matches!(Store::open(&root, Mode::Root), Err(Error::OtherMode { .. })));
    for (other, hint) in
        [("1 rootless", "which no released kiln wrote"), ("99 rootless kiln 9.9", "use kiln 9.9 or a later")]
    {
        fs::write(root.join("version"), format!("kiln store {other}\n")).unwrap();
        let error = Store::open(&root, Mode::Rootless).unwrap_err();
        assert!(error.to_string().contains(hint), "{error}");
    }
    fs::write(root.join("version"), "something else").unwrap();
    assert!(matches!(Store::open(&root, Mode::Rootless), Err(Error::NotAStore { .. })));
}

#[test]
fn a_session_leaves_nothing_in_tmp() {
    let (_directory, store) = store();
    store.scratch().unwrap();
    drop(store.layers().stage(&metadata(0o755)).unwrap());
    let kept = layer(&store, None, "f a x");
    let (root, id) = (store.root().to_owned(), kept.id());
    drop(kept);
    drop(store);
    assert_eq!(names(&root.join("tmp")), [""; 0]);
    let store = Store::open(&root, mode()).unwrap();
    let kept = store.layers().get(id).unwrap().unwrap();
    assert_eq!(union(&[&kept]).read_small("a", 9).unwrap().unwrap(), b"x");
}

/// Not a test by itself: the process that is killed in the next one.
#[test]
fn helper_that_is_killed() {
    let Ok(root) = std::env::var(HELPER) else { return };
    let store = Store::open(root.as_ref(), mode()).unwrap();
    let staged = store.layers().stage(&metadata(0o755)).unwrap();
    fs::write(staged.fs_path().join("half"), "x").unwrap();
    fs::create_dir_all(staged.work_path().join("work")).unwrap();
    fs::set_permissions(staged.work_path().join("work"), PermissionsExt::from_mode(0o000)).unwrap();
    store.blobs().create().unwrap().write_all(b"half").unwrap();
    // As if killed between the rename and the row.
    fs::create_dir(store.root().join("layers/zzz")).unwrap();
    fs::create_dir_all(store.root().join("blobs/sha256")).unwrap();
    fs::write(store.root().join("blobs/sha256").join("0".repeat(64)), "x").unwrap();
    let kept = layer(&store, None, "f a whole");
    println!("ready {}", kept.id());
    std::io::stdout().flush().unwrap();
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

#[test]
fn what_a_killed_process_left_is_swept_and_a_living_one_is_left_alone() {
    let directory = directory();
    let root = directory.path().join("store");
    let mut other = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::tests::helper_that_is_killed", "--nocapture"])
        .env(HELPER, &root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(other.stdout.take().unwrap()).lines().map(Result::unwrap);
    let ready = lines.find(|line| line.contains("ready ")).unwrap();
    let id: LayerId = ready.split("ready ").nth(1).unwrap().parse().unwrap();
    let session = names(&root.join("tmp"));
    let beside = Store::open(&root, mode()).unwrap();
    assert!(names(&root.join("tmp")).contains(&session[0]));
    let freed = beside.prune(&Prune { cache: crate::CachePart::All, ..Prune::default() }).unwrap();
    assert_eq!(freed.layers, [], "a living process's lease holds its layer");
    drop(beside);
    other.kill().unwrap();
    other.wait().unwrap();
    let store = Store::open(&root, mode()).unwrap();
    assert_eq!(names(&root.join("tmp")), [store.inner.session.name()]);
    assert_eq!(names(&root.join("tmp").join(store.inner.session.name())), [""; 0]);
    assert_eq!(names(&root.join("layers")), [id.to_string()]);
    assert_eq!(names(&root.join("blobs/sha256")), [""; 0]);
    let freed = store.prune(&Prune { cache: crate::CachePart::All, ..Prune::default() }).unwrap();
    assert_eq!(freed.layers, [id]);
    assert!(freed.bytes > 0);
}

#[test]
fn several_stores_commit_at_once() {
    let directory = directory();
    let root = directory.path().join("store");
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let root = &root;
            scope.spawn(move || {
                let store = Store::open(root, mode()).unwrap();
                for number in 0..10 {
                    let made = layer(&store, None, &format!("f {thread}/{number} text"));
                    let key = Key([thread * 10 + number; 32]);
                    store.records().insert(&record(&[&made]), &[key, Key([255; 32])]).unwrap();
                }
            });
        }
    });
    let store = Store::open(&root, mode()).unwrap();
    let mut seen = std::collections::HashSet::new();
    for number in 0..40 {
        let found = store.records().find(&Key([number; 32])).unwrap().unwrap();
        assert!(seen.insert(found.layers[0]));
        assert!(store.layers().get(found.layers[0]).unwrap().is_some());
    }
    assert_eq!(names(&root.join("layers")).len(), 40);
    assert!(store.records().find(&Key([255; 32])).unwrap().is_some());
}

#[test]
fn ids_are_never_used_again() {
    let (_directory, store) = store();
    let first = layer(&store, None, "f a x").id();
    store.layers().remove(first).unwrap();
    let second = layer(&store, None, "f a x").id();
    assert!(second > first);
    assert!(store.layers().get(first).unwrap().is_none());
    let store = reopen(store);
    store.layers().remove(second).unwrap();
    assert!(layer(&store, None, "f a x").id() > second);
}

#[test]
fn a_record_whose_layer_is_gone_is_a_miss() {
    let (_directory, store) = store();
    let (one, two) = (layer(&store, None, "f a x"), layer(&store, None, "f b x"));
    let records = store.records();
    let made = records.insert(&record(&[&one, &two]), &[Key([1; 32]), Key([2; 32])]).unwrap();
    assert_eq!(records.find(&Key([2; 32])).unwrap().unwrap(), made);
    assert!(records.find(&Key([3; 32])).unwrap().is_none());
    records.add_key(made.id, &Key([3; 32])).unwrap();
    assert!(records.find(&Key([3; 32])).unwrap().is_some());
    assert!(records.has_op(&Key([9; 32])).unwrap());
    assert!(!records.has_op(&Key([8; 32])).unwrap());
    let candidates: Vec<_> = records.candidates(&Key([9; 32])).unwrap().iter().map(|each| each.id).collect();
    assert_eq!(candidates, [made.id]);
    fs::remove_dir_all(store.root().join("layers").join(two.id().to_string())).unwrap();
    assert!(records.find(&Key([1; 32])).unwrap().is_none());
    store.layers().remove(one.id()).unwrap();
    assert!(records.find(&Key([1; 32])).unwrap().is_none());
    assert_eq!(records.lineage("l", 5).unwrap().len(), 1);
}

#[test]
fn equal_layers_become_one() {
    let (_directory, store) = store();
    let first = layer(&store, None, "d d\n f d/a text\n l s d/a");
    let at = |mtime: crate::Timestamp| {
        let staged = store.layers().stage(&metadata(0o755)).unwrap();
        let writer = staged.writer().unwrap();
        writer.directory("d", &metadata(0o755)).unwrap();
        let mut file = writer.file("d/a", &crate::Metadata { mtime, ..metadata(0o644) }, Hashing::Later).unwrap();
        file.write_all(b"text").unwrap();
        file.finish().unwrap();
        writer.symlink("s", b"d/a", &metadata(0o777)).unwrap();
        writer.commit().unwrap()
    };
    let (second, later) = (at(metadata(0).mtime), at(crate::Timestamp::from_seconds(5)));
    let other = layer(&store, None, "d d\n f d/a texts\n l s d/a");
    let layers = store.layers();
    assert_ne!(layers.content_id(&first).unwrap(), layers.content_id(&later).unwrap());
    assert_eq!(layers.content_id(&first).unwrap(), layers.content_id(&second).unwrap());
    assert_ne!(layers.content_id(&first).unwrap(), layers.content_id(&other).unwrap());
    let gone = second.id();
    assert_eq!(layers.intern(second).unwrap().id(), first.id());
    assert!(layers.get(gone).unwrap().is_none());
    assert_eq!(layers.intern(other.clone()).unwrap().id(), other.id());
}

#[test]
fn layers_that_show_their_parents_otherwise_stay_two() {
    let (_directory, store) = store();
    let layers = store.layers();
    let over = |mode: u32| {
        let staged = layers.stage(&metadata(0o755)).unwrap();
        let writer = staged.writer().unwrap();
        writer.directory("d", &metadata(mode)).unwrap();
        let below = crate::Union::new(vec![writer.commit().unwrap()]).unwrap();
        layer(&store, Some(&below), "f d/a text")
    };
    let (open, closed, open_too) = (over(0o755), over(0o700), over(0o755));
    assert_eq!(layers.content_id(&open).unwrap(), layers.content_id(&closed).unwrap());
    let id = closed.id();
    assert_eq!(layers.intern(closed).unwrap().id(), id);
    assert_eq!(layers.intern(open_too).unwrap().id(), open.id());
}

#[test]
fn lazily_hashed_digests_are_kept() {
    let (_directory, store) = store();
    let staged = store.layers().stage(&metadata(0o755)).unwrap();
    fs::write(staged.fs_path().join("f"), "text").unwrap();
    let made = staged.commit_upper(&crate::Union::default()).unwrap();
    assert_eq!(made.index().unwrap().get("f").unwrap().digest(), None);
    let digest = Some(crate::FileDigest(*blake3::hash(b"text").as_bytes()));
    assert_eq!(store.layers().hashed_index(&made).unwrap().get("f").unwrap().digest(), digest);
    let id = made.id();
    drop(made);
    let store = reopen(store);
    let made = store.layers().get(id).unwrap().unwrap();
    assert_eq!(made.index().unwrap().get("f").unwrap().digest(), digest);
}

#[test]
fn a_pulled_layer_is_its_diff_id() {
    let (_directory, store) = store();
    let made = layer(&store, None, "f a x");
    let diff_id = Digest::of(b"tar");
    store.layers().set_diff_id(&made, &diff_id, true).unwrap();
    assert_eq!(made.diff_id().unwrap(), Some(diff_id.clone()));
    assert_eq!(store.layers().by_diff_id(&diff_id).unwrap().unwrap().id(), made.id());
    assert_eq!(store.layers().content_id(&made).unwrap(), crate::content::of_pulled(&diff_id));
}

#[test]
fn after_a_machine_crash_unsynced_damage_is_dropped() {
    let (_directory, store) = store();
    let (good, bad) = (layer(&store, None, "f a good"), layer(&store, None, "f a bad"));
    let synced = layer(&store, None, "f a synced");
    let blob = store.blobs().insert(b"blob").unwrap();
    let sane = store.blobs().insert(b"sane").unwrap();
    let database = &store.inner.database;
    database.write(|db| db.execute("UPDATE layers SET synced = 1 WHERE id = ?1", [synced.id().row()])).unwrap();
    for table in ["layers", "blobs"] {
        database.write(|db| db.execute(&format!("UPDATE {table} SET epoch = 'before'"), [])).unwrap();
    }
    fs::write(bad.fs_path().join("a"), "").unwrap();
    fs::write(store.root().join("blobs/sha256").join(blob.digest.hex()), "blub").unwrap();
    let ids = [good.id(), bad.id(), synced.id()];
    drop((good, bad, synced));
    let store = reopen(store);
    let there = ids.map(|id| store.layers().get(id).unwrap().is_some());
    assert_eq!(there, [true, false, true]);
    assert!(!store.blobs().contains(&blob.digest).unwrap());
    assert!(store.blobs().contains(&sane.digest).unwrap());
}

#[test]
fn unhashed_layers_survive_another_mount_namespace_but_no_crash() {
    for (epoch, survives) in [("another-boot 0 0", [false, false]), ("same-boot", [true, false])] {
        let (_directory, store) = store();
        let unhashed = |bytes: &str| {
            let staged = store.layers().stage(&metadata(0o755)).unwrap();
            fs::write(staged.fs_path().join("f"), bytes).unwrap();
            staged.commit_upper(&crate::Union::default()).unwrap()
        };
        let (whole, emptied) = (unhashed("text"), unhashed("text"));
        fs::write(emptied.fs_path().join("f"), "").unwrap();
        let boot = store.inner.epoch.split(' ').next().unwrap().to_owned();
        let epoch = epoch.replace("same-boot", &format!("{boot} 0 other"));
        store.inner.database.write(|db| db.execute("UPDATE layers SET epoch = ?1", [epoch])).unwrap();
        let ids = [whole.id(), emptied.id()];
        drop((whole, emptied));
        let store = reopen(store);
        assert_eq!(ids.map(|id| store.layers().get(id).unwrap().is_some()), survives);
    }
}

#[test]
fn settling_marks_what_it_covered() {
    let (_directory, store) = store();
    layer(&store, None, "f a x");
    store.blobs().insert(b"blob").unwrap();
    let unsynced = || -> i64 {
        let query =
            "SELECT (SELECT count(*) FROM layers WHERE NOT synced) + (SELECT count(*) FROM blobs WHERE NOT synced)";
        store.inner.database.read(|db| db.query_row(query, [], |row| row.get(0))).unwrap()
    };
    assert_eq!(unsynced(), 2);
    store.settle_now().unwrap();
    assert_eq!(unsynced(), 0);
}

#[test]
fn blobs_are_verified_on_the_way_in_and_out() {
    let (_directory, store) = store();
    let blobs = store.blobs();
    let digest = Digest::of(b"hello");
    let write = |bytes: &[u8], expected: Option<&Digest>, size| {
        let mut writer = blobs.create_for(expected).unwrap();
        writer.write_all(bytes).unwrap();
        writer.commit(expected, size)
    };
    assert!(matches!(write(b"hallo", Some(&digest), None), Err(Error::DigestMismatch { .. })));
    assert!(matches!(write(b"hello", Some(&digest), Some(4)), Err(Error::SizeMismatch { .. })));
    assert!(!blobs.contains(&digest).unwrap());
    assert_eq!(write(b"hello", Some(&digest), Some(5)).unwrap().digest, digest);
    let sha512: Digest = format!("sha512:{}", SHA512_OF_HELLO).parse().unwrap();
    assert_eq!(write(b"hello", Some(&sha512), None).unwrap().digest, sha512);
    assert_eq!(blobs.read(&sha512, 5).unwrap(), b"hello");
    assert!(matches!(blobs.read(&digest, 4), Err(Error::TooLarge { .. })));
    assert!(matches!(blobs.open(&Digest::of(b"?")), Err(Error::MissingBlob(_))));
    let path = store.root().join("blobs/sha256").join(digest.hex());
    fs::write(&path, "jello").unwrap();
    let error = blobs.open(&digest).unwrap().read_to_end(&mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("is damaged: its bytes have the digest"), "{error}");
    fs::write(&path, "hell").unwrap();
    assert!(matches!(blobs.open(&digest), Err(Error::DamagedBlob { .. })));
    assert!(!blobs.contains(&digest).unwrap());
    blobs.insert(b"hello").unwrap();
    assert_eq!(blobs.read(&digest, 5).unwrap(), b"hello");
}

const SHA512_OF_HELLO: &str = "9b71d224bd62f3785d96d46ad3ea3d73319bfbc2890caadae2dff72519673ca7\
    2323c3d99ba5c11d7c7acc6e14b8c5da0c4663475c2e5c3adef46f73bcdec043";

#[test]
fn a_full_disk_is_named_with_a_hint() {
    let error = Error::io("write", "/x", rustix::io::Errno::NOSPC);
    assert!(error.to_string().contains("kiln system prune"), "{error}");
    let error = Store::open(std::path::Path::new("/proc/none"), mode()).unwrap_err();
    assert!(error.to_string().starts_with("cannot create /proc/none"), "{error}");
}

#[test]
fn a_context_file_is_trusted_only_when_old_enough_and_unchanged() {
    let (_directory, store) = store();
    let context = std::path::Path::new("/some/context");
    let time = |seconds, nanoseconds| crate::Timestamp { seconds, nanoseconds };
    let stamp = |inode, ctime| crate::FileStamp { device: 1, inode, size: 3, mtime: time(5, 5), ctime };
    let digest = crate::FileDigest([7; 32]);
    let files = vec![
        (stamp(3, time(100, 900_000_000)), digest),
        (stamp(1, time(100, 960_000_000)), digest),
        (stamp(2, time(200, 1)), digest),
    ];
    store.stat_cache(context).unwrap().save(files, time(101, 0)).unwrap();
    let cache = store.stat_cache(context).unwrap();
    assert_eq!(cache.len(), 1);
    assert_eq!(cache.get(&stamp(3, time(100, 900_000_000))), Some(digest));
    assert_eq!(cache.get(&stamp(3, time(100, 900_000_001))), None);
    assert_eq!(cache.get(&stamp(1, time(100, 960_000_000))), None);
    assert!(store.stat_cache("/other".as_ref()).unwrap().is_empty());
    let file = names(&store.root().join("contexts")).remove(0);
    let path = store.root().join("contexts").join(file);
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(store.stat_cache(context).unwrap().is_empty());
}

/// Unmounts when the test ends, however it ends.
struct Mounted(String);

impl Drop for Mounted {
    fn drop(&mut self) {
        prepared(&format!("umount -l {}", self.0));
    }
}

/// Runs a command that prepares the ground; false, with the reason, if it cannot.
fn prepared(script: &str) -> bool {
    let output = Command::new("sh").args(["-ec", script]).output().unwrap();
    if !output.status.success() {
        eprintln!("skipped: {}", String::from_utf8_lossy(&output.stderr));
    }
    output.status.success()
}

/// Cuts a real file system off from its disk, as a crash of the machine does.
#[test]
fn a_file_system_that_lost_unwritten_data_yields_no_wrong_bytes() {
    if !crate::testing::root("mounting a file system to crash it") {
        return;
    }
    let directory = directory();
    let place = directory.path().display().to_string();
    let mount = format!("mount -o loop {place}/image {place}/mounted");
    if !prepared(&format!("cd {place}; truncate -s 64M image; mkfs.ext4 -qF image; mkdir mounted; {mount}")) {
        return;
    }
    let _mounted = Mounted(format!("{place}/mounted"));
    let root = directory.path().join("mounted/store");
    let store = Store::open(&root, mode()).unwrap();
    let text = "x".repeat(5000);
    let synced = layer(&store, None, &format!("f a {text}")).id();
    store.records().insert(&record(&[&store.layers().get(synced).unwrap().unwrap()]), &[Key([1; 32])]).unwrap();
    store.settle_now().unwrap();
    let unsynced = layer(&store, None, &format!("f b {text}"));
    store.records().insert(&record(&[&unsynced]), &[Key([2; 32])]).unwrap();
    // The row becomes durable although the files are not: the case that must not be believed.
    store.inner.database.read(|db| db.query_row("PRAGMA wal_checkpoint(FULL)", [], |_| Ok(()))).unwrap();
    drop(unsynced);
    std::mem::forget(store);
    let crash = format!(
        "python3 -c 'import fcntl, os, struct; fcntl.ioctl(os.open(\"{place}/mounted\", 0), 0x8004587d, struct.pack(\"I\", 2))'"
    );
    assert!(prepared(&crash));
    // The forgotten store still has descriptors open, so the dead mount is only detached.
    assert!(prepared(&format!(
        "umount -l {place}/mounted; cp {place}/image {place}/after; mount -o loop {place}/after {place}/mounted"
    )));
    let store = Store::open(&root, mode()).unwrap();
    let kept = store.records().find(&Key([1; 32])).unwrap().unwrap();
    assert_eq!(kept.layers, [synced]);
    if let Some(found) = store.records().find(&Key([2; 32])).unwrap() {
        let found = store.layers().get(found.layers[0]).unwrap().unwrap();
        assert_eq!(union(&[&found]).read_small("b", 9000).unwrap().unwrap(), text.as_bytes());
    }
    assert_eq!(names(&root.join("tmp")), [store.inner.session.name()]);
}
