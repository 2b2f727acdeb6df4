//! Tests of several platforms on their way out and back in.

use std::collections::BTreeSet;

use super::*;

#[test]
fn several_platforms_are_one_index_within_the_index() {
    let (from, to) = (TestStore::new(), TestStore::new());
    let images: Vec<ImageContent> = ["amd64", "arm64"]
        .iter()
        .map(|architecture| content(vec![simple_layer(&from.store, &[architecture])], architecture))
        .collect();
    let (bytes, exported) = oci_bytes(&from.store, &images, &ExportOptions::default());
    assert_valid(&bytes);
    assert_eq!(exported.configs.len(), 2);
    assert_eq!(exported.descriptor.media_type, kiln_oci::MediaType::OciIndex);
    for (position, image) in images.iter().enumerate() {
        let loaded = load::load(&to.store, bytes.as_slice(), Some(&image.platform), &task()).unwrap();
        assert_eq!(loaded[0].id, exported.configs[position]);
    }
    let loaded = load::load(&to.store, bytes.as_slice(), None, &task()).unwrap();
    assert_eq!(loaded.len(), 1);
    let named = to.store.images().platforms("docker.io/library/app:latest").unwrap();
    assert_eq!(BTreeSet::from_iter(named.iter().map(|image| &image.id)), BTreeSet::from_iter(&exported.configs));
    // It goes out again as it came.
    let mut saved = Vec::new();
    let again = save::save(&mut saved, &to.store, &[(named, vec![name("app")])], &task()).unwrap();
    assert_valid(&saved);
    assert_eq!(again[0].descriptor, exported.descriptor);
}

#[test]
fn platforms_that_an_archive_lacks_are_passed_by() {
    let (from, to) = (TestStore::new(), TestStore::new());
    let [one, other] =
        ["amd64", "s390x"].map(|architecture| content(vec![simple_layer(&from.store, &[architecture])], architecture));
    let (whole, exported) = oci_bytes(&from.store, &[one.clone(), other], &ExportOptions::default());
    let (half, _) = oci_bytes(&from.store, std::slice::from_ref(&one), &ExportOptions::default());
    // The half's blobs beneath the whole's index, which is a blob itself.
    let mut reader = TarReader::new(whole.as_slice());
    let mut archive = crate::tar::TarWriter::new(Vec::new());
    let held: BTreeSet<Vec<u8>> = paths(&half).into_iter().collect();
    let index = crate::layout::blob_path(&exported.descriptor.digest).into_bytes();
    while let Some(entry) = reader.next_entry().unwrap() {
        if held.contains(&entry.path) || entry.path == index {
            archive.append(&entry).unwrap();
            std::io::copy(&mut reader, &mut archive).unwrap();
        }
    }
    let archive = archive.finish().unwrap();
    let loaded = load::load(&to.store, archive.as_slice(), None, &task()).unwrap();
    assert_eq!(loaded.iter().map(|image| &image.id).collect::<Vec<_>>(), [&exported.configs[0]]);
    assert_eq!(to.store.images().list().unwrap().len(), 1);
}

fn paths(archive: &[u8]) -> Vec<Vec<u8>> {
    let mut reader = TarReader::new(archive);
    let mut paths = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        paths.push(entry.path);
    }
    paths
}
