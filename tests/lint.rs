//! `kiln lint` from the command line: where it finds the Dockerfile, what it prints, how it exits.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use kiln_tests::kiln::Kiln;
use serde_json::Value;

const WRONG: &str = "FROM busybox as b\nCOPY out/app /app\nRUN cd /app\n";

/// A context with this Dockerfile and an ignore file that leaves out `out`.
fn context(kiln: &Kiln, dockerfile: &str) -> std::path::PathBuf {
    let context = kiln.scratch("context");
    fs::write(context.join("Dockerfile"), dockerfile).expect("Dockerfile");
    fs::write(context.join(".dockerignore"), "out\n").expect(".dockerignore");
    context
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn findings_have_lines_and_exit_with_1() {
    let kiln = Kiln::new();
    let context = context(&kiln, WRONG);
    let answer = kiln.run(&["lint", text(&context)]);
    assert_eq!(answer.code(), 1, "{answer}");
    assert!(answer.stdout.starts_with("Check complete, 2 warnings have been found!\n"), "{answer}");
    for words in ["WARNING: FromAsCasing - https://", "WARNING: CopyIgnoredFile", "HINT: kiln/ChangeDirectoryLost"] {
        assert!(answer.stdout.contains(words), "{words}: {answer}");
    }
    assert!(answer.stdout.contains("Dockerfile:3\n--------------------\n"), "{answer}");
    let file = context.join("Dockerfile");
    for arguments in [vec!["lint", text(&file)], vec!["lint", "-f", text(&file), text(&context)]] {
        assert_eq!(kiln.run(&arguments).stdout, answer.stdout, "{arguments:?}");
    }
    let answer = kiln.run(&["lint", "--no-hints", text(&context)]);
    assert!(answer.code() == 1 && !answer.stdout.contains("HINT"), "{answer}");
}

#[test]
fn the_dockerfile_may_come_from_the_standard_input() {
    let kiln = Kiln::new();
    let context = context(&kiln, "FROM scratch\n");
    let mut command = kiln.command(&["lint", "-f", "-", text(&context)]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("kiln");
    child.stdin.take().expect("stdin").write_all(WRONG.as_bytes()).expect("write");
    let output = child.wait_with_output().expect("kiln");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("FromAsCasing"));
}

#[test]
fn hints_alone_are_no_failure_unless_asked_to_be() {
    let kiln = Kiln::new();
    let context = context(&kiln, "FROM busybox\nRUN cd /app\n");
    let answer = kiln.ok(&["lint", text(&context)]);
    assert!(answer.stdout.contains("HINT: kiln/ChangeDirectoryLost"), "{answer}");
    assert_eq!(kiln.run(&["lint", "--strict", text(&context)]).code(), 1);
}

#[test]
fn the_directive_and_the_build_argument_choose_the_rules() {
    let kiln = Kiln::new();
    let dockerfile = format!("# check=skip=FromAsCasing,CopyIgnoredFile,kiln/ChangeDirectoryLost\n{WRONG}");
    let context = context(&kiln, &dockerfile);
    let answer = kiln.ok(&["lint", text(&context)]);
    assert_eq!(answer.stdout, "Check complete, no warnings found.\n", "{answer}");
    let answer = kiln.run(&["lint", "--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=CopyIgnoredFile", text(&context)]);
    assert!(answer.code() == 1 && answer.stdout.contains("1 warning has been found!"), "{answer}");
}

#[test]
fn a_rule_that_does_not_exist_is_told() {
    let kiln = Kiln::new();
    let context = context(&kiln, "# check=skip=JSONArgRecommended,undefinedvar\nFROM scratch\n");
    let answer = kiln.ok(&["lint", text(&context)]);
    let notes = "note: no rule is called JSONArgRecommended (did you mean JSONArgsRecommended?)\n\
        note: no rule is called undefinedvar (did you mean UndefinedVar?)\n";
    assert_eq!(answer.stderr, notes);
}

#[test]
fn what_cannot_be_built_is_told_with_its_place() {
    let kiln = Kiln::new();
    let context = context(&kiln, "FROM busybox\nFRM x\nUSER\n");
    let answer = kiln.run(&["lint", text(&context)]);
    assert_eq!(answer.code(), 1, "{answer}");
    assert!(answer.stderr.contains("Dockerfile:2") && answer.stderr.contains("did you mean FROM?"), "{answer}");
    assert!(answer.stderr.contains("Dockerfile:3"), "all errors at once: {answer}");
}

#[test]
fn a_file_for_another_frontend_is_not_judged() {
    let kiln = Kiln::new();
    let context = context(&kiln, "# syntax=example.org/other:1\nFROM scratch as a\nSTRANGE\n");
    let answer = kiln.run(&["lint", text(&context)]);
    assert_eq!((answer.code(), answer.stdout.as_str()), (1, ""), "{answer}");
    assert!(answer.stderr.contains("example.org/other:1"), "{answer}");
}

#[test]
fn machines_read_json_and_sarif() {
    let kiln = Kiln::new();
    let context = context(&kiln, WRONG);
    let json: Value =
        serde_json::from_str(&kiln.run(&["lint", "--format", "json", text(&context)]).stdout).expect("JSON");
    let rules: Vec<&str> = json["warnings"]
        .as_array()
        .expect("warnings")
        .iter()
        .filter_map(|warning| warning["ruleName"].as_str())
        .collect();
    assert_eq!(rules, ["FromAsCasing", "CopyIgnoredFile", "kiln/ChangeDirectoryLost"]);
    let file = context.join("Dockerfile");
    let sarif: Value =
        serde_json::from_str(&kiln.run(&["lint", "--format", "sarif", text(&file)]).stdout).expect("JSON");
    let results = sarif["runs"][0]["results"].as_array().expect("results");
    assert_eq!(results.len(), 3, "{results:?}");
    assert_eq!(results[0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"], text(&file));
}

#[test]
fn a_check_by_the_builder_knows_what_the_base_sets() {
    let kiln = Kiln::new();
    kiln.load("busybox");
    let context = context(&kiln, "FROM busybox\nLABEL path=$PATH typo=$PAHT\nRUN cd /tmp\n");
    let lint = kiln.ok(&["lint", text(&context)]);
    assert!(lint.stderr.contains("may come from a base image (busybox"), "{lint}");
    let check = kiln.run(&["build", "--check", text(&context)]);
    assert_eq!(check.code(), 1, "{check}");
    assert!(check.stdout.contains("Usage of undefined variable '$PAHT' (did you mean $PATH?)"), "{check}");
    assert!(!check.stdout.contains("HINT"), "hints are for kiln lint: {check}");
    let built = kiln.ok(&["build", "--progress", "plain", text(&context)]);
    let told = " - UndefinedVar: Usage of undefined variable '$PAHT' (did you mean $PATH?) (line 2)\n";
    assert!(built.stderr.contains(" 1 warning found") && built.stderr.contains(told), "{built}");
}
