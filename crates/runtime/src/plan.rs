//! What the helper does, fully decided: the specification with names turned into numbers and
//! descriptors into indexes. Travels from the caller to the helper.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::container::Exit;
use crate::error::StartError;

/// The index of a descriptor among those that came with the plan.
pub(crate) type Descriptor = usize;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) rootfs: Rootfs,
    /// In a user namespace.
    pub(crate) rootless: bool,
    /// The user namespace holds id 0 only.
    pub(crate) single_id: bool,
    pub(crate) read_only_rootfs: bool,
    pub(crate) namespaces: Namespaces,
    pub(crate) hostname: Option<String>,
    pub(crate) domain_name: Option<String>,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) devices: Vec<Device>,
    pub(crate) masked: Vec<PathBuf>,
    pub(crate) read_only: Vec<PathBuf>,
    pub(crate) sysctls: Vec<(String, String)>,
    pub(crate) process: Process,
    pub(crate) stdio: Stdio,
    pub(crate) confined: bool,
    pub(crate) init: bool,
    pub(crate) remove_mount_points: bool,
    pub(crate) limits: Option<Limits>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Rootfs {
    Overlay {
        /// Topmost first, without repeats.
        lowers: Vec<PathBuf>,
        upper: PathBuf,
        work: PathBuf,
        volatile: bool,
    },
    Directory(PathBuf),
}

impl Rootfs {
    /// The directory that receives what is made in the rootfs.
    pub(crate) fn writable(&self) -> &PathBuf {
        match self {
            Rootfs::Overlay { upper, .. } => upper,
            Rootfs::Directory(path) => path,
        }
    }
}

/// Which namespaces are new; mount and pid always are.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Namespaces {
    pub(crate) ipc: bool,
    pub(crate) uts: bool,
    pub(crate) cgroup: bool,
    pub(crate) network: Network,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Network {
    Host,
    New,
    Existing(PathBuf),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Mount {
    pub(crate) target: PathBuf,
    pub(crate) source: Source,
    /// `MOUNT_ATTR_*`.
    pub(crate) attributes: u64,
    /// The attributes hold for the mounts below as well.
    pub(crate) recursive_attributes: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Source {
    FileSystem { kind: String, options: Vec<(String, Option<String>)> },
    BindPath { path: PathBuf, recursive: bool },
    BindDescriptor { descriptor: Descriptor, recursive: bool },
}

/// A device node beside docker's default ones.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Device {
    pub(crate) path: PathBuf,
    pub(crate) kind: DeviceKind,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum DeviceKind {
    Character,
    Block,
    Fifo,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<String>,
    pub(crate) working_directory: PathBuf,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) additional_gids: Vec<u32>,
    pub(crate) umask: u32,
    pub(crate) capabilities: CapabilityMasks,
    pub(crate) no_new_privileges: bool,
    pub(crate) limits: Vec<ResourceLimit>,
    pub(crate) oom_score_adjustment: Option<i32>,
}

/// Bit n is capability number n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CapabilityMasks {
    pub(crate) bounding: u64,
    pub(crate) effective: u64,
    pub(crate) permitted: u64,
    pub(crate) inheritable: u64,
    pub(crate) ambient: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ResourceLimit {
    /// `RLIMIT_*`.
    pub(crate) resource: u32,
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Stdio {
    Streams([Option<Descriptor>; 3]),
    Terminal { rows: u16, columns: u16 },
}

/// Limits on the whole container, for its control group, and where that lies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// Bytes.
    pub(crate) memory: Option<u64>,
    /// Bytes of memory and swap together.
    pub(crate) memory_and_swap: Option<u64>,
    /// Number of processes and threads.
    pub(crate) processes: Option<u64>,
    /// Microseconds of processor time in each period.
    pub(crate) cpu_quota: Option<u64>,
    /// Microseconds.
    pub(crate) cpu_period: Option<u64>,
    /// Relative weight, 1024 is the default (version 1 scale).
    pub(crate) cpu_shares: Option<u64>,
    /// The group to make it in, from the root of each hierarchy; beside kiln's own if `None`.
    pub(crate) parent: Option<PathBuf>,
}

impl Limits {
    /// What is said where no control group can be made that keeps them.
    pub(crate) fn missed(&self, reason: &str) -> String {
        let cpu = self.cpu_quota.is_some() || self.cpu_shares.is_some();
        let wanted = [("memory", self.memory.is_some()), ("processes", self.processes.is_some()), ("processors", cpu)];
        let wanted: Vec<&str> = wanted.into_iter().filter(|(_, wanted)| *wanted).map(|(name, _)| name).collect();
        match wanted[..] {
            [] => format!("no control group: {reason}"),
            _ => format!("no control group, so the limit of {} is not kept: {reason}", wanted.join(" and ")),
        }
    }
}

/// A mount point that was made in the rootfs itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MadeMountPoint {
    /// Relative to the rootfs, without symlinks.
    pub(crate) path: PathBuf,
    pub(crate) directory: bool,
}

/// From the container's first process to the helper, before the command runs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromContainer {
    /// All is set up; the terminal comes as a descriptor. Next comes the end of the stream
    /// (the command runs) or `Failed`.
    Ready { notes: Vec<String>, made: Vec<MadeMountPoint> },
    /// What was made before the error has to be removed as well.
    Failed { error: StartError, made: Vec<MadeMountPoint> },
}

/// From the helper to the caller.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromHelper {
    /// The command runs. Descriptors: pid 1, then the terminal if there is one.
    Started { pid: u32, notes: Vec<String> },
    /// It does not run and nothing is left.
    Failed(StartError),
    /// It has ended and nothing is left.
    Ended(Exit),
}

impl Plan {
    /// How many descriptors the plan names; further ones are only held.
    pub(crate) fn descriptor_count(&self) -> usize {
        let binds = self.mounts.iter().filter(|mount| matches!(mount.source, Source::BindDescriptor { .. })).count();
        let streams = match &self.stdio {
            Stdio::Streams(streams) => streams.iter().flatten().count(),
            Stdio::Terminal { .. } => 0,
        };
        binds + streams
    }
}
