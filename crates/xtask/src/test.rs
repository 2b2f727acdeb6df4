//! `cargo xtask test`: everything that must hold before a change goes in, from an empty target directory on.
//! Ends with one line of counts.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::command::{Outcome, program, run, shown, watch};
use crate::{binary, fixtures, moto, packages, workspace};

#[derive(Default)]
struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
}

/// Runs all checks; `full` with the large counts. The error says which failed.
pub(crate) fn test(full: bool) -> Outcome {
    packages::ensure(packages::TESTS)?;
    fixtures::assemble()?;
    let root = workspace::root()?;
    moto::ensure(&root)?;
    let mut wrong = Vec::new();
    let lints = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    let faults =
        ["clippy", "-p", "kiln-store", "--all-targets", "--features", "fault-injection", "--", "-D", "warnings"];
    for check in [&["fmt", "--all", "--check"][..], &lints, &faults] {
        let mut command = cargo(&root, check);
        println!("$ {}", shown(&command));
        wrong.extend(run(&mut command).err());
    }
    let (binary, with_faults) = (binary::release(&root)?, binary::with_faults(&root)?);
    let notes = workspace::target(&root).join("test-notes.txt");
    fs::write(&notes, "").map_err(|e| format!("{}: {e}", notes.display()))?;
    let mut counts = Counts::default();
    for mut command in suites(&root) {
        command.env("KILN_BIN", &binary).env("KILN_FAULT_BIN", &with_faults).env("KILN_TEST_NOTES", &notes);
        if full {
            command.env("KILN_TEST_FULL", "1");
        }
        wrong.extend(run_suite(&mut command, &mut counts).err());
    }
    let notes = fs::read_to_string(&notes).map_err(|e| format!("{}: {e}", notes.display()))?;
    // A test that panics is counted by its suite; one that skipped itself was counted as passed.
    let skips = notes.lines().filter(|line| line.starts_with("skipped: "));
    counts.skipped += skips.collect::<BTreeSet<_>>().len() as u64;
    println!("\n{notes}");
    for message in &wrong {
        println!("failed: {message}");
    }
    println!("{} passed, {} failed, {} skipped", counts.passed, counts.failed, counts.skipped);
    if wrong.is_empty() && counts.failed == 0 { Ok(()) } else { Err("not everything passed".into()) }
}

/// The commands that run the tests: nextest where it is installed, cargo's own runner otherwise.
fn suites(root: &Path) -> Vec<Command> {
    let nextest = program("cargo", &["nextest", "--version"]).output();
    let all: &[&str] = if nextest.is_ok_and(|answer| answer.status.success()) {
        &["nextest", "run", "--workspace", "--no-fail-fast", "--hide-progress-bar"]
    } else {
        &["test", "--workspace", "--all-targets", "--no-fail-fast"]
    };
    vec![cargo(root, all), cargo(root, &["test", "--workspace", "--doc", "--no-fail-fast"])]
}

fn cargo(root: &Path, args: &[&str]) -> Command {
    let mut command = program("cargo", args);
    command.current_dir(root);
    // What cargo set for this process would make the workspace's own settings look changed.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR" {
            command.env_remove(name);
        }
    }
    command
}

fn run_suite(command: &mut Command, counts: &mut Counts) -> Outcome {
    println!("$ {}", shown(command));
    let mut seen = 0;
    let result = watch(command, |line| {
        if let Some(found) = summary(line) {
            seen += 1;
            counts.passed += found.passed;
            counts.failed += found.failed;
            counts.skipped += found.skipped;
        }
    });
    if seen == 0 {
        return result.and(Err(format!("`{}` ran nothing", shown(command))));
    }
    result
}

/// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; …` and nextest's `Summary […] 3 tests run: 3 passed, 1 skipped`.
fn summary(line: &str) -> Option<Counts> {
    let line = line.trim_start();
    let counts = line
        .strip_prefix("test result: ")
        .or_else(|| line.strip_prefix("Summary ")?.split_once("run: ").map(|(_, counts)| counts))?;
    let words: Vec<&str> = counts.split([' ', ',', ';', '(', ')']).filter(|word| !word.is_empty()).collect();
    let before = |names: &[&str]| {
        let pairs = words.windows(2).filter(|pair| names.contains(&pair[1]));
        pairs.filter_map(|pair| pair[0].parse::<u64>().ok()).sum()
    };
    Some(Counts {
        passed: before(&["passed"]),
        failed: before(&["failed", "timed"]),
        skipped: before(&["ignored", "skipped"]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_kinds_of_summaries() {
        let counts = |line| summary(line).map(|found| (found.passed, found.failed, found.skipped));
        let nextest = "     Summary [   0.005s] 7 tests run: 5 passed (1 slow), 2 failed, 1 skipped";
        assert_eq!(counts(nextest), Some((5, 2, 1)));
        let cargo = "test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert_eq!(counts(cargo), Some((3, 1, 2)));
        assert_eq!(counts("running 3 tests"), None);
    }
}
