//! Kiln beside plain tools that do the same work: medians of several rounds, alternating, as ratios.
//! Absolute times depend on the machine; these ratios hardly do. Started by `cargo xtask bench`, as root.

mod cache;
mod images;
mod measure;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use kiln_tests::kiln::{Kiln, fixture, tool};

use measure::{make_files, row, timed};

const STEPS: u32 = 30;
const FILES: usize = 20_000;

fn main() {
    let kiln = Kiln::on_fresh_disk();
    kiln.load("busybox");
    println!("{:<44} {:>10} {:>10} {:>7}", "work", "kiln", "floor", "ratio");
    run_true(&kiln);
    copy_many_files(&kiln);
    cache::all(&kiln);
    run_container(&kiln);
    images::all(&kiln);
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
