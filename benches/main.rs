//! Kiln beside plain tools that do the same work: medians of several rounds, alternating, as ratios.
//! Absolute times depend on the machine; these ratios hardly do. Started by `cargo xtask bench`, as root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kiln_tests::kiln::{Kiln, fixture, tool};

const ROUNDS: usize = 7;
const STEPS: u32 = 30;
const FILES: usize = 20_000;

fn main() {
    let kiln = Kiln::on_fresh_disk();
    kiln.load("busybox");
    println!("{:<44} {:>10} {:>10} {:>7}", "work", "kiln", "floor", "ratio");
    run_true(&kiln);
    copy_many_files(&kiln);
    rebuild_unchanged(&kiln);
    run_container(&kiln);
}

/// Thirty `RUN true N` against thirty times `runc run` of the same, per step. The build's start and end count.
fn run_true(kiln: &Kiln) {
    let context = kiln.scratch("run-true");
    let bundle = bundle(kiln);
    let mut round = 0;
    let ours = || {
        round += 1;
        let steps: String = (0..STEPS).map(|n| format!("RUN true {round} {n}\n")).collect();
        fs::write(context.join("Dockerfile"), format!("FROM busybox\n{steps}")).expect("Dockerfile");
        timed(kiln.command(&["build", "-q"]).arg(&context)) / STEPS
    };
    let theirs = || timed(Command::new("runc").args(["run", "-b"]).arg(&bundle).arg("kiln-bench"));
    row("RUN true, one of 30 / runc run", ours, theirs);
}

/// A bundle for runc whose process is `true`.
fn bundle(kiln: &Kiln) -> PathBuf {
    let bundle = kiln.scratch("runc").join("bundle");
    let image = format!("{}:latest", fixture("busybox").display());
    tool("umoci", &["unpack", "--image", &image, &bundle.display().to_string()]);
    let file = bundle.join("config.json");
    let text = fs::read_to_string(&file).expect("config.json");
    let mut config: serde_json::Value = serde_json::from_str(&text).expect("config.json");
    config["process"]["args"] = serde_json::json!(["true"]);
    config["process"]["terminal"] = serde_json::json!(false);
    fs::write(&file, config.to_string()).expect("config.json");
    bundle
}

/// A cold `COPY` of many small files against `cp -a`.
fn copy_many_files(kiln: &Kiln) {
    let context = kiln.scratch("copy");
    make_files(&context.join("files"), FILES);
    fs::write(context.join("Dockerfile"), "FROM busybox\nCOPY files /files\n").expect("Dockerfile");
    let copies = kiln.scratch("copies");
    let mut round = 0;
    let theirs = || {
        round += 1;
        timed(Command::new("cp").arg("-a").arg(context.join("files")).arg(copies.join(round.to_string())))
    };
    let ours = || timed(kiln.command(&["build", "-q", "--no-cache"]).arg(&context));
    row("COPY of 20,000 files, cold / cp -a", ours, theirs);
}

/// Ten steps and 1,000 files, nothing changed, against a walk of the context.
fn rebuild_unchanged(kiln: &Kiln) {
    let context = kiln.scratch("unchanged");
    make_files(&context.join("files"), 1000);
    let steps: String = (0..9).map(|n| format!("RUN true {n}\n")).collect();
    fs::write(context.join("Dockerfile"), format!("FROM busybox\nCOPY files /files\n{steps}")).expect("Dockerfile");
    kiln.build(&context, &[]);
    let ours = || timed(kiln.command(&["build", "-q"]).arg(&context));
    let theirs = || timed(Command::new("find").arg(&context).args(["-printf", "%s %T@ %p\n"]));
    row("rebuild, 10 steps, 1,000 files / find", ours, theirs);
}

/// `kiln run` against a chroot in new namespaces.
fn run_container(kiln: &Kiln) {
    let rootfs = kiln.scratch("runc").join("bundle/rootfs");
    let ours = || timed(&mut kiln.command(&["run", "--rm", "--network", "none", "busybox", "true"]));
    let theirs = || {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--ipc", "--uts", "--net", "--fork", "chroot"]);
        timed(command.arg(&rootfs).arg("true"))
    };
    row("run --rm busybox true / unshare chroot", ours, theirs);
}

/// Files of 2 KiB, 100 to a directory, all different.
fn make_files(place: &Path, count: usize) {
    for n in 0..count {
        let directory = place.join((n / 100).to_string());
        if n % 100 == 0 {
            fs::create_dir_all(&directory).expect("directory");
        }
        fs::write(directory.join(n.to_string()), format!("{n:08}").repeat(256)).expect("file");
    }
}

/// Measures both in turns, one round of each unmeasured, and prints the medians with their ratio.
fn row(work: &str, mut ours: impl FnMut() -> Duration, mut theirs: impl FnMut() -> Duration) {
    ours();
    theirs();
    let (mut kiln, mut floor): (Vec<_>, Vec<_>) = (0..ROUNDS).map(|_| (ours(), theirs())).unzip();
    let (kiln, floor) = (median(&mut kiln), median(&mut floor));
    let ratio = kiln.as_secs_f64() / floor.as_secs_f64();
    println!("{work:<44} {:>10} {:>10} {ratio:>7.2}", shown(kiln), shown(floor));
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn shown(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// The wall time of a command that must succeed.
fn timed(command: &mut Command) -> Duration {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let started = Instant::now();
    let status = command.status().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
    let time = started.elapsed();
    assert!(status.success(), "{command:?}: {status}");
    time
}
