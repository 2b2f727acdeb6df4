//! A control group for one container: made only when a limit or a place for it is asked for, on version 1, version
//! 2 and hybrids of both.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::plan::Limits;

/// What a directory of ours is called: followed by the helper's process id.
const PREFIX: &str = "kiln-";

/// How long a group is busy at most after its last process was reaped.
const LONGEST_BUSY: Duration = Duration::from_millis(100);

/// The group of one container; several directories on version 1.
#[derive(Debug, Default)]
pub(crate) struct Group {
    directories: Vec<PathBuf>,
    /// The groups above them that did not exist, the innermost first.
    parents: Vec<PathBuf>,
    /// File with the count of processes killed for want of memory.
    oom_events: Option<PathBuf>,
}

/// One controller and the files that carry the limits, in order.
struct Controller {
    name: &'static str,
    settings: Vec<(&'static str, String)>,
    oom_events: Option<&'static str>,
}

impl Group {
    /// Makes a group with these limits, or says for a person why that cannot be.
    pub(crate) fn create(limits: &Limits) -> Result<Group, String> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(|e| e.to_string())?;
        let own = fs::read_to_string("/proc/self/cgroup").map_err(|e| e.to_string())?;
        let mut group = Group::default();
        let done = Version::ALL
            .iter()
            .try_fold(Vec::new(), |done, version| group.add_controllers(*version, limits, &mounts, &own, done))?;
        let missing: Vec<_> = controllers(Version::One, limits)
            .into_iter()
            .filter(|controller| !controller.settings.is_empty() && !done.contains(&controller.name))
            .map(|controller| controller.name)
            .collect();
        match (missing.is_empty(), group.directories.is_empty()) {
            (false, _) => Err(format!("none for {}", missing.join(", "))),
            (true, true) => Err("none is mounted".into()),
            (true, false) => Ok(group),
        }
    }

    /// Adds what this version has mounted and another has not done yet.
    fn add_controllers(
        &mut self,
        version: Version,
        limits: &Limits,
        mounts: &str,
        own: &str,
        mut done: Vec<&'static str>,
    ) -> Result<Vec<&'static str>, String> {
        for controller in controllers(version, limits) {
            if done.contains(&controller.name) {
                continue;
            }
            let places = match &limits.parent {
                Some(parent) => version.below(controller.name, mounts, parent),
                None => version.parents(controller.name, mounts, own),
            };
            let Some(last) = places.len().checked_sub(1) else {
                continue;
            };
            for (index, parent) in places.iter().enumerate() {
                match self.add(version, parent, &controller) {
                    Ok(()) => {
                        done.push(controller.name);
                        break;
                    }
                    Err(error) if index == last => {
                        return Err(format!("{}: {error}", parent.display()));
                    }
                    Err(_) => {}
                }
            }
        }
        Ok(done)
    }

    fn add(&mut self, version: Version, parent: &Path, controller: &Controller) -> io::Result<()> {
        if version == Version::Two {
            // Refused where processes live in the parent; then the write below fails.
            let _ = fs::write(parent.join("cgroup.subtree_control"), format!("+{}", controller.name));
        }
        sweep(parent);
        self.parents.extend(parent.ancestors().take_while(|above| !above.exists()).map(Path::to_owned));
        let directory = parent.join(format!("{PREFIX}{}", std::process::id()));
        if !self.directories.contains(&directory) {
            fs::create_dir_all(&directory)?;
            self.directories.push(directory.clone());
        }
        for (file, value) in &controller.settings {
            let result = fs::write(directory.join(file), value);
            // Kernels without accounting of swap do not have the files for it.
            let optional = file.contains("swap") || file.contains("memsw");
            match result {
                Err(error) if !(optional && error.kind() == io::ErrorKind::NotFound) => {
                    return Err(error);
                }
                _ => {}
            }
        }
        if let Some(file) = controller.oom_events {
            self.oom_events = Some(directory.join(file));
        }
        Ok(())
    }

    /// Puts the calling process into the group.
    pub(crate) fn join(&self) -> io::Result<()> {
        for directory in &self.directories {
            fs::write(directory.join("cgroup.procs"), "0")?;
        }
        Ok(())
    }

    /// Removes the group of an ended container; tells whether memory ran out in it.
    pub(crate) fn finish(mut self) -> bool {
        let events = self.oom_events.take().and_then(|path| fs::read_to_string(path).ok());
        self.remove();
        events.is_some_and(|text| oom_kills(&text) > 0)
    }

    fn remove(&mut self) {
        for directory in self.directories.drain(..) {
            let began = std::time::Instant::now();
            while let Err(error) = fs::remove_dir(&directory) {
                let busy = error.raw_os_error() == Some(libc::EBUSY);
                if !busy || began.elapsed() > LONGEST_BUSY {
                    break;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        for parent in self.parents.drain(..) {
            // Another container's group may be in it by now.
            let _ = fs::remove_dir(parent);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Removes groups whose helper was killed before it could.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let Some(Ok(owner)) = owner.map(str::parse::<u32>) else {
            continue;
        };
        if !Path::new(&format!("/proc/{owner}")).exists() {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

fn oom_kills(events: &str) -> u64 {
    events.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0)
}

/// How control groups are arranged: a hierarchy for each controller, or one for all.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    One,
    Two,
}

impl Version {
    pub(crate) const ALL: [Version; 2] = [Version::One, Version::Two];

    /// The group that this process is in for a controller, and the top of what can be seen of the hierarchy.
    pub(crate) fn own(self, controller: &str, mounts: &str, own: &str) -> Option<(PathBuf, PathBuf)> {
        let (mount_root, mount_point) = self.mounted(controller, mounts)?;
        let own = own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let names = fields.next()?;
            let path = fields.next()?;
            let here = match self {
                Version::One => names.split(',').any(|name| name == controller),
                Version::Two => names.is_empty(),
            };
            here.then_some(path)
        });
        let own = Path::new(own.unwrap_or("/"));
        let relative = own.strip_prefix(&mount_root).unwrap_or(Path::new(""));
        Some((mount_point.join(relative), mount_point))
    }

    /// Directories in which a group with this controller could be made, the best first.
    fn parents(self, controller: &str, mounts: &str, own: &str) -> Vec<PathBuf> {
        let Some((here, mount_point)) = self.own(controller, mounts, own) else {
            return Vec::new();
        };
        match self {
            Version::One => vec![here],
            // A group with processes in it cannot have groups with controllers below.
            Version::Two => {
                let available = fs::read_to_string(mount_point.join("cgroup.controllers"));
                if !available.is_ok_and(|list| list.split_whitespace().any(|n| n == controller)) {
                    return Vec::new();
                }
                let beside = here.parent().filter(|parent| parent.starts_with(&mount_point));
                let mut places: Vec<_> = beside.map(Path::to_owned).into_iter().collect();
                if !places.contains(&mount_point) {
                    places.push(mount_point);
                }
                places
            }
        }
    }

    /// The group at a path of the hierarchy that has this controller.
    fn below(self, controller: &str, mounts: &str, path: &Path) -> Vec<PathBuf> {
        self.mounted(controller, mounts).map(|(_, mount_point)| mount_point.join(path)).into_iter().collect()
    }

    /// Root and mount point of the hierarchy, from lines of mountinfo (proc_pid_mountinfo(5)).
    fn mounted(self, controller: &str, mounts: &str) -> Option<(PathBuf, PathBuf)> {
        mounts.lines().find_map(|line| {
            let (mount, file_system) = line.split_once(" - ")?;
            let mut file_system = file_system.split(' ');
            let kind = file_system.next()?;
            let options = file_system.nth(1)?;
            let matching = match self {
                Version::One => kind == "cgroup" && options.split(',').any(|o| o == controller),
                Version::Two => kind == "cgroup2",
            };
            let mut fields = mount.split(' ').skip(3);
            let (root, point) = (fields.next()?, fields.next()?);
            matching.then(|| (PathBuf::from(root), PathBuf::from(point)))
        })
    }
}

fn controllers(version: Version, limits: &Limits) -> Vec<Controller> {
    let settings = match version {
        Version::One => [memory_one(limits), pids(limits), cpu_one(limits)],
        Version::Two => [memory_two(limits), pids(limits), cpu_two(limits)],
    };
    let oom = match version {
        Version::One => "memory.oom_control",
        Version::Two => "memory.events",
    };
    ["memory", "pids", "cpu"]
        .into_iter()
        .zip(settings)
        .filter(|(_, settings)| !settings.is_empty() || limits.parent.is_some())
        .map(|(name, settings)| Controller { name, settings, oom_events: (name == "memory").then_some(oom) })
        .collect()
}

type Settings = Vec<(&'static str, String)>;

fn pids(limits: &Limits) -> Settings {
    let most = limits.processes.map(|most| ("pids.max", most.to_string()));
    most.into_iter().collect()
}

/// Without a limit on swap of its own a container gets none: otherwise it would swap instead.
fn memory_one(limits: &Limits) -> Settings {
    let Some(memory) = limits.memory else {
        return Vec::new();
    };
    let both = limits.memory_and_swap.unwrap_or(memory).max(memory);
    vec![("memory.limit_in_bytes", memory.to_string()), ("memory.memsw.limit_in_bytes", both.to_string())]
}

fn memory_two(limits: &Limits) -> Settings {
    let Some(memory) = limits.memory else {
        return Vec::new();
    };
    let swap = limits.memory_and_swap.unwrap_or(memory).saturating_sub(memory);
    vec![("memory.max", memory.to_string()), ("memory.swap.max", swap.to_string())]
}

fn cpu_one(limits: &Limits) -> Settings {
    let files = [
        ("cpu.shares", limits.cpu_shares),
        ("cpu.cfs_period_us", limits.cpu_period),
        ("cpu.cfs_quota_us", limits.cpu_quota),
    ];
    files.into_iter().filter_map(|(file, value)| Some((file, value?.to_string()))).collect()
}

fn cpu_two(limits: &Limits) -> Settings {
    let mut settings = Vec::new();
    if let Some(shares) = limits.cpu_shares {
        settings.push(("cpu.weight", weight(shares).to_string()));
    }
    if let Some(quota) = limits.cpu_quota {
        let period = limits.cpu_period.unwrap_or(100_000);
        settings.push(("cpu.max", format!("{quota} {period}")));
    }
    settings
}

/// Version 1 counts shares from 2 to 262144, version 2 weights from 1 to 10000.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9_999 / 262_142
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
25 24 0:22 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
26 24 0:23 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
27 24 0:24 /outer /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
";
    const OWN: &str = "5:memory:/job\n4:cpu,cpuacct:/outer/job\n0::/\n";

    #[test]
    fn groups_are_made_below_the_own_one_of_each_controller() {
        let parents = |name| Version::One.parents(name, HYBRID, OWN);
        assert_eq!(parents("memory"), [Path::new("/sys/fs/cgroup/memory/job")]);
        assert_eq!(parents("cpu"), [Path::new("/sys/fs/cgroup/cpu,cpuacct/job")]);
        assert!(parents("pids").is_empty());
    }

    #[test]
    fn a_group_that_was_asked_for_lies_at_the_same_path_of_each_hierarchy() {
        let below = |version: Version, name| version.below(name, HYBRID, Path::new("a/b"));
        assert_eq!(below(Version::One, "memory"), [Path::new("/sys/fs/cgroup/memory/a/b")]);
        assert_eq!(below(Version::Two, "pids"), [Path::new("/sys/fs/cgroup/unified/a/b")]);
        assert!(below(Version::One, "pids").is_empty());
        let placed = Limits { parent: Some("a/b".into()), ..Limits::default() };
        assert_eq!(controllers(Version::One, &placed).len(), 3);
        assert!(controllers(Version::One, &Limits::default()).is_empty());
    }

    #[test]
    fn weights_span_their_range() {
        assert_eq!([2, 1024, 262_144].map(weight), [1, 39, 10_000]);
    }

    #[test]
    fn events_of_both_versions_are_read() {
        assert_eq!(oom_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"), 1);
        assert_eq!(oom_kills("low 0\noom 3\noom_kill 2\noom_group_kill 0\n"), 2);
    }
}
