//! Does kiln build what BuildKit built? Recorded images of about 500 Dockerfiles, and which steps BuildKit took from
//! its cache after one change. Known differences are named, with reasons, in lists beside the cases.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};

use kiln_tests::kiln::{Answer, Kiln, answer};
use kiln_tests::registry::Registry;
use kiln_tests::{exceptions, is_root_for, say, testdata};
use serde_json::Value;

#[test]
fn images_are_those_of_buildkit() {
    if !is_root_for("recorded images") {
        return;
    }
    let verdicts = compared("conformance");
    assert!(verdicts.len() >= 180, "only {} cases ran", verdicts.len());
    exceptions::check(&with(&verdicts, "FAIL"), &testdata("conformance/differences.txt"));
    exceptions::check(&with(&verdicts, "SOFT"), &testdata("conformance/soft-differences.txt"));
    // One after the other: the cases have web and git servers on ports of their own.
    let verdicts = compared("conformance/further");
    assert!(verdicts.len() >= 300, "only {} cases ran", verdicts.len());
    let different: Vec<&String> =
        verdicts.iter().filter(|(_, verdict)| *verdict != "PASS").map(|(name, _)| name).collect();
    assert!(different.is_empty(), "{different:?}");
}

/// The verdict on each case of a directory of test data.
fn compared(directory: &str) -> BTreeMap<String, String> {
    let kiln = with_bases();
    let registry = Registry::serve(&["busybox", "debian"]);
    let result = kiln.scratch("result").join("verdicts.json");
    let cases = testdata(&format!("{directory}/cases")).display().to_string();
    let recorded = format!("recorded:{}", testdata(&format!("{directory}/recorded")).display());
    let builder = builder(&kiln);
    let address = registry.address();
    let result_path = result.display().to_string();
    let flags = ["run", "--cases", &cases, "--a", &recorded, "--b", &builder, "--registry", &address];
    let answer = python(&kiln, "diffbuild.py", &[&flags[..], &["--jobs", "2", "--json", &result_path]].concat());
    println!("{answer}");
    let text = std::fs::read_to_string(&result).unwrap_or_else(|e| panic!("no verdicts: {e}\n{answer}"));
    let verdicts: BTreeMap<String, Value> = serde_json::from_str(&text).expect("verdicts");
    let verdict = |value: &Value| value["verdict"].as_str().unwrap_or_default().to_owned();
    let verdicts = verdicts.iter().map(|(name, value)| (name.clone(), verdict(value))).collect();
    let count = |verdict: &str| with(&verdicts, verdict).len();
    say(&format!("{directory}: {} PASS, {} SOFT, {} FAIL", count("PASS"), count("SOFT"), count("FAIL")));
    verdicts
}

fn with(verdicts: &BTreeMap<String, String>, verdict: &str) -> BTreeSet<String> {
    verdicts.iter().filter(|(_, this)| *this == verdict).map(|(name, _)| name.clone()).collect()
}

#[test]
fn cached_steps_are_those_of_buildkit() {
    if !is_root_for("recorded cache decisions") {
        return;
    }
    let kiln = with_bases();
    let questions = testdata("conformance/cache.jsonl").display().to_string();
    let builder = builder(&kiln);
    let answer = python(&kiln, "cachecheck.py", &["run", "--file", &questions, "--builder", &builder]);
    println!("{answer}");
    let named = |verdict: &'static str| {
        let lines = answer.stdout.lines().filter_map(move |line| line.strip_prefix(verdict));
        lines.map(|name| name.trim().to_owned()).collect::<BTreeSet<String>>()
    };
    let (passed, failed) = (named("PASS "), named("FAIL "));
    say(&format!("cache decisions: {} as BuildKit, {} not", passed.len(), failed.len()));
    assert!(passed.len() + failed.len() >= 40, "only {} ran", passed.len() + failed.len());
    assert!(!answer.stdout.contains("STALE"), "a stale result is never a known difference");
    exceptions::check(&failed, &testdata("conformance/cache-differences.txt"));
}

fn with_bases() -> Kiln {
    let kiln = Kiln::on_fresh_disk();
    kiln.load("busybox");
    kiln.load("debian");
    kiln
}

fn builder(kiln: &Kiln) -> String {
    let program = kiln.program().display();
    format!("cmd:{program} build {{flags}} -f {{dockerfile}} --output type=oci,dest={{output}} {{context}}")
}

fn python(kiln: &Kiln, script: &str, args: &[&str]) -> Answer {
    let mut command = Command::new("python3");
    command.arg("-B").arg(testdata("conformance").join(script)).args(args).stdin(Stdio::null());
    // No answer depends on what a registry of the world says.
    command.env("HTTPS_PROXY", "http://127.0.0.1:1");
    answer(command.envs(kiln.environment()))
}
