//! Outlines and targets of Dockerfiles that use everything.

use std::fmt::Write;

use expect_test::{Expect, expect};
use kiln_oci::Platform;

use super::*;

fn options(target: Option<&str>, build_args: &[(&str, &str)]) -> PlanOptions {
    let build_args = build_args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    PlanOptions {
        target: target.map(str::to_owned),
        build_args: build_args.collect(),
        ..PlanOptions::new(Platform::new("linux", "amd64"))
    }
}

fn check(text: &str, options: PlanOptions, expected: Expect) {
    let outline = outline(text, options, &Bases::new()).unwrap_or_else(|errors| panic!("{errors:?}"));
    let mut shown = format!("{:?} {:?}\n", outline.name, outline.description);
    for argument in &outline.arguments {
        let OutlineArgument { name, description, value, span } = argument;
        writeln!(shown, "{}: ARG {name}={value:?} {description:?}", span.first_line).unwrap();
    }
    for (kind, mounts) in [("secret", &outline.secrets), ("ssh", &outline.ssh), ("cache", &outline.caches)] {
        for OutlineMount { id, required, span } in mounts {
            let required = if *required { " required" } else { "" };
            writeln!(shown, "{}: {kind} {id}{required}", span.first_line).unwrap();
        }
    }
    expected.assert_eq(&shown);
}

const ARGUMENTS: &str = "\
ARG inherited=box
ARG inherited2=box2
ARG unused=abc${inherited2}
# sfx is a suffix
ARG sfx=\"usy${inherited}\"

FROM b${sfx} AS first
# this is not assigned to anything
ARG FOO=123
# BAR is a number
ARG BAR=456
RUN true

FROM alpine${unused} AS second
ARG BAZ
RUN true

FROM scratch AS third
ARG ABC=a

# target defines build target
FROM third AS target
COPY --from=first /etc/passwd /

FROM second
";

#[test]
fn arguments_of_the_stages_that_the_target_needs() {
    check(
        ARGUMENTS,
        options(Some("target"), &[("BAR", "678")]),
        expect![[r#"
            Some("target") Some("defines build target")
            1: ARG inherited=Some("box") None
            5: ARG sfx=Some("usybox") Some("is a suffix")
            9: ARG FOO=Some("123") None
            11: ARG BAR=Some("678") Some("is a number")
            19: ARG ABC=Some("a") None
        "#]],
    );
    check(
        ARGUMENTS,
        options(None, &[]),
        expect![[r#"
            None None
            2: ARG inherited2=Some("box2") None
            3: ARG unused=Some("abcbox2") None
            15: ARG BAZ=None None
        "#]],
    );
}

#[test]
fn a_stage_s_own_declaration_hides_the_global_one() {
    check(
        "ARG V=1\nFROM busybox:$V\n# V is the version\nARG V\nARG W=$V.0\n",
        options(None, &[]),
        expect![[r#"
            None None
            4: ARG V=Some("1") Some("is the version")
            5: ARG W=Some("1.0") None
        "#]],
    );
}

#[test]
fn secrets_agents_and_caches() {
    check(
        "\
FROM busybox AS first
RUN --mount=type=secret,target=/etc/passwd,required=true --mount=type=ssh true
FROM alpine AS second
RUN --mount=type=secret,id=unused --mount=type=ssh,id=ssh2 true
FROM scratch AS third
ARG BAR=nd
WORKDIR /w
RUN --mount=type=secret,id=seco${BAR} true
FROM third AS target
ENV CACHE=c
COPY --from=first /foo /
RUN --mount=type=ssh,id=ssh3,required --mount=type=cache,target=$CACHE true
RUN --mount=type=cache,id=named,target=/x --mount=type=cache,target=/w/c true
FROM second
",
        options(Some("target"), &[]),
        expect![[r#"
            Some("target") None
            6: ARG BAR=Some("nd") None
            2: secret passwd required
            8: secret second
            2: ssh default
            12: ssh ssh3 required
            12: cache /w/c
            13: cache named
        "#]],
    );
}

#[test]
fn what_is_wrong_is_told() {
    let errors = |text: &str, target| {
        let errors = outline(text, options(target, &[]), &Bases::new()).unwrap_err();
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    assert!(errors("FRM a\n", None).contains("unknown instruction: FRM"));
    assert!(errors("FROM a AS b\n", Some("c")).contains("target stage \"c\" could not be found"));
    assert!(errors("FROM a\nRUN --mount=type=what true\n", None).contains("what"));
}

#[test]
fn targets_are_the_stages() {
    let found = targets("# base builds\nFROM --platform=$BUILDPLATFORM a AS base\nFROM base\nRUN x\n").unwrap();
    let shown: Vec<String> = found.iter().map(|target| format!("{target:?}")).collect();
    expect![[r#"
        Target { name: Some("base"), is_default: false, description: Some("builds"), base: "a", platform: Some("$BUILDPLATFORM"), span: Span { first_line: 2, last_line: 2, focus: None } }
        Target { name: None, is_default: true, description: None, base: "base", platform: None, span: Span { first_line: 3, last_line: 3, focus: None } }
    "#]]
    .assert_eq(&(shown.join("\n") + "\n"));
    assert!(targets("FROM\n").is_err());
}
