//! The machine crashes in the middle of a build, of a prune, or after them: a file system in a file is shut down without
//! flushing, and mounted again without a reboot. What survives is sound, and the rebuild equals an undisturbed one.

use std::path::Path;

use kiln_tests::disk::{Disk, FileSystem};
use kiln_tests::faults::{Scenario, program, sha256};
use kiln_tests::is_root_for;
use kiln_tests::kiln::{Kiln, answer};
use kiln_tests::skip;

/// Files of many sizes: some lie in their inode, some are written late.
const DOCKERFILE: &str = "FROM busybox AS one
COPY data /data
RUN cat /data/* > /sum; i=0; while [ $i -lt 60 ]; do cat /data/large > /made-$i; i=$((i+1)); done
FROM busybox
COPY --from=one /sum /made-7 /out/
";

/// A store with a base that survives any crash; none if this machine cannot crash such a file system.
fn with_base(kind: FileSystem) -> Option<Kiln> {
    if !is_root_for("crashes of the machine") {
        return None;
    }
    if let Some(reason) = kind.is_missing() {
        skip(&format!("crashes of a machine with {kind:?}"), &reason);
        return None;
    }
    let kiln = Kiln::on_disk(program(), |place| Disk::formatted(place, "320M", kind));
    kiln.load("busybox");
    let context = kiln.scratch("context");
    std::fs::create_dir_all(context.join("data")).expect("data");
    std::fs::write(context.join("Dockerfile"), "FROM busybox\n").expect("Dockerfile");
    kiln.ok(&["build", "-q", "--durable=build", text(&context)]);
    std::fs::write(context.join("Dockerfile"), DOCKERFILE).expect("Dockerfile");
    std::fs::write(context.join("data/small"), "x").expect("data");
    std::fs::write(context.join("data/large"), vec![b'y'; 9000]).expect("data");
    Some(kiln)
}

/// What somebody synced just before the crash: nothing; or the log of the database, with which rows survive and the
/// bytes of files do not.
fn crash(kiln: &Kiln, with_rows: bool) {
    let log = kiln.root().join("db.sqlite-wal");
    if with_rows && log.exists() { kiln.crash(&[&log]) } else { kiln.crash(&[]) }
}

fn build<'a>(context: &'a str, flags: &[&'a str]) -> Vec<&'a str> {
    [&["build", "-t", "app"], flags, &[context]].concat()
}

/// Builds to the end; tells the archive's digest.
fn rebuilt(kiln: &Kiln, context: &str) -> String {
    let archive = kiln.home().join("after.tar");
    let output = format!("type=oci,dest={},rewrite-timestamp=true", text(&archive));
    let command = build(context, &["--output", &output, "--output", "type=image"]);
    answer(kiln.command(&command).env("SOURCE_DATE_EPOCH", "1")).succeeded();
    sha256(&archive)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("path in UTF-8")
}

/// The context, where no crash of the store's disk reaches it.
fn outside(kiln: &Kiln) -> String {
    let context = kiln.home().join("context");
    answer(std::process::Command::new("cp").arg("-a").arg(kiln.scratch("context")).arg(&context)).succeeded();
    text(&context).to_owned()
}

fn at_every_operation(kind: FileSystem, with_rows: bool) {
    let Some(kiln) = with_base(kind) else { return };
    let context = outside(&kiln);
    let scenario = Scenario {
        name: &format!("build on {kind:?}"),
        before: &kiln,
        command: &build(&context, &["--durable=build"]),
        refusal: 1,
        at_most: 8,
        exhaustive: with_rows && kind == FileSystem::Ext4,
        outcome: &|kiln| rebuilt(kiln, &context),
    };
    let what =
        if with_rows { ", then the machine crashed, but rows were synced" } else { ", then the machine crashed" };
    scenario.survives_kills_and(what, |kiln| crash(kiln, with_rows));
}

#[test]
fn in_a_build_on_ext4() {
    at_every_operation(FileSystem::Ext4, false);
}

#[test]
fn in_a_build_on_ext4_with_rows_that_survive() {
    at_every_operation(FileSystem::Ext4, true);
}

#[test]
fn in_a_build_on_xfs_with_rows_that_survive() {
    at_every_operation(FileSystem::Xfs, true);
}

#[test]
fn in_a_prune() {
    let Some(kiln) = with_base(FileSystem::Ext4) else { return };
    let context = outside(&kiln);
    kiln.ok(&build(&context, &["-q", "--durable=build"]));
    let scenario = Scenario {
        name: "prune on Ext4",
        before: &kiln,
        command: &["system", "prune", "-af"],
        refusal: 1,
        at_most: 8,
        exhaustive: false,
        outcome: &|kiln| {
            kiln.load("busybox");
            rebuilt(kiln, &context)
        },
    };
    scenario.survives_kills_and(", then the machine crashed", |kiln| crash(kiln, true));
}

#[test]
fn after_a_build_what_was_waited_for_is_there() {
    for kind in [FileSystem::Ext4, FileSystem::Xfs] {
        let Some(kiln) = with_base(kind) else { return };
        let context = outside(&kiln);
        kiln.ok(&build(&context, &["-q", "--durable=build"]));
        crash(&kiln, false);
        assert_eq!(kiln.ok(&["run", "--rm", "app", "cat", "/out/sum"]).stdout.len(), 9001);
        let steps = kiln.build(Path::new(&context), &[]);
        assert!(steps.iter().all(|step| step.cached), "{steps:?}");
        kiln.ok(&["system", "check", "-q"]);
    }
}

#[test]
fn after_a_build_nothing_half_written_is_believed() {
    for kind in [FileSystem::Ext4, FileSystem::Xfs] {
        let Some(kiln) = with_base(kind) else { return };
        let context = outside(&kiln);
        let undisturbed = rebuilt(&kiln.copy(), &context);
        for with_rows in [false, true] {
            let crashed = kiln.copy();
            crashed.ok(&build(&context, &["-q"]));
            crash(&crashed, with_rows);
            let found = crashed.run(&["system", "check"]);
            assert!(found.status.success(), "{kind:?}, rows synced: {with_rows}: {found}");
            assert_eq!(rebuilt(&crashed, &context), undisturbed, "{kind:?}, rows synced: {with_rows}");
            crashed.ok(&["system", "check", "-q"]);
        }
    }
}
