//! A store with a project whose builds are explained, in words that are the same every time.

use std::fs;
use std::path::{Path, PathBuf};

use expect_test::Expect;
use kiln_tests::kiln::{Answer, Kiln};
use serde_json::Value;

/// A build context in a directory of its own.
pub(crate) struct Project<'k> {
    kiln: &'k Kiln,
    pub(crate) directory: PathBuf,
}

/// A store with busybox in it.
pub(crate) fn with_busybox() -> Kiln {
    let kiln = Kiln::new();
    kiln.load("busybox");
    kiln
}

impl<'k> Project<'k> {
    /// A project called `name` with this Dockerfile.
    pub(crate) fn new(kiln: &'k Kiln, name: &str, dockerfile: &str) -> Self {
        let project = Project { kiln, directory: kiln.scratch(name) };
        project.write("Dockerfile", dockerfile);
        project
    }

    /// Writes a file of it, with the directories that lead there.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.directory.join(name);
        fs::create_dir_all(path.parent().expect("parent")).expect("directories");
        fs::write(path, text).expect("file");
    }

    /// The same project in another directory.
    pub(crate) fn cloned(&self, name: &str) -> Project<'k> {
        let directory = self.kiln.scratch(name);
        for entry in fs::read_dir(&self.directory).expect("project") {
            let entry = entry.expect("entry");
            fs::copy(entry.path(), directory.join(entry.file_name())).expect("copy");
        }
        Project { kiln: self.kiln, directory }
    }

    /// Builds, with these flags too.
    pub(crate) fn build(&self, flags: &[&str]) -> Answer {
        self.run(flags).succeeded()
    }

    /// Builds, well or not.
    pub(crate) fn run(&self, flags: &[&str]) -> Answer {
        self.kiln.run(&[&["build", "-q"], flags, &[self.directory.to_str().expect("UTF-8")]].concat())
    }

    /// Builds, and compares what is said of the steps that are no plain hits.
    pub(crate) fn explains(&self, flags: &[&str], expected: Expect) {
        let answer = self.build(&[&["--explain"], flags].concat());
        expected.assert_eq(&without_hits(&self.steady(&answer.stderr)));
    }

    /// Builds, and gives what is said of the steps as JSON.
    pub(crate) fn document(&self, flags: &[&str]) -> Value {
        let answer = self.build(&[&["--explain=json"], flags].concat());
        let (document, _id) = answer.stdout.rsplit_once("sha256:").expect("an id behind the document");
        serde_json::from_str(document).expect("JSON")
    }

    /// A text without times, digests and directories, which are others each time.
    pub(crate) fn steady(&self, text: &str) -> String {
        steady(text, self.directory.parent().expect("scratch"))
    }
}

/// The lines of steps that were no plain hits, with what is said of them.
fn without_hits(text: &str) -> String {
    text.lines().filter(|line| !line.ends_with(": hit")).map(|line| format!("{line}\n")).collect()
}

fn steady(text: &str, scratch: &Path) -> String {
    let text = text.replace(scratch.to_str().expect("UTF-8"), "");
    let text = each_word(&text, "sha256:", |rest| {
        let digits = rest.chars().take_while(char::is_ascii_hexdigit).count();
        (digits, "...")
    });
    let text = each_word(&text, " on 20", |rest| (moment(rest), "TIME"));
    each_word(&text, " of 20", |rest| (moment(rest), "TIME"))
}

/// How long `26-11-21 17:37:39 UTC` is.
fn moment(rest: &str) -> usize {
    rest.find(" UTC").map_or(0, |end| end + 4)
}

/// Replaces what follows `start`, as long as `replace` says. A space at the start is kept, a beginning of a year not.
fn each_word(text: &str, start: &str, replace: impl Fn(&str) -> (usize, &'static str)) -> String {
    let mut parts = text.split(start);
    let mut done = parts.next().unwrap_or_default().to_owned();
    for rest in parts {
        let (length, by) = replace(rest);
        done.push_str(start.trim_end_matches("20"));
        done.push_str(by);
        done.push_str(&rest[length..]);
    }
    done
}
