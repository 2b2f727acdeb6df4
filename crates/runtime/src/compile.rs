//! From the caller's [`Launch`] to the helper's [`Plan`]: pure, so that a specification that
//! cannot be carried out is refused before anything is started.

use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime as oci;
use oci_spec::runtime::{LinuxDeviceType, LinuxNamespaceType, PosixRlimitType};

use crate::capability;
use crate::error::StartError;
use crate::launch::{BindSource, Launch, Mount, MountKind, MountPoints, Rootfs, Seccomp, Stdio};
use crate::plan::{
    CapabilityMasks, Device, DeviceKind, Limits, Mount as MountPlan, Namespaces, Network, Plan, Process, ResourceLimit,
    Rootfs as RootfsPlan, Source, Stdio as StdioPlan,
};

/// The kernel refuses more lower directories.
pub(crate) const MOST_LOWERS: usize = 500;

/// A plan and the descriptors that its indexes mean.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) plan: Plan,
    pub(crate) descriptors: Vec<OwnedFd>,
    /// Kept open by the helper, in addition.
    pub(crate) held: Vec<OwnedFd>,
}

/// Decides everything that can be decided without looking at the system.
pub(crate) fn compile(launch: Launch) -> Result<Compiled, StartError> {
    let Launch { spec, rootfs, mounts, stdio, seccomp, tier, init, mount_points, held } = launch;
    refuse_what_is_not_done(&spec)?;
    let mut descriptors = Vec::new();
    let process = spec.process().as_ref().ok_or_else(|| StartError::spec("process", "missing"))?;
    let linux = spec.linux().clone().unwrap_or_default();
    let namespaces = namespaces(linux.namespaces().as_deref().unwrap_or_default())?;
    let mut all_mounts = spec_mounts(spec.mounts().as_deref().unwrap_or_default())?;
    for mount in mounts {
        all_mounts.push(own_mount(mount, &mut descriptors)?);
    }
    let plan = Plan {
        rootfs: rootfs_plan(rootfs)?,
        rootless: tier.is_rootless(),
        single_id: tier.is_single_id(),
        read_only_rootfs: spec.root().as_ref().and_then(oci::Root::readonly).unwrap_or(false),
        hostname: spec.hostname().clone().filter(|_| namespaces.uts),
        domain_name: spec.domainname().clone().filter(|_| namespaces.uts),
        namespaces,
        mounts: all_mounts,
        devices: devices(linux.devices().as_deref().unwrap_or_default())?,
        masked: paths(linux.masked_paths().as_deref()),
        read_only: paths(linux.readonly_paths().as_deref()),
        sysctls: linux.sysctl().iter().flatten().map(|(name, value)| (name.clone(), value.clone())).collect(),
        process: process_plan(process)?,
        stdio: stdio_plan(stdio, &mut descriptors),
        confined: seccomp == Seccomp::Docker,
        init,
        remove_mount_points: mount_points == MountPoints::Remove,
        limits: limits(&linux),
    };
    refuse_what_is_no_text(&plan)?;
    Ok(Compiled { plan, descriptors, held })
}

/// The plan travels as text.
fn refuse_what_is_no_text(plan: &Plan) -> Result<(), StartError> {
    let rootfs: Vec<&PathBuf> = match &plan.rootfs {
        RootfsPlan::Directory(path) => vec![path],
        RootfsPlan::Overlay { lowers, upper, work, .. } => lowers.iter().chain([upper, work]).collect(),
    };
    let mounts = plan.mounts.iter().flat_map(|mount| match &mount.source {
        Source::BindPath { path, .. } => vec![&mount.target, path],
        _ => vec![&mount.target],
    });
    let others = plan.devices.iter().map(|device| &device.path).chain([&plan.process.working_directory]);
    for path in rootfs.into_iter().chain(mounts).chain(others) {
        if path.to_str().is_none() {
            return Err(StartError::spec("path", format!("{} is not valid UTF-8", path.display())));
        }
    }
    Ok(())
}

fn refuse_what_is_not_done(spec: &oci::Spec) -> Result<(), StartError> {
    if spec.hooks().is_some() {
        return Err(StartError::spec("hooks", "not supported"));
    }
    let Some(linux) = spec.linux() else {
        return Ok(());
    };
    let some = |mappings: &Option<Vec<_>>| mappings.as_ref().is_some_and(|list| !list.is_empty());
    if some(linux.uid_mappings()) || some(linux.gid_mappings()) {
        return Err(StartError::spec("linux.uidMappings", "not supported"));
    }
    if linux.seccomp().is_some() {
        return Err(StartError::spec("linux.seccomp", "profiles of one's own are not supported"));
    }
    Ok(())
}

fn rootfs_plan(rootfs: Rootfs) -> Result<RootfsPlan, StartError> {
    let overlay = match rootfs {
        Rootfs::Directory(path) => return Ok(RootfsPlan::Directory(path)),
        Rootfs::Overlay(overlay) => overlay,
    };
    let mut seen = std::collections::HashSet::new();
    let lowers: Vec<PathBuf> = overlay.lowers.into_iter().filter(|path| seen.insert(path.clone())).collect();
    if lowers.len() > MOST_LOWERS {
        return Err(StartError::TooManyLayers { count: lowers.len(), limit: MOST_LOWERS });
    }
    Ok(RootfsPlan::Overlay { lowers, upper: overlay.upper, work: overlay.work, volatile: overlay.volatile })
}

fn namespaces(list: &[oci::LinuxNamespace]) -> Result<Namespaces, StartError> {
    let mut plan = Namespaces { ipc: false, uts: false, cgroup: false, network: Network::Host };
    let (mut mount, mut pid) = (false, false);
    for namespace in list {
        let kind = namespace.typ();
        if namespace.path().is_some() && kind != LinuxNamespaceType::Network {
            return Err(StartError::spec(
                format!("linux.namespaces.{kind}.path"),
                "only a network namespace can be joined",
            ));
        }
        match kind {
            LinuxNamespaceType::Mount => mount = true,
            LinuxNamespaceType::Pid => pid = true,
            LinuxNamespaceType::Ipc => plan.ipc = true,
            LinuxNamespaceType::Uts => plan.uts = true,
            LinuxNamespaceType::Cgroup => plan.cgroup = true,
            LinuxNamespaceType::Network => {
                plan.network = match namespace.path() {
                    Some(path) => Network::Existing(path.clone()),
                    None => Network::New,
                }
            }
            LinuxNamespaceType::User | LinuxNamespaceType::Time => {
                return Err(StartError::spec(format!("linux.namespaces.{kind}"), "not supported"));
            }
        }
    }
    if !mount || !pid {
        return Err(StartError::spec("linux.namespaces", "a container needs mount and pid namespaces of its own"));
    }
    Ok(plan)
}

fn spec_mounts(list: &[oci::Mount]) -> Result<Vec<MountPlan>, StartError> {
    list.iter().map(spec_mount).collect()
}

fn spec_mount(mount: &oci::Mount) -> Result<MountPlan, StartError> {
    let mut attributes = 0;
    let mut bind = None;
    let mut recursive_attributes = false;
    let mut options = Vec::new();
    for option in mount.options().iter().flatten() {
        match option.as_str() {
            "bind" => bind = Some(false),
            "rbind" => bind = Some(true),
            "rro" => {
                attributes |= libc::MOUNT_ATTR_RDONLY;
                recursive_attributes = true;
            }
            name => match attribute(name) {
                Some(Attribute::Set(bit)) => attributes |= bit,
                Some(Attribute::Clear(bit)) => attributes &= !bit,
                Some(Attribute::Nothing) => {}
                None => options.push(match name.split_once('=') {
                    Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                    None => (name.to_owned(), None),
                }),
            },
        }
    }
    let kind = mount.typ().clone().unwrap_or_else(|| "none".to_owned());
    let source = match bind {
        None if kind == "bind" => bind_path(mount, false)?,
        Some(recursive) => bind_path(mount, recursive)?,
        None => Source::FileSystem { kind, options },
    };
    Ok(MountPlan {
        target: absolute("mounts.destination", mount.destination())?,
        source,
        attributes,
        recursive_attributes,
    })
}

fn bind_path(mount: &oci::Mount, recursive: bool) -> Result<Source, StartError> {
    let path = mount.source().clone().ok_or_else(|| StartError::spec("mounts.source", "missing for a bind mount"))?;
    Ok(Source::BindPath { path, recursive })
}

enum Attribute {
    Set(u64),
    Clear(u64),
    /// Says what is so anyway: every mount of a container is private and has relative atimes.
    Nothing,
}

fn attribute(option: &str) -> Option<Attribute> {
    use Attribute::{Clear, Nothing, Set};
    Some(match option {
        "ro" => Set(libc::MOUNT_ATTR_RDONLY),
        "rw" => Clear(libc::MOUNT_ATTR_RDONLY),
        "nosuid" => Set(libc::MOUNT_ATTR_NOSUID),
        "suid" => Clear(libc::MOUNT_ATTR_NOSUID),
        "nodev" => Set(libc::MOUNT_ATTR_NODEV),
        "dev" => Clear(libc::MOUNT_ATTR_NODEV),
        "noexec" => Set(libc::MOUNT_ATTR_NOEXEC),
        "exec" => Clear(libc::MOUNT_ATTR_NOEXEC),
        "noatime" => Set(libc::MOUNT_ATTR_NOATIME),
        "nodiratime" => Set(libc::MOUNT_ATTR_NODIRATIME),
        "strictatime" => Set(libc::MOUNT_ATTR_STRICTATIME),
        "relatime" | "defaults" | "async" | "private" | "rprivate" => Nothing,
        _ => return None,
    })
}

fn own_mount(mount: Mount, descriptors: &mut Vec<OwnedFd>) -> Result<MountPlan, StartError> {
    let target = absolute("mount", &mount.target)?;
    let read_only_bit = |yes: bool| if yes { libc::MOUNT_ATTR_RDONLY } else { 0 };
    Ok(match mount.kind {
        MountKind::Bind { source, read_only, recursive } => MountPlan {
            target,
            source: match source {
                BindSource::Path(path) => Source::BindPath { path, recursive },
                BindSource::Descriptor(descriptor) => {
                    Source::BindDescriptor { descriptor: index_of(descriptor, descriptors), recursive }
                }
            },
            attributes: read_only_bit(read_only),
            recursive_attributes: recursive,
        },
        MountKind::Tmpfs { size, mode, read_only } => MountPlan {
            target,
            source: Source::FileSystem {
                kind: "tmpfs".to_owned(),
                options: [
                    mode.map(|mode| ("mode".to_owned(), Some(format!("{mode:o}")))),
                    size.map(|bytes| ("size".to_owned(), Some(bytes.to_string()))),
                ]
                .into_iter()
                .flatten()
                .collect(),
            },
            attributes: libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | read_only_bit(read_only),
            recursive_attributes: false,
        },
    })
}

fn index_of(descriptor: OwnedFd, descriptors: &mut Vec<OwnedFd>) -> usize {
    descriptors.push(descriptor);
    descriptors.len() - 1
}

fn stdio_plan(stdio: Stdio, descriptors: &mut Vec<OwnedFd>) -> StdioPlan {
    match stdio {
        Stdio::Streams { stdin, stdout, stderr } => StdioPlan::Streams(
            [stdin, stdout, stderr].map(|stream| stream.map(|descriptor| index_of(descriptor, descriptors))),
        ),
        Stdio::Terminal { size } => {
            let (rows, columns) = size.unwrap_or((0, 0));
            StdioPlan::Terminal { rows, columns }
        }
    }
}

fn devices(list: &[oci::LinuxDevice]) -> Result<Vec<Device>, StartError> {
    list.iter()
        .map(|device| {
            let number = |value: i64| {
                u32::try_from(value).map_err(|_| StartError::spec("linux.devices", format!("number {value}")))
            };
            Ok(Device {
                path: absolute("linux.devices.path", device.path())?,
                kind: match device.typ() {
                    LinuxDeviceType::B => DeviceKind::Block,
                    LinuxDeviceType::P => DeviceKind::Fifo,
                    _ => DeviceKind::Character,
                },
                major: number(device.major())?,
                minor: number(device.minor())?,
                mode: device.file_mode().unwrap_or(0o666) & 0o7777,
                uid: device.uid().unwrap_or(0),
                gid: device.gid().unwrap_or(0),
            })
        })
        .collect()
}

fn process_plan(process: &oci::Process) -> Result<Process, StartError> {
    let arguments = process.args().clone().unwrap_or_default();
    if arguments.is_empty() {
        return Err(StartError::spec("process.args", "no command to run"));
    }
    let environment = process.env().clone().unwrap_or_default();
    if arguments.iter().chain(&environment).any(|text| text.contains('\0')) {
        return Err(StartError::spec(
            "process.args or process.env",
            "a zero byte cannot be part of an argument or variable",
        ));
    }
    let user = process.user();
    Ok(Process {
        arguments,
        environment,
        working_directory: absolute("process.cwd", process.cwd())?,
        uid: user.uid(),
        gid: user.gid(),
        additional_gids: user.additional_gids().clone().unwrap_or_default(),
        umask: user.umask().unwrap_or(0o022),
        capabilities: capability_masks(process.capabilities().as_ref()),
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        limits: process
            .rlimits()
            .iter()
            .flatten()
            .map(|limit| ResourceLimit { resource: resource(limit.typ()), soft: limit.soft(), hard: limit.hard() })
            .collect(),
        oom_score_adjustment: process.oom_score_adj(),
    })
}

fn capability_masks(sets: Option<&oci::LinuxCapabilities>) -> CapabilityMasks {
    let Some(sets) = sets else {
        return CapabilityMasks::default();
    };
    let mask = |set: &Option<oci::Capabilities>| set.as_ref().map_or(0, capability::mask);
    CapabilityMasks {
        bounding: mask(sets.bounding()),
        effective: mask(sets.effective()),
        permitted: mask(sets.permitted()),
        inheritable: mask(sets.inheritable()),
        ambient: mask(sets.ambient()),
    }
}

fn resource(kind: PosixRlimitType) -> u32 {
    match kind {
        PosixRlimitType::RlimitCpu => libc::RLIMIT_CPU,
        PosixRlimitType::RlimitFsize => libc::RLIMIT_FSIZE,
        PosixRlimitType::RlimitData => libc::RLIMIT_DATA,
        PosixRlimitType::RlimitStack => libc::RLIMIT_STACK,
        PosixRlimitType::RlimitCore => libc::RLIMIT_CORE,
        PosixRlimitType::RlimitRss => libc::RLIMIT_RSS,
        PosixRlimitType::RlimitNproc => libc::RLIMIT_NPROC,
        PosixRlimitType::RlimitNofile => libc::RLIMIT_NOFILE,
        PosixRlimitType::RlimitMemlock => libc::RLIMIT_MEMLOCK,
        PosixRlimitType::RlimitAs => libc::RLIMIT_AS,
        PosixRlimitType::RlimitLocks => libc::RLIMIT_LOCKS,
        PosixRlimitType::RlimitSigpending => libc::RLIMIT_SIGPENDING,
        PosixRlimitType::RlimitMsgqueue => libc::RLIMIT_MSGQUEUE,
        PosixRlimitType::RlimitNice => libc::RLIMIT_NICE,
        PosixRlimitType::RlimitRtprio => libc::RLIMIT_RTPRIO,
        PosixRlimitType::RlimitRttime => libc::RLIMIT_RTTIME,
    }
}

fn limits(linux: &oci::Linux) -> Option<Limits> {
    let positive = |value: i64| u64::try_from(value).ok().filter(|&value| value > 0);
    let resources = linux.resources().as_ref();
    let memory = resources.and_then(|resources| resources.memory().as_ref());
    let cpu = resources.and_then(|resources| resources.cpu().as_ref());
    let named = |path: &PathBuf| path.components().filter(|part| matches!(part, Component::Normal(_))).collect();
    let limits = Limits {
        memory: memory.and_then(oci::LinuxMemory::limit).and_then(positive),
        memory_and_swap: memory.and_then(oci::LinuxMemory::swap).and_then(positive),
        processes: resources.and_then(|resources| resources.pids().as_ref()).and_then(|pids| positive(pids.limit())),
        cpu_quota: cpu.and_then(oci::LinuxCpu::quota).and_then(positive),
        cpu_period: cpu.and_then(oci::LinuxCpu::period),
        cpu_shares: cpu.and_then(oci::LinuxCpu::shares),
        parent: linux.cgroups_path().as_ref().map(named),
    };
    (limits != Limits::default()).then_some(limits)
}

fn paths(list: Option<&[String]>) -> Vec<PathBuf> {
    list.unwrap_or_default().iter().map(PathBuf::from).collect()
}

fn absolute(field: &str, path: &Path) -> Result<PathBuf, StartError> {
    if path.is_absolute() {
        Ok(path.to_owned())
    } else {
        Err(StartError::spec(field, format!("{} is not an absolute path", path.display())))
    }
}
