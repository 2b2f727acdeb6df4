//! Which of docker's members are maps, lists, or left out where they are empty.

/// Objects whose keys are data.
const MAPS: [&str; 17] = [
    "Annotations",
    "BuildArgs",
    "Data",
    "Details",
    "DriverOpts",
    "ExposedPorts",
    "Extra",
    "Labels",
    "Networks",
    "Options",
    "PortBindings",
    "Ports",
    "Properties",
    "Sysctls",
    "Tmpfs",
    "UsageData",
    "Volumes",
];

/// Lists that may be absent.
const LISTS: [&str; 34] = [
    "Aliases",
    "Args",
    "Binds",
    "BlkioDeviceReadBps",
    "BlkioDeviceReadIOps",
    "BlkioDeviceWriteBps",
    "BlkioDeviceWriteIOps",
    "BlkioWeightDevice",
    "CapAdd",
    "CapDrop",
    "Cmd",
    "DNSNames",
    "DeviceCgroupRules",
    "DeviceRequests",
    "Devices",
    "Dns",
    "DnsOptions",
    "DnsSearch",
    "Entrypoint",
    "Env",
    "ExecIDs",
    "ExtraHosts",
    "GroupAdd",
    "Layers",
    "Links",
    "Mounts",
    "OnBuild",
    "RepoDigests",
    "RepoTags",
    "SecurityOpt",
    "Shell",
    "Ulimits",
    "VolumesFrom",
    "Warnings",
];

/// Members that docker leaves out where they say nothing.
const OPTIONAL: [&str; 14] = [
    "Annotations",
    "ExposedPorts",
    "Health",
    "Healthcheck",
    "Init",
    "OnBuild",
    "Os",
    "Shell",
    "StopSignal",
    "StopTimeout",
    "Sysctls",
    "Tmpfs",
    "Variant",
    "Author",
];

/// What a value is that JSON alone does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Shape {
    /// What it looks like.
    #[default]
    Plain,
    Map,
    List,
}

/// The shape of the member of this name.
pub(super) fn of(name: &str) -> Shape {
    if MAPS.contains(&name) {
        Shape::Map
    } else if LISTS.contains(&name) {
        Shape::List
    } else {
        Shape::Plain
    }
}

/// Whether a missing member of this name is an empty one.
pub(super) fn is_optional(name: &str) -> bool {
    OPTIONAL.contains(&name)
}
