//! A container as `docker inspect` shows it: docker's JSON, with docker's defaults where kiln has
//! no such setting.

use serde_json::{Map, Value, json};

use super::record::{Container, MountPoint, Phase};
use crate::{Engine, Error, moment};

const DEFAULT_SHM_SIZE: u64 = 64 << 20;

impl Engine {
    /// Docker's JSON for a container or else an image.
    ///
    /// # Errors
    /// [`Error::NoSuchObject`] where there is neither.
    pub fn inspect(&self, name: &str) -> Result<Value, Error> {
        match self.inspect_container(name) {
            Err(Error::NoSuchContainer(_)) => {}
            result => return result,
        }
        match self.inspect_image(name, None) {
            Err(Error::NoSuchImage(_) | Error::ImageName(_)) => Err(Error::NoSuchObject(name.into())),
            result => result,
        }
    }

    /// Docker's JSON for a container.
    ///
    /// # Errors
    /// No such container.
    pub fn inspect_container(&self, name: &str) -> Result<Value, Error> {
        let container = self.container(name)?;
        let args = container.args();
        let image = container.image.as_ref().map(ToString::to_string).unwrap_or_default();
        Ok(json!({
            "Id": container.id,
            "Created": container.created,
            "Path": args.first(),
            "Args": args.get(1..).unwrap_or_default(),
            "State": state(&container),
            "Image": image,
            "ResolvConfPath": "",
            "HostnamePath": "",
            "HostsPath": "",
            "LogPath": "",
            "Name": format!("/{}", container.name),
            "RestartCount": 0,
            "Driver": "overlayfs",
            "Platform": "linux",
            "MountLabel": "",
            "ProcessLabel": "",
            "AppArmorProfile": "",
            "ExecIDs": null,
            "HostConfig": host_config(&container),
            "GraphDriver": { "Data": null, "Name": "overlayfs" },
            "Mounts": container.mounts.iter().map(mount).collect::<Vec<_>>(),
            "Config": config(&container),
            "NetworkSettings": network_settings(&container),
        }))
    }
}

fn state(container: &Container) -> Value {
    let state = &container.state;
    json!({
        "Status": state.phase.word(),
        "Running": state.phase == Phase::Running,
        "Paused": false,
        "Restarting": false,
        "OOMKilled": state.out_of_memory,
        "Dead": false,
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": state.started_at.as_deref().unwrap_or(moment::NEVER),
        "FinishedAt": state.finished_at.as_deref().unwrap_or(moment::NEVER),
    })
}

fn config(container: &Container) -> Value {
    let settings = &container.settings;
    let [stdin, stdout, stderr] = settings.attach;
    let mut config = json!({
        "Hostname": settings.hostname,
        "Domainname": "",
        "User": settings.user,
        "AttachStdin": stdin,
        "AttachStdout": stdout,
        "AttachStderr": stderr,
        "Tty": settings.tty,
        "OpenStdin": settings.open_stdin,
        "StdinOnce": settings.open_stdin,
        "Env": settings.env,
        "Cmd": settings.cmd,
        "Image": settings.image,
        "Volumes": volumes(&settings.volumes),
        "WorkingDir": settings.working_dir,
        "Entrypoint": settings.entrypoint,
        "Labels": settings.labels,
    });
    if let Some(members) = config.as_object_mut() {
        add_where_set(members, container);
    }
    config
}

/// Members that docker leaves out where the image says nothing.
fn add_where_set(members: &mut Map<String, Value>, container: &Container) {
    let settings = &container.settings;
    if !settings.exposed_ports.is_empty() {
        members.insert("ExposedPorts".into(), json!(settings.exposed_ports));
    }
    if !settings.stop_signal.is_empty() {
        members.insert("StopSignal".into(), json!(settings.stop_signal));
    }
    if let Some(check) = &settings.healthcheck {
        members.insert("Healthcheck".into(), json!(check));
    }
    if !settings.on_build.is_empty() {
        members.insert("OnBuild".into(), json!(settings.on_build));
    }
    if !settings.shell.is_empty() {
        members.insert("Shell".into(), json!(settings.shell));
    }
}

fn volumes(paths: &[String]) -> Value {
    if paths.is_empty() {
        return Value::Null;
    }
    Value::Object(paths.iter().map(|path| (path.clone(), json!({}))).collect())
}

fn host_config(container: &Container) -> Value {
    let host = &container.host;
    let list = |items: &[String]| if items.is_empty() { Value::Null } else { json!(items) };
    let mut config = json!({
        "Binds": list(&host.binds),
        "ContainerIDFile": "",
        "LogConfig": { "Type": "none", "Config": {} },
        "NetworkMode": host.network.mode(),
        "PortBindings": {},
        "RestartPolicy": { "Name": "no", "MaximumRetryCount": 0 },
        "AutoRemove": host.auto_remove,
        "VolumeDriver": "",
        "VolumesFrom": null,
        "ConsoleSize": [0, 0],
        "CapAdd": null,
        "CapDrop": null,
        "CgroupnsMode": "host",
        "Dns": null,
        "DnsOptions": null,
        "DnsSearch": null,
        "ExtraHosts": list(&host.extra_hosts),
        "GroupAdd": null,
        "IpcMode": "private",
        "Cgroup": "",
        "Links": null,
        "OomScoreAdj": 0,
        "PidMode": "",
        "Privileged": host.privileged,
        "PublishAllPorts": false,
        "ReadonlyRootfs": host.read_only,
        "SecurityOpt": null,
        "UTSMode": "",
        "UsernsMode": "",
        "ShmSize": host.shm_size.unwrap_or(DEFAULT_SHM_SIZE),
        "Runtime": "kiln",
        "Isolation": "",
    });
    if let Some(members) = config.as_object_mut() {
        if !host.tmpfs.is_empty() {
            members.insert("Tmpfs".into(), json!(host.tmpfs));
        }
        if host.init {
            members.insert("Init".into(), json!(true));
        }
        members.extend(resources());
    }
    config
}

/// Limits, none of which can be set yet.
fn resources() -> Map<String, Value> {
    const ZERO: [&str; 14] = [
        "CpuShares",
        "Memory",
        "NanoCpus",
        "BlkioWeight",
        "CpuPeriod",
        "CpuQuota",
        "CpuRealtimePeriod",
        "CpuRealtimeRuntime",
        "MemoryReservation",
        "MemorySwap",
        "CpuCount",
        "CpuPercent",
        "IOMaximumIOps",
        "IOMaximumBandwidth",
    ];
    const NULL: [&str; 11] = [
        "BlkioWeightDevice",
        "BlkioDeviceReadBps",
        "BlkioDeviceWriteBps",
        "BlkioDeviceReadIOps",
        "BlkioDeviceWriteIOps",
        "Devices",
        "DeviceCgroupRules",
        "DeviceRequests",
        "MemorySwappiness",
        "PidsLimit",
        "Ulimits",
    ];
    const EMPTY: [&str; 3] = ["CgroupParent", "CpusetCpus", "CpusetMems"];
    let zero = ZERO.map(|name| (name, json!(0)));
    let null = NULL.map(|name| (name, Value::Null));
    let empty = EMPTY.map(|name| (name, json!("")));
    let all = zero.into_iter().chain(null).chain(empty).chain([("OomKillDisable", json!(false))]);
    all.map(|(name, value)| (name.to_owned(), value)).collect()
}

fn mount(mount: &MountPoint) -> Value {
    let mut shown = json!({
        "Type": if mount.volume.is_some() { "volume" } else { "bind" },
        "Source": mount.source,
        "Destination": mount.destination,
        "Mode": mount.mode,
        "RW": mount.writable,
        "Propagation": if mount.volume.is_some() { "" } else { "rprivate" },
    });
    if let (Some(name), Some(members)) = (&mount.volume, shown.as_object_mut()) {
        members.insert("Name".into(), json!(name));
        members.insert("Driver".into(), json!("local"));
    }
    shown
}

fn network_settings(container: &Container) -> Value {
    json!({
        "SandboxID": "",
        "SandboxKey": "",
        "Ports": {},
        "EndpointID": "",
        "Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "IPAddress": "",
        "IPPrefixLen": 0,
        "IPv6Gateway": "",
        "MacAddress": "",
        "Networks": { container.host.network.mode(): {
            "IPAMConfig": null, "Links": null, "Aliases": null, "DriverOpts": null, "GwPriority": 0,
            "NetworkID": "", "EndpointID": "", "Gateway": "", "IPAddress": "", "MacAddress": "",
            "IPPrefixLen": 0, "IPv6Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "DNSNames": null,
        } },
    })
}
