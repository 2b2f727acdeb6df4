//! Images in and out: pulled and unpacked, compressed and written, against plain tools that move the same bytes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kiln_tests::docker_registry::DockerRegistry;
use kiln_tests::kiln::{Kiln, fixture};

use crate::measure::{make_mixed_files, row_of, timed};

/// Rounds of what takes seconds.
const ROUNDS: usize = 3;
/// Files of the layer that is exported, and all of their bytes.
const FILES: usize = 5_000;
const BYTES: usize = 500_000_000;
/// Writes 1,000 directories of 100 small files each below its argument.
const MANY: &str = "i=0; while [ $i -lt 1000 ]; do mkdir -p $0/$i; j=0; while [ $j -lt 100 ]; do \
                    echo $i.$j > $0/$i/$j; j=$((j+1)); done; i=$((i+1)); done";

pub(crate) fn all(kiln: &Kiln) {
    pull(kiln);
    exports(kiln);
    many_files(kiln);
}

/// A store of its own for one round.
struct Fresh<'a> {
    kiln: &'a Kiln,
    root: PathBuf,
}

impl<'a> Fresh<'a> {
    fn new(kiln: &'a Kiln) -> Fresh<'a> {
        let root = kiln.scratch("fresh").join("root");
        remove(&root);
        Fresh { kiln, root }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.kiln.command(args);
        command.env("KILN_ROOT", &self.root);
        command
    }

    fn with_busybox(self) -> Fresh<'a> {
        let archive = self.kiln.scratch("busybox").join("busybox.tar");
        if !archive.exists() {
            timed(Command::new("tar").arg("-C").arg(fixture("busybox")).arg("-cf").arg(&archive).arg("."));
        }
        timed(self.command(&["load", "-q", "-i"]).arg(&archive));
        self
    }
}

fn remove(path: &Path) {
    if path.exists() {
        fs::remove_dir_all(path).unwrap_or_else(|e| panic!("cannot remove {}: {e}", path.display()));
    }
}

/// A shell line that must succeed.
fn shell(line: &str, arguments: &[&Path]) -> Duration {
    timed(Command::new("sh").arg("-c").arg(line).args(arguments))
}

/// A pull of Debian into an empty store, against unpacking its layer.
fn pull(kiln: &Kiln) {
    let registry = DockerRegistry::with(&["debian"]);
    let name = format!("{}/library/debian:bookworm", registry.address());
    let blobs = fs::read_dir(fixture("debian").join("blobs/sha256")).expect("blobs");
    let blobs = blobs.map(|entry| entry.expect("blob").path());
    let layer = blobs.max_by_key(|path| fs::metadata(path).expect("blob").len()).expect("a layer");
    let place = kiln.scratch("pull");
    let ours = || timed(&mut Fresh::new(kiln).command(&["pull", "-q", &name]));
    let theirs = || {
        remove(&place.join("tree"));
        shell("mkdir $1 && gunzip -c $0 | tar -x -C $1", &[&layer, &place.join("tree")])
    };
    row_of("pull and unpack Debian / gunzip | tar -x", 5, ours, theirs);
}

/// A layer of 500 MB in 5,000 files.
fn exports(kiln: &Kiln) {
    let context = kiln.scratch("exports");
    make_mixed_files(&context.join("files"), FILES, BYTES);
    fs::write(context.join("Dockerfile"), "FROM busybox\nCOPY files /files\n").expect("Dockerfile");
    let out = kiln.scratch("out");
    let files = context.join("files");
    let archive = out.join("image.tar");
    let export = |fresh: &Fresh<'_>, output: &str| {
        let output = output.replace("FILE", &archive.display().to_string());
        timed(fresh.command(&["build", "-q", "--output", &output]).arg(&context))
    };
    let built = || {
        let fresh = Fresh::new(kiln).with_busybox();
        timed(fresh.command(&["build", "-q"]).arg(&context));
        fresh
    };
    let tar_and = |program: &str| shell(&format!("tar -cf - -C $0 . | {program} > $1"), &[&files, &out.join("floor")]);
    let first = || export(&built(), "type=oci,dest=FILE");
    row_of("first export, gzip / tar | gzip -6", ROUNDS, first, || tar_and("gzip -6"));
    let first = || export(&built(), "type=oci,dest=FILE,compression=zstd");
    row_of("first export, zstd / tar | zstd -3 -T2", ROUNDS, first, || tar_and("zstd -q -3 -T2"));
    let fresh = built();
    export(&fresh, "type=oci,dest=FILE");
    let copied = out.join("copied.tar");
    fs::copy(&archive, &copied).expect("copy");
    let cat = || shell("cat $0 > $1", &[&copied, &out.join("floor")]);
    row_of("the same export again / cat", 7, || export(&fresh, "type=oci,dest=FILE"), cat);
    row_of("docker tar / cat", 7, || export(&fresh, "type=docker,dest=FILE"), cat);
    let directory = out.join("tree");
    let ours = || {
        remove(&directory);
        timed(fresh.command(&["build", "-q", "--output"]).arg(&directory).arg(&context))
    };
    let theirs = || {
        remove(&out.join("copy"));
        timed(Command::new("cp").arg("-a").arg(&files).arg(out.join("copy")))
    };
    row_of("export to a directory / cp -a", 5, ours, theirs);
}

/// A step that writes 100,000 files, and its layer's way out.
fn many_files(kiln: &Kiln) {
    let context = kiln.scratch("written");
    fs::write(context.join("script"), MANY).expect("script");
    let text = "FROM busybox\nRUN --mount=type=bind,target=/in sh -c \"$(cat /in/script)\" /d\n";
    fs::write(context.join("Dockerfile"), text).expect("Dockerfile");
    let place = kiln.scratch("script");
    let script = || {
        remove(&place.join("d"));
        shell(MANY, &[&place.join("d")])
    };
    let build = |flags: &[&str]| {
        let fresh = Fresh::new(kiln).with_busybox();
        let time = timed(fresh.command(&["build", "-q"]).args(flags).arg(&context));
        (fresh, time)
    };
    row_of("RUN writes 100,000 files / the script", ROUNDS, || build(&[]).1, script);
    row_of("the same with -t / the script", ROUNDS, || build(&["-t", "many"]).1, script);
    let archive = place.join("image.tar");
    let output = format!("type=oci,dest={}", archive.display());
    let first = || {
        let (fresh, _) = build(&[]);
        timed(fresh.command(&["build", "-q", "--output", &output]).arg(&context))
    };
    script();
    let theirs = || shell("tar -cf - -C $0 . | gzip -6 > $1", &[&place.join("d"), &place.join("floor")]);
    row_of("first export of that / tar | gzip -6", ROUNDS, first, theirs);
}
