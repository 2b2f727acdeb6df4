//! What the cache costs where it answers everything, and where one file changed.

use std::cell::Cell;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use kiln_tests::kiln::Kiln;

use crate::measure::{absolute, make_files, row, timed};

const MANY: usize = 50_000;

pub(crate) fn all(kiln: &Kiln) {
    rebuild_unchanged(kiln);
    let context = many_files(kiln);
    many_unchanged(kiln, &context);
    one_of_many_changed(kiln, &context);
    chain(kiln);
    twins(kiln);
}

/// Ten steps and 1,000 files, nothing changed.
fn rebuild_unchanged(kiln: &Kiln) {
    let context = kiln.scratch("unchanged");
    make_files(&context.join("files"), 1000);
    let steps: String = (0..9).map(|n| format!("RUN true {n}\n")).collect();
    fs::write(context.join("Dockerfile"), format!("FROM busybox\nCOPY files /files\n{steps}")).expect("Dockerfile");
    kiln.build(&context, &[]);
    absolute("rebuild, 10 steps, 1,000 files / target", 15.0, || timed(kiln.command(&["build", "-q"]).arg(&context)));
}

fn many_files(kiln: &Kiln) -> PathBuf {
    let context = kiln.scratch("many");
    make_files(&context.join("files"), MANY);
    fs::write(context.join("Dockerfile"), "FROM busybox\nCOPY . /src\nRUN echo 1 > /x\n").expect("Dockerfile");
    kiln.build(&context, &[]);
    context
}

/// A `COPY` of 50,000 files, nothing changed, against a walk of them.
fn many_unchanged(kiln: &Kiln, context: &Path) {
    let ours = || timed(kiln.command(&["build", "-q", "-t", "many"]).arg(context));
    let theirs = || timed(Command::new("find").arg(context).args(["-printf", "%s %T@ %p\n"]));
    row("rebuild, 50,000 files / find -printf", ours, theirs);
}

/// The same with one file changed, against a copy of all.
fn one_of_many_changed(kiln: &Kiln, context: &Path) {
    let copies = kiln.scratch("copies-of-many");
    let mut round = 0;
    let ours = || {
        round += 1;
        fs::write(context.join("files/0/0"), format!("changed {round}")).expect("file");
        timed(kiln.command(&["build", "-q", "-t", "many"]).arg(context))
    };
    let mut copy = 0;
    let theirs = || {
        copy += 1;
        timed(Command::new("cp").arg("-a").arg(context).arg(copies.join(copy.to_string())))
    };
    row("one of 50,000 files changed / cp -a", ours, theirs);
}

/// 120 stages, each on top of the one before, with 200 `COPY`: cold, then from the cache.
fn chain(kiln: &Kiln) {
    let context = kiln.scratch("chain");
    let mut text = String::from("FROM busybox AS s0\n");
    let mut file = 0;
    for stage in 1..=120 {
        let _ = writeln!(text, "FROM s{} AS s{stage}", stage - 1);
        for _ in 0..if stage <= 80 { 2 } else { 1 } {
            let _ = writeln!(text, "COPY f{file:03} /f{file:03}");
            fs::write(context.join(format!("f{file:03}")), format!("file {file}\n")).expect("file");
            file += 1;
        }
    }
    fs::write(context.join("Dockerfile"), text).expect("Dockerfile");
    let cold = || timed(kiln.command(&["build", "-q", "--no-cache"]).arg(&context));
    absolute("120 stages, 200 COPY, cold / target", 600.0, cold);
    absolute("120 stages, 200 COPY, unchanged / target", 50.0, || timed(kiln.command(&["build", "-q"]).arg(&context)));
}

/// Two processes with the same build at once, against one.
fn twins(kiln: &Kiln) {
    let context = kiln.scratch("twins");
    let round = Cell::new(0);
    let fresh = || {
        round.set(round.get() + 1);
        let work = format!("sleep 1; head -c 64m /dev/zero > /a; sha256sum /a; echo {}", round.get());
        let text = format!("FROM busybox\nRUN {work}\nRUN sleep 1; cp /a /b\n");
        fs::write(context.join("Dockerfile"), text).expect("Dockerfile");
    };
    let build = || {
        let mut command = kiln.command(&["build", "-q"]);
        command.arg(&context).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let two = || {
        fresh();
        let started = Instant::now();
        let both = [build().spawn().expect("kiln"), build().spawn().expect("kiln")];
        for mut one in both {
            assert!(one.wait().expect("kiln").success());
        }
        started.elapsed()
    };
    let one = || {
        fresh();
        timed(&mut build())
    };
    row("two identical builds at once / one", two, one);
}
