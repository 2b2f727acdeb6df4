//! Devices of this machine by their CDI names (`vendor/class=name`), as specification files describe them.
//! Knows nothing of steps; who may use which device is decided elsewhere.

mod spec;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use spec::{Edits, Specification};

/// Where specifications are; what a later directory says of a device counts.
const DIRECTORIES: [&str; 3] = ["/etc/cdi", "/var/run/cdi", "/etc/buildkit/cdi"];
/// Permits a device without `--allow`, as in BuildKit.
const AUTO_ALLOW: &str = "org.mobyproject.buildkit.device.autoallow";
/// A second name for some devices of a kind, as in BuildKit.
const CLASS: &str = "org.mobyproject.buildkit.device.class";

/// A device that a specification describes.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    /// `vendor/class=name`.
    pub(crate) name: String,
    /// What a process needs for it.
    pub(crate) edits: Edits,
    annotations: BTreeMap<String, String>,
}

/// All devices that are described, and the files that cannot be read.
#[derive(Debug, Default)]
pub(crate) struct Devices {
    described: BTreeMap<String, Described>,
    /// One line for each specification that is wrong.
    pub(crate) faults: Vec<String>,
}

impl Described {
    /// Whether its specification permits every build to use it.
    pub(crate) fn is_free(&self) -> bool {
        self.annotations
            .get(AUTO_ALLOW)
            .is_some_and(|value| matches!(value.as_str(), "1" | "t" | "T" | "true" | "TRUE" | "True"))
    }
}

impl Devices {
    /// Reads the specifications of this machine.
    pub(crate) fn of_this_machine() -> Self {
        let mut devices = Devices::default();
        DIRECTORIES.iter().for_each(|directory| devices.read_directory(Path::new(directory)));
        devices
    }

    /// The devices that `name` means: one by its name, the first of a kind, all of a kind (`=*`), or those of a class.
    pub(crate) fn find(&self, name: &str) -> Vec<&Described> {
        let (kind, wanted) = name.split_once('=').unwrap_or((name, ""));
        let prefix = format!("{kind}=");
        let of_kind = || self.described.values().filter(|device| device.name.starts_with(&prefix));
        match wanted {
            "" => of_kind().take(1).collect(),
            "*" => of_kind().collect(),
            _ => match self.described.get(name) {
                Some(device) => vec![device],
                None => of_kind()
                    .filter(|device| device.annotations.get(CLASS).is_some_and(|class| class == wanted))
                    .collect(),
            },
        }
    }

    fn read_directory(&mut self, directory: &Path) {
        let mut paths: Vec<PathBuf> = match std::fs::read_dir(directory) {
            Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
            Err(_) => return,
        };
        paths.sort();
        for path in paths {
            match Specification::read(&path) {
                Some(Ok(specification)) => self.add(specification),
                Some(Err(fault)) => self.faults.push(format!("{}: {fault}", path.display())),
                None => {}
            }
        }
    }

    fn add(&mut self, specification: Specification) {
        for device in specification.devices {
            let name = format!("{}={}", specification.kind, device.name);
            let mut annotations = specification.annotations.clone();
            annotations.extend(device.annotations);
            let edits = specification.container_edits.clone().and(device.container_edits);
            self.described.insert(name.clone(), Described { name, edits, annotations });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = r#"cdiVersion: "0.6.0"
kind: vendor.com/device
annotations: {org.mobyproject.buildkit.device.autoallow: "true"}
containerEdits:
  env: ["ALL=1"]
devices:
- name: b
  containerEdits:
    env: ["NAME=b"]
    deviceNodes:
    - {path: /dev/b, hostPath: /dev/null}
- name: a
  annotations: {org.mobyproject.buildkit.device.class: fast}
  containerEdits:
    mounts:
    - {hostPath: /usr/lib/x, containerPath: /x, options: [ro, nosuid]}
"#;

    fn devices() -> Devices {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("vendor.yaml"), YAML).unwrap();
        let json = r#"{"cdiVersion": "0.5.0", "kind": "other/x", "devices": [{"name": "n", "containerEdits": {"env": ["N=1"]}}]}"#;
        std::fs::write(directory.path().join("other.json"), json).unwrap();
        std::fs::write(directory.path().join("broken.json"), "{").unwrap();
        std::fs::write(directory.path().join("README"), "no specification").unwrap();
        let mut devices = Devices::default();
        devices.read_directory(directory.path());
        devices
    }

    #[test]
    fn names_kinds_classes_and_all() {
        let devices = devices();
        let names = |name: &str| devices.find(name).iter().map(|device| device.name.clone()).collect::<Vec<_>>();
        assert_eq!(names("vendor.com/device=b"), ["vendor.com/device=b"]);
        assert_eq!(names("vendor.com/device"), ["vendor.com/device=a"]);
        assert_eq!(names("vendor.com/device=*"), ["vendor.com/device=a", "vendor.com/device=b"]);
        assert_eq!(names("vendor.com/device=fast"), ["vendor.com/device=a"]);
        assert!(names("vendor.com/device=c").is_empty() && names("vendor.com/dev").is_empty());
        assert_eq!(devices.faults.len(), 1);
    }

    #[test]
    fn what_a_specification_says_of_all_devices_holds_for_each() {
        let devices = devices();
        let device = devices.find("vendor.com/device=b")[0];
        assert_eq!(device.edits.env, ["ALL=1", "NAME=b"]);
        assert_eq!(device.edits.device_nodes[0].source(), Path::new("/dev/null"));
        assert!(device.is_free() && !devices.find("other/x=n")[0].is_free());
        assert!(devices.find("vendor.com/device=a")[0].edits.mounts[0].is_read_only());
    }
}
