//! From an execution to the OCI runtime specification.

use kiln_runtime::oci::{
    Capability, LinuxCapabilities, LinuxCpuBuilder, LinuxMemoryBuilder, LinuxResources, LinuxResourcesBuilder,
    PosixRlimit, PosixRlimitBuilder, ProcessBuilder, Spec, UserBuilder,
};
use kiln_runtime::spec;

use crate::Error;
use crate::execution::{Bounds, Execution, Limit, Network, Process, Security};

/// In what time a process tree may use its share of the processors, in microseconds, as docker has it.
const CPU_PERIOD: u64 = 100_000;
const BOUNDING_SET: &str = "CapBnd:";

/// Every capability by its number in the kernel.
const CAPABILITIES: [Capability; 41] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::LinuxImmutable,
    Capability::NetBindService,
    Capability::NetBroadcast,
    Capability::NetAdmin,
    Capability::NetRaw,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::SysModule,
    Capability::SysRawio,
    Capability::SysChroot,
    Capability::SysPtrace,
    Capability::SysPacct,
    Capability::SysAdmin,
    Capability::SysBoot,
    Capability::SysNice,
    Capability::SysResource,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::Mknod,
    Capability::Lease,
    Capability::AuditWrite,
    Capability::AuditControl,
    Capability::Setfcap,
    Capability::MacOverride,
    Capability::MacAdmin,
    Capability::Syslog,
    Capability::WakeAlarm,
    Capability::BlockSuspend,
    Capability::AuditRead,
    Capability::Perfmon,
    Capability::Bpf,
    Capability::CheckpointRestore,
];

/// The specification for `execution`, all but its root file system, mounts and streams.
pub(crate) fn specification(execution: &Execution) -> Result<Spec, Error> {
    let network = match execution.network {
        Network::Default | Network::Host => spec::Network::Host,
        Network::None => spec::Network::None,
    };
    let process = process(&execution.process, &execution.limits, execution.security)?;
    let mut spec = spec::docker_default(process, &execution.hostname, &network)?;
    if let Some(size) = execution.shm_size {
        set_shm_size(&mut spec, size);
    }
    if let (Some(parent), Some(linux)) = (&execution.cgroup_parent, spec.linux_mut()) {
        linux.set_cgroups_path(Some(parent.into()));
    }
    if let (Some(resources), Some(linux)) = (resources(&execution.bounds)?, spec.linux_mut()) {
        linux.set_resources(Some(resources));
    }
    if execution.security == Security::Insecure {
        open_up(&mut spec);
    }
    if let Some(root) = spec.root_mut() {
        root.set_readonly(Some(execution.read_only));
    }
    Ok(spec)
}

fn process(process: &Process, limits: &[Limit], security: Security) -> Result<kiln_runtime::oci::Process, Error> {
    let identity = &process.identity;
    let user = UserBuilder::default()
        .uid(identity.uid)
        .gid(identity.gid)
        .additional_gids(identity.additional_gids.clone())
        .umask(process.umask)
        .build()?;
    let mut built = ProcessBuilder::default()
        .args(process.args.clone())
        .env(environment(process))
        .cwd(process.cwd.clone())
        .user(user)
        .no_new_privileges(false)
        .rlimits(limits.iter().map(limit).collect::<Result<Vec<_>, _>>()?)
        .build()?;
    let capabilities = match security {
        Security::Sandbox => spec::capabilities(&spec::DEFAULT_CAPABILITIES)?,
        Security::Insecure => own_capabilities()?,
    };
    built.set_capabilities(Some(capabilities));
    Ok(built)
}

/// The given environment, and `HOME` behind it where it is missing.
fn environment(process: &Process) -> Vec<String> {
    let mut env = process.env.clone();
    if !env.iter().any(|variable| variable.starts_with("HOME=")) {
        env.push(format!("HOME={}", process.identity.home));
    }
    env
}

fn limit(limit: &Limit) -> Result<PosixRlimit, Error> {
    Ok(PosixRlimitBuilder::default().typ(limit.resource).soft(limit.soft).hard(limit.hard).build()?)
}

/// The bounds that a control group keeps.
fn resources(bounds: &Bounds) -> Result<Option<LinuxResources>, Error> {
    let mut resources = LinuxResourcesBuilder::default();
    if let Some(bytes) = bounds.memory {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        resources = resources.memory(LinuxMemoryBuilder::default().limit(bytes).swap(bytes).build()?);
    }
    if let Some(cpus) = bounds.cpus {
        let quota = (cpus * CPU_PERIOD as f64) as i64;
        resources = resources.cpu(LinuxCpuBuilder::default().quota(quota).period(CPU_PERIOD).build()?);
    }
    let bounded = bounds.memory.is_some() || bounds.cpus.is_some();
    Ok(bounded.then(|| resources.build()).transpose()?)
}

fn set_shm_size(spec: &mut Spec, size: u64) {
    let shm = spec.mounts_mut().iter_mut().flatten().find(|mount| mount.destination().as_os_str() == "/dev/shm");
    let Some(shm) = shm else { return };
    let mut options = shm.options().clone().unwrap_or_default();
    options.retain(|option| !option.starts_with("size="));
    options.push(format!("size={size}"));
    shm.set_options(Some(options));
}

/// Nothing hidden, nothing read-only.
fn open_up(spec: &mut Spec) {
    if let Some(linux) = spec.linux_mut() {
        linux.set_masked_paths(Some(Vec::new()));
        linux.set_readonly_paths(Some(Vec::new()));
    }
    for mount in spec.mounts_mut().iter_mut().flatten() {
        if mount.destination().as_os_str() == "/sys" {
            let options = mount.options().iter().flatten().filter(|option| *option != "ro").cloned().collect();
            mount.set_options(Some(options));
        }
    }
}

/// What this process could hand on; more would be refused.
fn own_capabilities() -> Result<LinuxCapabilities, Error> {
    let status =
        std::fs::read_to_string("/proc/self/status").map_err(|error| Error::io("read /proc/self/status", error))?;
    let bits = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix(BOUNDING_SET)?.trim(), 16).ok());
    let bits = bits.unwrap_or_default();
    let own: Vec<Capability> = CAPABILITIES
        .into_iter()
        .enumerate()
        .filter(|(number, _)| bits & (1 << number) != 0)
        .map(|(_, capability)| capability)
        .collect();
    Ok(spec::capabilities(&own)?)
}
