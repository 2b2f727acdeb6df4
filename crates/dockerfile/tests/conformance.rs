//! Replays the recorded questions of `testdata/conformance` and compares as loosely as its documentation
//! says: the same verdict, the same values where both succeed, for a failure to parse the same line.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

#[path = "../examples/oracle/answer/mod.rs"]
mod answer;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/conformance")
}

fn failed(answer: &Value) -> bool {
    answer["ok"] == json!(false) || answer.get("error").is_some()
}

/// Whether the answers agree.
fn agree(op: &str, want: &Value, got: &Value) -> bool {
    if got.get("unsupported").is_some() {
        return false;
    }
    if op == "lint" {
        let fails = |answer: &Value| failed(answer) || answer.get("build_error").is_some();
        return findings(want) == findings(got) && fails(want) == fails(got);
    }
    if failed(want) || failed(got) {
        return failed(want) == failed(got) && (op != "parse" || want["line"] == got["line"]);
    }
    match op {
        "llb" => {
            [("config", json!({})), ("history", json!([]))]
                .into_iter()
                .all(|(key, none)| want.get(key).unwrap_or(&none) == got.get(key).unwrap_or(&none))
                && execs(want) == execs(got)
        }
        "parse" => without_warning_texts(want) == without_warning_texts(got),
        _ => want == got,
    }
}

/// The rules that found something, each with its line.
fn findings(answer: &Value) -> Vec<String> {
    let list = answer["warnings"].as_array().cloned().unwrap_or_default();
    let mut texts: Vec<String> = list.iter().map(|found| json!([found["rule"], found["line"]]).to_string()).collect();
    texts.sort();
    texts
}

/// What each RUN amounts to, in a comparable order.
fn execs(answer: &Value) -> Vec<String> {
    let list = answer["execs"].as_array().cloned().unwrap_or_default();
    let texts = list.iter().map(|exec| json!([exec["args"], exec["env"], exec["cwd"], exec["user"]]).to_string());
    let mut texts: Vec<String> = texts.collect();
    texts.sort();
    texts
}

fn without_warning_texts(answer: &Value) -> Value {
    let mut answer = answer.clone();
    let warnings = answer["warnings"].as_array().cloned().unwrap_or_default();
    answer["warnings"] = warnings.iter().map(|warning| warning["line"].clone()).collect();
    answer
}

/// The ids that are allowed to differ: lines `FILE ID reason` of `exceptions.txt`.
fn exceptions(file: &str) -> BTreeSet<u64> {
    let text = std::fs::read_to_string(directory().join("exceptions.txt")).expect("exceptions.txt");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let fields = lines.map(|line| line.splitn(3, ' ').collect::<Vec<_>>());
    fields
        .filter(|fields| {
            assert!(fields.len() == 3, "an exception needs a reason: {fields:?}");
            fields[0] == file
        })
        .map(|fields| fields[1].parse().expect("an id"))
        .collect()
}

/// Asks all questions of a file. `count` guards against a file that lost some.
fn replay(file: &str, count: usize) {
    let text = std::fs::read_to_string(directory().join(file)).expect("a question file");
    let questions: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(questions.len(), count, "questions in {file}");
    let mut differing = BTreeSet::new();
    for question in &questions {
        let request = &question["req"];
        let got = answer::answer(request);
        if !agree(request["op"].as_str().unwrap_or_default(), &question["ans"], &got) {
            differing.insert(question["id"].as_u64().expect("an id"));
            eprintln!("{file} {}\n  {request}\n  want {}\n  got  {got}", question["id"], question["ans"]);
        }
    }
    let allowed = exceptions(file);
    let new: Vec<_> = differing.difference(&allowed).collect();
    let stale: Vec<_> = allowed.difference(&differing).collect();
    assert!(new.is_empty(), "{file}: questions answered otherwise: {new:?}");
    assert!(stale.is_empty(), "{file}: exceptions that are none any more: {stale:?}");
}

#[test]
fn patterns() {
    replay("patterns.jsonl", 1500);
}

#[test]
fn ignore_files() {
    replay("ignorefile.jsonl", 100);
}

#[test]
fn shell_words() {
    replay("shellwords.jsonl", 1000);
}

#[test]
fn parsing() {
    replay("parse.jsonl", 744);
}

#[test]
fn references() {
    replay("refs.jsonl", 250);
}

#[test]
fn lowering() {
    replay("llb.jsonl", 300);
}

#[test]
fn lint() {
    replay("lint.jsonl", 143);
}
