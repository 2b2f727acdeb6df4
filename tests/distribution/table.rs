//! `docs/registry-conformance.md`: every demand with its test.

use expect_test::expect_file;
use kiln_tests::workspace;

use crate::{GROUPS, Level};

const HEAD: &str = "\
# Conformance of the registry

`kiln registry serve` implements the OCI distribution specification, version 1.1. Each row is a demand of the \
specification on registries, in our words, and the test of it in the binary `distribution`; they speak plain HTTP \
with the server and know nothing else of it. *Kiln* marks what the specification leaves open and kiln promises. \
The form of error bodies and of warnings is checked of every answer in all of these tests.

The same tests run against docker's registry; where it fails them, `tests/distribution/oracle.rs` says so. \
This table is written by the tests: `UPDATE_EXPECT=1 cargo nextest run -p kiln-tests -E 'test(every_demand_is_documented)'`.
";

#[test]
fn every_demand_is_documented() {
    let mut text = HEAD.to_owned();
    for (group, lists) in GROUPS {
        text.push_str(&format!("\n## {group}\n\n| | demand | test |\n|---|---|---|\n"));
        for requirement in lists.iter().copied().flatten() {
            let level = match requirement.level {
                Level::Must => "MUST",
                Level::Should => "SHOULD",
                Level::May => "MAY",
                Level::Kiln => "*Kiln*",
            };
            let test = requirement.test.trim_start_matches("distribution::");
            text.push_str(&format!("| {level} | {} | `{test}` |\n", requirement.demand));
        }
    }
    expect_file![workspace().join("docs/registry-conformance.md")].assert_eq(&text);
}
