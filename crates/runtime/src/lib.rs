//! An OCI runtime of kiln's own: namespaces, mounts, seccomp, capabilities, terminals.
//!
//! [`start`] runs the same binary once more as a single-threaded *helper*, which makes the
//! namespaces, watches the container and cleans up after it. The binary's `main` therefore begins
//! with [`helper::run_if_asked`] and then [`rootless::enter`].
//!
//! This crate does not know images, layers' contents, user names or tokio.

pub mod child;
pub mod heap;
pub mod helper;
pub mod rootless;
pub mod spec;

mod capability;
mod cgroup;
mod channel;
mod compile;
mod container;
mod error;
mod executable;
mod launch;
mod memory;
mod mount_points;
mod plan;
mod seccomp;
mod setup;
mod start;
mod sys;
mod tier;

pub use container::{Container, Exit, Note, Signaller, Status, Terminal, WaitError};
pub use error::{Errno, StartError};
pub use launch::{BindSource, Launch, Mount, MountKind, MountPoints, Overlay, Rootfs, Seccomp, Stdio};
pub use memory::Memory;
pub use start::start;
pub use tier::{Ids, Rootless, Tier};

/// The types of the OCI runtime specification that [`Launch`] takes.
pub use oci_spec::runtime as oci;
