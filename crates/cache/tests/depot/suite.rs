//! What every depot must do. Each check starts with an empty place.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use kiln_cache::depot::Put;
use kiln_oci::{Descriptor, Digest, MediaType};
use tokio::task::JoinSet;

use crate::place::{UnderTest, hasty, layer, read, unite, write, writers};

/// Makes a test of every check in this file for a kind of depot; `$start` gives an empty place. With `together` one
/// test makes them all, since starting such a place takes long; `$start` is then a function that it calls for each.
#[macro_export]
macro_rules! suite {
    (together $start:expr) => {
        $crate::suite!(all together $start;);
    };
    ($start:expr) => {
        $crate::suite!(all alone $start;);
    };
    (all $how:ident $start:expr;) => {
        $crate::suite!($how $start;
            an_empty_place_is_an_empty_depot, blobs_are_put_once_and_read_back, wrong_bytes_are_not_put,
            a_writer_that_did_not_publish_left_nothing_visible, readers_unite_what_writers_left,
            a_fold_takes_the_place_of_what_it_contains, what_was_folded_stays_for_the_grace_time_and_goes_afterwards,
            damage_is_named_and_counts_as_absence, writers_at_once_lose_nothing_and_readers_see_all_that_was_published;
            eight_processes_at_once_lose_nothing, a_killed_writer_leaves_nothing_visible);
    };
    (alone $start:expr; $($check:ident),*; $($processes:ident),*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $check() {
            $crate::suite::$check(&$start).await;
        })*
        // In the processes that such a test starts, it does the work of one.
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $processes() {
            if $crate::process::work::<Place>().await {
                return;
            }
            $crate::process::$processes(&$start, $crate::test_name!($processes)).await;
        })*
    };
    (together $start:expr; $($check:ident),*; $($processes:ident),*) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn the_suite() {
            if $crate::process::work::<Place>().await {
                return;
            }
            let start = $start;
            $(println!("{}", stringify!($check));
            $crate::suite::$check(&start(stringify!($check))).await;)*
            $(println!("{}", stringify!($processes));
            $crate::process::$processes(&start(stringify!($processes)), $crate::test_name!(the_suite)).await;)*
        }
    };
}

/// What the test runner calls a test of the module where this is written.
#[macro_export]
macro_rules! test_name {
    ($test:ident) => {
        concat!(module_path!(), "::", stringify!($test)).split_once("::").unwrap().1
    };
}

pub(crate) async fn an_empty_place_is_an_empty_depot(place: &impl UnderTest) {
    let united = unite(&place.open()).await;
    assert!(united.leaflets.is_empty() && united.damaged.is_empty() && united.foreign.is_none());
    let absent = Descriptor::new(MediaType::OciLayer, Digest::of(b"absent"), 6);
    assert!(!place.open().holds(&absent).await.unwrap());
    let error = read(&place.open(), &absent).await.unwrap_err();
    assert!(error.is_absence(), "{error}");
}

pub(crate) async fn blobs_are_put_once_and_read_back(place: &impl UnderTest) {
    let large = vec![7; 3 << 20];
    for bytes in [&b""[..], b"a", &large] {
        let parcel = layer(bytes);
        assert_eq!(place.open().put(&parcel).await.unwrap(), Put::Sent);
        assert_eq!(place.open().put(&parcel).await.unwrap(), Put::Held);
        assert!(place.open().holds(&parcel.descriptor).await.unwrap());
        assert_eq!(read(&place.open(), &parcel.descriptor).await.unwrap(), bytes);
    }
}

pub(crate) async fn wrong_bytes_are_not_put(place: &impl UnderTest) {
    for (bytes, size) in [(&b"other"[..], 5), (b"longer than that", 5), (b"none", 5)] {
        let mut parcel = layer(bytes);
        parcel.descriptor = Descriptor::new(MediaType::OciLayer, Digest::of(b"right"), size);
        place.open().put(&parcel).await.unwrap_err();
        assert!(!place.open().holds(&parcel.descriptor).await.unwrap());
    }
}

pub(crate) async fn a_writer_that_did_not_publish_left_nothing_visible(place: &impl UnderTest) {
    write(&place.open(), "first", &[b"1"]).await;
    place.open().put(&layer(b"2")).await.unwrap();
    place.open().put(&crate::place::records("second")).await.unwrap();
    assert_eq!(writers(&place.open()).await, ["first"]);
    assert_eq!(unite(&place.open()).await.damaged.len(), 0);
}

pub(crate) async fn readers_unite_what_writers_left(place: &impl UnderTest) {
    let entry = write(&place.open(), "a", &[b"1", b"2"]).await;
    write(&place.open(), "b", &[b"2", b"3"]).await;
    assert_eq!(writers(&place.open()).await, ["a", "b"]);
    let absent = layer(b"absent").descriptor;
    let held = place.open().holds_of([&entry.blobs[..], &[absent]].concat()).await.unwrap();
    assert_eq!(held, entry.blobs.iter().map(|blob| blob.digest.clone()).collect());
    let united = unite(&place.open()).await;
    assert!(united.leaflets.iter().any(|leaflet| leaflet.entry == entry));
    let names: Vec<_> = united.leaflets.iter().map(|leaflet| &leaflet.entry.id).collect();
    assert!(names.is_sorted_by(|a, b| a > b), "newest first: {names:?}");
    for leaflet in &united.leaflets {
        for blob in &leaflet.entry.blobs {
            assert_eq!(read(&place.open(), blob).await.unwrap().len(), 1);
        }
    }
}

pub(crate) async fn a_fold_takes_the_place_of_what_it_contains(place: &impl UnderTest) {
    let all = ["a", "b", "c", "d", "e"];
    for writer in all {
        write(&place.open(), writer, &[writer.as_bytes()]).await;
    }
    let united = unite(&place.open()).await;
    assert_eq!(crate::place::writers_of(&united), all);
    assert_eq!((united.leaflets.len(), united.folded.len()), (1, 4), "{united:?}");
    assert_eq!(united.leaflets[0].entry.blobs.len(), 5);
    assert_eq!(place.open().retire(&united).await.unwrap(), 0, "the grace time has not passed");
    assert_eq!(unite(&place.open()).await.folded.len(), 4);
}

pub(crate) async fn what_was_folded_stays_for_the_grace_time_and_goes_afterwards(place: &impl UnderTest) {
    let old = write(&place.open(), "a", &[b"only of a"]).await;
    let before = unite(&place.open()).await;
    let hasty = place.open().with_policy(hasty());
    // A writer that folds without the blob, as if its record had become useless.
    let records = crate::place::records("b");
    hasty.put(&records).await.unwrap();
    assert!(hasty.to_fold(&before, |_| false).is_empty(), "what is not understood stays");
    let folds = hasty.to_fold(&before, |_| true);
    assert_eq!(folds, std::slice::from_ref(&old.id));
    let (entry, manifest) = kiln_cache::depot::Entry::new(records.descriptor, vec![], folds);
    hasty.publish(&entry, manifest).await.unwrap();
    // Who listed the place before the fold reads on.
    assert_eq!(read(&place.open(), &old.blobs[0]).await.unwrap(), b"only of a");
    assert_eq!(place.open().document(&old.records, 100).await.unwrap(), "a");
    let united = unite(&hasty).await;
    let gone = hasty.retire(&united).await.unwrap();
    let after = unite(&place.open()).await;
    assert_eq!(crate::place::writers_of(&after), ["b"]);
    assert_eq!((gone, after.folded.len()), if place.forgets_entries() { (1, 0) } else { (0, 1) });
    if place.forgets_blobs() {
        assert!(!place.open().holds(&old.blobs[0]).await.unwrap(), "its blob is garbage");
    }
}

pub(crate) async fn damage_is_named_and_counts_as_absence(place: &impl UnderTest) {
    let entry = write(&place.open(), "a", &[b"a layer of a"]).await;
    write(&place.open(), "b", &[b"a layer of b"]).await;
    place.flip(&entry.blobs[0].digest);
    let error = read(&place.open(), &entry.blobs[0]).await.unwrap_err();
    assert!(error.is_absence() && error.to_string().contains(entry.blobs[0].digest.hex()), "{error}");
    assert_eq!(writers(&place.open()).await, ["a", "b"]);
    place.flip(&entry.records.digest);
    let united = unite(&place.open()).await;
    assert_eq!(crate::place::writers_of(&united), ["b"]);
    assert_eq!(united.damaged.len(), 1);
    assert_eq!(united.damaged[0].0, entry.id);
    place.flip(&entry.id.digest);
    let united = unite(&place.open()).await;
    assert_eq!((united.leaflets.len(), united.damaged.len()), (1, 1));
}

/// Each of eight writers publishes twice. A reader beside them sees at least what was published when it began,
/// and can read every blob that an entry names.
pub(crate) async fn writers_at_once_lose_nothing_and_readers_see_all_that_was_published(place: &impl UnderTest) {
    let published = Arc::new(Mutex::new(Vec::new()));
    let mut writers_at_work = JoinSet::new();
    for writer in 0..8 {
        let (depot, published) = (place.open(), Arc::clone(&published));
        writers_at_work.spawn(async move {
            for turn in 0..2 {
                let name = format!("{writer}.{turn}");
                write(&depot, &name, &[name.as_bytes(), b"shared"]).await;
                published.lock().unwrap().push(name);
            }
        });
    }
    let mut looked_at = HashSet::new();
    while !writers_at_work.is_empty() {
        let before = published.lock().unwrap().clone();
        let united = unite(&place.open()).await;
        let seen = crate::place::writers_of(&united);
        assert!(before.iter().all(|name| seen.contains(name)), "{before:?} are not all in {seen:?}");
        for blob in united.leaflets.iter().flat_map(|leaflet| &leaflet.entry.blobs) {
            if looked_at.insert(blob.digest.clone()) {
                read(&place.open(), blob).await.unwrap();
            }
        }
        while let Some(done) = writers_at_work.try_join_next() {
            done.unwrap();
        }
    }
    let united = unite(&place.open()).await;
    assert_eq!((crate::place::writers_of(&united).len(), united.damaged.len()), (16, 0));
    assert!(!united.folded.is_empty(), "somebody folded");
}
