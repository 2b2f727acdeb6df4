//! A bucket as a depot, on moto's server.

use std::time::Duration;

use kiln_cache::depot::{Bucket, Depot, Foreign, Put};
use kiln_oci::{Descriptor, Digest};
use kiln_registry::Secret;

use crate::place::{UnderTest, layer, read, unite, write};
use crate::registry::client;
use crate::s3::{BUCKET, S3Server};

struct Place(S3Server);

impl Place {
    async fn start() -> Option<Place> {
        S3Server::start().map(Place)
    }

    fn bucket(&self) -> Bucket {
        Bucket {
            bucket: BUCKET.into(),
            region: Some("eu-central-1".into()),
            endpoint_url: Some(self.0.url()),
            prefix: Some("team/".into()),
            name: Some("app".into()),
            access_key_id: Some(Secret::new("AKIA0")),
            secret_access_key: Some(Secret::new("hush")),
            ..Bucket::default()
        }
    }
}

impl UnderTest for Place {
    fn open(&self) -> Depot {
        Depot::bucket(client(), self.bucket())
    }

    fn flip(&self, digest: &Digest) {
        let listed = String::from_utf8(self.0.get("?list-type=2")).unwrap();
        let keys = listed.split("<Key>").skip(1).map(|rest| rest.split("</Key>").next().unwrap());
        let key = keys.into_iter().find(|key| key.ends_with(digest.hex())).unwrap();
        let mut bytes = self.0.get(key);
        bytes[0] ^= 1;
        self.0.put(key, &bytes);
    }
}

crate::suite!(Place::start());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_there_is_asked_for_once_and_not_sent_again() {
    let Some(place) = Place::start().await else { return };
    let large = vec![7; 20 << 20];
    let entry = write(&place.open(), "a", &[&large, b"small"]).await;
    let depot = place.open();
    let united = unite(&depot).await;
    assert_eq!(united.leaflets.len(), 1);
    for bytes in [&large[..], b"small"] {
        assert_eq!(depot.put(&layer(bytes)).await.unwrap(), Put::Held);
    }
    assert_eq!(read(&depot, &entry.blobs[0]).await.unwrap(), large);
    let requests = place.0.requests();
    let about = |blob: &Descriptor, method: &str| {
        let lines = requests.iter().filter(|line| line.starts_with(method) && line.contains(blob.digest.hex()));
        lines.count()
    };
    let (large, small) = (&entry.blobs[0], &entry.blobs[1]);
    // A question before each put; three parts between the beginning and the end of the large one.
    assert_eq!((about(large, "HEAD"), about(large, "POST"), about(large, "PUT")), (2, 2, 3), "{requests:?}");
    assert_eq!((about(small, "HEAD"), about(small, "POST"), about(small, "PUT")), (2, 0, 1), "{requests:?}");
    // One list for the writer and one for the reader, who then reads the entry and its records.
    let lists = requests.iter().filter(|line| line.contains("list-type"));
    assert_eq!((lists.count(), about(&entry.records, "GET")), (2, 1), "{requests:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_blob_is_touched_and_stays() {
    let Some(place) = Place::start().await else { return };
    let entry = write(&place.open(), "a", &[b"1"]).await;
    let bucket = Bucket { touch_refresh: Some(Duration::ZERO), ..place.bucket() };
    let depot = Depot::bucket(client(), bucket);
    assert!(depot.holds(&entry.blobs[0]).await.unwrap());
    assert_eq!(read(&depot, &entry.blobs[0]).await.unwrap(), b"1");
    let listed = String::from_utf8(place.0.get("?list-type=2")).unwrap();
    assert!(!listed.contains("touched"), "{listed}");
    let requests = place.0.requests();
    let puts = requests.iter().filter(|line| line.starts_with("PUT") && line.contains(entry.blobs[0].digest.hex()));
    assert_eq!(puts.count(), 3, "once written, copied aside and back: {requests:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_of_buildkit_is_recognised() {
    let Some(place) = Place::start().await else { return };
    place.0.put("team/manifests/app", b"{}");
    assert_eq!(unite(&place.open()).await.foreign, Some(Foreign::BuildKit));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_does_not_exist_is_an_error_that_names_it() {
    let Some(place) = Place::start().await else { return };
    let depot = Depot::bucket(client(), Bucket { bucket: "nosuch".into(), ..place.bucket() });
    let error = depot.unite(100).await.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(text.contains("nosuch") && !text.contains("hush"), "{text}");
    assert!(depot.put(&layer(b"a")).await.is_err());
}
