//! Many builds of overlapping Dockerfiles at once, as separate processes: every step is executed once, nobody waits for
//! ever, and all images are what builds one after another make. With a collector running beside them, nothing that is
//! in use is removed.

mod crowd;
mod projects;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use kiln_tests::kiln::Kiln;
use kiln_tests::steps::{executed, steps};
use kiln_tests::{full, say};

use crowd::{Ended, crowd};
use projects::Random;

/// How many builds at once, and of how many different Dockerfiles.
fn counts() -> (usize, usize) {
    if full() { (8 * 20, 40) } else { (3 * 4, 8) }
}

/// What a set of builds works on.
struct Projects {
    context: PathBuf,
    dockerfiles: Vec<PathBuf>,
}

impl Projects {
    fn new(kiln: &Kiln, seed: u64, notes: bool) -> Projects {
        let context = kiln.scratch("context");
        projects::write_context(&context);
        let files = kiln.scratch("dockerfiles");
        let mut random = Random(seed);
        let write = |number: usize| {
            let path = files.join(format!("Dockerfile.{number}"));
            fs::write(&path, projects::dockerfile(&mut random, notes)).expect("Dockerfile");
            path
        };
        Projects { context, dockerfiles: (0..counts().1).map(write).collect() }
    }

    /// A build whose archive depends on nothing but the steps.
    fn build(&self, kiln: &Kiln, number: usize, archive: &Path) -> std::process::Command {
        let output = format!("type=oci,dest={},rewrite-timestamp=true,compression=uncompressed", archive.display());
        let mut command = kiln.command(&["build", "--progress=plain", "--build-arg=SOURCE_DATE_EPOCH=1000", "-o"]);
        command.arg(output).arg("-f").arg(&self.dockerfiles[number]).arg(&self.context);
        command
    }

    /// The archives of builds one after another, in a store of their own.
    fn sequential(&self) -> Vec<Vec<u8>> {
        let kiln = busybox();
        let archive = kiln.scratch("out").join("archive.tar");
        let build = |number| {
            let answer = kiln_tests::kiln::answer(&mut self.build(&kiln, number, &archive)).succeeded();
            drop(answer);
            fs::read(&archive).expect("archive")
        };
        (0..self.dockerfiles.len()).map(build).collect()
    }

    /// Starts all builds at once and compares what each makes with what builds one after another make.
    fn all_at_once(&self, kiln: &Kiln, sequential: &[Vec<u8>]) -> Vec<Ended> {
        let out = kiln.scratch("out");
        let archive = |build: usize| out.join(format!("archive{build}.tar"));
        let commands = (0..counts().0).map(|build| self.build(kiln, build % self.dockerfiles.len(), &archive(build)));
        let ended = crowd(commands.collect(), &kiln.root());
        for (build, ended) in ended.iter().enumerate() {
            let text = fs::read_to_string(&self.dockerfiles[build % self.dockerfiles.len()]).expect("Dockerfile");
            assert!(ended.status.success(), "build {build} of\n{text}\n{}: {}", ended.status, ended.said);
            let made = fs::read(archive(build)).expect("archive");
            assert!(made == sequential[build % sequential.len()], "another image of\n{text}\n{}", ended.said);
            fs::remove_file(archive(build)).expect("archive");
        }
        ended
    }
}

fn busybox() -> Kiln {
    let kiln = Kiln::on_fresh_disk();
    kiln.load("busybox");
    kiln
}

/// How often each step was executed, by all builds together.
fn executions(builds: &[Ended]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for build in builds {
        for name in executed(&steps(&build.said)) {
            *counts.entry(name.to_owned()).or_default() += 1;
        }
    }
    counts
}

#[test]
fn every_step_is_executed_once_by_all_builds_together() {
    let kiln = busybox();
    let projects = Projects::new(&kiln, 1, true);
    let sequential = projects.sequential();
    let builds = projects.all_at_once(&kiln, &sequential);

    let executions = executions(&builds);
    if let Some((name, _)) = executions.iter().find(|(_, count)| **count != 1) {
        let by = builds.iter().filter(|build| executed(&steps(&build.said)).contains(&name.as_str()));
        let said: Vec<&str> = by.map(|build| build.said.as_str()).collect();
        panic!("executed more than once: {name}\n{}", said.join("\n\n"));
    }
    // What the steps themselves noted says the same.
    let mut notes: BTreeMap<String, usize> = BTreeMap::new();
    let noted = fs::read_to_string(find(&kiln.root().join("cache-mounts"), "ran")).expect("notes");
    noted.lines().for_each(|tag| *notes.entry(tag.to_owned()).or_default() += 1);
    let runs = executions.keys().filter(|name| name.starts_with("RUN ")).count();
    assert!(notes.values().all(|count| *count == 1), "{notes:?}");
    assert_eq!(notes.len(), runs);

    kiln.ok(&["system", "check"]);
    let steps: usize = builds.iter().map(|build| steps(&build.said).len()).sum();
    say(&format!("{} builds at once: {steps} steps, {} executed, each once", builds.len(), executions.len()));
}

#[test]
fn a_collector_beside_the_builds_takes_nothing_that_they_need() {
    let kiln = busybox();
    let projects = Projects::new(&kiln, 2, false);
    let sequential = projects.sequential();
    let over = AtomicBool::new(false);
    let (builds, collections) = std::thread::scope(|scope| {
        let collector = scope.spawn(|| {
            let mut collections = 0;
            while !over.load(Ordering::Relaxed) {
                let command =
                    [&["builder", "prune", "-a", "-f"][..], &["builder", "prune", "-f"], &["system", "prune", "-f"]]
                        [collections % 3];
                kiln.ok(command);
                collections += 1;
            }
            collections
        });
        let builds =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| projects.all_at_once(&kiln, &sequential)));
        over.store(true, Ordering::Relaxed);
        let collections = collector.join().expect("collector");
        (builds.unwrap_or_else(|panic| std::panic::resume_unwind(panic)), collections)
    });
    assert!(collections > 0);
    kiln.ok(&["system", "check"]);
    let executions: usize = executions(&builds).values().sum();
    say(&format!("{} builds at once, {collections} collections beside them, {executions} executions", builds.len()));
}

/// A file of that name anywhere below a directory.
fn find(directory: &Path, name: &str) -> PathBuf {
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        if directory.join(name).is_file() {
            return directory.join(name);
        }
        let entries = fs::read_dir(&directory).expect("directory").flatten();
        directories.extend(entries.map(|entry| entry.path()).filter(|path| path.is_dir()));
    }
    panic!("no {name} below {}", directory.display());
}
