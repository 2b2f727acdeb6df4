//! How much memory there is for further processes: of the machine, and of the control groups that this process is in.

use std::fs;
use std::path::Path;

use crate::cgroup::Version;

/// What the kernel says of memory now; what it does not say is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Memory {
    /// Bytes that can be taken before something is swapped out or killed.
    pub available: Option<u64>,
    /// The share of the last ten seconds in which some process waited for memory, in percent.
    pub pressure: Option<f64>,
    /// How many processes were killed for want of memory since the machine started.
    pub kills: Option<u64>,
}

impl Memory {
    /// Asks the kernel.
    pub fn now() -> Memory {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let machine = available(&read("/proc/meminfo"));
        let available = machine.into_iter().chain(left_in_groups()).min();
        let pressure = pressure(&read("/proc/pressure/memory"));
        Memory { available, pressure, kills: kills(&read("/proc/vmstat")) }
    }
}

fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

fn pressure(text: &str) -> Option<f64> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    some.split(' ').find_map(|field| field.strip_prefix("avg10="))?.parse().ok()
}

fn kills(vmstat: &str) -> Option<u64> {
    vmstat.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

/// What the group of this process and those above it leave, each.
fn left_in_groups() -> Vec<u64> {
    let Ok(mounts) = fs::read_to_string("/proc/self/mountinfo") else { return Vec::new() };
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut left = Vec::new();
    for version in Version::ALL {
        let Some((here, top)) = version.own("memory", &mounts, &own) else { continue };
        left.extend(here.ancestors().take_while(|group| group.starts_with(&top)).filter_map(|group| {
            let number = |file: &str| fs::read_to_string(group.join(file)).ok()?.trim().parse::<u64>().ok();
            let (limit, usage) = match version {
                Version::One => (number("memory.limit_in_bytes")?, number("memory.usage_in_bytes")?),
                Version::Two => (number("memory.max")?, number("memory.current")?),
            };
            Some(limit.saturating_sub(usage).saturating_add(reclaimable(group)))
        }));
    }
    left
}

/// Cached files of a group that the kernel drops before it kills anything.
fn reclaimable(group: &Path) -> u64 {
    let statistics = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let value = |name: &str| statistics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value("total_inactive_file ").or_else(|| value("inactive_file ")).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_read() {
        assert_eq!(available("MemTotal:  9 kB\nMemAvailable:   1024 kB\n"), Some(1 << 20));
        let text = "some avg10=12.50 avg60=0.17 avg300=0.59 total=4\nfull avg10=1.00 avg60=0.00 avg300=0.00 total=2\n";
        assert_eq!(pressure(text), Some(12.5));
        assert_eq!(kills("oom_kill_x 9\noom_kill 3\n"), Some(3));
        assert_eq!((available(""), pressure(""), kills("")), (None, None, None));
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(Memory::now().available.is_some_and(|bytes| bytes > 0));
    }
}
