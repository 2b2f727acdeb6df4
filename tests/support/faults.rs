//! Commands that are killed, or whose operations fail, at the n-th change that they make to their store: what each
//! must leave is what the same command leaves undisturbed.
//!
//! They are run by a second binary with the feature `fault-injection`, which is kiln with a counter under its store.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::kiln::{Answer, Kiln, answer, tool};
use crate::running::wait_until;
use crate::{full, hygiene, say};

/// `$KILN_FAULT_BIN`, or built now beside the test.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| match std::env::var_os("KILN_FAULT_BIN") {
        Some(path) => PathBuf::from(path),
        None => build(),
    })
}

fn build() -> PathBuf {
    let test = std::env::current_exe().expect("path of this test");
    let profile = test.parent().and_then(Path::parent).expect("target/PROFILE/deps");
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--offline", "--quiet", "--package", "kiln", "--bin", "kiln-fault-injection"]);
    cargo.args(["--features", "fault-injection", "--target-dir"]).arg(profile.parent().expect("target"));
    answer(cargo.current_dir(crate::workspace())).succeeded();
    profile.parent().expect("target").join("debug/kiln-fault-injection")
}

/// How many times as many operations the full run takes of what is not done exhaustively.
const FULL: usize = 5;

/// One command, and how its effect is judged.
pub struct Scenario<'a> {
    /// For messages.
    pub name: &'a str,
    /// The store that it starts from, and to which nothing happens.
    pub before: &'a Kiln,
    /// What is run.
    pub command: &'a [&'a str],
    /// Its exit code when it fails.
    pub refusal: i32,
    /// How many of its operations the ordinary run takes; the full one takes more.
    pub at_most: usize,
    /// The full run takes them all.
    pub exhaustive: bool,
    /// Does the same again, undisturbed, and tells what a user has then.
    pub outcome: &'a dyn Fn(&Kiln) -> String,
}

/// An operation of an undisturbed run.
struct Operation {
    number: usize,
    kind: String,
}

impl Scenario<'_> {
    /// Kills the command before each operation.
    pub fn survives_kills(&self) {
        self.survives_kills_and("", |_| {});
    }

    /// The same, and `then` happens before anybody looks.
    pub fn survives_kills_and(&self, then_what: &str, then: impl Fn(&Kiln)) {
        let expected = self.undisturbed();
        let chosen = self.chosen(self.exhaustive);
        let mut killed = 0;
        for operation in &chosen {
            let Operation { number, kind } = operation;
            let what = format!("{}, killed before operation {number} ({kind}){then_what}", self.name);
            let kiln = self.before.copy();
            let answer = self.run(&kiln, &format!("die@{}", operation.number));
            // Threads do not always come to the same number of operations.
            if answer.status.signal().is_none() {
                assert!(answer.status.success(), "{what}: {answer}");
                continue;
            }
            killed += 1;
            let ended = || hygiene::processes(&kiln.root()).is_empty();
            wait_until("the end of all that the killed command had started", ended);
            then(&kiln);
            judge(&what, &kiln, &expected, self.outcome);
        }
        assert!(killed * 10 >= chosen.len() * 9, "{}: only {killed} of {} were killed", self.name, chosen.len());
        say(&format!("{}: killed before {killed} of its operations{then_what}", self.name));
    }

    /// Makes operations fail with this error ("ENOSPC", "EIO"): as many as are killed, or a sample only. The message must
    /// have `words`.
    pub fn survives_failures(&self, error: &str, words: &[&str], sample: bool) {
        let expected = self.undisturbed();
        let chosen = self.chosen(self.exhaustive && !sample);
        let mut failed = 0;
        for operation in &chosen {
            let what = format!("{}, {error} at operation {} ({})", self.name, operation.number, operation.kind);
            let kiln = self.before.copy();
            let answer = self.run(&kiln, &format!("{error}@{}", operation.number));
            assert!(!answer.stderr.contains("panicked"), "{what}: {answer}");
            // What only tidies up may fail unseen: the next command does it.
            if !answer.status.success() {
                failed += 1;
                self.check_message(&what, &kiln, &answer, words);
            }
            judge(&what, &kiln, &expected, self.outcome);
        }
        assert!(failed * 3 >= chosen.len(), "{}: only {failed} of {} failed", self.name, chosen.len());
        say(&format!("{}: {error} at {} operations, {failed} of them told", self.name, chosen.len()));
    }

    fn check_message(&self, what: &str, kiln: &Kiln, answer: &Answer, words: &[&str]) {
        assert_eq!(answer.code(), self.refusal, "{what}: {answer}");
        let root = kiln.root();
        assert!(answer.stderr.contains(root.to_str().expect("UTF-8")), "{what}: it names no path: {answer}");
        for word in words {
            assert!(answer.stderr.contains(word), "{what}: {word:?} is missing: {answer}");
        }
    }

    fn run(&self, kiln: &Kiln, fault: &str) -> Answer {
        answer(self.start(kiln).env("KILN_FAULT", fault))
    }

    fn start(&self, kiln: &Kiln) -> Command {
        let mut command = kiln.command(self.command);
        command.env("SOURCE_DATE_EPOCH", "1");
        command
    }

    fn undisturbed(&self) -> String {
        let kiln = self.before.copy();
        answer(&mut self.start(&kiln)).succeeded();
        (self.outcome)(&kiln)
    }

    /// Those by which others come to see something, and a few of the rest; in the full run all, if `exhaustive`.
    fn chosen(&self, exhaustive: bool) -> Vec<Operation> {
        let all = self.operations();
        assert!(!all.is_empty(), "{}: it changes nothing", self.name);
        if full() && exhaustive {
            return all;
        }
        let at_most = if full() { self.at_most * FULL } else { self.at_most };
        let (seen, others): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|one| one.kind == "Rename" || one.kind == "Commit");
        let mut chosen = some(seen, at_most / 2);
        chosen.extend(some(others, at_most - chosen.len()));
        chosen.sort_by_key(|operation| operation.number);
        chosen
    }

    fn operations(&self) -> Vec<Operation> {
        let kiln = self.before.copy();
        let log = kiln.home().join("operations");
        answer(self.start(&kiln).env("KILN_FAULT_LOG", &log)).succeeded();
        let text = std::fs::read_to_string(&log).expect("a log of operations");
        let operations = text.lines().map(|line| {
            let (number, kind) = line.split_once(' ').expect("number and kind");
            Operation { number: number.parse().expect("number"), kind: kind.to_owned() }
        });
        operations.collect()
    }
}

/// So many of them, from all over.
fn some(operations: Vec<Operation>, count: usize) -> Vec<Operation> {
    let every = operations.len().div_ceil(count.max(1)).max(1);
    operations.into_iter().skip(every / 2).step_by(every).collect()
}

/// The store is sound, doing it again gives the same, and nothing is left.
fn judge(what: &str, kiln: &Kiln, expected: &str, outcome: &dyn Fn(&Kiln) -> String) {
    // Told if what follows fails.
    println!("{what}");
    let found = outcome(kiln);
    kiln.ok(&["system", "check", "-q"]);
    assert!(found == *expected, "{what}: afterwards\n{found}\ninstead of\n{expected}");
    let left = hygiene::left_behind(&kiln.root());
    assert!(left.is_empty(), "{what}: left behind:\n{}", left.join("\n"));
}

/// The SHA-256 of a file, in hexadecimal digits.
pub fn sha256(path: &Path) -> String {
    let sum = tool("sha256sum", &[path.to_str().expect("path in UTF-8")]);
    sum.split(' ').next().unwrap_or_default().to_owned()
}
