//! Containers, images and volumes as users manage them: what `docker run`, `ps`, `rm`, `images`,
//! `rmi`, `inspect`, … mean. Rules, states and the words of errors are docker's.
//!
//! Everything is plain blocking code over one [`Engine`]. An image's id is the digest of its
//! *config*, as in docker's overlay2 store: an image that was built has no manifest until it is
//! pushed or saved, so a manifest's digest (the id in docker's containerd store) would not exist.
//!
//! A container runs as a child of the process that started it and ends with it; whoever runs it
//! holds its lock, so a container whose runner died is seen as such and shown as exited.
//!
//! This crate does not know flags, tables, terminals' modes, builds, or how requests arrive.

#![warn(clippy::unwrap_used, clippy::expect_used)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod age;
pub mod environment;

mod containers;
mod engine;
mod error;
mod images;
mod moment;
mod names;
mod prune;
mod system;
mod volumes;
mod words;

pub use containers::{
    Attached, CommitOptions, Container, ContainerState, CreateOptions, HostSettings, Input, MountPoint, Network, Phase,
    Settings, Summary,
};
pub use engine::Engine;
pub use error::{Error, Origin};
pub use images::{HistoryRow, ImageSummary, ImportOptions, Removed};
pub use kiln_sandbox::{Signaller, Status, Stream, Terminal, Tier};
pub use prune::{CacheFilter, CachePrune, ImagePrune, Pruned, SystemPrune, Which};
pub use volumes::VolumeSummary;
