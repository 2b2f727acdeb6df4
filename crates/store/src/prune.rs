//! What the store takes, and how it is made smaller.
use crate::*;
use kiln_oci::Digest;
use std::time::Duration;

/// What to delete. Nothing that an image, a container or a living process's lease needs is ever deleted.
#[derive(Debug, Clone, Default)]
pub struct Prune {
    /// Images without a name that no container uses.
    pub dangling_images: bool,
    /// Images, named or not, that no container uses.
    pub unused_images: bool,
    /// Cache records, least recently used first, until what only the cache needs is at most so many bytes; `Some(0)` for all.
    pub cache_to: Option<u64>,
    /// Of the above, only what was not used for so long.
    pub unused_for: Option<Duration>,
    /// Directories of cache mounts that nobody uses now.
    pub cache_mounts: bool,
    /// Tell what would go, and delete nothing.
    pub dry_run: bool,
}

/// What a prune deleted, or would delete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Freed {
    /// Images with their names at that time.
    pub images: Vec<(Digest, Vec<String>)>,
    /// Cache records.
    pub records: u64,
    /// Layers.
    pub layers: Vec<LayerId>,
    /// Blobs.
    pub blobs: Vec<Digest>,
    /// Cache mounts.
    pub cache_mounts: u64,
    /// Bytes on disk that became free.
    pub bytes: u64,
}

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
