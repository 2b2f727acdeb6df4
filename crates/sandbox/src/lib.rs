//! A process in a root file system made of layers: what a `RUN` step and a container have in common.
//!
//! [`Sandbox`] turns an [`Execution`] (layers, process, mounts, names) into a launch of the runtime,
//! streams the output and hands back how it ended. [`users`] says who `user[:group]` is.
//!
//! This crate does not know builds, images' configs, networks beyond "the host's" and "none", or the
//! terminal of whoever asks.

#![warn(clippy::unwrap_used, clippy::expect_used)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod emulation;
pub mod users;

mod account_files;
mod cancellation;
mod error;
mod execution;
mod files;
mod mounts;
mod output;
mod overlay;
mod rootfs;
mod running;
mod sandbox;
mod socket;
mod spec;

pub use account_files::AccountFiles;
pub use cancellation::Cancellation;
pub use error::Error;
pub use execution::{
    Bounds, Execution, Host, Limit, Mount, Network, Output, Process, Resource, Secret, Security, Source, Streams, Upper,
};
pub use kiln_progress::Stream;
pub use kiln_runtime::{Note, Signaller, StartError, Status, Terminal, Tier};
pub use running::{Finished, Pipes, Running};
pub use sandbox::Sandbox;
pub use socket::{Serve, Served};
