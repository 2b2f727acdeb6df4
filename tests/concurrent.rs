//! The same build started several times at once, as separate processes: each step runs once and survives its starter,
//! and who waits for it sees and shares what becomes of it.

use std::fs;
use std::path::{Path, PathBuf};

use kiln_tests::kiln::Kiln;
use kiln_tests::running::{Running, wait_until};
use kiln_tests::steps::{executed, steps};
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

/// What the second step says before it waits for `go`, and how it ends.
const FAILING: &str = r#"FROM busybox
RUN --mount=type=cache,id=notes,target=/notes echo first >> /notes/ran
RUN --mount=type=cache,id=notes,target=/notes echo second >> /notes/ran; echo so far; until test -e /notes/go; do usleep 20000; done; echo at last; exit 7
"#;

#[test]
fn a_failure_is_for_those_who_wait_for_it_and_for_nobody_later() {
    let (kiln, context) = prepared();
    fs::write(context.join("Dockerfile"), FAILING).expect("Dockerfile");
    let mut first = start(&kiln, &context);
    first.wait_for_words("so far");
    let mut others: Vec<Running> = (0..3).map(|_| start(&kiln, &context)).collect();
    for build in &mut others {
        // Who waits sees what the step says where it runs.
        build.wait_for_words("another build runs this step");
        build.wait_for_words("so far");
    }
    let notes = notes(&kiln);
    fs::write(notes.join("go"), "").expect("go");
    for build in others.into_iter().chain([first]) {
        let (status, said) = build.end();
        assert_eq!(status.code(), Some(1), "{said}");
        for words in ["exit code: 7", ">>> RUN --mount=type=cache,id=notes,target=/notes echo second", "at last"] {
            assert!(said.contains(words), "{words:?}: {said}");
        }
    }
    assert_eq!(ran(&notes), ["first", "second"], "it ran once for all four");
    let (status, said) = start(&kiln, &context).end();
    assert_eq!(status.code(), Some(1), "{said}");
    assert_eq!(ran(&notes), ["first", "second", "second"], "and again for who came later");
}

#[test]
fn when_the_first_is_killed_one_of_the_others_starts_anew() {
    let (kiln, context) = prepared();
    let mut first = start(&kiln, &context);
    first.wait_for_step(SECOND);
    let notes = notes(&kiln);
    wait_until("the first build runs the second step", || ran(&notes).len() == 2);
    let mut others: Vec<Running> = (0..3).map(|_| start(&kiln, &context)).collect();
    for build in &mut others {
        build.wait_for_words("another build runs this step");
    }
    let (status, said) = first.signal(Signal::KILL);
    assert!(!status.success(), "{said}");
    wait_until("another build runs the second step", || ran(&notes).len() == 3);
    fs::write(notes.join("go"), "").expect("go");
    for build in others {
        build.must_succeed();
    }
    assert_eq!(ran(&notes), ["first", "second", "second", "third"]);
}

#[test]
fn the_same_lock_twice_in_one_step_is_taken_once() {
    let (kiln, context) = prepared();
    let mount = |target: &str, sharing: &str| format!("--mount=type=cache,id=c,target={target},sharing={sharing}");
    let mut dockerfile = String::from("FROM busybox\n");
    for sharing in [["locked", "locked"], ["locked", "shared"], ["shared", "locked"], ["private", "private"]] {
        let (a, b) = (mount("/a", sharing[0]), mount("/b", sharing[1]));
        dockerfile.push_str(&format!("RUN {a} {b} touch /a/{0} && rm /b/{0}\n", sharing.concat()));
    }
    fs::write(context.join("Dockerfile"), dockerfile).expect("Dockerfile");
    start(&kiln, &context).must_succeed();
}

/// A graph as large projects have it: every stage copies from the context, and the last takes from all of them.
#[test]
fn a_wide_build_that_two_processes_begin_at_once_costs_one() {
    const STAGES: usize = 120;
    let (kiln, context) = prepared();
    let mut dockerfile = String::new();
    for stage in 0..STAGES {
        fs::write(context.join(format!("file{stage}")), stage.to_string()).expect("file");
        dockerfile.push_str(&format!("FROM busybox AS s{stage}\nCOPY file{stage} /f{stage}\n"));
    }
    dockerfile.push_str("FROM busybox\n");
    (0..80).for_each(|stage| dockerfile.push_str(&format!("COPY --from=s{stage} /f{stage} /all/f{stage}\n")));
    (80..STAGES).for_each(|stage| dockerfile.push_str(&format!("COPY --from=s{stage} /f{stage} /\n")));
    fs::write(context.join("Dockerfile"), dockerfile).expect("Dockerfile");
    let builds = [start(&kiln, &context), start(&kiln, &context)];
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
    for build in builds {
        let (status, said) = build.end();
        assert!(status.success(), "{said}");
        for name in executed(&steps(&said)) {
            *counts.entry(name.to_owned()).or_default() += 1;
        }
    }
    assert_eq!(counts.len(), 2 * STAGES);
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
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
