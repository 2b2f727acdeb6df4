//! Builds that are killed in the middle: where the kill strikes, what may remain, and what the next build must give.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::hygiene;
use crate::image::{difference, shown};
use crate::kiln::{Kiln, tool};
use crate::running::{Running, wait_until};

/// One step runs as nobody and leaves a child in a session of its own behind.
const DOCKERFILE: &str = "FROM busybox
COPY data /data
USER nobody
RUN setsid sleep 1000 & echo step begins; i=0; while [ $i -lt 400 ]; do echo $i > /tmp/$i; i=$((i+1)); done; echo step ends
USER root
RUN cat /data/* | md5sum > /sum
";

/// The parts of a build.
const PHASES: [&str; 5] = ["walk", "copy", "exec", "commit", "export"];

/// Kills `kills` builds, spread over the phases, each in a store that `make` gives, and checks each time that
/// nothing remains and that the next build equals an undisturbed one in a fresh store. Returns the counts by phase.
pub fn survive(kills: usize, make: impl Fn() -> Kiln) -> [(&'static str, usize); 5] {
    let kiln = make();
    kiln.load("busybox");
    let context = kiln.scratch("context");
    prepare(&context);
    let lengths = phase_lengths(&kiln, &context);
    let mut counts = PHASES.map(|phase| (phase, 0));
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut tries = 0;
    while counts.iter().map(|(_, count)| count).sum::<usize>() < kills {
        tries += 1;
        assert!(tries <= kills * 3, "most builds ended before the kill: {counts:?}");
        let phase = tries % PHASES.len();
        // Another stamp, so that nothing of the build is cached.
        fs::write(context.join("data/stamp"), tries.to_string()).expect("stamp");
        let archive = kiln.scratch("archives").join("killed.tar");
        let mut build = start(&kiln, &context, &archive);
        wait_for(&mut build, PHASES[phase]);
        std::thread::sleep(random.below(lengths[phase]));
        let (status, _) = build.signal(Signal::KILL);
        if status.signal().is_none() {
            // It had ended before.
            continue;
        }
        counts[phase].1 += 1;
        wait_until("the end of all that the killed build had started", || hygiene::processes(&kiln.root()).is_empty());
        let after = build_archive(&kiln, &context, "after.tar");
        let left = hygiene::left_behind(&kiln.root());
        assert!(left.is_empty(), "killed in {}, left behind:\n{}", PHASES[phase], left.join("\n"));
        let fresh = make();
        fresh.load("busybox");
        let undisturbed = build_archive(&fresh, &context, "fresh.tar");
        if let Some(place) = difference(&shown(&after), &shown(&undisturbed)) {
            panic!("killed in {}, the next build differs from an undisturbed one at {place}", PHASES[phase]);
        }
    }
    counts
}

/// A few thousand files and a large one: walking and copying take a while.
fn prepare(context: &Path) {
    fs::write(context.join("Dockerfile"), DOCKERFILE).expect("Dockerfile");
    fs::create_dir(context.join("data")).expect("data");
    for n in 0..2000 {
        fs::write(context.join(format!("data/{n}")), format!("file {n}\n")).expect("data");
    }
    fs::write(context.join("data/large"), vec![b'x'; 48 << 20]).expect("data");
    // The context may be read by a user other than its owner, and gives the same image to him.
    tool("chmod", &["-R", "u=rwX,go=rX", context.to_str().expect("path in UTF-8")]);
}

/// How long each phase of an undisturbed build takes.
fn phase_lengths(kiln: &Kiln, context: &Path) -> [Duration; 5] {
    fs::write(context.join("data/stamp"), "undisturbed").expect("stamp");
    let archive = kiln.scratch("archives").join("first.tar");
    let mut build = start(kiln, context, &archive);
    let mut begins = PHASES.map(|_| Instant::now());
    for (begin, phase) in begins.iter_mut().zip(PHASES) {
        wait_for(&mut build, phase);
        *begin = Instant::now();
    }
    build.must_succeed();
    let mut ends = begins;
    ends.rotate_left(1);
    ends[PHASES.len() - 1] = Instant::now();
    let mut lengths = [Duration::ZERO; 5];
    for ((length, begin), end) in lengths.iter_mut().zip(begins).zip(ends) {
        *length = end.duration_since(begin);
    }
    lengths
}

fn build_archive(kiln: &Kiln, context: &Path, name: &str) -> PathBuf {
    let archive = kiln.scratch("archives").join(name);
    let output = format!("type=oci,dest={}", archive.display());
    kiln.build(context, &["--output", &output]);
    archive
}

fn start(kiln: &Kiln, context: &Path, archive: &Path) -> Running {
    let mut command = kiln.command(&["build", "--progress", "plain", "--output"]);
    Running::start(command.arg(format!("type=oci,dest={}", archive.display())).arg(context))
}

/// Waits until this part of the build begins.
fn wait_for(build: &mut Running, phase: &str) {
    match phase {
        "walk" => {}
        "copy" => build.wait_for_step("COPY data"),
        "exec" => build.wait_for_words("step begins"),
        "commit" => build.wait_for_words("step ends"),
        _ => build.wait_for_words("exporting"),
    }
}

/// Numbers that are the same in every run (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: Duration) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let limit = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX).max(1);
        Duration::from_nanos(self.0 % limit)
    }
}
