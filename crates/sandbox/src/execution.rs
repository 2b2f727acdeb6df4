//! What is to be executed, and on what: plain data, filled in by a build or an engine.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use kiln_store::Layer;

use crate::users::Identity;
use crate::{Cancellation, Serve, Stream};

/// One process in a root file system, to be started once.
///
/// [`Execution::build_step`] and [`Execution::container`] fill in what docker does for each.
#[derive(Debug)]
pub struct Execution {
    /// The root file system, bottom first. Empty layers and repeats are allowed; they are left out
    /// of the mount.
    pub layers: Vec<Layer>,
    /// What takes the changes; without it they go to a place that is thrown away.
    pub upper: Option<Upper>,
    /// Mount `/` read-only once everything is in its place.
    pub read_only: bool,
    /// What runs.
    pub process: Process,
    /// The host name inside.
    pub hostname: String,
    /// The network.
    pub network: Network,
    /// Further lines of `/etc/hosts`.
    pub extra_hosts: Vec<Host>,
    /// Put the host name into `/etc/hostname` and `/etc/hosts`, as containers have it and build
    /// steps have not.
    pub hostname_files: bool,
    /// Further mounts, made in this order.
    pub mounts: Vec<Mount>,
    /// Size of `/dev/shm` in bytes; 64 MiB if `None`.
    pub shm_size: Option<u64>,
    /// Limits of the process. Those above the host's hard limits are lowered to them.
    pub limits: Vec<Limit>,
    /// The control group in which that of the process is made, from the root of the hierarchy. No group is made if
    /// `None`.
    pub cgroup_parent: Option<String>,
    /// The most that the process and what it starts may take together.
    pub bounds: Bounds,
    /// How much the process may do.
    pub security: Security,
    /// Where input comes from and output goes.
    pub streams: Streams,
    /// A tiny pid 1 that reaps orphans, with the process as its child.
    pub init: bool,
    /// Leave made mount points in the upper directory; otherwise they are removed afterwards where
    /// they are still empty (`/dev`, `/proc` and `/sys` stay).
    pub keep_mount_points: bool,
    /// Descriptors of locks that must stay held until the last process is gone, whatever becomes
    /// of the caller.
    pub held_locks: Vec<OwnedFd>,
    /// Kills the whole process tree when asked to.
    pub cancellation: Cancellation,
}

/// What a whole process tree may take. What cannot be bounded here is told by a note of [`Finished`](crate::Finished).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bounds {
    /// How long it may run; it is killed then.
    pub time: Option<Duration>,
    /// Bytes of memory; none of it is swapped out to make room.
    pub memory: Option<u64>,
    /// Processors that it may keep busy, such as 1.5.
    pub cpus: Option<f64>,
}

/// What runs. `Debug` shows names of variables, no values: secrets may be among them.
#[derive(Clone)]
pub struct Process {
    /// Program and arguments; not empty. Without a slash the program is looked for in `PATH`.
    pub args: Vec<String>,
    /// `NAME=value`, in order. `HOME` is appended where it is missing.
    pub env: Vec<String>,
    /// The working directory, absolute; made if it is missing.
    pub cwd: String,
    /// Who it runs as.
    pub identity: Identity,
    /// The file mode mask; `0o022` as docker has it.
    pub umask: u32,
}

/// The directories of an overlay that take the changes; both on one file system.
#[derive(Clone, Debug)]
pub struct Upper {
    /// Becomes the layer, or stays with the container.
    pub fs: PathBuf,
    /// For overlayfs itself; empty at the first start.
    pub work: PathBuf,
    /// Never sync, and so never use `work` again: for build steps.
    pub volatile: bool,
}

/// The network of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// The host's, until there are networks of kiln's own.
    #[default]
    Default,
    /// The host's.
    Host,
    /// Its own, with nothing but `lo`.
    None,
}

/// A name for `/etc/hosts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The name.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
}

/// Something mounted into the root file system.
#[derive(Debug)]
pub struct Mount {
    /// Where: absolute; made if missing. Symlinks are followed inside the root file system.
    pub target: PathBuf,
    /// What.
    pub source: Source,
    /// Refuse writes.
    pub read_only: bool,
}

/// What is mounted.
#[derive(Debug)]
pub enum Source {
    /// A file or directory of the host (a cache mount, a volume, a `-v` path), with the mounts
    /// below it.
    Host(PathBuf),
    /// A file or directory of another root file system. Writes to it are thrown away.
    Layers {
        /// That root file system, bottom first.
        layers: Vec<Layer>,
        /// The path in it, symlinks followed; empty is all of it.
        path: PathBuf,
    },
    /// An empty file system in memory.
    Tmpfs {
        /// Limit in bytes; half of the memory if `None`.
        size: Option<u64>,
        /// Permission bits of its root; those of the directory that it covers if `None`, and where there is none
        /// `0o1777`.
        mode: Option<u32>,
    },
    /// A file with this content, in memory only: a heredoc script, a secret.
    Content {
        /// What it holds.
        bytes: Secret,
        /// Permission bits.
        mode: u32,
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// A socket that is there while the process runs.
    Socket {
        /// Answers what connects to it.
        serve: Serve,
        /// Permission bits.
        mode: u32,
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
    },
}

/// Bytes that no `Debug` output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

/// A resource limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Of what.
    pub resource: Resource,
    /// What applies; `u64::MAX` is unlimited.
    pub soft: u64,
    /// How far the process may raise it.
    pub hard: u64,
}

/// What a limit is about.
pub use kiln_runtime::oci::PosixRlimitType as Resource;

/// How much a process may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Security {
    /// Docker's default: fourteen capabilities, its system call filter, masked paths.
    #[default]
    Sandbox,
    /// `--security=insecure`, `--privileged`: all that kiln itself may do.
    Insecure,
}

/// Where input comes from and output goes.
#[derive(Debug)]
pub enum Streams {
    /// No input; output is read by [`Sandbox::run`](crate::Sandbox::run) or
    /// [`Running::take_pipes`](crate::Running::take_pipes).
    Captured,
    /// The same with input.
    CapturedWithInput,
    /// These descriptors; `None` is `/dev/null`.
    Descriptors {
        /// Input.
        stdin: Option<OwnedFd>,
        /// Output.
        stdout: Option<OwnedFd>,
        /// Errors.
        stderr: Option<OwnedFd>,
    },
    /// A terminal.
    Terminal {
        /// Rows and columns at first.
        size: Option<(u16, u16)>,
    },
}

impl Execution {
    /// A `RUN` step as BuildKit has it: host name `buildkitsandbox`, no input, mount points removed
    /// afterwards.
    pub fn build_step(layers: Vec<Layer>, upper: Upper, process: Process) -> Self {
        Execution {
            layers,
            upper: Some(upper),
            read_only: false,
            process,
            hostname: "buildkitsandbox".into(),
            network: Network::Default,
            extra_hosts: Vec::new(),
            hostname_files: false,
            mounts: Vec::new(),
            shm_size: None,
            limits: Vec::new(),
            cgroup_parent: None,
            bounds: Bounds::default(),
            security: Security::Sandbox,
            streams: Streams::Captured,
            init: false,
            keep_mount_points: false,
            held_locks: Vec::new(),
            cancellation: Cancellation::new(),
        }
    }

    /// A container as `docker run` has it: its own host name, mount points kept.
    pub fn container(layers: Vec<Layer>, upper: Upper, process: Process, hostname: &str) -> Self {
        Execution {
            hostname: hostname.into(),
            hostname_files: true,
            keep_mount_points: true,
            ..Execution::build_step(layers, upper, process)
        }
    }
}

impl Process {
    /// A process with docker's umask.
    pub fn new(args: Vec<String>, env: Vec<String>, cwd: &str, identity: Identity) -> Self {
        Process { args, env, cwd: cwd.into(), identity, umask: 0o022 }
    }
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.env.iter().filter_map(|variable| variable.split('=').next()).collect();
        f.debug_struct("Process")
            .field("args", &self.args)
            .field("env", &names)
            .field("cwd", &self.cwd)
            .field("identity", &self.identity)
            .field("umask", &self.umask)
            .finish()
    }
}

/// Takes output as it comes, in pieces that need not end at line ends.
pub type Output<'a> = dyn FnMut(Stream, &[u8]) + 'a;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_shows_no_values() {
        let process = Process::new(vec!["true".into()], vec!["TOKEN=hush".into()], "/", Identity::root());
        let shown = format!("{process:?} {:?}", Secret(b"hush".to_vec()));
        assert!(shown.contains("TOKEN") && !shown.contains("hush"), "{shown}");
    }
}
