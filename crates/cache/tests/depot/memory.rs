//! A large blob goes through in pieces: memory does not grow with it.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use kiln_cache::depot::{Depot, Parcel, Put};
use kiln_oci::{Descriptor, Hasher, MediaType};
use kiln_registry::BlobSource;

use crate::bucket;
use crate::place::UnderTest;
use crate::registry;
use crate::s3::S3Server;

/// How much more memory than before may be in use at once, in bytes: parts of an upload, and what waits for the network.
const MOST: u64 = 80 << 20;

/// So many bytes, the same block again and again.
struct Large {
    size: u64,
    block: Bytes,
}

impl BlobSource for Large {
    fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let start = (offset % self.block.len() as u64) as usize;
        let left = usize::try_from(self.size.saturating_sub(offset)).unwrap();
        Ok(self.block.slice(start..self.block.len().min(start + left.min(length))))
    }
}

/// 1 GiB where large counts were asked for.
fn size() -> u64 {
    if std::env::var_os("KILN_TEST_FULL").is_some() { 1 << 30 } else { 160 << 20 }
}

/// The most memory that this process had at once, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

fn parcel() -> Parcel {
    let block = (0..1_u32 << 20).map(|number| (number >> 7) as u8).collect();
    let source = Large { size: size(), block };
    let mut hasher = Hasher::sha256();
    while hasher.length() < source.size {
        hasher.update(&source.read_at(hasher.length(), 1 << 20).unwrap());
    }
    let descriptor = Descriptor::new(MediaType::OciLayer, hasher.finish(), source.size);
    Parcel { descriptor, source: Arc::new(source), elsewhere: None }
}

async fn goes_through(depot: &Depot) {
    let parcel = parcel();
    let before = peak();
    assert_eq!(depot.put(&parcel).await.unwrap(), Put::Sent);
    let mut stream = depot.fetch(&parcel.descriptor).await.unwrap();
    while stream.chunk().await.unwrap().is_some() {}
    assert_eq!(stream.received(), size());
    let more = peak() - before;
    println!("{} MiB more for {} MiB", more >> 20, size() >> 20);
    assert!(more < MOST, "{more} bytes more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_blob_in_a_directory() {
    let directory = tempfile::TempDir::with_prefix("kiln-depot-").unwrap();
    goes_through(&Depot::directory(directory.path(), None, None)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_blob_in_a_registry() {
    let place = registry::Place::start(false);
    goes_through(&place.open()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_blob_in_a_bucket() {
    let server = S3Server::start();
    goes_through(&bucket::Place::at(&format!("{} large/", server.url()))).await;
}
