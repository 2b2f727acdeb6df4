//! Inputs before and now, and what is told of them.

use expect_test::{Expect, expect};
use kiln_store::Kind;

use super::*;

fn inputs(pairs: &[(&str, &str)]) -> Vec<Input> {
    pairs.iter().map(|(name, value)| Input { name: (*name).into(), value: (*value).into() }).collect()
}

fn check(before: &[(&str, &str)], now: &[(&str, &str)], expected: Expect) {
    let lists = |_: &str, _: &str| None;
    let reasons = own_changes(&inputs(before), &inputs(now), &lists);
    let lines: Vec<String> = reasons.iter().map(|reason| serde_json::to_string(reason).unwrap() + "\n").collect();
    expected.assert_eq(&lines.concat());
}

#[test]
fn a_changed_text_stands_for_what_it_means() {
    check(
        &[(INSTRUCTION, "RUN a"), ("setting command", "=/bin/sh -c a"), ("setting user", "=me")],
        &[(INSTRUCTION, "RUN b"), ("setting command", "=/bin/sh -c b"), ("setting user", "=you")],
        expect![[r#"
            {"kind":"instruction_changed","before":"RUN a","after":"RUN b"}
            {"kind":"setting_changed","setting":"user","before":"me","after":"you"}
        "#]],
    );
}

#[test]
fn a_text_that_means_the_same_is_no_cause() {
    check(
        &[(INSTRUCTION, "RUN  a"), ("setting command", "=a"), ("environment V", "=1")],
        &[(INSTRUCTION, "RUN a"), ("setting command", "=a"), ("environment V", "=2")],
        expect![[r#"
            {"kind":"variable_changed","name":"V","before":"1","after":"2"}
        "#]],
    );
}

#[test]
fn variables_stand_for_what_they_expand_to() {
    check(
        &[(INSTRUCTION, "COPY $V /"), ("setting copy sources", "=a"), ("variable V", "=a"), ("files 0 context", "1")],
        &[(INSTRUCTION, "COPY $V /"), ("setting copy sources", "=b"), ("variable V", "=b"), ("files 0 context", "2")],
        expect![[r#"
            {"kind":"variable_changed","name":"V","before":"a","after":"b"}
        "#]],
    );
}

#[test]
fn values_that_look_secret_are_only_said_to_have_changed() {
    check(
        &[("environment API_TOKEN", "#1"), ("environment OLD_SECRET", "#3")],
        &[("environment API_TOKEN", "#2"), ("environment NEW", "=x")],
        expect![[r#"
            {"kind":"variable_changed","name":"API_TOKEN","before":null,"after":null}
            {"kind":"variable_added","name":"NEW","after":"x"}
            {"kind":"variable_removed","name":"OLD_SECRET","before":null}
        "#]],
    );
}

#[test]
fn the_order_of_variables_is_told_where_nothing_else_is() {
    let (one, other) = (("order of variables", "#1"), ("order of variables", "#2"));
    check(
        &[one, ("environment V", "=1")],
        &[other, ("environment V", "=1")],
        expect![[r#"
            {"kind":"setting_changed","setting":"order of variables","before":null,"after":null}
        "#]],
    );
    check(
        &[one, ("environment V", "=1")],
        &[other, ("environment V", "=2")],
        expect![[r#"
            {"kind":"variable_changed","name":"V","before":"1","after":"2"}
        "#]],
    );
}

#[test]
fn fidelity_network_and_unknown_lists_are_told() {
    check(
        &[(FIDELITY, "single-id"), ("setting network", "=default"), ("files 0 context", "1")],
        &[(FIDELITY, "full"), ("setting network", "=none"), ("files 0 context", "2")],
        expect![[r#"
            {"kind":"setting_changed","setting":"network","before":"default","after":"none"}
            {"kind":"fidelity_differs","before":"single-id","after":"full"}
            {"kind":"files_changed","context":"context"}
        "#]],
    );
}

#[test]
fn every_kind_of_change_is_named_and_the_rest_counted() {
    let facts = |mode, content| FileFacts { kind: Kind::File, mode, content: [content; 8], owner: [0; 8] };
    let names = |prefix: &str, count: usize| (0..count).map(|n| format!("{prefix}{n}").into_bytes()).collect();
    let found = FileDifferences {
        added: names("a", 10),
        removed: names("r", 1),
        changed: vec![
            (b"c".to_vec(), facts(0o644, 1), facts(0o755, 1)),
            (b"d".to_vec(), facts(0o644, 1), facts(0o644, 2)),
        ],
    };
    let lines: Vec<String> =
        named_files(&found, "context").iter().map(|reason| serde_json::to_string(reason).unwrap() + "\n").collect();
    expect![[r#"
        {"kind":"file_changed","path":"c","context":"context","what":["mode"]}
        {"kind":"file_changed","path":"d","context":"context","what":["content"]}
        {"kind":"file_added","path":"a0","context":"context"}
        {"kind":"file_added","path":"a1","context":"context"}
        {"kind":"file_removed","path":"r0","context":"context"}
        {"kind":"more_files","context":"context","added":8,"removed":0,"changed":0}
    "#]]
    .assert_eq(&lines.concat());
}

#[test]
fn the_distance_counts_inputs_and_files() {
    let one = inputs(&[("a", "1"), ("b", "1"), ("files 0 x", "1")]);
    let other = inputs(&[("a", "2"), ("c", "1"), ("files 0 x", "2")]);
    let lists = |_: &str, _: &str| Some(FileDifferences { added: vec![vec![]; 3], ..FileDifferences::default() });
    assert_eq!(distance(&one, &other, &lists), (4, 3));
    assert_eq!(distance(&one, &one, &lists), (0, 0));
}
