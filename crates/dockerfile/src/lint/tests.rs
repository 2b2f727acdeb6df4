//! What is reported of a whole Dockerfile, and what is not.

use kiln_oci::{Digest, ImageConfig, Platform};
use serde_json::json;

use super::*;
use crate::options::ResolvedBase;

fn resolved(base: &Base) -> ResolvedBase {
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "config": { "Env": ["PATH=/bin", "FROM_BASE=1"], "OnBuild": ["LABEL a=$NOWHERE"] },
        "rootfs": { "type": "layers", "diff_ids": [Digest::of(b"layer")] },
    });
    let config: ImageConfig = serde_json::from_value(config).unwrap();
    let crate::BaseName::Image(reference) = &base.name else { panic!("{base:?}") };
    ResolvedBase { reference: reference.clone(), manifest: None, config }
}

/// Checks with all base images known, but for those whose name contains `unknown`.
fn checked(text: &str, change: impl Fn(&mut PlanOptions), needed_only: bool) -> Report {
    let mut plan = PlanOptions::new(Platform::new("linux", "amd64"));
    change(&mut plan);
    let mut bases = Bases::new();
    loop {
        let options = LintOptions { needed_only, hints: true, ..LintOptions::new(&plan, &bases) };
        let report = check(text, &options);
        let known = report.missing.iter().filter(|base| !format!("{base:?}").contains("unknown"));
        let known: Vec<Base> = known.cloned().collect();
        if known.is_empty() {
            return report;
        }
        bases.extend(known.into_iter().map(|base| (base.clone(), resolved(&base))));
    }
}

fn shown(report: &Report) -> Vec<String> {
    let finding = |finding: &Finding| format!("{} {}", finding.span.first_line, finding.rule.name());
    report.findings.iter().map(finding).collect()
}

fn found(text: &str) -> Vec<String> {
    shown(&checked(text, |_| {}, false))
}

#[test]
fn a_stage_without_a_base_is_judged_no_further() {
    let text = "FROM --platform=linux/arm64 busybox\nFROM --platform=linux/arm64 $NOPE\n";
    let of_the_second: Vec<String> = found(text).into_iter().filter(|finding| finding.starts_with("2 ")).collect();
    assert_eq!(of_the_second, ["2 InvalidDefaultArgInFrom", "2 UndefinedArgInFrom"]);
}

#[test]
fn an_instruction_that_fails_is_the_last_that_is_looked_at() {
    let report = checked("FROM scratch\nSTOPSIGNAL $A\nLABEL b=$B\nmaintainer c\n", |_| {}, false);
    assert_eq!(shown(&report), ["4 MaintainerDeprecated", "4 ConsistentInstructionCasing", "2 UndefinedVar"]);
    assert_eq!(report.errors.len(), 1);
    let report = checked("MAINTAINER a\nFROM b as c\nmaintainer d\nFRM e\nFROM f as g\n", |_| {}, false);
    assert_eq!(shown(&report), ["1 MaintainerDeprecated"], "what the parser does not understand ends its rules, too");
    assert_eq!(report.errors.len(), 2, "all errors of the parser: {:?}", report.errors);
}

#[test]
fn a_comment_above_an_instruction_is_for_that_instruction() {
    let text = "FROM scratch\n# check=skip=UndefinedVar // set by hand\nLABEL a=$A\nLABEL b=$B\n";
    assert_eq!(found(text), ["4 UndefinedVar"]);
    let text = "FROM scratch\n# check=skip=UndefinedVar\n\nLABEL a=$A\n";
    assert_eq!(found(text), ["4 UndefinedVar"], "a blank line comes between");
    let text = "FROM scratch\nCMD [\"a\"]\n# check=skip=MultipleInstructionsDisallowed\nCMD [\"b\"]\n";
    assert_eq!(found(text), Vec::<String>::new());
}

#[test]
fn an_unknown_base_may_set_anything() {
    let report =
        checked("FROM unknown AS a\nLABEL x=$X\nFROM scratch\nLABEL y=$Y\nFROM a\nLABEL z=$Z\n", |_| {}, false);
    assert_eq!(shown(&report), ["4 UndefinedVar"]);
    assert!(report.unsure && report.missing.len() == 1);
    assert!(!checked("FROM unknown\nARG X\nLABEL x=$X path=$PATH\n", |_| {}, false).unsure);
    assert_eq!(found("FROM scratch\nLABEL a=$FROM_BASE\n"), ["2 UndefinedVar"]);
}

#[test]
fn triggers_of_a_base_are_at_the_line_of_from() {
    assert_eq!(found("FROM base\nLABEL a=$FROM_BASE\n"), ["1 UndefinedVar"]);
    assert_eq!(
        found("FROM scratch AS a\nONBUILD CMD x\nCMD [\"y\"]\nFROM a\nFROM a\n"),
        ["4 JSONArgsRecommended", "5 JSONArgsRecommended",]
    );
}

#[test]
fn a_build_tells_only_of_what_it_needs() {
    let text = "FROM scratch AS a\nCMD x\nFROM scratch AS b\nCMD y\nFROM b\n";
    assert_eq!(found(text), ["2 JSONArgsRecommended", "4 JSONArgsRecommended"]);
    assert_eq!(shown(&checked(text, |_| {}, true)), ["4 JSONArgsRecommended"]);
    let target = |plan: &mut PlanOptions| plan.target = Some("a".to_owned());
    assert_eq!(shown(&checked(text, target, false)), ["2 JSONArgsRecommended"]);
}

#[test]
fn findings_can_be_errors() {
    let messages = |report: &Report| report.errors.iter().map(ToString::to_string).collect::<Vec<_>>();
    let text = "# check=error=true\nFROM scratch as a\nCMD x\nCMD y\n";
    assert_eq!(
        messages(&checked(text, |_| {}, false)),
        ["lint violation found for rules: FromAsCasing, JSONArgsRecommended, MultipleInstructionsDisallowed"]
    );
    let argument =
        |plan: &mut PlanOptions| _ = plan.build_args.insert(CHECK_ARGUMENT.to_owned(), "skip=all".to_owned());
    assert_eq!(checked(text, argument, false), Report::default());
    let hint = checked("# check=error=true\nFROM scratch\nRUN cd /a\n", |_| {}, false);
    assert_eq!((hint.findings.len(), hint.errors.len()), (1, 0), "a hint never is one");
    assert_eq!(
        messages(&checked("# check=skip\nFROM scratch\n", |_| {}, false)),
        ["failed to parse check options: invalid check option \"skip\""]
    );
}

#[test]
fn one_wrong_base_hides_nothing_about_the_others() {
    let report = checked("FROM --platform=linux/arm64 base AS a-arm64\nFROM busybox:\nLABEL a=$A\n", |_| {}, false);
    assert_eq!(shown(&report), ["2 InvalidDefaultArgInFrom", "1 InvalidBaseImagePlatform"]);
    assert_eq!(report.errors.len(), 1);
}

#[test]
fn hints_let_pass_what_is_meant() {
    let text = "FROM debian:12\nARG FILE\n\
        RUN apt-get install -y ./local.deb\n\
        RUN apt-get update && ./install-packages\n\
        RUN --mount=type=cache,target=/var/lib/apt,sharing=locked apt-get install -y curl\n\
        RUN DEBIAN_FRONTEND=noninteractive apt-get update -qq && sudo apt-get -y install curl\n\
        RUN <<EOF\napt-get update\napt-get install -y curl\nEOF\n\
        RUN cd /src && make\nRUN (cd /src; make) && echo done\nRUN echo \"apt-get install\"\n\
        ADD $FILE https://example.org/x vendor.tar.gz /opt/\nADD $FILE /opt/\nADD --checksum=sha256:0000000000000000000000000000000000000000000000000000000000000000 https://example.org/y /y\n\
        COPY .env.example keys.txt /app/\n\
        COPY package.json ./\nRUN npm ci\nCOPY . .\nRUN npm run build && npm install --global tool\n";
    assert_eq!(found(text), ["1 UndefinedVar"], "only the base image's own");
}

#[test]
fn hostile_text_is_no_trouble() {
    for text in
        ["", "\n", "# check=\nFROM a", "FROM a\nRUN \"\\", "FROM a AS \u{1b}[31m", "ONBUILD x", "FROM $a$b${c:-$d}\n"]
    {
        checked(text, |_| {}, false);
    }
    let deep = format!(
        "FROM scratch AS s0\n{}",
        (1..3000).map(|n| format!("FROM s{} AS s{n}\nARG a{n}\nLABEL x=$y{n}\n", n - 1)).collect::<String>()
    );
    assert_eq!(found(&deep).len(), 2999);
}
