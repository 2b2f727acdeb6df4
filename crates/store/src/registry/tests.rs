//! The registry's rows and bytes together: what is linked, found, collected and left alone.

use std::io::Read;
use std::time::Duration;

use kiln_oci::{Algorithm, Digest, Hasher};

use super::*;
use crate::blobs::place;
use crate::prune::Prune;
use crate::testing::{mode, store};
use crate::{CachePart, Store};

const NOBODY_IS_YOUNG: Duration = Duration::ZERO;

fn push(store: &Store, repository: &str, bytes: &[u8]) -> Digest {
    let (registry, digest) = (store.registry(), Digest::of(bytes));
    let id = registry.begin_upload(repository).unwrap();
    let mut upload = registry.resume_upload(repository, &id, Algorithm::Sha256).unwrap().unwrap();
    upload.append(bytes).unwrap();
    assert!(upload.finish(&digest).unwrap());
    assert_eq!(registry.upload(repository, &id).unwrap(), None);
    digest
}

/// Something in the place of a manifest: the store does not read it.
fn manifest<'a>(bytes: &'a [u8], digest: &'a Digest, blobs: &'a [Digest]) -> NewRegistryManifest<'a> {
    NewRegistryManifest {
        bytes,
        digest,
        media_type: "application/x",
        blobs,
        manifests: &[],
        is_partial: false,
        subject: None,
        artifact_type: None,
        annotations: None,
    }
}

fn put(store: &Store, repository: &str, text: &str, tag: Option<&str>, blobs: &[Digest]) -> Digest {
    let digest = Digest::of(text.as_bytes());
    let new = manifest(text.as_bytes(), &digest, blobs);
    assert_eq!(store.registry().put_manifest(repository, &new, tag).unwrap(), []);
    digest
}

fn collect(store: &Store, untagged: bool) -> RegistryCollected {
    let policy = RegistryPolicy { untagged, young: NOBODY_IS_YOUNG, dry_run: true };
    let foreseen = store.registry().collect(&policy).unwrap();
    let collected = store.registry().collect(&RegistryPolicy { dry_run: false, ..policy }).unwrap();
    assert_eq!((&foreseen.manifests, &foreseen.blobs), (&collected.manifests, &collected.blobs));
    assert_eq!(foreseen.bytes, collected.bytes);
    collected
}

fn names(pairs: &[(&str, &Digest)]) -> Vec<(String, String)> {
    let mut names: Vec<_> = pairs.iter().map(|(name, digest)| ((*name).to_owned(), digest.to_string())).collect();
    names.sort();
    names
}

#[test]
fn what_is_uploaded_is_in_its_repository_only_and_on_the_disk() {
    let (_directory, store) = store();
    let digest = push(&store, "a", b"bytes");
    let registry = store.registry();
    assert_eq!(registry.blob("a", &digest).unwrap(), Some(5));
    assert_eq!(registry.blob("b", &digest).unwrap(), None);
    assert!(registry.open_blob("b", &digest).unwrap().is_none());
    let mut read = Vec::new();
    registry.open_blob("a", &digest).unwrap().unwrap().read_to_end(&mut read).unwrap();
    assert_eq!(read, b"bytes");
    let mut part = Vec::new();
    registry.open_part("a", &digest, &(1..3)).unwrap().unwrap().read_to_end(&mut part).unwrap();
    assert_eq!(part, b"yt");
    let synced = "SELECT synced FROM blobs WHERE digest = ?1";
    let synced: bool =
        store.inner.database.read(|db| db.query_row(synced, [digest.to_string()], |row| row.get(0))).unwrap();
    assert!(synced);
    assert_eq!(std::fs::read_dir(uploads::directory(&store.inner)).unwrap().count(), 0);
}

#[test]
fn an_upload_goes_on_in_another_process_with_any_hash_function() {
    let (directory, first) = store();
    let id = first.registry().begin_upload("a").unwrap();
    let mut upload = first.registry().resume_upload("a", &id, Algorithm::Sha256).unwrap().unwrap();
    upload.append(b"one ").unwrap();
    drop(upload);
    let root = first.root().to_owned();
    drop(first);
    let store = Store::open(&root, mode()).unwrap();
    let registry = store.registry();
    assert_eq!(registry.upload("a", &id).unwrap(), Some(4));
    assert_eq!(registry.upload("b", &id).unwrap(), None);
    let mut upload = registry.resume_upload("a", &id, Algorithm::Sha512).unwrap().unwrap();
    upload.append(b"two").unwrap();
    let mut hasher = Hasher::new(Algorithm::Sha512).unwrap();
    hasher.update(b"one two");
    let digest = hasher.finish();
    assert!(upload.finish(&digest).unwrap());
    assert_eq!(registry.blob("a", &digest).unwrap(), Some(7));
    drop(directory);
}

#[test]
fn a_hash_is_taken_along_from_chunk_to_chunk() {
    let (_directory, store) = store();
    let registry = store.registry();
    let id = registry.begin_upload("a").unwrap();
    for chunk in [b"ab", b"cd"] {
        registry.resume_upload("a", &id, Algorithm::Sha256).unwrap().unwrap().append(chunk).unwrap();
    }
    assert_eq!(store.inner.registry.hashers().get(&id).unwrap().length(), 4);
    // Somebody else went on meanwhile: what is remembered is of no use.
    std::fs::write(uploads::directory(&store.inner).join(&id), b"abcdef").unwrap();
    let upload = registry.resume_upload("a", &id, Algorithm::Sha256).unwrap().unwrap();
    assert!(upload.finish(&Digest::of(b"abcdef")).unwrap());
    assert!(store.inner.registry.hashers().is_empty());
}

#[test]
fn a_wrong_digest_ends_an_upload_and_leaves_nothing() {
    let (_directory, store) = store();
    let registry = store.registry();
    let id = registry.begin_upload("a").unwrap();
    let mut upload = registry.resume_upload("a", &id, Algorithm::Sha256).unwrap().unwrap();
    upload.append(b"x").unwrap();
    assert!(!upload.finish(&Digest::of(b"y")).unwrap());
    assert!(registry.resume_upload("a", &id, Algorithm::Sha256).unwrap().is_none());
    assert_eq!(store.blobs().list().unwrap(), []);
    assert_eq!(std::fs::read_dir(uploads::directory(&store.inner)).unwrap().count(), 0);
}

#[test]
fn uploads_are_given_up_and_swept_and_no_id_is_a_path() {
    let (_directory, store) = store();
    let registry = store.registry();
    for id in ["../db.sqlite", "", ".", "nothing"] {
        assert_eq!(registry.upload("a", id).unwrap(), None);
        assert!(registry.resume_upload("a", id, Algorithm::Sha256).unwrap().is_none());
        assert!(!registry.cancel_upload("a", id).unwrap());
    }
    let (given_up, kept, left) =
        (registry.begin_upload("a").unwrap(), registry.begin_upload("a").unwrap(), registry.begin_upload("a").unwrap());
    assert!(registry.cancel_upload("a", &given_up).unwrap());
    assert!(!registry.cancel_upload("a", &given_up).unwrap());
    let in_use = registry.resume_upload("a", &kept, Algorithm::Sha256).unwrap().unwrap();
    assert_eq!(registry.sweep_uploads(Duration::from_secs(3600), false).unwrap(), (0, 0));
    assert_eq!(registry.sweep_uploads(NOBODY_IS_YOUNG, true).unwrap(), (1, 0));
    assert_eq!(registry.sweep_uploads(NOBODY_IS_YOUNG, false).unwrap(), (1, 0));
    assert_eq!(registry.upload("a", &left).unwrap(), None);
    assert_eq!(registry.upload("a", &kept).unwrap(), Some(0));
    drop(in_use);
}

#[test]
fn mounting_copies_nothing() {
    let (_directory, store) = store();
    let registry = store.registry();
    let digest = push(&store, "a", b"bytes");
    assert!(!registry.mount("b", &digest, Some("c")).unwrap());
    assert!(registry.mount("b", &digest, Some("a")).unwrap());
    let local = store.blobs().insert(b"of an image").unwrap().digest;
    assert!(registry.mount("b", &local, None).unwrap());
    assert_eq!(registry.blob("b", &local).unwrap(), Some(11));
    assert!(!registry.mount("b", &Digest::of(b"nowhere"), None).unwrap());
    // A link is nothing without the bytes.
    store.blobs().remove(&local).unwrap();
    assert_eq!(registry.blob("b", &local).unwrap(), None);
    assert!(!registry.mount("c", &local, Some("b")).unwrap());
}

#[test]
fn bytes_stay_as_long_as_anybody_needs_them() {
    let (_directory, store) = store();
    let registry = store.registry();
    let digest = push(&store, "a", b"bytes");
    assert!(registry.mount("b", &digest, Some("a")).unwrap());
    let everything = Prune { unused_images: true, cache: CachePart::All, ..Prune::default() };
    assert_eq!(store.prune(&everything).unwrap().blobs, []);
    assert!(registry.delete_blob("a", &digest).unwrap());
    assert!(!registry.delete_blob("a", &digest).unwrap());
    assert_eq!(store.prune(&everything).unwrap().blobs, []);
    assert_eq!(registry.blob("b", &digest).unwrap(), Some(5));
    assert!(registry.delete_blob("b", &digest).unwrap());
    assert!(!place(&store.inner, &digest).exists());
}

#[test]
fn a_manifest_is_taken_with_all_that_it_is_made_of() {
    let (_directory, store) = store();
    let registry = store.registry();
    let (there, elsewhere) = (push(&store, "a", b"layer"), Digest::of(b"missing"));
    let (digest, parts) = (Digest::of(b"m"), [there.clone(), elsewhere.clone()]);
    let new = manifest(b"m", &digest, &parts);
    assert_eq!(registry.put_manifest("a", &new, Some("t")).unwrap(), [elsewhere]);
    assert_eq!(registry.tagged("a", "t").unwrap(), None);
    let partial = NewRegistryManifest { is_partial: true, ..new };
    assert_eq!(registry.put_manifest("a", &partial, Some("t")).unwrap(), []);
    assert_eq!(registry.tagged("a", "t").unwrap().unwrap().digest, digest);
    let mut read = Vec::new();
    registry.open_manifest("a", &digest).unwrap().unwrap().read_to_end(&mut read).unwrap();
    assert_eq!(read, b"m");
    assert!(registry.open_manifest("b", &digest).unwrap().is_none());

    let index = Digest::of(b"i");
    let of_another = NewRegistryManifest { manifests: std::slice::from_ref(&there), ..manifest(b"i", &index, &[]) };
    assert_eq!(registry.put_manifest("a", &of_another, None).unwrap(), [there]);
    let whole = NewRegistryManifest { manifests: std::slice::from_ref(&digest), ..manifest(b"i", &index, &[]) };
    assert_eq!(registry.put_manifest("a", &whole, Some("t")).unwrap(), []);
    assert_eq!(registry.tagged("a", "t").unwrap().unwrap().digest, index);
    assert_eq!(registry.repositories(None, 9).unwrap(), ["a"]);
}

#[test]
fn a_manifest_goes_with_its_tags_and_a_tag_alone() {
    let (_directory, store) = store();
    let registry = store.registry();
    let digest = put(&store, "a", "m", Some("1"), &[]);
    put(&store, "a", "m", Some("2"), &[]);
    let tags = |after, limit| {
        let found = registry.tags("a", after, limit).unwrap();
        found.into_iter().map(|tag| tag.name).collect::<Vec<_>>()
    };
    assert_eq!(tags(None, 9), ["1", "2"]);
    assert_eq!((tags(Some("1"), 9), tags(None, 1)), (vec!["2".to_owned()], vec!["1".to_owned()]));
    assert!(registry.delete_tag("a", "1").unwrap());
    assert!(!registry.delete_tag("a", "1").unwrap());
    assert_eq!(tags(None, 9), ["2"]);
    assert!(registry.delete_manifest("a", &digest).unwrap());
    assert!(!registry.delete_manifest("a", &digest).unwrap());
    assert!(tags(None, 9).is_empty() && !registry.is_repository("a").unwrap());
    assert!(!place(&store.inner, &digest).exists());
}

#[test]
fn referrers_are_found_by_subject_and_type_page_by_page() {
    let (_directory, store) = store();
    let registry = store.registry();
    let subject = Digest::of(b"not here");
    let mut all: Vec<Digest> = (0..5).map(|number: u8| Digest::of(&[number])).collect();
    for (number, digest) in (0u8..).zip(&all) {
        let bytes = [number];
        let new = NewRegistryManifest {
            subject: Some(&subject),
            artifact_type: Some(if number == 3 { "sbom" } else { "signature" }),
            annotations: Some("{\"k\":\"v\"}"),
            ..manifest(&bytes, digest, &[])
        };
        assert_eq!(registry.put_manifest("a", &new, None).unwrap(), []);
    }
    let third = all[3].clone();
    all.sort_by_key(ToString::to_string);
    let wanted = RegistryReferrers { repository: "a", subject: &subject, artifact_type: None, after: None };
    let found = |wanted: &RegistryReferrers<'_>, limit| {
        let found = registry.referrers(wanted, limit).unwrap();
        found.into_iter().map(|each| each.manifest.digest).collect::<Vec<_>>()
    };
    assert_eq!(found(&wanted, 9), all);
    assert_eq!(found(&RegistryReferrers { after: Some(&all[1]), ..wanted }, 2), all[2..4]);
    assert_eq!(found(&RegistryReferrers { artifact_type: Some("sbom"), ..wanted }, 9), [third]);
    assert_eq!(found(&RegistryReferrers { repository: "b", ..wanted }, 9), []);
    assert_eq!(registry.referrers(&wanted, 1).unwrap()[0].annotations["k"], "v");
}

#[test]
fn what_a_tag_leads_to_is_not_collected() {
    let (_directory, store) = store();
    let registry = store.registry();
    let layer = push(&store, "a", b"layer");
    let loose = push(&store, "a", b"loose");
    let child = put(&store, "a", "child", None, std::slice::from_ref(&layer));
    let index = Digest::of(b"index");
    let new = NewRegistryManifest { manifests: std::slice::from_ref(&child), ..manifest(b"index", &index, &[]) };
    registry.put_manifest("a", &new, Some("t")).unwrap();
    let signature = Digest::of(b"signature");
    let new = NewRegistryManifest { subject: Some(&child), ..manifest(b"signature", &signature, &[]) };
    registry.put_manifest("a", &new, None).unwrap();
    let other_layer = push(&store, "a", b"other layer");
    let untagged = put(&store, "a", "untagged", None, std::slice::from_ref(&other_layer));

    let young = RegistryPolicy { untagged: true, young: Duration::from_secs(3600), dry_run: false };
    assert_eq!(registry.collect(&young).unwrap(), RegistryCollected::default());

    let first = collect(&store, false);
    assert_eq!((first.manifests, first.blobs), (vec![], names(&[("a", &loose)])));
    let second = collect(&store, true);
    assert_eq!((second.manifests, second.blobs), (names(&[("a", &untagged)]), names(&[("a", &other_layer)])));
    for gone in [&loose, &untagged, &other_layer] {
        assert!(!place(&store.inner, gone).exists());
    }
    for kept in [&layer, &child, &index, &signature] {
        assert!(place(&store.inner, kept).exists());
    }
    registry.delete_tag("a", "t").unwrap();
    let last = collect(&store, true);
    assert_eq!((last.manifests.len(), last.blobs), (3, names(&[("a", &layer)])));
    assert_eq!(store.blobs().list().unwrap(), []);
    assert_eq!(collect(&store, true), RegistryCollected::default());
}

#[test]
fn a_blob_that_was_asked_for_stays_for_the_manifest_to_come() {
    let (_directory, store) = store();
    let (asked, other) = (push(&store, "a", b"asked"), push(&store, "a", b"other"));
    let old = "UPDATE registry_blobs SET linked = linked - 86400";
    store.inner.database.write(|db| db.execute(old, [])).unwrap();
    assert_eq!(store.registry().blob("a", &asked).unwrap(), Some(5));
    let policy = RegistryPolicy { untagged: true, young: Duration::from_secs(3600), dry_run: false };
    assert_eq!(store.registry().collect(&policy).unwrap().blobs, names(&[("a", &other)]));
    put(&store, "a", "manifest", Some("t"), &[asked]);
}

#[test]
fn what_an_image_needs_stays_when_the_registry_does_not_need_it() {
    let (_directory, store) = store();
    let config = push(&store, "a", b"config");
    let image = crate::NewImage {
        id: config.clone(),
        platform: kiln_oci::Platform::host(),
        manifest: None,
        layers: Vec::new(),
    };
    store.images().insert(&image).unwrap();
    let collected = collect(&store, true);
    assert_eq!((collected.blobs, collected.bytes), (names(&[("a", &config)]), 0));
    assert!(place(&store.inner, &config).exists());
}

#[test]
fn damage_names_the_repositories_that_need_what_is_damaged() {
    let (_directory, store) = store();
    let digest = push(&store, "a/b", b"bytes");
    std::fs::write(place(&store.inner, &digest), b"sytes").unwrap();
    let report = store.check(&|_, _| {}).unwrap();
    assert_eq!(report.findings.len(), 1);
    assert_eq!(report.findings[0].needed_by, ["registry repository a/b"]);
}
