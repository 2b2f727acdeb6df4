//! The client against Debian's `docker-registry`, filled by skopeo.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use kiln_oci::{Digest, Index, Manifest, MediaType, Platform, Reference};
use kiln_registry::{Anonymous, Client, Sent};

use crate::image::{Image, client, config, descriptor};

/// A registry that ends with the test.
struct Registry(Child);

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn is_installed(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

fn write_layout(directory: &Path, image: &Image) {
    let blobs = directory.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    for blob in [&image.config, &image.layer, &image.manifest] {
        fs::write(blobs.join(Digest::of(blob).hex()), blob).unwrap();
    }
    let mut entry = descriptor(MediaType::OciManifest, &image.manifest);
    entry.annotations.insert("org.opencontainers.image.ref.name".into(), "1".into());
    fs::write(directory.join("index.json"), serde_json::to_vec(&Index::new(vec![entry])).unwrap()).unwrap();
    fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

/// Starts one on a free port, and reads from its log which.
fn start_registry(directory: &Path) -> (Registry, String) {
    let storage = directory.join("storage");
    let settings = format!(
        "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
         http: {{addr: 127.0.0.1:0}}\n",
        storage.display()
    );
    let file = directory.join("config.yml");
    fs::write(&file, settings).unwrap();
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(&file).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let registry = Registry(child);
    let said = lines.find_map(|line| Some(line.split_once("listening on ")?.1.to_owned()));
    let host = said.expect("docker-registry listens").split(['"', ',', ' ']).next().unwrap().to_owned();
    // What it says later nobody reads, but it must be able to say it.
    std::thread::spawn(move || lines.for_each(drop));
    (registry, host)
}

/// Whether the test can run; says why if not.
fn can_run() -> bool {
    let missing: Vec<_> = ["docker-registry", "skopeo"].into_iter().filter(|p| !is_installed(p)).collect();
    if !missing.is_empty() {
        println!("skipped: not installed: {}", missing.join(", "));
    }
    missing.is_empty()
}

/// Downloads everything of `reference` and compares it.
async fn check_pull(reference: &Reference, image: &Image) {
    let client = client();
    let found = client.image(reference, &Platform::host()).await.unwrap();
    assert_eq!(found.raw, image.manifest);
    assert_eq!(client.head(reference).await.unwrap().digest, Digest::of(&image.manifest));
    assert_eq!(client.small_blob(reference, &found.manifest.config).await.unwrap(), image.config);
    let mut stream = client.blob(reference, &found.manifest.layers[0]).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(piece) = stream.chunk().await.unwrap() {
        bytes.extend_from_slice(&piece);
    }
    assert_eq!(bytes, image.layer);
}

#[tokio::test]
async fn what_skopeo_pushed_is_pulled_from_a_real_registry() {
    if !can_run() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (_registry, host) = start_registry(directory.path());
    let image = Image::new();
    let layout = directory.path().join("layout");
    write_layout(&layout, &image);
    let pushed = Command::new("skopeo")
        .args(["copy", "--insecure-policy", "--dest-tls-verify=false", "--preserve-digests"])
        .arg(format!("oci:{}:1", layout.display()))
        .arg(format!("docker://{host}/team/app:1"))
        .output()
        .unwrap();
    assert!(pushed.status.success(), "{}", String::from_utf8_lossy(&pushed.stderr));

    let reference: Reference = format!("{host}/team/app:1").parse().unwrap();
    check_pull(&reference, &image).await;
    let missing: Reference = format!("{host}/team/app:2").parse().unwrap();
    assert!(matches!(client().resolve(&missing).await, Err(kiln_registry::Error::NotFound { .. })));
}

#[tokio::test]
async fn what_was_pushed_is_seen_by_skopeo_and_pulled_again() {
    if !can_run() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (_registry, host) = start_registry(directory.path());
    let image = Image::new();
    let client = client();
    let at = |name: &str| format!("{host}/{name}").parse::<Reference>().unwrap();
    for (name, from) in [("team/base:1", None), ("team/app:1", Some("team/base"))] {
        let reference = at(name);
        for (descriptor, bytes) in
            [(image.config_descriptor(), &image.config), (image.layer_descriptor(), &image.layer)]
        {
            let source = Arc::new(Bytes::copy_from_slice(bytes));
            client.push_blob(&reference, &descriptor, from, source).await.unwrap();
            assert!(client.has_blob(&reference, &descriptor.digest).await.unwrap());
        }
        let raw = Bytes::from(image.manifest.clone());
        client.push_manifest(&reference, MediaType::OciManifest, raw).await.unwrap();
        check_pull(&reference, &image).await;
    }
    assert_eq!(client.tags(&at("team/app")).await.unwrap(), ["1"]);
    let inspected = Command::new("skopeo")
        .args(["inspect", "--tls-verify=false", "--format", "{{.Digest}}"])
        .arg(format!("docker://{host}/team/app:1"))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&inspected.stdout).trim(), Digest::of(&image.manifest).to_string());

    let wrong = Arc::new(Bytes::from_static(b"xx"));
    let lying = descriptor(MediaType::OciLayer, b"ab");
    let error = client.push_blob(&at("team/app"), &lying, None, wrong).await.unwrap_err();
    assert!(matches!(error, kiln_registry::Error::Status { status: 400, .. }), "{error}");
}

#[tokio::test]
async fn a_real_registry_is_listed_and_emptied() {
    if !can_run() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (_registry, host) = start_registry(directory.path());
    let (image, client) = (Image::new(), client());
    assert_eq!(client.catalog(&host).await.unwrap(), [""; 0]);
    let reference: Reference = format!("{host}/team/app:1").parse().unwrap();
    let layer = image.layer_descriptor();
    for (descriptor, bytes) in [(image.config_descriptor(), &image.config), (layer.clone(), &image.layer)] {
        let source = Arc::new(Bytes::copy_from_slice(bytes));
        assert_eq!(client.push_blob(&reference, &descriptor, None, source).await.unwrap(), Sent::Uploaded);
    }
    let raw = Bytes::from(image.manifest.clone());
    let pushed = client.push_manifest(&reference, MediaType::OciManifest, raw).await.unwrap();
    assert_eq!(client.catalog(&host).await.unwrap(), ["team/app"]);

    // This registry does not list referrers, so a tag does.
    let mut signature = Manifest::new(image.config_descriptor(), Vec::new());
    (signature.artifact_type, signature.subject) = (Some("a/signature".into()), Some(pushed.clone()));
    let raw = Bytes::from(serde_json::to_vec(&signature).unwrap());
    let by_digest = reference.with_digest(Digest::of(&raw));
    client.push_manifest(&by_digest, MediaType::OciManifest, raw).await.unwrap();
    let referrers = async || client.referrers(&reference, &pushed.digest, Some("a/signature")).await.unwrap();
    assert_eq!(referrers().await.len(), 1);
    client.delete_referrer(&reference, by_digest.digest().unwrap()).await.unwrap();
    assert_eq!(referrers().await.len(), 0);

    client.delete_manifest(&reference.with_digest(pushed.digest)).await.unwrap();
    assert!(matches!(client.resolve(&reference).await, Err(kiln_registry::Error::NotFound { .. })));
    client.delete_blob(&reference, &layer.digest).await.unwrap();
    assert!(!client.has_blob(&reference, &layer.digest).await.unwrap());
}

#[tokio::test]
async fn a_real_registry_takes_a_blob_in_pieces_and_gives_parts_of_it() {
    if !can_run() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (_registry, host) = start_registry(directory.path());
    let image = Image::new();
    let mut config = config();
    config.hosts.entry(host.clone()).or_default().upload_piece = Some(500_000);
    let client = Client::new(config, Arc::new(Anonymous));
    let reference: Reference = format!("{host}/team/app:1").parse().unwrap();
    let layer = image.layer_descriptor();
    let source = Arc::new(Bytes::copy_from_slice(&image.layer));
    assert_eq!(client.push_blob(&reference, &layer, None, source).await.unwrap(), Sent::Uploaded);
    let mut part = client.blob_part(&reference, &layer, 100_000..900_000).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(piece) = part.chunk().await.unwrap() {
        bytes.extend_from_slice(&piece);
    }
    assert_eq!(bytes, image.layer[100_000..900_000]);
}
