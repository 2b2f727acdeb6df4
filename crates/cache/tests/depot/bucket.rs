//! A bucket as a depot, on moto's server.

use std::sync::Arc;
use std::time::Duration;

use kiln_cache::depot::{Bucket, Depot, Foreign, Put};
use kiln_oci::{Descriptor, Digest};
use kiln_registry::Secret;

use crate::faults::{Fate, Line};
use crate::place::{UnderTest, layer, read, unite, write};
use crate::registry::client;
use crate::s3::{BUCKET, S3Server};

/// A part of the bucket that no other test uses.
pub(crate) struct Place {
    server: Arc<S3Server>,
    prefix: String,
}

fn bucket(url: &str, prefix: &str) -> Bucket {
    Bucket {
        bucket: BUCKET.into(),
        region: Some("eu-central-1".into()),
        endpoint_url: Some(url.into()),
        prefix: Some(prefix.into()),
        name: Some("app".into()),
        access_key_id: Some(Secret::new("AKIA0")),
        secret_access_key: Some(Secret::new("hush")),
        ..Bucket::default()
    }
}

impl Place {
    fn bucket(&self) -> Bucket {
        bucket(&self.server.url(), &self.prefix)
    }
}

/// Gives an empty place for each test, all on one server, which is started for the first.
fn places() -> impl Fn(&str) -> Place {
    let server = Arc::new(S3Server::start());
    move |test| Place { server: Arc::clone(&server), prefix: format!("{test}/") }
}

impl UnderTest for Place {
    fn address(&self) -> String {
        format!("{} {}", self.server.url(), self.prefix)
    }

    fn at(address: &str) -> Depot {
        let (url, prefix) = address.split_once(' ').unwrap();
        Depot::bucket(client(), bucket(url, prefix))
    }

    fn flip(&self, digest: &Digest) {
        let listed = String::from_utf8(self.server.get("?list-type=2")).unwrap();
        let keys = listed.split("<Key>").skip(1).map(|rest| rest.split("</Key>").next().unwrap());
        let own = |key: &&str| key.starts_with(&self.prefix) && key.ends_with(digest.hex());
        let key = keys.into_iter().find(own).unwrap();
        let mut bytes = self.server.get(key);
        bytes[0] ^= 1;
        self.server.put(key, &bytes);
    }
}

crate::suite!(together places());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_buckets_do() {
    let places = places();
    what_is_there_is_asked_for_once_and_not_sent_again(&places("one")).await;
    an_old_blob_is_touched_and_stays(&places("two")).await;
    a_cache_of_buildkit_is_recognised(&places("three")).await;
    a_bucket_that_does_not_exist_is_an_error_that_names_it(&places("four")).await;
    without_credentials_the_machine_is_asked_and_the_error_says_what_is_missing(&places("five")).await;
}

async fn what_is_there_is_asked_for_once_and_not_sent_again(place: &Place) {
    let large = vec![7; 20 << 20];
    let entry = write(&place.open(), "a", &[&large, b"small"]).await;
    let depot = place.open();
    let united = unite(&depot).await;
    assert_eq!(united.leaflets.len(), 1);
    for bytes in [&large[..], b"small"] {
        assert_eq!(depot.put(&layer(bytes)).await.unwrap(), Put::Held);
    }
    assert_eq!(read(&depot, &entry.blobs[0]).await.unwrap(), large);
    let requests = place.server.requests();
    let about = |blob: &Descriptor, method: &str| {
        let lines = requests.iter().filter(|line| line.starts_with(method) && line.contains(blob.digest.hex()));
        lines.count()
    };
    let (large, small) = (&entry.blobs[0], &entry.blobs[1]);
    // A question before each put; three parts between the beginning and the end of the large one.
    assert_eq!((about(large, "HEAD"), about(large, "POST"), about(large, "PUT")), (2, 2, 3), "{requests:?}");
    assert_eq!((about(small, "HEAD"), about(small, "POST"), about(small, "PUT")), (2, 0, 1), "{requests:?}");
    // One list for the writer and one for the reader, who then reads the entry and its records.
    let lists = requests.iter().filter(|line| line.contains("list-type") && line.contains(&place.prefix));
    assert_eq!((lists.count(), about(&entry.records, "GET")), (2, 1), "{requests:?}");
}

async fn an_old_blob_is_touched_and_stays(place: &Place) {
    let entry = write(&place.open(), "a", &[b"1"]).await;
    let old = Bucket { touch_refresh: Some(Duration::ZERO), ..place.bucket() };
    let depot = Depot::bucket(client(), old);
    assert!(depot.holds(&entry.blobs[0]).await.unwrap());
    assert_eq!(read(&depot, &entry.blobs[0]).await.unwrap(), b"1");
    let listed = String::from_utf8(place.server.get("?list-type=2")).unwrap();
    assert!(!listed.contains("touched"), "{listed}");
    let requests = place.server.requests();
    let puts = requests.iter().filter(|line| line.starts_with("PUT") && line.contains(entry.blobs[0].digest.hex()));
    assert_eq!(puts.count(), 3, "once written, copied aside and back: {requests:?}");
}

async fn a_cache_of_buildkit_is_recognised(place: &Place) {
    place.server.put(&format!("{}manifests/app", place.prefix), b"{}");
    assert_eq!(unite(&place.open()).await.foreign, Some(Foreign::BuildKit));
}

async fn a_bucket_that_does_not_exist_is_an_error_that_names_it(place: &Place) {
    let depot = Depot::bucket(client(), Bucket { bucket: "nosuch".into(), ..place.bucket() });
    let error = depot.unite(100).await.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(text.contains("nosuch") && !text.contains("hush"), "{text}");
    assert!(depot.put(&layer(b"a")).await.is_err());
}

async fn without_credentials_the_machine_is_asked_and_the_error_says_what_is_missing(place: &Place) {
    let cloud = Line::to(place.server.url().trim_start_matches("http://"), |_| Fate::Busy(403));
    let environment = vec![("AWS_METADATA_ENDPOINT".into(), Secret::new(format!("http://{}", cloud.address)))];
    let nobody = Bucket { access_key_id: None, secret_access_key: None, environment, ..place.bucket() };
    let error = Depot::bucket(client(), nobody).unite(100).await.unwrap_err().to_string();
    assert!(error.contains("no credentials") && error.contains("AWS_ACCESS_KEY_ID"), "{error}");
    assert!(cloud.heads().iter().any(|(head, _)| head.contains("/latest/api/token")), "{:?}", cloud.heads());
}
