//! The same build started six times at once, as separate processes: each step runs once, and survives its starter.

use std::fs;
use std::path::{Path, PathBuf};

use kiln_tests::kiln::Kiln;
use kiln_tests::running::{Running, wait_until};
use rustix::process::Signal;

/// Each step notes in a cache mount that it ran. The second waits until a file called `go` is there.
const DOCKERFILE: &str = r#"FROM busybox
RUN --mount=type=cache,id=notes,target=/notes echo first >> /notes/ran
RUN --mount=type=cache,id=notes,target=/notes echo second >> /notes/ran; until test -e /notes/go; do usleep 20000; done
RUN --mount=type=cache,id=notes,target=/notes echo third >> /notes/ran
"#;

/// How the second step's name begins.
const SECOND: &str = "RUN --mount=type=cache,id=notes,target=/notes echo second";

#[test]
fn six_builds_at_once_execute_each_step_once() {
    let (kiln, context) = prepared();
    let mut builds: Vec<Running> = (0..6).map(|_| start(&kiln, &context)).collect();
    for build in &mut builds {
        build.wait_for_step(SECOND);
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
    let mut first = start(&kiln, &context);
    first.wait_for_step(SECOND);
    let notes = notes(&kiln);
    wait_until("the first build runs the second step", || ran(&notes).len() == 2);
    let mut others: Vec<Running> = (0..5).map(|_| start(&kiln, &context)).collect();
    for build in &mut others {
        build.wait_for_step(SECOND);
    }
    let (status, said) = first.signal(Signal::INT);
    assert!(!status.success(), "{said}");
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

fn start(kiln: &Kiln, context: &Path) -> Running {
    Running::start(kiln.command(&["build", "--progress", "plain"]).arg(context))
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
