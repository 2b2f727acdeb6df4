//! What the store takes on disk.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use crate::error::{At, Error, Result};
use crate::layers;
use crate::prune::Holdings;
use crate::store::Inner;

/// Bytes per kind of thing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// How many images.
    pub images: u64,
    /// Layers and blobs that images or containers need.
    pub image_bytes: u64,
    /// How many cache records.
    pub records: u64,
    /// Layers that only the cache needs.
    pub cache_bytes: u64,
    /// Cache mounts.
    pub cache_mount_bytes: u64,
    /// How many containers.
    pub containers: u64,
    /// Containers' own directories.
    pub container_bytes: u64,
    /// Logs.
    pub log_bytes: u64,
}

pub(crate) fn usage(store: &Arc<Inner>) -> Result<Usage> {
    let holdings = Holdings::load(store)?;
    let (needed_layers, needed_blobs) = (holdings.layers_of_images(), holdings.blobs_of_images());
    let mut disk = Disk::default();
    let mut usage = Usage {
        images: holdings.images.len() as u64,
        records: holdings.records.len() as u64,
        containers: holdings.containers.len() as u64,
        ..Usage::default()
    };
    // Needed layers first: an inode that both have counts for the image.
    for id in holdings.layers.iter().filter(|id| needed_layers.contains(id)) {
        usage.image_bytes += disk.add(&layers::directory(store, *id))?;
    }
    for id in holdings.layers.iter().filter(|id| !needed_layers.contains(id)) {
        usage.cache_bytes += disk.add(&layers::directory(store, *id))?;
    }
    let blobs = holdings.blobs.iter().filter(|(digest, _)| needed_blobs.contains(*digest));
    usage.image_bytes += blobs.map(|(_, size)| size).sum::<u64>();
    usage.cache_mount_bytes = disk.add(&store.root.join("cache-mounts"))?;
    usage.container_bytes = disk.add(&store.root.join("containers"))?;
    usage.log_bytes = disk.add(&store.root.join("logs"))?;
    Ok(usage)
}

/// Counts bytes on disk; an inode with several names once.
#[derive(Debug, Default)]
struct Disk {
    seen: HashSet<(u64, u64)>,
}

impl Disk {
    fn add(&mut self, tree: &Path) -> Result<u64> {
        let mut bytes = 0;
        walk(tree, &mut |status| {
            if status.nlink() < 2 || status.is_dir() || self.seen.insert((status.dev(), status.ino())) {
                bytes += status.blocks() * 512;
            }
        })?;
        Ok(bytes)
    }
}

/// Bytes that become free when these trees go: inodes with a name elsewhere do not count.
pub(crate) fn freed_with(trees: &[std::path::PathBuf]) -> Result<u64> {
    let mut bytes = 0;
    let mut names: HashMap<(u64, u64), u64> = HashMap::new();
    for tree in trees {
        walk(tree, &mut |status| {
            let seen = names.entry((status.dev(), status.ino())).or_default();
            *seen += 1;
            if status.is_dir() || *seen == status.nlink() {
                bytes += status.blocks() * 512;
            }
            if status.nlink() < 2 {
                names.remove(&(status.dev(), status.ino()));
            }
        })?;
    }
    Ok(bytes)
}

/// Shows every entry's status. What vanishes meanwhile or may not be looked into is passed over.
fn walk(tree: &Path, visit: &mut dyn FnMut(&fs::Metadata)) -> Result<()> {
    use std::io::ErrorKind::{NotFound, PermissionDenied};
    let status = match fs::symlink_metadata(tree) {
        Err(error) if matches!(error.kind(), NotFound | PermissionDenied) => return Ok(()),
        answer => answer.at("examine", tree)?,
    };
    visit(&status);
    if !status.is_dir() {
        return Ok(());
    }
    match fs::read_dir(tree) {
        Err(error) if matches!(error.kind(), NotFound | PermissionDenied) => Ok(()),
        Err(error) => Err(Error::io("list", tree, error)),
        Ok(mut entries) => entries.try_for_each(|entry| walk(&entry.at("list", tree)?.path(), visit)),
    }
}
