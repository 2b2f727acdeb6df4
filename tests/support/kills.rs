//! Builds that are killed in the middle: where the kill strikes, what may remain, and what the next build must give.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Stdio};
use std::time::{Duration, Instant};

use crate::hygiene;
use crate::image::{difference, shown};
use crate::kiln::Kiln;

/// One step runs as nobody and leaves a child in a session of its own behind.
const DOCKERFILE: &str = "FROM busybox
COPY data /data
USER nobody
RUN setsid sleep 1000 & echo step begins; i=0; while [ $i -lt 400 ]; do echo $i > /tmp/$i; i=$((i+1)); done; echo step ends
USER root
RUN cat /data/* | md5sum > /sum
";

/// The parts of a build, each with words that the progress says when it begins.
const PHASES: [(&str, &str); 5] =
    [("walk", ""), ("copy", "COPY data"), ("exec", "step begins"), ("commit", "step ends"), ("export", "exporting")];

/// Kills `kills` builds, spread over the phases, each in a store that `make` gives, and checks each time that
/// nothing remains and that the next build equals an undisturbed one in a fresh store. Returns the counts by phase.
pub fn survive(kills: usize, make: impl Fn() -> Kiln) -> [(&'static str, usize); 5] {
    let kiln = make();
    kiln.load("busybox");
    let context = kiln.scratch("context");
    prepare(&context);
    let lengths = phase_lengths(&kiln, &context);
    let mut counts = PHASES.map(|(phase, _)| (phase, 0));
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut tries = 0;
    while counts.iter().map(|(_, count)| count).sum::<usize>() < kills {
        tries += 1;
        assert!(tries <= kills * 3, "most builds ended before the kill: {counts:?}");
        let phase = tries % PHASES.len();
        // Another stamp, so that nothing of the build is cached.
        fs::write(context.join("data/stamp"), tries.to_string()).expect("stamp");
        let archive = kiln.scratch("archives").join("killed.tar");
        let mut build = Build::start(&kiln, &context, &archive);
        build.wait_for(PHASES[phase].1);
        std::thread::sleep(random.below(lengths[phase]));
        if !build.kill() {
            continue;
        }
        counts[phase].1 += 1;
        assert_nothing_runs(&kiln);
        let after = build_archive(&kiln, &context, "after.tar");
        let left = hygiene::left_behind(&kiln.root());
        assert!(left.is_empty(), "killed in {}, left behind:\n{}", PHASES[phase].0, left.join("\n"));
        let fresh = make();
        fresh.load("busybox");
        let undisturbed = build_archive(&fresh, &context, "fresh.tar");
        if let Some(place) = difference(&shown(&after), &shown(&undisturbed)) {
            panic!("killed in {}, the next build differs from an undisturbed one at {place}", PHASES[phase].0);
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
    let open = std::process::Command::new("chmod").args(["-R", "u=rwX,go=rX"]).arg(context).status();
    assert!(open.is_ok_and(|status| status.success()));
}

/// How long each phase of an undisturbed build takes.
fn phase_lengths(kiln: &Kiln, context: &Path) -> [Duration; 5] {
    fs::write(context.join("data/stamp"), "undisturbed").expect("stamp");
    let archive = kiln.scratch("archives").join("first.tar");
    let mut build = Build::start(kiln, context, &archive);
    let mut begins = PHASES.map(|_| Instant::now());
    for (begin, (_, words)) in begins.iter_mut().zip(PHASES) {
        build.wait_for(words);
        *begin = Instant::now();
    }
    build.read_rest();
    assert!(build.child.wait().expect("ended").success(), "{}", build.said);
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

/// After a kill everything of the build must end by itself.
fn assert_nothing_runs(kiln: &Kiln) {
    let started = Instant::now();
    loop {
        let left = hygiene::processes(&kiln.root());
        if left.is_empty() {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "still running: {left:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

struct Build {
    child: Child,
    progress: BufReader<ChildStderr>,
    said: String,
}

impl Build {
    fn start(kiln: &Kiln, context: &Path, archive: &Path) -> Build {
        let mut command = kiln.command(&["build", "--progress", "plain", "--output"]);
        command.arg(format!("type=oci,dest={}", archive.display())).arg(context);
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("kiln");
        let progress = BufReader::new(child.stderr.take().expect("piped"));
        Build { child, progress, said: String::new() }
    }

    /// Reads the progress until it says `words`, as output or name of a step; not within the text of an instruction.
    fn wait_for(&mut self, words: &str) {
        while !words.is_empty() {
            let start = self.said.len();
            let n = self.progress.read_line(&mut self.said).expect("progress");
            assert_ne!(n, 0, "ended without {words:?}:\n{}", self.said);
            let line = self.said[start..].split_once(' ').map_or("", |(_, rest)| rest);
            let is_name = line.starts_with('[');
            if is_name && line.contains(&format!("] {words}")) || !is_name && line.contains(words) {
                return;
            }
        }
    }

    /// Kills the process; whether that came before its end.
    fn kill(mut self) -> bool {
        self.child.kill().expect("kill");
        self.read_rest();
        let status = self.child.wait().expect("ended");
        std::os::unix::process::ExitStatusExt::signal(&status).is_some()
    }

    fn read_rest(&mut self) {
        while self.progress.read_line(&mut self.said).is_ok_and(|n| n > 0) {}
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
