//! The same build started six times at once, as separate processes: each step runs once, and survives its starter.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use kiln_tests::kiln::Kiln;
use rustix::process::{Pid, Signal, kill_process};

/// Each step notes in a cache mount that it ran. The second waits until a file called `go` is there.
const DOCKERFILE: &str = r#"FROM busybox
RUN --mount=type=cache,id=notes,target=/notes echo first >> /notes/ran
RUN --mount=type=cache,id=notes,target=/notes echo second >> /notes/ran; until test -e /notes/go; do usleep 20000; done
RUN --mount=type=cache,id=notes,target=/notes echo third >> /notes/ran
"#;

#[test]
fn six_builds_at_once_execute_each_step_once() {
    let (kiln, context) = prepared();
    let mut builds: Vec<Build> = (0..6).map(|_| Build::start(&kiln, &context)).collect();
    for build in &mut builds {
        build.wait_for("echo second");
    }
    let notes = notes(&kiln);
    fs::write(notes.join("go"), "").expect("go");
    for build in builds {
        build.must_succeed();
    }
    assert_eq!(ran(&notes), ["first", "second", "third"]);
}

#[test]
fn when_the_first_is_cancelled_the_others_finish() {
    let (kiln, context) = prepared();
    let mut first = Build::start(&kiln, &context);
    first.wait_for("echo second");
    let notes = notes(&kiln);
    wait_until("the first build runs the second step", || ran(&notes).len() == 2);
    let mut others: Vec<Build> = (0..5).map(|_| Build::start(&kiln, &context)).collect();
    for build in &mut others {
        build.wait_for("echo second");
    }
    first.interrupt();
    fs::write(notes.join("go"), "").expect("go");
    for build in others {
        build.must_succeed();
    }
    let ran = ran(&notes);
    let count = |name: &str| ran.iter().filter(|note| *note == name).count();
    assert_eq!((count("first"), count("third")), (1, 1), "{ran:?}");
    assert_eq!(count("second"), 2, "once cancelled, once to its end: {ran:?}");
}

fn prepared() -> (Kiln, PathBuf) {
    let kiln = Kiln::new();
    kiln.load("busybox");
    let context = kiln.scratch("context");
    fs::write(context.join("Dockerfile"), DOCKERFILE).expect("Dockerfile");
    (kiln, context)
}

/// A build in a process of its own.
struct Build {
    child: Child,
    progress: BufReader<std::process::ChildStderr>,
    said: String,
}

impl Build {
    fn start(kiln: &Kiln, context: &Path) -> Build {
        let mut command = kiln.command(&["build", "--progress", "plain"]);
        let child = command.arg(context).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("kiln");
        let progress = BufReader::new(child.stderr.take().expect("piped"));
        Build { child, progress, said: String::new() }
    }

    /// Reads the progress until a line contains `words`.
    #[track_caller]
    fn wait_for(&mut self, words: &str) {
        loop {
            let start = self.said.len();
            let n = self.progress.read_line(&mut self.said).expect("progress");
            assert_ne!(n, 0, "ended without {words:?}:\n{}", self.said);
            if self.said[start..].contains(words) {
                return;
            }
        }
    }

    /// Ctrl-C; waits for the end, which must not be a success.
    fn interrupt(mut self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::INT).expect("running");
        self.read_rest();
        assert!(!self.child.wait().expect("ended").success(), "{}", self.said);
    }

    #[track_caller]
    fn must_succeed(mut self) {
        self.read_rest();
        assert!(self.child.wait().expect("ended").success(), "{}", self.said);
    }

    fn read_rest(&mut self) {
        while self.progress.read_line(&mut self.said).expect("progress") > 0 {}
    }
}

/// The directory of the only cache mount.
fn notes(kiln: &Kiln) -> PathBuf {
    let all = kiln.root().join("cache-mounts");
    let find = || {
        let mut directories = vec![all.clone()];
        while let Some(directory) = directories.pop() {
            if directory.join("ran").is_file() {
                return Some(directory);
            }
            let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
            directories.extend(entries.map(|entry| entry.path()).filter(|path| path.is_dir()));
        }
        None
    };
    wait_until("the first note", || find().is_some());
    find().expect("just found")
}

fn ran(notes: &Path) -> Vec<String> {
    let text = fs::read_to_string(notes.join("ran")).expect("notes");
    text.lines().map(str::to_owned).collect()
}

/// Polls for something that another process does; gives up after a minute.
#[track_caller]
fn wait_until(what: &str, done: impl Fn() -> bool) {
    for _ in 0..6000 {
        if done() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("waited in vain for: {what}");
}
