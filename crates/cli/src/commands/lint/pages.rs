//! Each rule's page (`docs/rules`), tried out: its bad example breaks this rule and no other, its good one none.
//! `expected/RULE.txt` is what a person reads about the bad one.

use std::path::{Path, PathBuf};

use expect_test::expect_file;
use kiln_dockerfile::ignore::IgnoreMatcher;
use kiln_dockerfile::lint::{self, LintOptions, Report, Rule};
use kiln_dockerfile::{Base, BaseName, Bases, PlanOptions, ResolvedBase};
use kiln_oci::{Digest, ImageConfig, Platform};
use serde_json::json;

use super::{LintFormat, Source, show};

struct Page {
    ignored: Option<IgnoreMatcher>,
    bad: String,
    good: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn page(rule: Rule) -> Page {
    let path = root().join(rule.page());
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(text.lines().next(), Some(format!("# {}", rule.name()).as_str()), "{}", path.display());
    let ignored = block(&text, "", "dockerignore").map(|text| IgnoreMatcher::from_file(&text).expect("patterns"));
    let example = |heading: &str| block(&text, heading, "dockerfile").unwrap_or_else(|| panic!("{rule:?}: {heading}"));
    Page { ignored, bad: example("## Bad\n"), good: example("## Good\n") }
}

/// The first block of this language below a heading.
fn block(text: &str, heading: &str, language: &str) -> Option<String> {
    let (_, below) = text.split_once(heading)?;
    let (_, block) = below.split_once(&format!("```{language}\n"))?;
    block.split_once("```").map(|(block, _)| block.to_owned())
}

fn check(text: &str, page: &Page) -> Report {
    let plan = PlanOptions::new(Platform::new("linux", "amd64"));
    let mut bases = Bases::new();
    loop {
        let options = LintOptions { hints: true, ignored: page.ignored.as_ref(), ..LintOptions::new(&plan, &bases) };
        let report = lint::check(text, &options);
        if report.missing.is_empty() {
            return report;
        }
        bases.extend(report.missing.into_iter().map(|base| {
            let resolved = image(&base);
            (base, resolved)
        }));
    }
}

/// An image of that name, for a processor that its name tells.
fn image(base: &Base) -> ResolvedBase {
    let BaseName::Image(reference) = &base.name else { panic!("{base:?}") };
    let architecture = if reference.to_string().contains("arm64v8") { "arm64" } else { "amd64" };
    let config = json!({
        "architecture": architecture, "os": "linux", "config": { "Env": ["PATH=/usr/bin:/bin"] },
        "rootfs": { "type": "layers", "diff_ids": [Digest::of(b"layer")] },
    });
    let config: ImageConfig = serde_json::from_value(config).expect("a config");
    ResolvedBase { reference: reference.clone(), manifest: None, config }
}

#[test]
fn examples_break_exactly_their_rule() {
    for rule in Rule::all() {
        let page = page(rule);
        let found = |text: &str| check(text, &page).findings.iter().map(|finding| finding.rule).collect::<Vec<_>>();
        assert_eq!(found(&page.bad), [rule], "the bad example of {}", rule.name());
        assert_eq!(found(&page.good), [], "the good example of {}", rule.name());
        let errors = check(&page.good, &page).errors;
        assert!(errors.is_empty(), "the good example of {}: {errors:?}", rule.name());
    }
}

#[test]
fn what_people_read() {
    for rule in Rule::all() {
        let page = page(rule);
        let source = Source { name: "Dockerfile", path: "Dockerfile", text: &page.bad };
        let shown = show(&source, &check(&page.bad, &page), LintFormat::Human);
        let text = format!("{}{}exit code {}\n", shown.out, shown.error, shown.code);
        let name = rule.name().trim_start_matches("kiln/");
        expect_file![format!("expected/{name}.txt")].assert_eq(&text);
    }
}

#[test]
fn every_rule_is_in_the_table_and_no_page_is_left_over() {
    let directory = root().join("docs/rules");
    let table = std::fs::read_to_string(directory.join("README.md")).expect("README.md");
    let mut names: Vec<String> = Rule::all().map(|rule| rule.page()).collect();
    for rule in Rule::all() {
        let file = rule.page();
        let file = file.rsplit('/').next().unwrap_or_default();
        assert!(table.contains(&format!("| [{}]({file}) |", rule.name())), "{} is not in the table", rule.name());
    }
    names.push("docs/rules/README.md".to_owned());
    let files = std::fs::read_dir(&directory).expect("docs/rules").map(|entry| entry.expect("entry").file_name());
    for file in files {
        let path = format!("docs/rules/{}", file.to_string_lossy());
        assert!(names.contains(&path), "{path} belongs to no rule");
    }
}
