//! What a command that has ended, or was killed, left of itself outside its store's finished parts.

use std::fs;
use std::path::Path;

/// One line for each mount, process, cgroup and temporary file that belongs to the store at `root`.
pub fn left_behind(root: &Path) -> Vec<String> {
    let mut left = mounts(root);
    left.extend(processes(root).into_iter().map(|(pid, what)| format!("process {pid}: {what}")));
    left.extend(cgroups(Path::new("/sys/fs/cgroup"), 4));
    left.extend(temporary_files(root));
    left
}

/// Mounts below the root in this namespace.
fn mounts(root: &Path) -> Vec<String> {
    let below = format!("{}/", root.display());
    let table = fs::read_to_string("/proc/self/mountinfo").expect("mount table");
    table.lines().filter(|line| line.contains(&below)).map(|line| format!("mount {line}")).collect()
}

/// Processes that were started with this root, or that have it among the mounts of their namespace.
pub fn processes(root: &Path) -> Vec<(u32, String)> {
    let variable = format!("KILN_ROOT={}", root.display());
    let below = format!("{}/", root.display());
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if pid == std::process::id() {
            continue;
        }
        let read = |file: &str| fs::read(entry.path().join(file)).unwrap_or_default();
        let in_environment = read("environ").split(|&b| b == 0).any(|one| one == variable.as_bytes());
        let in_mounts = String::from_utf8_lossy(&read("mountinfo")).contains(&below);
        if in_environment || in_mounts {
            let line = read("cmdline").iter().map(|&b| if b == 0 { b' ' } else { b }).collect();
            found.push((pid, String::from_utf8(line).unwrap_or_default()));
        }
    }
    found
}

/// Control groups that kiln made for processes that are gone; those of other tests' kiln still run.
fn cgroups(directory: &Path, depth: usize) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix("kiln-")?.parse::<u32>().ok());
        if owner.is_some_and(|owner| !Path::new(&format!("/proc/{owner}")).exists()) {
            found.push(format!("cgroup {}", entry.path().display()));
        } else if depth > 0 {
            found.extend(cgroups(&entry.path(), depth - 1));
        }
    }
    found
}

/// Whatever a session left in the store's `tmp/`.
fn temporary_files(root: &Path) -> Vec<String> {
    let sessions = fs::read_dir(root.join("tmp")).into_iter().flatten().flatten();
    sessions.map(|entry| format!("temporary {}", entry.path().display())).collect()
}
