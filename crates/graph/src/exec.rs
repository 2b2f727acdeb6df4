//! Running a process.

use serde::Serialize;

use crate::{Content, InputIndex};

/// A process in a root file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExecOp {
    /// The root file system, `None` for an empty one.
    pub root: Option<InputIndex>,
    /// The program and its arguments.
    pub args: Vec<String>,
    /// `NAME=value`, in order; `HOME` is added by whoever runs it.
    pub env: Vec<String>,
    /// The working directory, absolute.
    pub cwd: String,
    /// `user[:group]`, names or numbers; empty is root.
    pub user: String,
    /// What is mounted over the root, in order.
    pub mounts: Vec<Mount>,
    /// Which network it sees.
    pub network: NetworkMode,
    /// Whether it is confined.
    pub security: SecurityMode,
    /// Lines for `/etc/hosts`; the addresses are no part of a cache key.
    pub extra_hosts: Vec<ExtraHost>,
    /// The host name, where it is not the default.
    pub hostname: Option<String>,
    /// The size of `/dev/shm` in bytes, where it is not the default.
    pub shm_size: Option<u64>,
    /// Resource limits.
    pub ulimits: Vec<Ulimit>,
    /// The parent control group.
    pub cgroup_parent: Option<String>,
    /// Devices that it may use.
    pub devices: Vec<Device>,
    /// `NAME=value` of proxies: set for the process, no part of a cache key.
    #[serde(skip)]
    pub proxy_env: Vec<String>,
    /// Scripts of heredocs, as files that are mounted read-only while it runs: path and content.
    pub scripts: Vec<(String, Content)>,
}

/// Which network a process sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// The sandbox's usual one.
    #[default]
    Default,
    /// Nothing but a loopback device of its own.
    None,
    /// The host's.
    Host,
}

/// Whether a process is confined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SecurityMode {
    /// Default capabilities and seccomp filter.
    #[default]
    Sandbox,
    /// All capabilities, no filter.
    Insecure,
}

/// A device by its CDI name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Device {
    /// `vendor/class=name`, or `vendor/class` for any of them.
    pub name: String,
    /// Whether its absence is an error.
    pub required: bool,
}

/// A line for `/etc/hosts`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct ExtraHost {
    /// The host's name.
    pub name: String,
    /// Its address; no part of a cache key.
    #[serde(skip)]
    pub address: String,
}

/// A resource limit, by the name that `ulimit` options have (`nofile`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Ulimit {
    /// Which.
    pub name: String,
    /// The soft limit; -1 is unlimited.
    pub soft: i64,
    /// The hard limit; -1 is unlimited.
    pub hard: i64,
}

/// Something mounted while a process runs; no part of the layer it makes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// Where, absolute.
    pub target: String,
    /// What.
    pub kind: MountKind,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MountKind {
    /// A path of a stage, an image or a context.
    Bind(BindMount),
    /// A directory that lives from build to build.
    Cache(CacheMount),
    /// An empty directory in memory.
    Tmpfs(TmpfsMount),
    /// A secret of the caller's, as a file or a variable.
    Secret(SecretMount),
    /// A socket to the caller's SSH agent.
    Ssh(SshMount),
}

/// A path of another root file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BindMount {
    /// The file system.
    pub from: InputIndex,
    /// The path in it.
    pub source: String,
    /// Whether writes are allowed; they are thrown away.
    pub read_write: bool,
}

/// Who may use a cache mount at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheSharing {
    /// Everybody.
    #[default]
    Shared,
    /// A second user gets a directory of its own.
    Private,
    /// A second user waits.
    Locked,
}

/// A directory that lives from build to build. Its id and content are no part of a cache key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CacheMount {
    /// Which.
    #[serde(skip)]
    pub id: String,
    /// Who may use it at the same time.
    pub sharing: CacheSharing,
    /// What a new one starts with.
    pub seed: Option<InputIndex>,
    /// The path in the seed.
    pub source: String,
    /// Owner of a new one.
    pub uid: u32,
    /// Group of a new one.
    pub gid: u32,
    /// Permissions of a new one.
    pub mode: u32,
    /// Whether writes are refused.
    pub read_only: bool,
}

/// An empty directory in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TmpfsMount {
    /// The limit in bytes, none for the kernel's default.
    pub size: Option<u64>,
}

/// A secret of the caller's. Its value is no part of a cache key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SecretMount {
    /// Which.
    pub id: String,
    /// The variable that holds it.
    pub variable: Option<String>,
    /// Whether it is a file at the mount's target.
    pub as_file: bool,
    /// Owner of the file.
    pub uid: u32,
    /// Group of the file.
    pub gid: u32,
    /// Permissions of the file.
    pub mode: u32,
    /// Whether its absence is an error.
    pub required: bool,
}

/// A socket to the caller's SSH agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SshMount {
    /// Which agent.
    pub id: String,
    /// Owner of the socket.
    pub uid: u32,
    /// Group of the socket.
    pub gid: u32,
    /// Permissions of the socket.
    pub mode: u32,
    /// Whether its absence is an error.
    pub required: bool,
}

impl ExecOp {
    /// The inputs that it names.
    pub fn used_inputs(&self) -> Vec<InputIndex> {
        let mounted = self.mounts.iter().filter_map(|mount| match &mount.kind {
            MountKind::Bind(bind) => Some(bind.from),
            MountKind::Cache(cache) => cache.seed,
            MountKind::Tmpfs(_) | MountKind::Secret(_) | MountKind::Ssh(_) => None,
        });
        self.root.into_iter().chain(mounted).collect()
    }
}
