//! A directory as a depot.

use std::fs;
use std::path::PathBuf;

use kiln_cache::depot::Depot;
use kiln_oci::Digest;
use tempfile::TempDir;

use crate::place::UnderTest;

struct Place(TempDir);

impl Place {
    async fn start() -> Option<Place> {
        Some(Place(TempDir::with_prefix("kiln-depot-").unwrap()))
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
