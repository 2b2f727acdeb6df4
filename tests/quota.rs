//! A store with a quota: what it takes on disk while builds come and go, what of the cache stays, and what is said of
//! what went.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kiln_tests::full;
use kiln_tests::kiln::Kiln;
use kiln_tests::steps::executed;

/// How large a quota, and how many builds of which size, in MiB.
struct Scale {
    quota: u64,
    builds: u64,
    size: u64,
}

impl Scale {
    fn new() -> Self {
        match full() {
            true => Self { quota: 1024, builds: 100, size: 100 },
            false => Self { quota: 32, builds: 12, size: 4 },
        }
    }
}

fn configure(kiln: &Kiln, text: &str) {
    let directory = kiln.home().join(".config/kiln");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("config.toml"), text).unwrap();
}

/// The same as `du` while things are moved about: `du` would count a directory again that was moved from where it had
/// been to where it has not been yet.
fn taken(path: &Path) -> u64 {
    let (mut open, mut seen, mut bytes) = (vec![path.to_owned()], HashSet::new(), 0);
    while let Some(path) = open.pop() {
        let Ok(status) = std::fs::symlink_metadata(&path) else { continue };
        bytes += if seen.insert(status.ino()) { status.blocks() * 512 } else { 0 };
        if status.is_dir() {
            open.extend(std::fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        }
    }
    bytes
}

/// Bytes that a directory takes on disk, as `du` counts them.
fn du(path: &Path) -> u64 {
    let output = Command::new("du").args(["-s", "--block-size=1"]).arg(path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}

fn project(kiln: &Kiln, number: u64, size: u64) -> PathBuf {
    let directory = kiln.scratch(&format!("project-{number}"));
    let dockerfile =
        format!("FROM busybox\nRUN dd if=/dev/zero of=/data bs=1M count={size} && echo {number} >> /data\n");
    std::fs::write(directory.join("Dockerfile"), dockerfile).unwrap();
    directory
}

/// Runs the work and answers the most that the store took meanwhile.
fn watched(root: &Path, work: impl FnOnce()) -> u64 {
    let (done, most) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                most.fetch_max(taken(root), Ordering::SeqCst);
            }
        });
        work();
        done.store(true, Ordering::SeqCst);
    });
    most.into_inner()
}

/// Builds one project after the other; `tag` names the image. Answers what is still a hit afterwards.
fn builds_in_a_row(kiln: &Kiln, scale: &Scale, tag: &[&str]) -> Vec<bool> {
    let (quota, size) = (scale.quota << 20, scale.size << 20);
    // Its layer, and beside it what every build writes: its records, its log.
    let running = size + size / 4 + (1 << 20);
    for number in 0..scale.builds {
        let project = project(kiln, number, scale.size);
        let during = watched(&kiln.root(), || drop(kiln.build(&project, tag)));
        assert!(during <= quota + running, "build {number}: {during} bytes while it ran, with a quota of {quota}");
        let after = du(&kiln.root());
        assert!(after <= quota, "build {number}: {after} bytes after it, with a quota of {quota}");
    }
    let is_hit = |number| {
        let project = project(kiln, number, scale.size);
        executed(&kiln.build(&project, tag)).is_empty()
    };
    // The last ones first: a miss puts out what was used before.
    let mut hits: Vec<bool> = (0..scale.builds).rev().take_while(|number| is_hit(*number)).map(|_| true).collect();
    hits.resize(scale.builds as usize, false);
    hits.reverse();
    hits
}

#[test]
fn the_store_stays_within_its_quota_and_keeps_what_was_used_last() {
    let kiln = Kiln::new();
    let scale = Scale::new();
    kiln.load("busybox");
    let base = du(&kiln.root());
    configure(&kiln, &format!("[gc]\nquota = \"{}MiB\"\n", scale.quota));
    let hits = builds_in_a_row(&kiln, &scale, &["-t", "app"]);
    let kept = hits.iter().filter(|hit| **hit).count() as u64;
    let room = ((scale.quota << 20) - base) / (scale.size << 20);
    assert!(kept + 2 >= room, "{kept} of {} are there, {room} would fit: {hits:?}", scale.builds);
    assert!(kept < scale.builds && !hits[0], "{hits:?}");
    // The one that was evicted long ago says so.
    let project = project(&kiln, 0, scale.size);
    let again = kiln.ok(&["build", "-t", "app", "--explain", project.to_str().unwrap()]);
    let said = format!("{}{}", again.stdout, again.stderr);
    assert!(
        said.contains("its result was deleted") && said.contains("quota"),
        "the miss of an evicted step does not say so: {said}"
    );
}

#[test]
fn images_without_a_name_are_cache_and_those_with_one_are_not() {
    let kiln = Kiln::new();
    kiln.load("busybox");
    let base = du(&kiln.root()) >> 20;
    configure(&kiln, &format!("[gc]\nquota = \"{}MiB\"\n", base + 10));
    for number in 0..4 {
        kiln.build(&project(&kiln, number, 4), &[]);
    }
    assert!(du(&kiln.root()) <= (base + 10) << 20);
    let images = kiln.ok(&["images", "-a", "-q"]).stdout.lines().count();
    assert!((2..5).contains(&images), "{images} images");
    // Images with names alone are too much: that is said, and they stay.
    for number in 0..4 {
        let tag = format!("named:{number}");
        let project = project(&kiln, number, 4);
        let args = ["build", "-t", &tag, project.to_str().unwrap()];
        let said = kiln.ok(&args).stderr;
        assert_eq!(said.matches("more than the store's quota").count(), usize::from(number > 1), "{number}: {said}");
    }
    let named = kiln.ok(&["images", "named", "-q"]).stdout.lines().count();
    assert_eq!(named, 4);
    for number in 0..4 {
        let answer = kiln.ok(&["run", "--rm", &format!("named:{number}"), "tail", "-n", "1", "/data"]);
        assert_eq!(answer.stdout.trim_matches('\0').trim(), number.to_string());
    }
}

#[test]
fn cache_mounts_keep_to_their_own_quota() {
    let kiln = Kiln::new();
    kiln.load("busybox");
    configure(&kiln, "[gc]\ncache-mounts-quota = \"6MiB\"\n");
    let directory = kiln.scratch("project");
    for id in ["one", "two", "three"] {
        let dockerfile = format!(
            "FROM busybox\nRUN --mount=type=cache,id={id},target=/c dd if=/dev/zero of=/c/x bs=1M count=2 && echo {id}\n"
        );
        std::fs::write(directory.join("Dockerfile"), dockerfile).unwrap();
        kiln.build(&directory, &[]);
    }
    let directories = std::fs::read_dir(kiln.root().join("cache-mounts")).unwrap().count();
    assert_eq!(directories, 2, "the one used longest ago is gone");
    assert!(du(&kiln.root().join("cache-mounts")) <= 6 << 20);
}

#[test]
fn a_floor_empties_the_cache_of_a_disk_that_fills_up() {
    if !kiln_tests::is_root_for("a disk of its own") {
        return;
    }
    let kiln = Kiln::on_disk_of("100M");
    kiln.load("busybox");
    configure(&kiln, "[gc]\nkeep-free = \"40MiB\"\n");
    for number in 0..12 {
        kiln.build(&project(&kiln, number, 8), &["-t", "app"]);
    }
    let status = rustix::fs::statvfs(kiln.root()).unwrap();
    assert!(status.f_bavail * status.f_frsize >= 40 << 20, "{} bytes are free", status.f_bavail * status.f_frsize);
    assert!(executed(&kiln.build(&project(&kiln, 11, 8), &["-t", "app"])).is_empty(), "the last one stays");
}

#[test]
fn a_configuration_that_is_wrong_is_pointed_at_and_builds_nothing() {
    let kiln = Kiln::new();
    configure(&kiln, "[gc]\nquotta = \"1GB\"\n");
    let directory = kiln.scratch("project");
    std::fs::write(directory.join("Dockerfile"), "FROM scratch\n").unwrap();
    let args = ["build", directory.to_str().unwrap()];
    kiln.fails(&args, &["config.toml:2:1: unknown key \"quotta\" in [gc]", "did you mean quota?"]);
    let mut command = kiln.command(&args);
    let answer = command.env("KILN_CONFIG", kiln.home().join("missing.toml")).output().unwrap();
    assert!(String::from_utf8_lossy(&answer.stderr).contains("cannot read"), "{answer:?}");
    std::fs::write(kiln.home().join("other.toml"), "[gc]\nquota = \"10%\"\n[build]\njobs = 3\n").unwrap();
    let mut info = kiln.command(&["info"]);
    let answer = info.env("KILN_CONFIG", kiln.home().join("other.toml")).output().unwrap();
    let shown = String::from_utf8_lossy(&answer.stdout).into_owned();
    assert!(shown.contains("gc.quota: 10%") && shown.contains("build.jobs: 3") && shown.contains("other.toml"));
}
