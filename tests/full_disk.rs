//! A disk that fills up in the middle of each phase: what is said, that the store is sound afterwards, and that the disk
//! can be used again after a prune, even if not one block is left.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use kiln_tests::disk::FileSystem;
use kiln_tests::image::{difference, shown};
use kiln_tests::is_root_for;
use kiln_tests::kiln::{Answer, Kiln};
use kiln_tests::skip;

/// A store with a base on a disk of 48 MiB, and a context elsewhere.
struct Small {
    kiln: Kiln,
    context: PathBuf,
}

/// What a full disk is called, whoever finds it.
const FULL: [&str; 3] = ["No space left on device", "database or disk is full", "the disk of"];

impl Small {
    /// None if this is not root.
    fn new(test: &str) -> Option<Small> {
        if !is_root_for(test) {
            return None;
        }
        if let Some(reason) = FileSystem::Ext4.is_missing() {
            skip(test, &reason);
            return None;
        }
        let kiln = Kiln::on_disk_of("48M");
        kiln.load("busybox");
        let context = kiln.home().join("context");
        std::fs::create_dir_all(context.join("data")).expect("context");
        let small = Small { kiln, context };
        for number in 0..200 {
            small.write(&format!("data/{number}"), format!("{number:08}").repeat(1500).as_bytes());
        }
        small.dockerfile("COPY data /data\nRUN cat /data/* > /sum && mkdir /d && cp /sum /d/copy\n");
        Some(small)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.context.join(name), bytes).expect("context");
    }

    fn dockerfile(&self, steps: &str) {
        self.write("Dockerfile", format!("FROM busybox\n{steps}").as_bytes());
    }

    /// Fills the disk until so many bytes are free, or none at all; empties it again when dropped.
    fn fill(&self, free: u64) -> Filler {
        let disk = self.kiln.disk().expect("a disk of its own");
        let path = disk.join("filler");
        let mut file = File::create(&path).expect("filler");
        let block = vec![0xA5; 64 << 10];
        loop {
            let found = rustix::fs::statvfs(disk).expect("statvfs");
            let left = (found.f_bfree * found.f_frsize).saturating_sub(free);
            if left == 0 {
                break;
            }
            let part = block.len().min(usize::try_from(left).unwrap_or(block.len()));
            // What the file system itself needs may leave less than it says.
            if file.write_all(&block[..part]).and_then(|()| file.sync_data()).is_err() {
                break;
            }
        }
        Filler { path }
    }

    fn build(&self, flags: &[&str]) -> Answer {
        self.kiln.run(&[&["build"], flags, &[text(&self.context)]].concat())
    }

    /// The command failed as it should, and left a store that is sound.
    #[track_caller]
    fn refused(&self, answer: &Answer, code: i32) {
        assert_eq!(answer.code(), code, "{answer}");
        assert!(FULL.iter().any(|words| answer.stderr.contains(words)), "it does not say what is full: {answer}");
        assert!(!answer.stderr.contains("panicked"), "{answer}");
    }

    /// The store's own disk is meant, and what helps is told.
    #[track_caller]
    fn refused_with_hint(&self, answer: &Answer, code: i32) {
        self.refused(answer, code);
        assert!(answer.stderr.contains(text(&self.kiln.root())), "it does not say where: {answer}");
        assert!(answer.stderr.contains("prune"), "it has no hint: {answer}");
    }

    #[track_caller]
    fn sound(&self) {
        self.kiln.ok(&["system", "check", "-q"]);
    }

    /// The image of the context as an archive, on another disk.
    fn archive(&self, name: &str) -> serde_json::Value {
        let archive = self.kiln.home().join(name);
        let output = format!("type=oci,dest={}", text(&archive));
        let answer = self.build(&["-q", "--output", &output]).succeeded();
        drop(answer);
        shown(&archive)
    }
}

/// Takes space until it is dropped.
struct Filler {
    path: PathBuf,
}

impl Drop for Filler {
    fn drop(&mut self) {
        let removed = std::fs::remove_file(&self.path);
        if !std::thread::panicking() {
            removed.expect("filler");
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("path in UTF-8")
}

#[test]
fn wherever_a_build_runs_out_of_space_the_next_is_as_if_it_had_not() {
    let Some(small) = Small::new("builds on a disk that fills up") else { return };
    let mut failed = 0;
    let kibibytes: &[u64] = &[0, 500, 1000, 1600, 2300, 3000, 4000, 5000, 6000, 7000, 8000];
    for free in kibibytes {
        let filler = small.fill(free << 10);
        let answer = small.build(&["--no-cache", "-t", "app"]);
        if !answer.status.success() {
            failed += 1;
            small.refused_with_hint(&answer, 1);
        }
        drop(filler);
        small.sound();
        small.kiln.ok(&["builder", "prune", "-af"]);
    }
    assert!(failed >= 3, "only {failed} builds ran out of space");
    let undisturbed = Small::new("the build to compare with").expect("root");
    let (after, fresh) = (small.archive("after.tar"), undisturbed.archive("after.tar"));
    assert_eq!(difference(&after, &fresh), None);
}

#[test]
fn a_step_that_writes_too_much() {
    let Some(small) = Small::new("steps that write too much") else { return };
    let steps = [
        "RUN head -c 60m /dev/urandom > /large\n",
        "RUN --mount=type=cache,target=/cache head -c 60m /dev/urandom > /cache/large\n",
        "RUN i=0; while [ $i -lt 90000 ]; do : > /$i || exit 1; i=$((i+1)); done\n",
    ];
    for step in steps {
        small.dockerfile(step);
        small.refused_with_hint(&small.build(&[]), 1);
        small.kiln.ok(&["builder", "prune", "-af"]);
        small.sound();
    }
    small.dockerfile("COPY large /\n");
    let noise = File::open("/dev/urandom").expect("noise");
    let mut large = File::create(small.context.join("large")).expect("large");
    std::io::copy(&mut std::io::Read::take(noise, 60 << 20), &mut large).expect("large");
    small.refused_with_hint(&small.build(&[]), 1);
    small.sound();
    small.dockerfile("RUN true\n");
    small.build(&[]).succeeded();
}

#[test]
fn loading_an_image() {
    let Some(small) = Small::new("loading on a disk that fills up") else { return };
    let archive = small.kiln.home().join("base.tar");
    small.kiln.ok(&["save", "-o", text(&archive), "busybox"]);
    small.kiln.ok(&["rmi", "busybox"]);
    small.kiln.ok(&["system", "prune", "-af"]);
    for free in [0, 100, 400, 1000, 1700] {
        let filler = small.fill(free << 10);
        small.refused_with_hint(&small.kiln.run(&["load", "-i", text(&archive)]), 1);
        drop(filler);
        small.sound();
    }
    small.kiln.ok(&["load", "-i", text(&archive)]);
    small.kiln.ok(&["run", "--rm", "busybox", "true"]);
}

#[test]
fn an_output_on_a_full_disk() {
    let Some(small) = Small::new("outputs on a full disk") else { return };
    let elsewhere = Kiln::on_disk_of("2M");
    let disk = elsewhere.disk().expect("disk");
    small.dockerfile("RUN head -c 4m /dev/urandom > /large\n");
    let (archive, directory) = (disk.join("out.tar"), disk.join("tree"));
    for output in [format!("type=oci,dest={}", text(&archive)), format!("type=local,dest={}", text(&directory))] {
        let answer = small.build(&["--output", &output]);
        small.refused(&answer, 1);
        assert!(answer.stderr.contains(text(disk)), "it does not say where: {answer}");
        let left: Vec<_> = std::fs::read_dir(disk).expect("disk").flatten().map(|entry| entry.file_name()).collect();
        assert!(left.iter().all(|name| name == "lost+found" || name == "tree"), "left behind: {left:?}");
    }
    small.sound();
}

#[test]
fn a_disk_without_one_free_block_is_made_usable_by_a_prune() {
    let Some(small) = Small::new("prunes on a full disk") else { return };
    for stamp in ["a", "b", "c"] {
        small.dockerfile(&format!("RUN head -c 4m /dev/urandom > /large; echo {stamp}\n"));
        small.build(&["-q"]).succeeded();
    }
    let filler = small.fill(0);
    let commands: [&[&str]; 3] = [&["builder", "prune", "-af"], &["images"], &["system", "prune", "-af"]];
    for command in commands {
        small.kiln.ok(command);
    }
    small.sound();
    small.kiln.load("busybox");
    small.dockerfile("RUN head -c 4m /dev/urandom > /large\n");
    small.build(&["-t", "app"]).succeeded();
    drop(filler);
}

#[test]
fn names_can_be_taken_away_on_a_full_disk() {
    let Some(small) = Small::new("rmi on a full disk") else { return };
    small.build(&["-q", "-t", "app"]).succeeded();
    let filler = small.fill(0);
    small.kiln.ok(&["rmi", "app"]);
    assert!(!small.kiln.ok(&["images"]).stdout.contains("app"));
    drop(filler);
    small.sound();
}

#[test]
fn a_container_that_fills_the_disk() {
    let Some(small) = Small::new("containers that fill the disk") else { return };
    let answer = small.kiln.run(&["run", "--rm", "busybox", "sh", "-c", "head -c 60m /dev/urandom > /large"]);
    assert_eq!(answer.code(), 1, "{answer}");
    let filler = small.fill(0);
    let answer = small.kiln.run(&["run", "--rm", "busybox", "true"]);
    if !answer.status.success() {
        small.refused_with_hint(&answer, 125);
    }
    drop(filler);
    small.kiln.ok(&["run", "--rm", "busybox", "true"]);
    assert_eq!(small.kiln.ok(&["ps", "-aq"]).stdout, "");
    small.sound();
}
