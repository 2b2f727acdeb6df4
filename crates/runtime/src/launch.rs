//! What a caller hands over to start a container: the OCI specification and what it cannot say
//! (layers, open descriptors, locks that must outlive the container).

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use oci_spec::runtime::Spec;

use crate::tier::Tier;

/// A container to be started, once, by [`start`](crate::start).
#[derive(Debug)]
pub struct Launch {
    /// The OCI runtime specification (version 1.0 to 1.2). `root.path`, `process.terminal` and
    /// `linux.seccomp` are not read: [`rootfs`](Launch::rootfs), [`stdio`](Launch::stdio) and
    /// [`seccomp`](Launch::seccomp) say it. Hooks and `linux.uidMappings` are refused.
    pub spec: Spec,
    /// What is mounted at `/`.
    pub rootfs: Rootfs,
    /// Further mounts, made in this order after those of `spec.mounts`.
    pub mounts: Vec<Mount>,
    /// Where the command's input and output go.
    pub stdio: Stdio,
    /// System call filter.
    pub seccomp: Seccomp,
    /// How much of the system this process may use; from [`rootless::enter`](crate::rootless::enter).
    pub tier: Tier,
    /// Run a tiny pid 1 that forwards signals and reaps orphans, with the command as its child.
    /// Otherwise the command itself is pid 1.
    pub init: bool,
    /// What becomes of mount points that had to be made.
    pub mount_points: MountPoints,
    /// Descriptors (of locks) that stay open until the last process of the container is gone,
    /// even when this process dies before. They are closed before the command runs.
    pub held: Vec<OwnedFd>,
}

impl Launch {
    /// A launch of `spec` on `rootfs` with docker's seccomp profile, null stdio, nothing held,
    /// the command as pid 1, and made mount points removed afterwards.
    pub fn new(spec: Spec, rootfs: Rootfs, tier: Tier) -> Self {
        Launch {
            spec,
            rootfs,
            mounts: Vec::new(),
            stdio: Stdio::null(),
            seccomp: Seccomp::Docker,
            tier,
            init: false,
            mount_points: MountPoints::Remove,
            held: Vec::new(),
        }
    }
}

/// The root file system of a container.
#[derive(Clone, Debug)]
pub enum Rootfs {
    /// Layers joined by overlayfs, mounted in the container's own mount namespace only.
    Overlay(Overlay),
    /// An existing directory, used in place.
    Directory(PathBuf),
}

/// Layers and the directory that takes the changes. All paths absolute.
#[derive(Clone, Debug)]
pub struct Overlay {
    /// Layer directories, **topmost first**. Repeats are dropped (the topmost stays). May be empty.
    pub lowers: Vec<PathBuf>,
    /// Takes what the container writes; its mode and owner are those of `/`. On the same file
    /// system as `work`.
    pub upper: PathBuf,
    /// An empty directory for overlayfs itself; not usable a second time after `volatile`.
    pub work: PathBuf,
    /// Never sync: for steps whose upper is thrown away or synced by somebody else.
    pub volatile: bool,
}

/// A mount whose source the OCI specification cannot name, or that is easier to say in types.
#[derive(Debug)]
pub struct Mount {
    /// Where, as the container sees it; absolute; symlinks are followed inside the rootfs.
    /// Missing directories (and the file, for a file) are made.
    pub target: PathBuf,
    /// What is mounted.
    pub kind: MountKind,
}

/// What is mounted at a [`Mount`]'s target.
#[derive(Debug)]
pub enum MountKind {
    /// A file or directory of the host.
    Bind {
        /// Which one.
        source: BindSource,
        /// Refuse writes.
        read_only: bool,
        /// Take the mounts below the source along.
        recursive: bool,
    },
    /// A new empty file system in memory.
    Tmpfs {
        /// Limit in bytes; the kernel's default (half of the memory) if `None`.
        size: Option<u64>,
        /// Permission bits of its root; those of the directory that it covers if `None`, and where there is none
        /// `0o1777`.
        mode: Option<u32>,
        /// Refuse writes.
        read_only: bool,
    },
}

/// The source of a bind mount.
#[derive(Debug)]
pub enum BindSource {
    /// By path, as this process sees it; symlinks are followed.
    Path(PathBuf),
    /// By descriptor (`O_PATH` is enough).
    Descriptor(OwnedFd),
}

/// Where the standard streams of the command go.
#[derive(Debug)]
pub enum Stdio {
    /// Descriptors, `None` is `/dev/null`. Pipes given here are handed to the container's user
    /// (`fchown`), so that `/dev/stdout` can be opened there.
    Streams {
        /// Read by the command.
        stdin: Option<OwnedFd>,
        /// Written by the command.
        stdout: Option<OwnedFd>,
        /// Written by the command.
        stderr: Option<OwnedFd>,
    },
    /// A new terminal of the container, which becomes its controlling terminal;
    /// [`Container::take_terminal`](crate::Container::take_terminal) gives the other side.
    Terminal {
        /// Rows and columns at the start.
        size: Option<(u16, u16)>,
    },
}

impl Stdio {
    /// All three streams are `/dev/null`.
    pub fn null() -> Self {
        Stdio::Streams { stdin: None, stdout: None, stderr: None }
    }
}

/// The system call filter of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seccomp {
    /// Docker's default profile, as it is for the container's capabilities.
    Docker,
    /// None.
    Unconfined,
}

/// What becomes of mount points that were missing in the rootfs and had to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountPoints {
    /// Removed again (with the parents made for them) when the container is gone, where they are
    /// still empty. `/dev`, `/proc` and `/sys` themselves stay, as BuildKit leaves them.
    Remove,
    /// Left where they are, as docker does for containers.
    Keep,
}
