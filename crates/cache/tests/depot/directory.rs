//! A directory as a depot.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use kiln_cache::depot::{Depot, Entry, Foreign, Put};
use kiln_oci::{Descriptor, Digest, Index, Manifest, MediaType};
use tempfile::TempDir;

use crate::place::{UnderTest, hasty, layer, read, records, unite, write, writers};

struct Place(TempDir);

impl Place {
    fn start() -> Place {
        Place(TempDir::with_prefix("kiln-depot-").unwrap())
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.0.path().join("cache/blobs/sha256").join(digest.hex())
    }
}

impl UnderTest for Place {
    fn address(&self) -> String {
        self.0.path().join("cache").to_str().unwrap().to_owned()
    }

    fn at(address: &str) -> Depot {
        Depot::directory(address, None, None)
    }

    fn flip(&self, digest: &Digest) {
        let mut bytes = fs::read(self.blob(digest)).unwrap();
        bytes[0] ^= 1;
        fs::write(self.blob(digest), bytes).unwrap();
    }
}

crate::suite!(Place::start());

impl Place {
    fn path(&self) -> PathBuf {
        self.0.path().join("cache")
    }

    fn index(&self) -> Index {
        serde_json::from_slice(&fs::read(self.path().join("index.json")).unwrap()).unwrap()
    }
}

#[tokio::test]
async fn other_tools_read_and_copy_what_was_written() {
    let place = Place::start();
    let entry = write(&place.open(), "a", &[b"first", b"second"]).await;
    let tool = |program: &str, args: &[&str]| Command::new(program).args(args).output();
    let (source, copied) = (format!("oci:{}:latest", place.address()), place.0.path().join("copied"));
    let shown = tool("skopeo", &["inspect", "--raw", &source]).expect("skopeo, which `cargo xtask test` installs");
    assert_eq!(Digest::of(&shown.stdout), entry.id.digest);
    // Under its own name in the copy, which is a depot then, too.
    let target = format!("oci:{}:latest-kiln-{}", copied.display(), entry.id);
    let copy = tool("skopeo", &["--insecure-policy", "copy", "--quiet", &source, &target]).unwrap();
    assert!(copy.status.success(), "{}", String::from_utf8_lossy(&copy.stderr));
    let copied = Depot::directory(copied, None, None);
    assert_eq!(writers(&copied).await, ["a"]);
    assert_eq!(read(&copied, &entry.blobs[1]).await.unwrap(), b"second");
}

#[tokio::test]
async fn caches_of_several_tags_and_images_share_a_directory() {
    let place = Place::start();
    let depot = |tag: &str| Depot::directory(place.path(), Some(tag), None);
    let one = write(&depot("one"), "a", &[b"1"]).await;
    write(&depot("two"), "b", &[b"1"]).await;
    // Somebody else's image, under the name that a depot has.
    let image = Manifest::new(layer(b"{}").descriptor, vec![layer(b"1").descriptor]);
    let image = layer(&serde_json::to_vec(&image).unwrap());
    place.open().put(&image).await.unwrap();
    let mut index = place.index();
    let mut listed = Descriptor::new(MediaType::OciManifest, image.descriptor.digest, image.descriptor.size);
    listed.annotations.insert("org.opencontainers.image.ref.name".into(), "theirs".into());
    index.manifests.push(listed.clone());
    fs::write(place.path().join("index.json"), serde_json::to_vec(&index).unwrap()).unwrap();
    let theirs = unite(&depot("theirs")).await;
    assert_eq!(theirs.foreign, Some(Foreign::Other(MediaType::OciManifest.to_string())));
    write(&depot("one"), "c", &[b"2"]).await;
    assert!(place.index().manifests.contains(&listed));
    assert_eq!(
        (writers(&depot("one")).await, writers(&depot("two")).await),
        (vec!["a".into(), "c".into()], vec!["b".into()])
    );
    let only = Depot::directory(place.path(), Some("one"), Some(one.id.digest));
    assert_eq!(writers(&only).await, ["a"]);
}

#[tokio::test]
async fn what_lies_in_wait_in_a_directory_is_not_followed() {
    let place = Place::start();
    let entry = write(&place.open(), "a", &[b"layer"]).await;
    let secret = place.0.path().join("secret");
    fs::write(&secret, b"layer").unwrap();
    let blob = place.blob(&entry.blobs[0].digest);
    let replace = |with: &dyn Fn()| {
        fs::remove_file(&blob).unwrap();
        with();
    };
    let link = || std::os::unix::fs::symlink(&secret, &blob).unwrap();
    let pipe = || rustix::fs::mknodat(rustix::fs::CWD, &blob, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    for (with, said) in [(&link as &dyn Fn(), "symbolic link"), (&pipe, "no regular file")] {
        replace(with);
        let error = read(&place.open(), &entry.blobs[0]).await.unwrap_err();
        assert!(error.is_absence() && error.to_string().contains(said), "{error}");
        assert_eq!(place.open().put(&layer(b"layer")).await.unwrap(), Put::Sent, "it is replaced");
        assert!(fs::symlink_metadata(&blob).unwrap().is_file());
    }
    assert_eq!(fs::read(&secret).unwrap(), b"layer");
    let elsewhere = place.0.path().join("elsewhere");
    fs::rename(place.path().join("blobs"), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, place.path().join("blobs")).unwrap();
    assert!(place.open().put(&layer(b"new")).await.is_err(), "a link leads out of the directory");
}

#[tokio::test]
async fn a_list_that_is_none_is_an_error_with_its_name() {
    let place = Place::start();
    write(&place.open(), "a", &[]).await;
    for text in ["", "[]", "{\"manifests\":7}"] {
        fs::write(place.path().join("index.json"), text).unwrap();
        let error = place.open().unite(100).await.unwrap_err().to_string();
        assert!(error.contains("index.json"), "{error}");
    }
}

#[tokio::test]
async fn what_killed_writers_left_is_removed_and_what_a_writer_is_at_stays() {
    let place = Place::start();
    write(&place.open(), "a", &[b"1"]).await;
    let ingest = place.path().join("ingest");
    fs::write(ingest.join("left"), b"half").unwrap();
    let written = File::create(ingest.join("written")).unwrap();
    rustix::fs::flock(&written, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let hasty = place.open().with_policy(hasty());
    write(&hasty, "b", &[b"2"]).await;
    assert_eq!(hasty.retire(&unite(&hasty).await).await.unwrap(), 1);
    let left: Vec<_> = fs::read_dir(&ingest).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left, ["written"]);
}

#[tokio::test]
async fn an_entry_whose_blobs_are_not_there_is_not_published() {
    let place = Place::start();
    let depot = place.open();
    depot.put(&records("a")).await.unwrap();
    let (entry, manifest) = Entry::new(records("a").descriptor, vec![layer(b"swept").descriptor], vec![]);
    let error = depot.publish(&entry, manifest.clone()).await.unwrap_err();
    assert!(error.to_string().contains(layer(b"swept").descriptor.digest.hex()), "{error}");
    assert_eq!(writers(&depot).await, [""; 0]);
    depot.put(&layer(b"swept")).await.unwrap();
    depot.publish(&entry, manifest).await.unwrap();
    assert_eq!(writers(&depot).await, ["a"]);
}
