//! Docker's own registry on loopback, for what is pushed: it goes, with all that it holds, when this is dropped.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::kiln::{fixture, tool};

/// A registry that takes and gives images over plain HTTP.
pub struct DockerRegistry {
    process: Child,
    address: String,
    _directory: TempDir,
}

impl DockerRegistry {
    /// Starts an empty one on a free port.
    pub fn start() -> DockerRegistry {
        let directory = TempDir::with_prefix("kiln-registry-").expect("temporary directory");
        let config = directory.path().join("config.yml");
        let storage = directory.path().join("storage");
        let text = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\nhttp:\n  addr: 127.0.0.1:0\n",
            storage.display()
        );
        std::fs::write(&config, text).expect("configuration");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap_or_else(|e| panic!("cannot start docker-registry: {e}"));
        let mut lines = BufReader::new(process.stderr.take().expect("its log")).lines();
        let address = loop {
            let line = lines.next().expect("docker-registry ended before it listened").expect("its log");
            if let Some((_, rest)) = line.split_once("listening on ") {
                break rest.split(['"', ',', ' ']).next().expect("an address").to_owned();
            }
        };
        // What it says later nobody reads, but it must be able to say it.
        std::thread::spawn(move || lines.for_each(drop));
        DockerRegistry { process, address, _directory: directory }
    }

    /// Starts one that serves these base images, under their own names, `library/busybox:latest` and so on.
    pub fn with(bases: &[&str]) -> DockerRegistry {
        let registry = DockerRegistry::start();
        for base in bases {
            let layout = fixture(base);
            let text = std::fs::read_to_string(layout.join("index.json")).expect("index.json");
            let index: Value = serde_json::from_str(&text).expect("index.json");
            let name = index["manifests"][0]["annotations"]["io.containerd.image.name"].as_str().expect("name");
            let place = format!("docker://{}/{}", registry.address, name.trim_start_matches("docker.io/"));
            let layout = format!("oci:{}", layout.display());
            tool("skopeo", &["copy", "--quiet", "--dest-tls-verify=false", &layout, &place]);
        }
        registry
    }

    /// `HOST:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The manifest or index of `name`, such as `app:1`, as another tool reads it.
    #[track_caller]
    pub fn manifest(&self, name: &str) -> Value {
        self.inspected(name, "--raw")
    }

    /// The config of `name`.
    #[track_caller]
    pub fn config(&self, name: &str) -> Value {
        self.inspected(name, "--config")
    }

    #[track_caller]
    fn inspected(&self, name: &str, what: &str) -> Value {
        let place = format!("docker://{}/{name}", self.address);
        let text = tool("skopeo", &["inspect", what, "--tls-verify=false", &place]);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}: {text}"))
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
