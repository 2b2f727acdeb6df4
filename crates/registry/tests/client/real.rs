//! The client against Debian's `docker-registry`, filled by skopeo.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kiln_oci::{Digest, Index, MediaType, Platform, Reference};

use crate::image::{Image, client, descriptor};

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

async fn start_registry(directory: &Path) -> (Registry, String) {
    let host = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let storage = directory.join("storage");
    let settings = format!(
        "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
         storage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: {host}}}\n",
        storage.display()
    );
    let file = directory.join("config.yml");
    fs::write(&file, settings).unwrap();
    let child = Command::new("docker-registry")
        .arg("serve")
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let registry = Registry(child);
    for _ in 0..500 {
        if tokio::net::TcpStream::connect(&host).await.is_ok() {
            return (registry, host);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("docker-registry does not listen on {host}");
}

#[tokio::test]
async fn what_skopeo_pushed_is_pulled_from_a_real_registry() {
    if !is_installed("docker-registry") || !is_installed("skopeo") {
        println!("skipped: needs docker-registry and skopeo");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (_registry, host) = start_registry(directory.path()).await;
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
    let client = client();
    let found = client.image(&reference, &Platform::host()).await.unwrap();
    assert_eq!(found.raw, image.manifest);
    assert_eq!(client.head(&reference).await.unwrap().digest, Digest::of(&image.manifest));
    assert_eq!(client.small_blob(&reference, &found.manifest.config).await.unwrap(), image.config);
    let mut stream = client.blob(&reference, &found.manifest.layers[0]).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(piece) = stream.chunk().await.unwrap() {
        bytes.extend_from_slice(&piece);
    }
    assert_eq!(bytes, image.layer);
    let missing: Reference = format!("{host}/team/app:2").parse().unwrap();
    assert!(matches!(client.resolve(&missing).await, Err(kiln_registry::Error::NotFound { .. })));
}
