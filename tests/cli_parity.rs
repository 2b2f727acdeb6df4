//! Command lines with docker's recorded answers. Those that use only commands which kiln has must agree in exit code
//! and standard output; differences are named, with reasons, in `testdata/cli/differences.txt`.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use kiln_tests::docker_registry::DockerRegistry;
use kiln_tests::kiln::{Kiln, answer};
use kiln_tests::{exceptions, is_root_for, say, testdata};
use serde_json::Value;

/// Commands of docker that kiln has; `start` only with `-a`, `run` only in the foreground.
const COMMANDS: &[&str] = &[
    "build", "buildx", "commit", "export", "history", "image", "images", "import", "info", "inspect", "load", "ps",
    "pull", "push", "rm", "rmi", "run", "save", "start", "system", "tag", "version",
];
const SCENARIOS: &[&str] =
    &["build-buildkit", "commit", "images", "lifecycle", "ps-inspect", "pull-push", "run-basics", "save-load"];

#[test]
fn answers_are_those_of_docker() {
    if !is_root_for("command lines") {
        return;
    }
    let kiln = Kiln::on_fresh_disk();
    let registry = DockerRegistry::with(&["busybox", "debian"]);
    let result = kiln.scratch("result").join("verdicts.json");
    let mut command = Command::new("python3");
    command.arg("-B").arg(testdata("cli/clicheck.py")).args(["compare", "-v", "--docker"]).arg(kiln.program());
    command.args(["--registry", registry.address(), "--json"]).arg(&result).args(SCENARIOS);
    let environment = kiln.environment().into_iter().filter(|(name, _)| name.starts_with("KILN"));
    let answer = answer(command.envs(environment).stdin(Stdio::null()));
    println!("{answer}");
    let text = std::fs::read_to_string(&result).unwrap_or_else(|e| panic!("no verdicts: {e}\n{answer}"));
    let rows: Vec<Value> = serde_json::from_str(&text).expect("verdicts");
    let (mut compared, mut different) = (0, BTreeSet::new());
    for row in &rows {
        let command = row["cmd"].as_str().expect("command");
        if !in_scope(command) {
            continue;
        }
        compared += 1;
        // What else is said on standard error may be kiln's own.
        let same = row["want"]["exit"] == row["got"]["exit"] && row["want"]["stdout"] == row["got"]["stdout"];
        if !same && !["exact", "close"].contains(&row["verdict"].as_str().expect("verdict")) {
            different.insert(format!("{} $ {command}", row["scenario"].as_str().expect("scenario")));
        }
    }
    say(&format!("command lines: {compared} compared, {} agree", compared - different.len()));
    assert!(compared >= 40, "only {compared} command lines were compared");
    exceptions::check(&different, &testdata("cli/differences.txt"));
}

/// Whether a line uses only what kiln has.
fn in_scope(line: &str) -> bool {
    line.split("docker ").skip(1).all(|rest| {
        let words: Vec<&str> = rest.split_whitespace().collect();
        let has = |flags: &[&str]| words.iter().any(|word| flags.contains(word));
        let command = words.first().copied().unwrap_or_default();
        let in_foreground = !has(&["-d", "-dit", "-p", "-P"]) && (command != "start" || has(&["-a", "-ai"]));
        COMMANDS.contains(&command) && in_foreground
    })
}
