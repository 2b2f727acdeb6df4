//! Disks, permissions, signals.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use expect_test::{Expect, expect};
use kiln_tests::is_root_for;
use kiln_tests::kiln::{Kiln, tool};
use kiln_tests::running::Running;
use kiln_tests::user::User;
use rustix::process::Signal;

use crate::project::{Project, text};

/// Sizes depend on the file system's own needs, names of temporary files on the process.
fn without_numbers(said: &str) -> String {
    let mut plain = said.to_owned();
    for (before, after, word) in
        [(": ", " free of ", "SOME"), (" free of ", "\n", "ALL"), ("STORE/tmp/", "/fs/", "STEP")]
    {
        let end = if after == " free of " { plain.find(after) } else { None };
        let start = match end {
            Some(end) => plain[..end].rfind(before),
            None => plain.find(before),
        };
        let Some(start) = start.map(|start| start + before.len()) else { continue };
        let Some(length) = plain[start..].find(after) else { continue };
        plain.replace_range(start..start + length, word);
    }
    plain
}

#[track_caller]
fn check(project: &Project, directory: &str, expected: &Expect) {
    let answer = project.kiln.run(&["build", "-q", directory]);
    assert_eq!(answer.code(), 1, "{answer}");
    expected.assert_eq(&without_numbers(&project.plain(&answer)).replace(directory, "CONTEXT"));
}

/// A control group with hardly any memory; it goes with the value.
struct Poor(PathBuf);

impl Poor {
    fn new() -> Option<Poor> {
        let hierarchies = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
        hierarchies.into_iter().find_map(|(hierarchy, limit)| {
            let poor = Poor(Path::new(hierarchy).join(format!("kiln-test-poor-{}", std::process::id())));
            fs::create_dir(&poor.0).ok()?;
            let mut limit = fs::File::options().write(true).open(poor.0.join(limit)).ok()?;
            limit.write_all(b"20000000").ok()?;
            Some(poor)
        })
    }

    fn name(&self) -> &str {
        self.0.file_name().and_then(|name| name.to_str()).expect("name")
    }
}

impl Drop for Poor {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn no_memory_left() {
    if !is_root_for("the message of an out-of-memory kill") {
        return;
    }
    let Some(poor) = Poor::new() else {
        println!("skipped: no control group can limit memory here");
        return;
    };
    let project = Project::of(Kiln::new(), &["busybox"]);
    let context = tempfile::tempdir().expect("context");
    let dockerfile = "FROM busybox\nRUN dd if=/dev/zero of=/dev/null bs=100000000 count=1\n";
    fs::write(context.path().join("Dockerfile"), dockerfile).expect("Dockerfile");
    let answer = project.kiln.run(&["build", "-q", "--cgroup-parent", poor.name(), text(context.path())]);
    drop(poor);
    assert_eq!(answer.code(), 1, "{answer}");
    expect![[r#"
        Dockerfile:2
        --------------------
         1 |     FROM busybox
         2 | >>> RUN dd if=/dev/zero of=/dev/null bs=100000000 count=1
        --------------------
        ERROR: failed to build: [2/2] RUN dd if=/dev/zero of=/dev/null bs=100000000 count=1: process "/bin/sh -c dd if=/dev/zero of=/dev/null bs=100000000 count=1" did not complete successfully: exit code: 137
        hint: the kernel killed it because memory ran out: --jobs 1 runs one step at a time
        note: the whole output of this step is in THE-LOG
    "#]].assert_eq(&project.plain(&answer));
}

#[test]
fn a_full_disk() {
    if !is_root_for("the message of a full disk") {
        return;
    }
    let project = Project::of(Kiln::on_disk_of("96M"), &["busybox"]);
    let elsewhere = tempfile::tempdir().expect("context");
    let large = fs::File::create(elsewhere.path().join("large")).expect("large");
    let mut noise = fs::File::open("/dev/urandom").map(|noise| std::io::Read::take(noise, 200 << 20)).expect("noise");
    std::io::copy(&mut noise, &mut &large).expect("large");
    fs::write(elsewhere.path().join("Dockerfile"), "FROM busybox\nCOPY large /\n").expect("Dockerfile");
    check(
        &project,
        text(elsewhere.path()),
        &expect![[r#"
            Dockerfile:2
            --------------------
             1 |     FROM busybox
             2 | >>> COPY large /
            --------------------
            ERROR: failed to build: [2/2] COPY large /: cannot copy to STORE/tmp/STEP/fs/large: No space left on device (os error 28); `kiln system prune` frees what nobody needs
            hint: the disk of STORE was full, until what failed was removed: SOME free of ALL
        "#]],
    );
    fs::write(elsewhere.path().join("Dockerfile"), "FROM busybox\nRUN head -c 200m /dev/urandom > /large\n")
        .expect("Dockerfile");
    check(
        &project,
        text(elsewhere.path()),
        &expect![[r#"
            ------
             > [2/2] RUN head -c 200m /dev/urandom > /large:
            head: standard output: I/O error
            ------
            Dockerfile:2
            --------------------
             1 |     FROM busybox
             2 | >>> RUN head -c 200m /dev/urandom > /large
            --------------------
            ERROR: failed to build: [2/2] RUN head -c 200m /dev/urandom > /large: process "/bin/sh -c head -c 200m /dev/urandom > /large" did not complete successfully: exit code: 1
            hint: the disk of STORE was full, until what failed was removed: SOME free of ALL
            hint: `kiln system prune` removes what no image needs; KILN_ROOT names another place
            note: the whole output of this step is in THE-LOG
        "#]],
    );
}

#[test]
fn a_store_that_is_read_only() {
    if !is_root_for("the message of a read-only store") {
        return;
    }
    let project = Project::of(Kiln::on_disk_of("96M"), &["busybox"]);
    let disk = text(project.kiln.disk().expect("disk")).to_owned();
    let elsewhere = tempfile::tempdir().expect("context");
    fs::write(elsewhere.path().join("Dockerfile"), "FROM busybox\nRUN true\n").expect("Dockerfile");
    tool("mount", &["-o", "remount,ro", &disk]);
    let answer = project.kiln.run(&["build", "-q", text(elsewhere.path())]);
    tool("mount", &["-o", "remount,rw", &disk]);
    assert_eq!(answer.code(), 1, "{answer}");
    expect![[r#"
        ERROR: cannot open STORE/locks: Read-only file system (os error 30); set KILN_ROOT to a directory that can be written
    "#]].assert_eq(&project.plain(&answer));
}

#[test]
fn a_file_that_may_not_be_read() {
    if !is_root_for("the message of a file without permission") {
        return;
    }
    let project = Project::of(Kiln::of(User::with_single_id()), &["busybox"]);
    project.file("Dockerfile", b"FROM busybox\nCOPY . /\n");
    project.file("src/private", b"private");
    tool("chmod", &["0600", text(&project.context.join("src/private"))]);
    project.fails_as_it_is(&[], &expect![[r#"
        Dockerfile:2
        --------------------
         1 |     FROM busybox
         2 | >>> COPY . /
        --------------------
        ERROR: failed to build: [2/2] COPY . /: cannot read "src/private" in the build context: Permission denied (os error 13)
        hint: the context is read by the user who calls kiln: chmod it, or leave it out by a rule in .dockerignore
    "#]]);
    tool("chmod", &["0700", text(&project.context.join("src"))]);
    project.fails_as_it_is(
        &[],
        &expect![[r#"
            Dockerfile:2
            --------------------
             1 |     FROM busybox
             2 | >>> COPY . /
            --------------------
            ERROR: failed to build: [2/2] COPY . /: cannot read "src" in the build context: Permission denied (os error 13)
            hint: the context is read by the user who calls kiln: chmod it, or leave it out by a rule in .dockerignore
        "#]],
    );
}

#[test]
fn an_interrupted_build() {
    let project = Project::with(&["busybox"]);
    project.file("Dockerfile", b"FROM busybox\nRUN echo in the middle; sleep 1000\n");
    let mut build = Running::start(&mut project.kiln.command(&["build", text(&project.context)]));
    build.wait_for_words("in the middle");
    let (status, said) = build.signal(Signal::INT);
    assert_eq!(status.code(), Some(130), "{said}");
    let last = said.lines().last().unwrap_or_default();
    assert_eq!(last, "ERROR: the build was cancelled", "{said}");
}
