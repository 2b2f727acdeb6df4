//! What goes to keep limits, in which order, and what stays.

use kiln_oci::{Digest, Platform};

use super::super::*;
use super::*;
use crate::evictions::EvictionCause;
use crate::images::{ImageLayer, NewImage};
use crate::testing::{layer, metadata, store};
use crate::{Key, Layer, LayerId, NewRecord, Store};

const SIZE: usize = 100_000;

/// What one session does: opens the store, makes a layer over `base` and a record of it, and ends.
fn build(root: &std::path::Path, number: u8, base: &[LayerId]) -> LayerId {
    let store = Store::open(root, crate::testing::mode()).unwrap();
    let made = layer(&store, None, &format!("f {number} {}", "x".repeat(SIZE)));
    let mut layers = base.to_vec();
    layers.push(made.id());
    record(&store, number, layers);
    made.id()
}

fn record(store: &Store, number: u8, layers: Vec<LayerId>) {
    let inputs = vec![crate::Input { name: "instruction".into(), value: format!("RUN {number}") }];
    let new = NewRecord { op: Key([0; 32]), lineage: String::new(), layers, inputs, effects: String::new() };
    store.records().insert(&new, &[Key([number; 32])]).unwrap();
}

fn image(store: &Store, name: Option<&str>, layers: &[LayerId]) -> Digest {
    let id = store.blobs().insert(format!("config of {name:?} {layers:?}").as_bytes()).unwrap().digest;
    let layer = |id: &LayerId| ImageLayer { diff_id: Digest::of(&[id.row() as u8]), layer: Some(*id), blob: None };
    let layers = layers.iter().map(layer).collect();
    store.images().insert(&NewImage { id: id.clone(), platform: Platform::host(), manifest: None, layers }).unwrap();
    if let Some(name) = name {
        store.images().tag(name, &id).unwrap();
    }
    id
}

/// The size of the store with so many more layers.
fn quota(store: &Store, layers: i64) -> Limits {
    store.inner.database.empty_log().unwrap();
    let total = measure::sizes(&store.inner).unwrap().total() as i64;
    Limits { quota: Some((total + layers * SIZE as i64) as u64), ..Limits::default() }
}

fn is_hit(store: &Store, number: u8) -> bool {
    let key = Key([number; 32]);
    let query = "SELECT 1 FROM record_keys WHERE key = ?1";
    store.inner.database.read(|db| db.prepare(query)?.exists([key.0])).unwrap()
}

#[test]
fn the_least_recently_used_go_first_and_only_as_many_as_must() {
    let (_directory, store) = store();
    let root = store.root().to_owned();
    for number in 0..6 {
        build(&root, number, &[]);
    }
    // Used again, by another session.
    assert!(Store::open(&root, store.mode()).unwrap().records().find(&Key([0; 32])).unwrap().is_some());
    let limits = quota(&store, -2);
    let collected = store.collect(&limits, false).unwrap();
    assert_eq!((collected.over_quota, collected.freed.records), (None, 2));
    let left: Vec<u8> = (0..6).filter(|number| is_hit(&store, *number)).collect();
    assert_eq!(left, [0, 3, 4, 5]);
    let evicted = store.evictions().find(&Key([1; 32])).unwrap().unwrap();
    assert_eq!(evicted.why, EvictionCause::Quota);
    assert_eq!(store.collect(&limits, false).unwrap(), Collected::default(), "there is nothing more to do");
}

#[test]
fn a_step_goes_before_the_one_that_it_is_made_of() {
    let (_directory, store) = store();
    let root = store.root().to_owned();
    let base = build(&root, 0, &[]);
    let session = Store::open(&root, store.mode()).unwrap();
    assert!(session.records().find(&Key([0; 32])).unwrap().is_some());
    let made = layer(&session, None, &format!("f 1 {}", "x".repeat(SIZE)));
    record(&session, 1, vec![base, made.id()]);
    drop((made, session));
    store.collect(&quota(&store, -1), false).unwrap();
    assert_eq!((is_hit(&store, 0), is_hit(&store, 1)), (true, false));
}

#[test]
fn what_images_containers_and_leases_need_stays_and_that_it_is_too_much_is_said() {
    let (_directory, store) = store();
    let root = store.root().to_owned();
    let [named, dangling, leased, cached] = [0, 1, 2, 3].map(|number| build(&root, number, &[]));
    let kept = image(&store, Some("docker.io/library/a:latest"), &[named]);
    let gone = image(&store, None, &[dangling]);
    store.leases().release().unwrap();
    let other = Store::open(&root, store.mode()).unwrap();
    assert!(other.leases().pin_layers(&[leased]).unwrap());
    let collected = store.collect(&Limits { quota: Some(1), ..Limits::default() }, false).unwrap();
    assert!(collected.over_quota.is_some());
    assert_eq!(collected.freed.images, [(gone, vec![])]);
    let layers: Vec<LayerId> = Holdings::load(&store.inner).unwrap().layers.into_iter().collect();
    assert_eq!(layers, [named, leased]);
    assert!(!collected.freed.layers.contains(&named) && collected.freed.layers.contains(&cached));
    assert!(is_hit(&store, 0) && is_hit(&store, 2), "records that make no room stay");
    assert!(store.images().get(&kept).unwrap().is_some() && store.blobs().contains(&kept).unwrap());
    drop(other);
    let collected = store.collect(&Limits { quota: Some(1), ..Limits::default() }, false).unwrap();
    assert_eq!(collected.freed.layers, [leased]);
}

#[test]
fn the_floor_spares_what_was_used_just_now_and_the_quota_does_not() {
    let (_directory, store) = store();
    let root = store.root().to_owned();
    for number in 0..3 {
        build(&root, number, &[]);
    }
    let age = |number: u8| {
        let update = "UPDATE records SET used = used - 7200 WHERE id = (SELECT record FROM record_keys WHERE key = ?1)";
        store.inner.database.write(|db| db.execute(update, [Key([number; 32]).0])).unwrap();
    };
    age(1);
    let hour = Some(Duration::from_secs(3600));
    let floor = Limits { keep_free: Some(u64::MAX), keep_newer_than: hour, ..Limits::default() };
    store.collect(&floor, false).unwrap();
    assert_eq!([0, 1, 2].map(|number| is_hit(&store, number)), [true, false, true]);
    assert_eq!(store.evictions().find(&Key([1; 32])).unwrap().unwrap().why, EvictionCause::FreeSpace);
    age(2);
    store.collect(&Limits { keep_newer_than: hour, ..quota(&store, -1) }, false).unwrap();
    assert_eq!([0, 2].map(|number| is_hit(&store, number)), [true, false], "older, though used later by number");
    store.collect(&Limits { keep_newer_than: hour, ..quota(&store, -1) }, false).unwrap();
    assert!(!is_hit(&store, 0));
}

#[test]
fn cache_mounts_have_a_quota_of_their_own_and_one_in_use_stays() {
    let (_directory, store) = store();
    let root = store.root().to_owned();
    for id in ["a", "b", "c"] {
        let session = Store::open(&root, store.mode()).unwrap();
        let path = session.cache_mounts().directory(id, |_| Ok::<_, Error>(metadata(0o755))).unwrap();
        std::fs::write(path.join("file"), vec![0; SIZE]).unwrap();
    }
    let held = store.locks().try_acquire(store.cache_mounts().lock_key("a"), Sharing::Shared).unwrap().unwrap();
    let limits = Limits { cache_mounts: Some(2 * SIZE as u64 + 50_000), ..Limits::default() };
    let collected = store.collect(&limits, false).unwrap();
    assert_eq!(collected.freed.cache_mounts, 1);
    let ids = || {
        let entries = store.cache_entries().unwrap();
        let mut ids: Vec<_> = entries.into_iter().map(|entry| (entry.description, entry.in_use)).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(), [("cache mount a".into(), true), ("cache mount c".into(), false)]);
    drop(held);
    store.collect(&Limits { cache_mounts: Some(0), ..Limits::default() }, false).unwrap();
    assert_eq!(ids(), []);
}

#[test]
fn a_session_that_put_nothing_in_looks_at_no_quota() {
    let (_directory, store) = store();
    build(store.root(), 0, &[]);
    let limits = Limits { quota: Some(1), ..Limits::default() };
    assert_eq!(store.collect(&limits, true).unwrap(), Collected::default());
    store.blobs().insert(b"new").unwrap();
    // A look at the free space beside it changes nothing.
    store.collect(&Limits { keep_free: Some(1), ..Limits::default() }, false).unwrap();
    assert!(store.collect(&limits, true).unwrap().freed.bytes > 0);
    assert_eq!(store.collect(&limits, true).unwrap(), Collected::default());
}

#[test]
fn one_collector_is_at_work_at_a_time() {
    let (_directory, store) = store();
    build(store.root(), 0, &[]);
    let root = store.root().to_owned();
    let at_work = store.locks().try_acquire(collecting_key(), Sharing::Exclusive).unwrap().unwrap();
    let other = std::thread::spawn(move || {
        let store = Store::open(&root, crate::testing::mode()).unwrap();
        store.collect(&Limits { quota: Some(1), ..Limits::default() }, false).unwrap()
    });
    assert!(is_hit(&store, 0));
    drop(at_work);
    assert_eq!(other.join().unwrap().freed.records, 1);
}

/// Many sessions at once use, make and name layers while a collector with a quota of nothing is at work: what a session
/// holds is there as long as it lives, and a name never leads to a layer that is gone.
#[test]
fn nothing_that_a_living_session_holds_is_collected() {
    let (_directory, store) = store();
    let root = store.root().to_owned();
    let ended = std::sync::atomic::AtomicBool::new(false);
    let held = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        let collector = scope.spawn(|| {
            let store = Store::open(&root, crate::testing::mode()).unwrap();
            while !ended.load(std::sync::atomic::Ordering::SeqCst) {
                store.collect(&Limits { quota: Some(1), ..Limits::default() }, false).unwrap();
            }
        });
        let sessions: Vec<_> = (0..4u8)
            .map(|thread| {
                scope.spawn({
                    let (root, held) = (&root, &held);
                    move || (0..25u8).for_each(|round| session(root, thread, round, held))
                })
            })
            .collect();
        for session in sessions {
            session.join().unwrap();
        }
        ended.store(true, std::sync::atomic::Ordering::SeqCst);
        collector.join().unwrap();
    });
    assert!(held.into_inner() > 0, "nobody ever found what another session had made");
    for image in store.images().list().unwrap().iter().filter(|image| image.is_named()) {
        for layer in &image.layers {
            let layer = store.layers().get(layer.layer.unwrap()).unwrap().expect("a named image has its layers");
            assert!(layer.fs_path().is_dir());
        }
    }
}

/// Finds one of four steps or makes it, holds it for a moment, and sometimes names it.
fn session(root: &std::path::Path, thread: u8, round: u8, held: &std::sync::atomic::AtomicU32) {
    let store = Store::open(root, crate::testing::mode()).unwrap();
    let number = (thread + round) % 4;
    let made: Vec<Layer> = match store.records().find(&Key([number; 32])).unwrap() {
        Some(found) => {
            held.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let get = |id: &LayerId| store.layers().get(*id).unwrap().expect("what was found is pinned");
            found.layers.iter().map(get).collect()
        }
        None => {
            let made = layer(&store, None, &format!("f {number} {round}"));
            record(&store, number, vec![made.id()]);
            vec![made]
        }
    };
    std::thread::yield_now();
    for layer in &made {
        let entry = layer.open(number.to_string().as_bytes()).expect("a pinned layer has its files");
        assert!(entry.metadata().unwrap().len() > 0);
    }
    if round.is_multiple_of(5) {
        image(&store, Some(&format!("docker.io/library/i{thread}:latest")), &[made[0].id()]);
    }
    assert!(made.iter().all(|layer| layer.fs_path().is_dir()));
}
