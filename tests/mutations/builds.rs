//! Building a project with kiln: in a store that knows earlier builds, and in one that knows nothing.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use kiln_tests::kiln::{Kiln, answer, fixture};
use kiln_tests::testdata;
use serde_json::Value;

use crate::generate::IMAGES;
use crate::model::Label;
use crate::project::Project;

/// What a build did.
pub(crate) struct Built {
    /// Whether each step that was shown was executed.
    pub(crate) steps: BTreeMap<Label, bool>,
    /// Whether it succeeded.
    pub(crate) succeeded: bool,
    /// What it said.
    pub(crate) said: String,
    /// Why each step ran, as JSON.
    pub(crate) explained: Value,
}

/// Archives of the base images, by their names.
pub(crate) struct Images(Vec<(&'static str, PathBuf)>);

impl Images {
    /// Busybox, and an image that is made of it.
    pub(crate) fn new(kiln: &Kiln) -> Images {
        let directory = kiln.scratch("images");
        let busybox = directory.join("busybox.tar");
        let layout = fixture("busybox");
        answer(Command::new("tar").arg("-C").arg(layout).arg("-cf").arg(&busybox).arg(".")).succeeded();
        kiln.ok(&["load", "-i", text(&busybox)]);
        let context = kiln.scratch("other");
        std::fs::write(context.join("Dockerfile"), "FROM busybox\nRUN echo other > /other\n").expect("Dockerfile");
        let other = directory.join("other.tar");
        kiln.ok(&["build", "-q", "-t", IMAGES[1], text(&context)]);
        kiln.ok(&["save", "-o", text(&other), IMAGES[1]]);
        Images(vec![(IMAGES[0], busybox), (IMAGES[1], other)])
    }

    /// Loads those that a Dockerfile names.
    pub(crate) fn load(&self, kiln: &Kiln, dockerfile: &str) {
        for (_, archive) in self.0.iter().filter(|(name, _)| dockerfile.contains(&format!(" {name} AS"))) {
            kiln.ok(&["load", "-i", text(archive)]);
        }
    }

    fn archives(&self) -> Vec<&Path> {
        self.0.iter().map(|(_, archive)| archive.as_path()).collect()
    }
}

/// Builds a project from the context that lies in `context`, into an archive.
pub(crate) fn build(kiln: &Kiln, project: &Project, context: &Path, archive: &Path, flags: &[&str]) -> Built {
    let work = kiln.scratch("work");
    let (dockerfile, secret) = (work.join("Dockerfile"), work.join("secret"));
    std::fs::write(&dockerfile, project.dockerfile()).expect("Dockerfile");
    std::fs::write(&secret, &project.secret).expect("secret");
    let mut command = kiln.command(&["build", "--progress", "plain", "--explain=json", "--secret"]);
    command.arg(format!("id=s,src={}", secret.display()));
    for (name, value) in &project.arguments {
        command.args(["--build-arg", &format!("{name}={value}")]);
    }
    command.args(flags).arg("-f").arg(&dockerfile);
    command.args(["--output", &format!("type=oci,compression=uncompressed,dest={}", archive.display())]).arg(context);
    let answer = answer(&mut command);
    let explained = serde_json::from_str(&answer.stdout).unwrap_or_default();
    Built { explained, steps: steps(&answer.stderr), succeeded: answer.status.success(), said: answer.to_string() }
}

/// Reads lines such as `#4 [s1 2/3] RUN make` and `#4 CACHED`; whether each step was executed. `FROM` is no step.
fn steps(progress: &str) -> BTreeMap<Label, bool> {
    let mut labels: BTreeMap<&str, Label> = BTreeMap::new();
    let mut steps = BTreeMap::new();
    for line in progress.lines() {
        let Some((number, rest)) = line.split_once(' ').filter(|(number, _)| number.starts_with('#')) else { continue };
        if let Some(label) = label(rest) {
            labels.insert(number, label);
            steps.entry(label).or_insert(true);
        } else if rest == "CACHED"
            && let Some(label) = labels.get(number)
        {
            steps.insert(*label, false);
        }
    }
    steps
}

fn label(text: &str) -> Option<Label> {
    let (place, instruction) = text.strip_prefix("[s")?.split_once("] ")?;
    let (stage, count) = place.split_once(' ')?;
    let (number, _) = count.trim().split_once('/')?;
    (!instruction.starts_with("FROM")).then_some((stage.parse().ok()?, number.parse().ok()?))
}

/// Tells differences of images, by diffbuild.py in a process of its own.
pub(crate) struct Comparison {
    child: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Comparison {
    /// Starts it.
    pub(crate) fn new(images: &Images) -> Comparison {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("mutations/compare.py");
        let mut command = Command::new("python3");
        command.arg("-B").arg(script).arg(testdata("conformance")).args(images.archives());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3");
        let questions = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        Comparison { child, questions, answers }
    }

    /// What differs between two archives but times.
    pub(crate) fn differences(&mut self, one: &Path, other: &Path) -> Vec<String> {
        let questions = self.questions.as_mut().expect("open until it is dropped");
        writeln!(questions, "{}\t{}", one.display(), other.display()).expect("question");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("answer");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }
}

impl Drop for Comparison {
    fn drop(&mut self) {
        drop(self.questions.take());
        let _ = self.child.wait();
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("path in UTF-8")
}
