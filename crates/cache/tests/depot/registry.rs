//! A registry as a depot: Debian's `docker-registry`, one that deletes and one that does not.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use kiln_cache::depot::Depot;
use kiln_oci::Digest;
use kiln_registry::{Anonymous, Client, Config};
use tempfile::TempDir;

use crate::place::UnderTest;

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
    /// An empty registry; nothing where the program is not installed.
    pub(crate) async fn start(deletes: bool) -> Option<Place> {
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
        let Ok(mut process) = command.spawn() else {
            println!("skipped: docker-registry is not installed");
            return None;
        };
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = loop {
            let line = lines.next().expect("docker-registry ended before it listened").unwrap();
            if let Some((_, rest)) = line.split_once("listening on ") {
                break rest.split(['"', ',', ' ']).next().unwrap().to_owned();
            }
        };
        // What it says later nobody reads, but it must be able to say it.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Place { process, address, directory, deletes })
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        let blobs = self.directory.path().join("storage/docker/registry/v2/blobs/sha256");
        blobs.join(&digest.hex()[..2]).join(digest.hex()).join("data")
    }
}

/// A client without credentials.
pub(crate) fn client() -> Client {
    Client::new(Config::default(), Arc::new(Anonymous))
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
