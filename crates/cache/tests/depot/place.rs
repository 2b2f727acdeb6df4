//! A kind of depot under test: how to open it, and how to damage what it holds.

use kiln_cache::depot::{Depot, Entry, Parcel, Policy, United};
use kiln_oci::{Descriptor, Digest, MediaType};

/// How large a document with records may be in these tests.
const RECORDS: u64 = 1 << 20;

/// A place that holds one depot, and goes with the test.
pub(crate) trait UnderTest {
    /// How another process of this test finds the place.
    fn address(&self) -> String;

    /// The depot at such an address.
    fn at(address: &str) -> Depot;

    /// The depot, opened anew as another process would.
    fn open(&self) -> Depot {
        Self::at(&self.address())
    }

    /// Changes the bytes of a blob or entry where they lie, the size kept.
    fn flip(&self, digest: &Digest);

    /// Whether retired entries disappear.
    fn forgets_entries(&self) -> bool {
        true
    }

    /// Whether blobs that nobody names disappear.
    fn forgets_blobs(&self) -> bool {
        true
    }
}

/// A layer of these bytes.
pub(crate) fn layer(bytes: &[u8]) -> Parcel {
    Parcel::of(MediaType::OciLayerGzip, bytes.to_vec().into())
}

/// What a writer's records say in these tests: its name.
pub(crate) fn records(writer: &str) -> Parcel {
    Parcel::of(MediaType::Other("application/vnd.kiln.cache.test+json".into()), writer.to_owned().into())
}

/// Puts a writer's records and layers and publishes them.
pub(crate) async fn write(depot: &Depot, writer: &str, layers: &[&[u8]]) -> Entry {
    let mut blobs = Vec::new();
    for bytes in layers {
        let parcel = layer(bytes);
        depot.put(&parcel).await.unwrap();
        blobs.push(parcel.descriptor);
    }
    let united = depot.unite(RECORDS).await.unwrap();
    let folds = depot.to_fold(&united, |_| true);
    let mut names = writer.to_owned();
    if !folds.is_empty() {
        for leaflet in &united.leaflets {
            names = format!("{names} {}", std::str::from_utf8(&leaflet.records).unwrap());
            blobs.extend(leaflet.entry.blobs.iter().cloned());
        }
    }
    let records = records(&names);
    depot.put(&records).await.unwrap();
    let (entry, manifest) = Entry::new(records.descriptor, blobs, folds);
    depot.publish(&entry, manifest).await.unwrap();
    entry
}

pub(crate) async fn unite(depot: &Depot) -> United {
    depot.unite(RECORDS).await.unwrap()
}

/// The writers whose records a reader sees, sorted; each once.
pub(crate) async fn writers(depot: &Depot) -> Vec<String> {
    writers_of(&unite(depot).await)
}

pub(crate) fn writers_of(united: &United) -> Vec<String> {
    let records = united.leaflets.iter().map(|leaflet| std::str::from_utf8(&leaflet.records).unwrap());
    let mut names: Vec<_> = records.flat_map(|text| text.split(' ')).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names
}

/// Reads a blob to its end.
pub(crate) async fn read(depot: &Depot, descriptor: &Descriptor) -> kiln_cache::depot::Result<Vec<u8>> {
    depot.document(descriptor, u64::MAX).await.map(|bytes| bytes.to_vec())
}

/// A policy that folds at once and forgets at once.
pub(crate) fn hasty() -> Policy {
    Policy { fold_from: 1, grace: std::time::Duration::ZERO }
}
