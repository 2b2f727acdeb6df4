//! All state on disk: blobs, layers, look-ups across layers, cache records, images, leases.
//!
//! ```text
//! root/
//! ├── version                 format number, root or rootless, and the kiln that wrote it
//! ├── epoch                   the boot and mount in which the store was last looked at as a whole
//! ├── reserve                 a little of the disk, given back when it is full
//! ├── blobs/<algorithm>/<hex> content-addressed: configs, manifests, compressed layers
//! ├── layers/<n>/fs/ + index  one directory per layer, as overlayfs wants it; immutable once committed
//! ├── db.sqlite               images, layers, records, leases, containers (WAL)
//! ├── cache-mounts/<hash>/    directories of RUN --mount=type=cache
//! ├── names                   copy of the images' names, for when the database is lost
//! ├── containers/<id>/        what a container keeps on disk
//! ├── contexts/<hash>         digests of context files by inode, per context
//! ├── repositories/<hash>/    what was fetched of git repositories, per address
//! ├── uploads/<id>            bytes on their way into the registry that is served from here
//! ├── logs/<build>/<step>.log
//! ├── partial/<digest>        the first bytes of blobs whose download broke off
//! └── locks   tmp/<session>/  what a crash leaves is only ever in tmp/
//! ```
//!
//! Everything is plain blocking code. The store knows no network, no Dockerfiles, no processes.

#![warn(clippy::unwrap_used, clippy::expect_used)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod announcements;
mod beneath;
mod blobs;
mod builds;
mod cache_mounts;
mod check;
mod containers;
mod content;
mod copy;
mod database;
mod durability;
mod epoch;
mod error;
mod evictions;
mod fault;
mod file_lists;
mod heap;
mod images;
mod index;
mod layer;
mod layer_files;
mod layers;
mod leases;
mod locks;
mod logs;
mod measure;
mod mending;
mod metadata;
mod migrations;
mod names;
mod noted;
mod origins;
mod partial;
mod path;
mod pieces;
mod portable;
mod prune;
mod recency;
mod records;
mod recovery;
mod registry;
mod remove;
mod repositories;
mod rescue;
mod reserve;
mod resolutions;
mod roots;
mod session;
mod snapshot;
mod staged;
mod stamp;
mod stat_cache;
mod store;
#[cfg(test)]
mod testing;
mod union;
mod upper;
mod usage;
mod verified;
mod version;
mod writer;
mod writers;
mod xattrs;

pub use announcements::{Announcement, Following};
pub use blobs::{Blob, BlobReader, BlobWriter, Blobs};
pub use builds::{Build, Builds};
pub use cache_mounts::CacheMounts;
pub use check::{Counted, Finding, Mended, Remedy, Report, Subject, Unverified};
pub use containers::{Container, Containers, NewContainer};
pub use durability::Settling;
pub use error::{Error, Result};
pub use evictions::{Evicted, EvictionCause, Evictions};
pub use file_lists::{FileDifferences, FileFacts, FileLists, ListedFile};
pub use images::{Image, ImageLayer, Images, NewImage};
pub use index::{Entry, Index};
pub use layer_files::LayerFiles;
pub use layers::{ContentId, Layer, LayerId, Layers};
pub use leases::Leases;
pub use locks::{LockGuard, LockKey, Locks, Sharing};
pub use logs::{LogWriter, Logs};
pub use mending::Retired;
pub use metadata::{Device, FileDigest, Kind, Metadata, Timestamp, Xattrs};
pub use origins::Origins;
pub use pieces::{Piece, Pieces};
pub use prune::{CacheEntry, CacheKind, CachePart, Collected, Freed, Limits, Prune};
pub use records::{Input, Key, NewRecord, Record, Records};
pub use registry::{
    NewRegistryManifest, Registry, RegistryCollected, RegistryManifest, RegistryPolicy, RegistryReferrer,
    RegistryReferrers, RegistryTag, RegistryUpload,
};
pub use repositories::Repositories;
pub use rescue::Rescued;
pub use resolutions::{Resolution, Resolutions};
pub use staged::StagedLayer;
pub use stat_cache::{FileStamp, StatCache};
pub use store::{Mode, Store};
pub use union::{Found, Resolved, Union};
pub use verified::FileReader;
pub use writer::{FileWriter, Hashing, LayerWriter, Written};
pub use writers::status_tells_changes;
