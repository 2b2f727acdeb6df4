//! A registry as a depot: Debian's `docker-registry`, one that deletes and one that does not.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use kiln_cache::depot::{Depot, Foreign, Parcel, Put};
use kiln_oci::{Digest, Manifest, MediaType, Reference};
use kiln_registry::{Anonymous, Client, Config, RetryPolicy};
use tempfile::TempDir;

use crate::faults::{Fate, Line};
use crate::place::{UnderTest, hasty, layer, unite, write, writers};

/// A registry that goes with the test.
pub(crate) struct Place {
    process: Child,
    pub(crate) address: String,
    directory: TempDir,
    deletes: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Place {
    /// An empty registry.
    pub(crate) fn start(deletes: bool) -> Place {
        let directory = TempDir::with_prefix("kiln-depot-").unwrap();
        let file = directory.path().join("config.yml");
        let storage = directory.path().join("storage");
        let settings = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: {deletes}}}}}\n\
             http: {{addr: '127.0.0.1:0'}}\n",
            storage.display()
        );
        std::fs::write(&file, settings).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("docker-registry, which `cargo xtask test` installs");
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = loop {
            let line = lines.next().expect("docker-registry ended before it listened").unwrap();
            if let Some((_, rest)) = line.split_once("listening on ") {
                break rest.split(['"', ',', ' ']).next().unwrap().to_owned();
            }
        };
        // What it says later nobody reads, but it must be able to say it.
        std::thread::spawn(move || lines.for_each(drop));
        Place { process, address, directory, deletes }
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        let blobs = self.directory.path().join("storage/docker/registry/v2/blobs/sha256");
        blobs.join(&digest.hex()[..2]).join(digest.hex()).join("data")
    }
}

/// A client without credentials that loses little time before it tries again.
pub(crate) fn client() -> Client {
    let retry = RetryPolicy { base: Duration::from_millis(20), ..RetryPolicy::default() };
    Client::new(Config { retry, ..Config::default() }, Arc::new(Anonymous))
}

impl UnderTest for Place {
    fn address(&self) -> String {
        self.address.clone()
    }

    fn at(address: &str) -> Depot {
        Depot::registry(client(), &format!("{address}/team/app:cache").parse().unwrap())
    }

    fn flip(&self, digest: &Digest) {
        let mut bytes = std::fs::read(self.blob(digest)).unwrap();
        bytes[0] ^= 1;
        std::fs::write(self.blob(digest), bytes).unwrap();
    }

    fn forgets_entries(&self) -> bool {
        self.deletes
    }

    fn forgets_blobs(&self) -> bool {
        false
    }
}

crate::suite!(Place::start(true));

mod without_deletion {
    use super::Place;

    crate::suite!(Place::start(false));
}

/// A depot in the registry of `place`.
fn depot(place: &Place, reference: &str) -> Depot {
    Depot::registry(client(), &format!("{}/{reference}", place.address).parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_lists_no_tags_is_read_by_its_one_tag() {
    let place = Place::start(true);
    write(&place.open(), "a", &[b"1"]).await;
    write(&place.open(), "b", &[b"2"]).await;
    let refusing = |head: &str| if head.contains("/tags/list") { Fate::Busy(405) } else { Fate::Pass };
    let line = Line::to(&place.address, refusing);
    let depot = Place::at(&line.address.to_string());
    assert_eq!(writers(&depot).await, ["b"]);
    write(&depot, "c", &[b"3"]).await;
    assert_eq!(writers(&place.open()).await, ["a", "b", "c"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_pushed_image_has_is_taken_from_there() {
    let place = Place::start(true);
    let mut parcel = layer(b"a layer of the image");
    depot(&place, "team/image:1").put(&parcel).await.unwrap();
    parcel.elsewhere = Some(format!("{}/team/image:1", place.address).parse().unwrap());
    assert_eq!(place.open().put(&parcel).await.unwrap(), Put::Mounted);
    assert_eq!(place.open().put(&parcel).await.unwrap(), Put::Held);
    parcel.elsewhere = Some("elsewhere.example/team/image:1".parse().unwrap());
    assert_eq!(depot(&place, "other/app:1").put(&parcel).await.unwrap(), Put::Sent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_cache_of_kiln_is_said_to_be_what_it_is() {
    let place = Place::start(true);
    let config = Parcel::of(MediaType::parse("application/vnd.buildkit.cacheconfig.v0"), "{}".into());
    let image = Parcel::of(MediaType::OciConfig, "{}".into());
    for (config, want) in [(config, Foreign::BuildKit), (image, Foreign::Other(MediaType::OciManifest.to_string()))] {
        place.open().put(&config).await.unwrap();
        let manifest = serde_json::to_vec(&Manifest::new(config.descriptor, vec![])).unwrap();
        let reference: Reference = format!("{}/team/app:cache", place.address).parse().unwrap();
        client().push_manifest(&reference, MediaType::OciManifest, manifest.into()).await.unwrap();
        assert_eq!(unite(&place.open()).await.foreign, Some(want));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_entry_is_read_by_its_digest() {
    let place = Place::start(true);
    let entry = write(&place.open(), "a", &[b"1"]).await;
    write(&place.open(), "b", &[b"2"]).await;
    assert_eq!(writers(&depot(&place, &format!("team/app@{}", entry.id.digest))).await, ["a"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_another_tag_has_as_well_is_not_deleted() {
    let place = Place::start(true);
    let entry = write(&place.open(), "a", &[b"1"]).await;
    let reference: Reference = format!("{}/team/app@{}", place.address, entry.id.digest).parse().unwrap();
    let raw = client().resolve(&reference).await.unwrap().raw;
    let copied = reference.with_tag(&format!("copy-kiln-{}", entry.id)).unwrap();
    client().push_manifest(&copied, MediaType::OciManifest, raw).await.unwrap();
    let hasty = place.open().with_policy(hasty());
    write(&hasty, "b", &[b"2"]).await;
    assert_eq!(hasty.retire(&unite(&hasty).await).await.unwrap(), 0);
    assert_eq!(writers(&depot(&place, "team/app:copy")).await, ["a"]);
}
