//! Writes an OCI image layout directory: layers, configs, manifests, index.
//! Knows nothing of kiln's own writer, so that a fault there does not hide in the fixtures.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The image of one platform.
pub(crate) struct Build {
    /// Its architecture, as OCI and Debian both call it.
    pub(crate) architecture: &'static str,
    /// Uncompressed tars, bottom first.
    pub(crate) layers: Vec<PathBuf>,
}

/// What an image's config says besides its layers.
pub(crate) struct About<'a> {
    /// Full name, such as `docker.io/library/busybox:latest`.
    pub(crate) name: &'a str,
    /// Default command.
    pub(crate) command: &'a str,
    /// Environment besides `PATH`, each `NAME=value`.
    pub(crate) environment: &'a [&'a str],
    /// RFC 3339; the same for every assembly, so that the same packages give the same digests.
    pub(crate) created: &'a str,
}

/// Writes a layout of one image into the empty directory `dir`; of several platforms as an index within the index.
pub(crate) fn write(dir: &Path, about: &About<'_>, builds: &[Build]) -> io::Result<()> {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let mut manifests = builds.iter().map(|build| add_image(&blobs, about, build)).collect::<io::Result<Vec<_>>>()?;
    let mut top = match manifests.as_mut_slice() {
        [only] => only.take(),
        _ => add_json(&blobs, &index(&manifests), INDEX)?,
    };
    let tag = about.name.rsplit(':').next().unwrap_or("latest");
    top["annotations"] = json!({
        "io.containerd.image.name": about.name,
        "org.opencontainers.image.ref.name": tag,
    });
    fs::write(dir.join("index.json"), index(&[top]).to_string())?;
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
}

fn index(manifests: &[Value]) -> Value {
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})
}

/// Adds what one platform's image consists of; returns its manifest's descriptor.
fn add_image(blobs: &Path, about: &About<'_>, build: &Build) -> io::Result<Value> {
    let mut descriptors = Vec::new();
    let mut diff_ids = Vec::new();
    let mut history = Vec::new();
    for tar in &build.layers {
        let (descriptor, diff_id) = add_layer(blobs, tar)?;
        descriptors.push(descriptor);
        diff_ids.push(diff_id);
        history.push(json!({"created": about.created, "created_by": "assembled from Debian packages"}));
    }
    let environment: Vec<&str> = std::iter::once(PATH).chain(about.environment.iter().copied()).collect();
    let config = json!({
        "created": about.created,
        "architecture": build.architecture,
        "os": "linux",
        "config": {"Env": environment, "Cmd": [about.command]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": history,
    });
    let config = add_json(blobs, &config, "application/vnd.oci.image.config.v1+json")?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": descriptors,
    });
    let mut manifest = add_json(blobs, &manifest, "application/vnd.oci.image.manifest.v1+json")?;
    manifest["platform"] = json!({"architecture": build.architecture, "os": "linux"});
    Ok(manifest)
}

/// This machine's, as OCI and Debian both call it.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn add_json(blobs: &Path, value: &Value, media_type: &str) -> io::Result<Value> {
    let bytes = value.to_string();
    let digest = hex(&Sha256::digest(&bytes));
    fs::write(blobs.join(&digest), &bytes)?;
    Ok(json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len()}))
}

/// Compresses a tar into the blobs; returns its descriptor and its diff id.
fn add_layer(blobs: &Path, tar: &Path) -> io::Result<(Value, String)> {
    let unfinished = blobs.join("unfinished");
    let mut from = BufReader::with_capacity(1 << 18, File::open(tar)?);
    let file = Hashed::new(BufWriter::new(File::create(&unfinished)?));
    let mut into = Hashed::new(GzEncoder::new(file, Compression::fast()));
    let mut buffer = vec![0; 1 << 18];
    loop {
        let n = from.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        into.write_all(&buffer[..n])?;
    }
    let diff_id = hex(&into.hash.finalize());
    let mut compressed = into.inner.finish()?;
    compressed.flush()?;
    let digest = hex(&compressed.hash.finalize());
    fs::rename(&unfinished, blobs.join(&digest))?;
    let descriptor = json!({
        "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
        "digest": format!("sha256:{digest}"),
        "size": compressed.written,
    });
    Ok((descriptor, format!("sha256:{diff_id}")))
}

/// Hashes and counts what passes through to `inner`.
struct Hashed<W> {
    inner: W,
    hash: Sha256,
    written: u64,
}

impl<W> Hashed<W> {
    fn new(inner: W) -> Self {
        Hashed { inner, hash: Sha256::new(), written: 0 }
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hash.update(&bytes[..n]);
        self.written += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_blob_is_named_by_its_digest_and_the_diff_id_is_that_of_the_tar() {
        let directory = tempfile::tempdir().unwrap();
        let tar = directory.path().join("layer.tar");
        fs::write(&tar, vec![7; 300_000]).unwrap();
        let layout = directory.path().join("layout");
        let about =
            About { name: "docker.io/library/a:b", command: "sh", environment: &[], created: "2026-01-01T00:00:00Z" };
        let build = |architecture| Build { architecture, layers: vec![tar.clone()] };
        write(&layout, &about, &[build("amd64"), build("arm64")]).unwrap();
        let mut blobs = Vec::new();
        for blob in fs::read_dir(layout.join("blobs/sha256")).unwrap().flatten() {
            let bytes = fs::read(blob.path()).unwrap();
            assert_eq!(blob.file_name().to_str().unwrap(), hex(&Sha256::digest(&bytes)));
            blobs.push(String::from_utf8_lossy(&bytes).into_owned());
        }
        // Two configs, two manifests, the index of both, and the layer, which is the same.
        assert_eq!(blobs.len(), 6);
        let diff_id = hex(&Sha256::digest(vec![7; 300_000]));
        assert!(blobs.iter().any(|blob| blob.contains(&diff_id)));
    }
}
