//! The engine as a whole: `info`, `version`.

use serde_json::{Value, json};

use crate::containers::Phase;
use crate::{Engine, Error};

/// Docker's API that the engine's JSON follows.
const API_VERSION: &str = "1.50";

impl Engine {
    /// What `version` tells of the engine, in docker's JSON.
    pub fn version(&self) -> Value {
        let kernel = kernel();
        json!({
            "Platform": { "Name": "kiln" },
            "Version": env!("CARGO_PKG_VERSION"),
            "ApiVersion": API_VERSION,
            "MinAPIVersion": API_VERSION,
            "Os": "linux",
            "Arch": architecture(),
            "KernelVersion": kernel,
            "Components": [{
                "Name": "Engine",
                "Version": env!("CARGO_PKG_VERSION"),
                "Details": { "ApiVersion": API_VERSION, "Arch": architecture(), "Os": "linux", "KernelVersion": kernel },
            }],
        })
    }

    /// What `info` tells, in docker's JSON.
    ///
    /// # Errors
    /// What the store says.
    pub fn info(&self) -> Result<Value, Error> {
        let containers = self.containers()?;
        let in_phase = |phase| containers.iter().filter(|container| container.state.phase == phase).count();
        let system = rustix::system::uname();
        let running = in_phase(Phase::Running);
        Ok(json!({
            "Containers": containers.len(),
            "ContainersRunning": running,
            "ContainersPaused": 0,
            "ContainersStopped": containers.len() - running,
            "Images": self.store.images().list()?.len(),
            "Driver": "overlayfs",
            "DriverStatus": [["Tier", self.tier().to_string()]],
            "Plugins": { "Volume": ["local"], "Network": ["host", "null"], "Authorization": null, "Log": ["none"] },
            "LoggingDriver": "none",
            "KernelVersion": kernel(),
            "OperatingSystem": operating_system(),
            "OSType": "linux",
            "Architecture": system.machine().to_string_lossy(),
            "IndexServerAddress": "https://index.docker.io/v1/",
            "NCPU": std::thread::available_parallelism().map_or(1, usize::from),
            "MemTotal": rustix::system::sysinfo().totalram as u64 * u64::from(rustix::system::sysinfo().mem_unit),
            "DockerRootDir": self.store.root(),
            "Name": system.nodename().to_string_lossy(),
            "Labels": [],
            "ExperimentalBuild": false,
            "ServerVersion": env!("CARGO_PKG_VERSION"),
            "DefaultRuntime": "kiln",
            "SecurityOptions": security_options(self.tier().is_rootless()),
            "Warnings": null,
        }))
    }
}

fn security_options(rootless: bool) -> Vec<&'static str> {
    let mut options = vec!["name=seccomp,profile=builtin"];
    if rootless {
        options.push("name=rootless");
    }
    options
}

fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Go's name of the processor architecture.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn operating_system() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".into(), |name| name.trim_matches('"').to_owned())
}
