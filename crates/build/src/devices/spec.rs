//! The files of the Container Device Interface, in JSON or YAML: what kiln reads of them, and what it refuses.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The largest file that is read, in bytes.
const LARGEST: u64 = 1 << 20;

/// One file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Specification {
    pub(super) kind: String,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) devices: Vec<Device>,
    #[serde(default)]
    pub(super) container_edits: Edits,
}

/// A device of a file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Device {
    pub(super) name: String,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) container_edits: Edits,
}

/// What a process needs for a device.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Edits {
    /// Variables, as `NAME=VALUE`.
    pub(crate) env: Vec<String>,
    /// Device nodes.
    pub(crate) device_nodes: Vec<DeviceNode>,
    /// Files and directories of the host.
    pub(crate) mounts: Vec<HostMount>,
    /// Groups of the process.
    pub(crate) additional_gids: Vec<u32>,
    /// Programs that would run on the host around the process.
    hooks: Vec<serde::de::IgnoredAny>,
    /// Limits of the processor's cache.
    intel_rdt: Option<serde::de::IgnoredAny>,
    /// Network devices.
    net_devices: Vec<serde::de::IgnoredAny>,
}

/// A device node.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeviceNode {
    /// Where the process sees it.
    pub(crate) path: PathBuf,
    host_path: Option<PathBuf>,
}

/// A file or directory of the host.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HostMount {
    /// On the host.
    pub(crate) host_path: PathBuf,
    /// Where the process sees it.
    pub(crate) container_path: PathBuf,
    #[serde(default)]
    options: Vec<String>,
}

impl Specification {
    /// Reads a file; `None` if it is no specification by its name.
    pub(super) fn read(path: &Path) -> Option<Result<Self, String>> {
        let extension = path.extension()?.to_str()?;
        let is_yaml = matches!(extension, "yaml" | "yml");
        if !is_yaml && extension != "json" {
            return None;
        }
        Some(read_text(path).and_then(|text| {
            let reason = |error: &dyn std::fmt::Display| error.to_string();
            if is_yaml {
                serde_saphyr::from_str(&text).map_err(|error| reason(&error))
            } else {
                serde_json::from_str(&text).map_err(|error| reason(&error))
            }
        }))
    }
}

fn read_text(path: &Path) -> Result<String, String> {
    use std::io::Read;
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(LARGEST).read_to_string(&mut text).map_err(|error| error.to_string())?;
    Ok(text)
}

impl Edits {
    /// These and those of `other`.
    pub(super) fn and(mut self, other: Edits) -> Edits {
        self.env.extend(other.env);
        self.device_nodes.extend(other.device_nodes);
        self.mounts.extend(other.mounts);
        self.additional_gids.extend(other.additional_gids);
        self.hooks.extend(other.hooks);
        self.net_devices.extend(other.net_devices);
        self.intel_rdt = self.intel_rdt.or(other.intel_rdt);
        self
    }

    /// What is asked for and not done.
    pub(crate) fn unsupported(&self) -> Option<&'static str> {
        if !self.hooks.is_empty() {
            Some("hooks, which are programs that run on the host as root")
        } else if self.intel_rdt.is_some() {
            Some("limits of the processor's cache")
        } else if !self.net_devices.is_empty() {
            Some("network devices")
        } else {
            None
        }
    }
}

impl DeviceNode {
    /// The node on the host.
    pub(crate) fn source(&self) -> &Path {
        self.host_path.as_deref().unwrap_or(&self.path)
    }
}

impl HostMount {
    /// Whether writes are refused.
    pub(crate) fn is_read_only(&self) -> bool {
        self.options.iter().any(|option| option == "ro")
    }
}
