//! What a user reads for every kind of error: all in `errors.txt`, beside this file. A kind that no text here
//! causes fails the test, and so does a kind that is listed as out of reach and is not.

use std::collections::{BTreeMap, BTreeSet};

use expect_test::expect_file;
use kiln_dockerfile::shell::ShellProblem;
use kiln_dockerfile::{
    Base, BaseName, Bases, Dockerfile, Emphasis, Error, InstructionProblem, LowerProblem, MountProblem, ParseProblem,
    Plan, PlanOptions, Problem, ResolvedBase, check_frontend, render_error, text_of,
};
use kiln_oci::{ContainerConfig, Digest, ImageConfig, Platform, Reference};

/// The names of all variants of an enum, and which one a value is. A new variant does not compile until it is
/// added here.
macro_rules! kinds {
    ($function:ident, $all:ident, $type:ident, [$($name:ident),* $(,)?]) => {
        const $all: &[&str] = &[$(concat!(stringify!($type), "::", stringify!($name))),*];
        fn $function(problem: &$type) -> &'static str {
            match problem {
                $($type::$name { .. } => concat!(stringify!($type), "::", stringify!($name)),)*
            }
        }
    };
}

kinds!(
    parse_kind,
    PARSE,
    ParseProblem,
    [
        Empty,
        BadEscape,
        RepeatedDirective,
        UnterminatedHeredoc,
        NotUtf8,
        ForeignFrontend,
        NotStrings,
        TwoArguments,
        NoEquals,
        Checks,
    ]
);
kinds!(
    instruction_kind,
    INSTRUCTION,
    InstructionProblem,
    [
        UnknownInstruction,
        NoStage,
        FromArguments,
        StageName,
        AtLeastOne,
        ExactlyOne,
        NoDestination,
        HeredocDestination,
        BlankName,
        UnknownFlag,
        DuplicateFlag,
        MissingFlagValue,
        NotBoolean,
        MountList,
        MountFromVariable,
        DeviceList,
        DeviceNamed,
        DeviceField,
        DeviceKey,
        DeviceValue,
        NetworkMode,
        SecurityMode,
        HealthType,
        HealthNoneArguments,
        HealthNoCommand,
        Duration,
        ShortInterval,
        Retries,
        NegativeRetries,
        ShellForm,
        BlankVolume,
        NestedOnbuild,
        OnbuildTrigger,
        Trigger,
    ]
);
kinds!(
    mount_kind,
    MOUNT,
    MountProblem,
    [
        Type,
        Key,
        KeyForType,
        NoValue,
        Value,
        Boolean,
        Sharing,
        SharingForType,
        NotAllowed,
        SecretSharing,
        SecretFrom,
        SecretName,
        SecretTwoNames,
    ]
);
kinds!(
    lower_kind,
    LOWER,
    LowerProblem,
    [
        NoStages,
        UnknownTarget,
        BlankBase,
        BaseName,
        EmptyPlatform,
        Platform,
        Expansion,
        Mount,
        LaterStage,
        StageIndex,
        CopyFromVariable,
        Circular,
        MissingBase,
        Signal,
        Port,
        Chmod,
        Checksum,
        Flag,
        TooMuchText,
        NoArguments,
        MountTarget,
        Epoch,
        Graph,
        Unavailable,
        Findings,
    ]
);
kinds!(
    shell_kind,
    SHELL,
    ShellProblem,
    [Unclosed, MissingBrace, MissingSlash, BadSubstitution, UnsupportedModifier, Required, BadPattern, TooLong,]
);

/// Kinds that the text of a Dockerfile alone does not cause.
const OUT_OF_REACH: &[&str] = &[
    // The caller did not give a base that was asked for.
    "LowerProblem::MissingBase",
    // A mistake of the crate.
    "LowerProblem::Graph",
    // Half a gigabyte of text; `lowering.rs` has it.
    "LowerProblem::TooMuchText",
    // Only the checks say these; their own tests have them.
    "LowerProblem::Unavailable",
    "LowerProblem::Findings",
    // Only the checks ask for it; their own tests have it.
    "ParseProblem::Checks",
];

fn kinds(error: &Error) -> Vec<&'static str> {
    match &error.problem {
        Problem::Parse(problem) => vec![parse_kind(problem)],
        Problem::Instruction(problem) => vec![instruction_kind(problem)],
        Problem::Lower(problem @ LowerProblem::Mount(mount)) => vec![lower_kind(problem), mount_kind(mount)],
        Problem::Lower(problem @ LowerProblem::Expansion(shell)) => {
            vec![lower_kind(problem), shell_kind(&shell.problem)]
        }
        Problem::Lower(problem) => vec![lower_kind(problem)],
    }
}

/// A trigger of the base image `onbuild` that is none.
const BAD_TRIGGER: &str = "RUN a\nRUN b";

fn resolved(base: &Base) -> ResolvedBase {
    let reference: Reference = match &base.name {
        BaseName::Image(reference) => reference.clone(),
        BaseName::NamedContext(name) => name.parse().unwrap(),
    };
    let mut container = ContainerConfig::default();
    if reference.path().ends_with("onbuild") {
        container.on_build = vec![BAD_TRIGGER.to_owned()];
    }
    let mut config = ImageConfig { config: Some(container), ..ImageConfig::default() };
    config.rootfs.diff_ids = vec![Digest::of(b"layer")];
    ResolvedBase { reference, manifest: None, config }
}

fn lower(text: &str, options: PlanOptions) -> Result<(), Error> {
    let plan = Plan::new(Dockerfile::parse(text)?, options)?;
    let mut bases = Bases::new();
    loop {
        let missing = plan.missing_bases(&bases)?;
        if missing.is_empty() {
            return plan.lower(&bases).map(drop);
        }
        bases.extend(missing.into_iter().map(|base| (base.clone(), resolved(&base))));
    }
}

fn errors(text: &str, options: PlanOptions) -> Vec<Error> {
    if let Err(error) = check_frontend(text, None) {
        return vec![error];
    }
    match Dockerfile::parse_all(text) {
        Err(errors) => errors,
        Ok(_) => lower(text, options).err().into_iter().collect(),
    }
}

/// Dockerfiles that are wrong, one for each error or several for several.
const WRONG: &[&str] = &[
    "# nothing\n",
    "# escape=x\nFROM a\n",
    "# escape=`\n# escape=`\nFROM a\n",
    "FROM a\nRUN <<EOF\necho\n",
    "# syntax=ghcr.io/other/frontend:1\nFROM a\n",
    "FROM a\nRUN [\"x\", 1]\n",
    "FROM a\nENV name\n",
    "FROM a\nLABEL a=1 \\\n  b\n",
    "FROM a\nCOYP a b\ncopt a b\nBOGUS\n",
    "RUN x\n",
    "FROM a as\n",
    "FROM a AS 1x\n",
    "FROM a\nEXPOSE\nVOLUME\nSHELL\n",
    "FROM a\nUSER\nWORKDIR\nMAINTAINER\n",
    "FROM a\nCOPY a\nADD a\n",
    "FROM a\nCOPY a <<EOF\nEOF\n",
    "FROM a\nENV =x\nARG =x\n",
    "FROM --plattform=x a\nCOPY --frm=x a b\nRUN --mont=x true\nHEALTHCHECK --intervall=1s CMD x\n",
    "FROM a\nCOPY --from=x --from=y a b\n",
    "FROM a\nCOPY --from a b\n",
    "FROM a\nCOPY --link=maybe a b\n",
    "FROM a\nRUN --mount= x\nRUN --mount=type=bind,\"\\\"a x\n",
    "FROM a\nRUN --mount=from=$x,target=/x true\n",
    "FROM a\nRUN --device= x\n",
    "FROM a\nRUN --device=a/b=c,name=x true\n",
    "FROM a\nRUN --device=a/b=c,d true\n",
    "FROM a\nRUN --device=a/b=c,requird=1 true\n",
    "FROM a\nRUN --device=a/b=c,required=perhaps true\n",
    "FROM a\nRUN --network=hots true\n",
    "FROM a\nRUN --security=sandbx true\n",
    "FROM a\nHEALTHCHECK CDM x\n",
    "FROM a\nHEALTHCHECK NONE x\n",
    "FROM a\nHEALTHCHECK CMD\n",
    "FROM a\nHEALTHCHECK --interval=5 CMD x\nHEALTHCHECK --timeout=x CMD x\nHEALTHCHECK --timeout=5y CMD x\n",
    "FROM a\nHEALTHCHECK --interval=1us CMD x\n",
    "FROM a\nHEALTHCHECK --retries=many CMD x\n",
    "FROM a\nHEALTHCHECK --retries=-1 CMD x\n",
    "FROM a\nSHELL /bin/bash -c\n",
    "FROM a\nVOLUME [\" \"]\n",
    "FROM a\nONBUILD ONBUILD RUN x\n",
    "FROM a\nONBUILD FROM b\n",
    "FROM onbuild\n",
    "FROM a\nRUN --mount=type=chache,target=/x true\n",
    "FROM a\nRUN --mount=target=/x,sorce=y true\n",
    "FROM a\nRUN --mount=type=bind,target=/x,size=1m true\n",
    "FROM a\nRUN --mount=target=/x,wrong true\n",
    "FROM a\nRUN --mount=type=cache,target=/x,mode=rwx true\n",
    "FROM a\nRUN --mount=type=secret,id=x,required=yes true\n",
    "FROM a\nRUN --mount=type=cache,target=/x,sharing=lokced true\n",
    "FROM a\nRUN --mount=type=tmpfs,target=/x,sharing=locked true\n",
    "FROM a\nRUN --mount=type=tmpfs,target=/x,uid=1 true\n",
    "FROM a\nRUN --mount=type=secret,id=x,sharing=locked true\n",
    "FROM a\nRUN --mount=type=secret,id=x,from=y true\n",
    "FROM a\nRUN --mount=type=secret true\n",
    "FROM a\nRUN --mount=type=secret,id=x,source=y true\n",
    "ARG a\n",
    "ARG BASE=a\nFROM $BAES\n",
    "FROM Upper\n",
    "FROM --platform=$BULDPLATFORM a\n",
    "FROM --platform=a/b/c/d a\n",
    "FROM a\nWORKDIR \"open\n",
    "FROM a\nWORKDIR ${open:-\n",
    "FROM a\nWORKDIR ${x/a\n",
    "FROM a\nWORKDIR ${}\n",
    "FROM a\nWORKDIR ${a!b}\n",
    "FROM a\nWORKDIR ${a:?is needed}\n",
    "FROM a\nENV v=x\nWORKDIR ${v#\\a}\n",
    "FROM a AS early\nCOPY --from=late / /\nFROM a AS late\nFROM early\n",
    "FROM a\nCOPY --from=3 / /\n",
    "FROM a\nCOPY --from=$stage / /\n",
    "FROM a AS one\nCOPY --from=two / /\nFROM a AS two\nCOPY --from=one / /\n",
    "FROM a\nSTOPSIGNAL SIGNOPE\n",
    "FROM a\nEXPOSE 80 http\n",
    "FROM a\nCOPY --chmod=rwx a b\n",
    "FROM a\nADD --checksum=sha256:00 https://example.com/f /\n",
    "FROM a\nADD --checksum=sha256:00 f /\n",
    "FROM a\nRUN []\n",
    "FROM a\nRUN --mount=type=tmpfs true\n",
    "ARG SOURCE_DATE_EPOCH=yesterday\nFROM a\n",
];

fn options() -> PlanOptions {
    PlanOptions::new(Platform::new("linux", "amd64"))
}

/// Each text with its options.
fn cases() -> Vec<(String, PlanOptions)> {
    let mut cases: Vec<_> = WRONG.iter().map(|text| ((*text).to_owned(), options())).collect();
    cases.push((text_of(b"FROM a\nRUN echo caf\xe9\n"), options()));
    let target = PlanOptions { target: Some("bild".to_owned()), ..options() };
    cases.push(("FROM a AS build\n".to_owned(), target));
    let long = BTreeMap::from([("LONG".to_owned(), "x".repeat(1 << 20))]);
    cases.push(("FROM a\nARG LONG\nWORKDIR $LONG$LONG\n".to_owned(), PlanOptions { build_args: long, ..options() }));
    cases
}

#[test]
fn every_error_as_a_user_reads_it() {
    let mut seen = BTreeSet::new();
    let mut shown = String::new();
    for (text, options) in cases() {
        let errors = errors(&text, options);
        assert!(!errors.is_empty(), "nothing is wrong with {text:?}");
        for error in &errors {
            let kinds = kinds(error);
            shown.push_str(&format!("=== {}\n", kinds.join(", ")));
            shown.push_str(&render_error("Dockerfile", &text, error, Emphasis::default()));
            shown.push_str("\n\n");
            seen.extend(kinds);
        }
    }
    expect_file!["errors.txt"].assert_eq(&shown);
    let all: BTreeSet<&str> = [PARSE, INSTRUCTION, MOUNT, LOWER, SHELL].concat().into_iter().collect();
    let out_of_reach: BTreeSet<&str> = OUT_OF_REACH.iter().copied().collect();
    assert_eq!(&all - &seen, out_of_reach, "kinds of errors that no text here causes");
}
