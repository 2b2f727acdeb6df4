//! Docker's defaults as pieces of an OCI specification: capabilities, mounts, masks, limits.

use oci_spec::runtime::{
    Capabilities, Capability, LinuxBuilder, LinuxCapabilities, LinuxCapabilitiesBuilder, LinuxNamespace,
    LinuxNamespaceBuilder, LinuxNamespaceType, Mount, MountBuilder, Process, ProcessBuilder, RootBuilder, Spec,
    SpecBuilder, User, UserBuilder,
};

/// The network of a container, as far as the runtime makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// The network namespace of this process.
    Host,
    /// An own network namespace with nothing but `lo`.
    None,
    /// An existing network namespace (`/proc/PID/ns/net` or a bind mount of one).
    Path(std::path::PathBuf),
}

/// Docker's fourteen default capabilities (mask `a80425fb`).
pub const DEFAULT_CAPABILITIES: [Capability; 14] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::NetBindService,
    Capability::NetRaw,
    Capability::SysChroot,
    Capability::Mknod,
    Capability::AuditWrite,
    Capability::Setfcap,
];

const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
];

const MASKED_SINCE_27: &str = "/sys/devices/virtual/powercap";

const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// A process as docker starts it: docker's capabilities, no resource limits of its own,
/// `no_new_privs` off. (The builder of the `oci-spec` crate has other defaults.)
///
/// `arguments` is the command with its arguments, `environment` has `NAME=value` entries and
/// `cwd` is absolute inside the container.
pub fn process(
    arguments: Vec<String>,
    environment: Vec<String>,
    cwd: impl Into<std::path::PathBuf>,
    user: User,
) -> Result<Process, oci_spec::OciSpecError> {
    let mut process = ProcessBuilder::default()
        .args(arguments)
        .env(environment)
        .cwd(cwd)
        .user(user)
        .terminal(false)
        .capabilities(capabilities(&DEFAULT_CAPABILITIES)?)
        .build()?;
    process.set_rlimits(None).set_no_new_privileges(None);
    Ok(process)
}

/// A user by number, with the groups that it is a member of besides `gid`.
pub fn user(uid: u32, gid: u32, additional_gids: Vec<u32>) -> Result<User, oci_spec::OciSpecError> {
    UserBuilder::default().uid(uid).gid(gid).additional_gids(additional_gids).build()
}

/// A complete specification with docker's mounts (`/proc`, `/dev`, `/dev/pts`, `/dev/shm` of
/// 64 MiB, `/dev/mqueue`, `/sys` read-only), masked and read-only paths, own mount, pid, ipc and
/// uts namespaces and the given network. Change the result by its setters.
pub fn docker_default(process: Process, hostname: &str, network: &Network) -> Result<Spec, oci_spec::OciSpecError> {
    let linux = LinuxBuilder::default()
        .namespaces(namespaces(network)?)
        .masked_paths(masked_paths())
        .readonly_paths(READ_ONLY.map(String::from).to_vec())
        .build()?;
    let mut linux = linux;
    // The builder's own defaults are not docker's.
    linux.set_resources(None).set_seccomp(None).set_devices(None);
    SpecBuilder::default()
        .version("1.0.2")
        .root(RootBuilder::default().path("rootfs").readonly(false).build()?)
        .process(process)
        .hostname(hostname)
        .mounts(mounts()?)
        .linux(linux)
        .build()
}

/// Bounding, effective and permitted sets of these capabilities; nothing inheritable or ambient.
pub fn capabilities(set: &[Capability]) -> Result<LinuxCapabilities, oci_spec::OciSpecError> {
    let set: Capabilities = set.iter().copied().collect();
    LinuxCapabilitiesBuilder::default()
        .bounding(set.clone())
        .effective(set.clone())
        .permitted(set)
        .inheritable(Capabilities::new())
        .ambient(Capabilities::new())
        .build()
}

/// The paths that docker hides from containers; the processors' thermal counters among them are
/// those of this machine.
pub fn masked_paths() -> Vec<String> {
    let thermal = thermal_counters().iter().map(String::as_str);
    MASKED.into_iter().chain([MASKED_SINCE_27]).chain(thermal).map(String::from).collect()
}

fn thermal_counters() -> &'static [String] {
    static PATHS: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
    PATHS.get_or_init(|| {
        let processors = std::fs::read_dir("/sys/devices/system/cpu");
        let paths = processors.into_iter().flatten().flatten().map(|one| one.path().join("thermal_throttle"));
        paths.filter(|path| path.exists()).filter_map(|path| path.to_str().map(String::from)).collect()
    })
}

/// Docker's namespaces: mount, pid, ipc, uts, and the network's.
pub fn namespaces(network: &Network) -> Result<Vec<LinuxNamespace>, oci_spec::OciSpecError> {
    use LinuxNamespaceType as Type;
    let mut types = vec![Type::Mount, Type::Pid, Type::Ipc, Type::Uts];
    if *network != Network::Host {
        types.push(Type::Network);
    }
    types
        .into_iter()
        .map(|typ| {
            let builder = LinuxNamespaceBuilder::default().typ(typ);
            match network {
                Network::Path(path) if typ == Type::Network => builder.path(path.clone()),
                _ => builder,
            }
            .build()
        })
        .collect()
}

/// Docker's mounts, in order. `/sys` is a `sysfs`; the runtime binds the host's read-only where a
/// user namespace has no network namespace of its own.
pub fn mounts() -> Result<Vec<Mount>, oci_spec::OciSpecError> {
    const NO_EXEC: [&str; 3] = ["nosuid", "noexec", "nodev"];
    let table: [(&str, &str, &[&str]); 6] = [
        ("/proc", "proc", &[]),
        ("/dev", "tmpfs", &["mode=755", "size=65536k"]),
        ("/dev/pts", "devpts", &["newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        ("/sys", "sysfs", &["ro"]),
        ("/dev/mqueue", "mqueue", &[]),
        ("/dev/shm", "tmpfs", &["mode=1777", "size=67108864"]),
    ];
    table
        .into_iter()
        .map(|(target, kind, special)| {
            let common: &[&str] = match target {
                "/dev" => &["nosuid"],
                "/dev/pts" => &["nosuid", "noexec"],
                _ => &NO_EXEC,
            };
            let options: Vec<String> = common.iter().chain(special).map(|o| o.to_string()).collect();
            MountBuilder::default().destination(target).typ(kind).source(kind).options(options).build()
        })
        .collect()
}
