//! What stages become: the graph, the image's config and history, and what a person reads when it fails.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use expect_test::{Expect, expect};
use kiln_dockerfile::{
    Base, BaseName, Bases, Dockerfile, Error, Lowered, NamedContext, Plan, PlanOptions, ResolvedBase,
};
use kiln_graph::{FileAction, MountKind, Op, SourceOp, Vertex};
use kiln_oci::{ContainerConfig, Digest, ImageConfig, Platform, Reference};

fn options() -> PlanOptions {
    PlanOptions::new(Platform::new("linux", "amd64"))
}

fn base(base: &Base) -> ResolvedBase {
    let reference: Reference = match &base.name {
        BaseName::Image(reference) => reference.clone(),
        BaseName::NamedContext(name) => name.parse().unwrap(),
    };
    let mut container = ContainerConfig { env: vec!["PATH=/bin".into()], ..ContainerConfig::default() };
    if reference.path().ends_with("onbuild") {
        container.on_build = vec!["COPY --from=tools /t /t".into(), "RUN <<E\nhi\nE".into()];
    }
    let mut config = ImageConfig { config: Some(container), ..ImageConfig::default() };
    config.rootfs.diff_ids = vec![Digest::of(reference.to_string().as_bytes())];
    ResolvedBase { reference, manifest: None, config }
}

/// Lowers as a caller does: ask, resolve, ask again.
fn lower(text: &str, options: PlanOptions) -> Result<Lowered, Error> {
    let plan = Plan::new(Dockerfile::parse(text)?, options)?;
    let mut bases = Bases::new();
    loop {
        let missing = plan.missing_bases(&bases)?;
        if missing.is_empty() {
            return plan.lower(&bases);
        }
        bases.extend(missing.into_iter().map(|missing| (missing.clone(), base(&missing))));
    }
}

fn action(action: &FileAction) -> String {
    match action {
        FileAction::Copy(copy) => format!(
            "copy from {} {:?} to {}{}{}{}",
            copy.from.0,
            copy.sources,
            copy.destination,
            if copy.into_directory { " (directory)" } else { "" },
            copy.owner.as_ref().map_or(String::new(), |owner| format!(" owner {owner}")),
            copy.chmod.as_ref().map_or(String::new(), |mode| format!(" mode {mode:?}")),
        ),
        FileAction::MakeDirectory(directory) => {
            format!("mkdir {} owner {:?}", directory.path, directory.owner)
        }
        FileAction::WriteFile(file) => format!("write {} to {}: {:?}", file.name, file.destination, file.content),
    }
}

fn operation(vertex: &Vertex) -> String {
    match &vertex.op {
        Op::Source(SourceOp::Image(image)) => format!("image {}", image.reference),
        Op::Source(SourceOp::Context(context)) => format!("context {}", context.name),
        Op::Source(SourceOp::Http(http)) => format!("http {} as {}", http.url, http.file_name),
        Op::Source(SourceOp::Git(git)) => {
            format!("git {} {:?} {:?} keep {}", git.url, git.reference, git.subdirectory, git.keep_git_directory)
        }
        Op::Exec(exec) => {
            let mounts = exec.mounts.iter().map(|mount| match &mount.kind {
                MountKind::Bind(bind) => format!(" bind {}:{}→{}", bind.from.0, bind.source, mount.target),
                MountKind::Cache(cache) => format!(" cache {}→{}", cache.id, mount.target),
                MountKind::Tmpfs(tmpfs) => format!(" tmpfs {:?}→{}", tmpfs.size, mount.target),
                MountKind::Secret(secret) => {
                    format!(
                        " secret {} file {} variable {:?}→{}",
                        secret.id, secret.as_file, secret.variable, mount.target
                    )
                }
                MountKind::Ssh(ssh) => format!(" ssh {}→{}", ssh.id, mount.target),
            });
            format!("exec {:?} in {} as {:?}{}", exec.args, exec.cwd, exec.user, mounts.collect::<String>())
        }
        Op::File(file) => {
            let base = file.base.map_or("nothing".to_owned(), |base| format!("{}", base.0));
            format!("file on {base}: {}", file.actions.iter().map(action).collect::<Vec<_>>().join("; "))
        }
        Op::Merge => "merge".to_owned(),
        Op::Diff => "diff".to_owned(),
    }
}

fn graph(lowered: &Lowered) -> String {
    let mut out = String::new();
    for (id, vertex) in lowered.definition.iter() {
        let inputs: Vec<u32> = vertex.inputs.iter().map(|edge| edge.vertex.0).collect();
        let lines = vertex.meta.span.as_ref().map_or(String::new(), |span| format!(" line {}", span.first_line));
        writeln!(out, "{} {inputs:?} {}\n    {}{lines}", id.0, operation(vertex), vertex.meta.name).unwrap();
    }
    out
}

fn check(text: &str, options: PlanOptions, expected: Expect) {
    expected.assert_eq(&match lower(text, options) {
        Ok(lowered) => graph(&lowered),
        Err(error) => format!("{error}"),
    });
}

fn history(text: &str, options: PlanOptions) -> Vec<String> {
    let lowered = lower(text, options).unwrap();
    lowered.config.history.into_iter().filter_map(|entry| entry.created_by).collect()
}

#[test]
fn only_stages_that_the_target_needs_are_lowered() {
    check(
        "FROM a AS one\nRUN one\nFROM b AS unused\nRUN two\nFROM scratch\nCOPY --from=ONE /x y/\nWORKDIR /w\n",
        options(),
        expect![[r#"
            0 [] image docker.io/library/a:latest
                [one 1/2] FROM docker.io/library/a:latest line 1
            1 [0] exec ["/bin/sh", "-c", "one"] in / as ""
                [one 2/2] RUN one line 2
            2 [1] file on nothing: copy from 0 ["/x"] to /y (directory)
                [stage-2 1/2] COPY --from=ONE /x y/ line 6
            3 [2] file on 0: mkdir /w owner None
                [stage-2 2/2] WORKDIR /w line 7
        "#]],
    );
}

#[test]
fn link_stacks_a_layer_of_its_own_unless_there_is_a_chmod() {
    check(
        "FROM a\nCOPY --link f /d/\nCOPY --link --chmod=700 f /e\n",
        options(),
        expect![[r#"
        0 [] image docker.io/library/a:latest
            [1/3] FROM docker.io/library/a:latest line 1
        1 [] context context
            [internal] load build context
        2 [1] file on nothing: copy from 0 ["/f"] to /d (directory)
            [2/3] COPY --link f /d/ line 2
        3 [0, 2] merge
            [2/3] COPY --link f /d/ (merge) line 2
        4 [3, 1] file on 0: copy from 1 ["/f"] to /e mode Octal(448)
            [3/3] COPY --link --chmod=700 f /e line 3
    "#]],
    );
}

#[test]
fn every_kind_of_mount() {
    check(
        "FROM a AS t\nFROM a\nWORKDIR /w\nRUN --mount=target=x,rw --mount=type=cache,target=/c --mount=type=tmpfs,target=/t,size=1m \\\n --mount=type=secret,id=s,env=S --mount=type=secret,target=/x/k --mount=type=ssh --mount=from=t,source=/etc,target=/e true\n",
        options(),
        expect![[r#"
            0 [] image docker.io/library/a:latest
                [t 1/1] FROM docker.io/library/a:latest line 1
            1 [0] file on 0: mkdir /w owner None
                [stage-1 2/3] WORKDIR /w line 3
            2 [] context context
                [internal] load build context
            3 [1, 2, 0] exec ["/bin/sh", "-c", "true"] in /w as "" bind 1:/→/w/x cache /c→/c tmpfs Some(1048576)→/t secret s file false variable Some("S")→/run/secrets/s secret k file true variable None→/x/k ssh default→/run/buildkit/ssh_agent.0 bind 2:/etc→/e
                [stage-1 3/3] RUN --mount=target=x,rw --mount=type=cache,target=/c --mount=type=tmpfs,target=/t,size=1m  --mount=type=secret,id=s,env=S --mount=type=secret,target=/x/k --mount=type=ssh --mount=from=t,source=/etc,target=/e true line 4
        "#]],
    );
}

#[test]
fn add_knows_downloads_and_repositories() {
    check(
        "FROM scratch\nADD a.tgz https://h/x/f.txt?q=1 https://h/r.git#v1:sub git@h:o/r.git b /d/\n",
        options(),
        expect![[r#"
            0 [] context context
                [internal] load build context
            1 [] http https://h/x/f.txt?q=1 as f.txt
                https://h/x/f.txt?q=1 line 2
            2 [] git https://h/r.git Some("v1") Some("sub") keep false
                https://h/r.git#v1 line 2
            3 [] git git@h:o/r.git None None keep false
                git@h:o/r.git line 2
            4 [0, 1, 2, 3] file on nothing: copy from 0 ["/a.tgz"] to /d (directory); copy from 1 ["/f.txt"] to /d (directory); copy from 2 ["/"] to /d (directory); copy from 3 ["/"] to /d (directory); copy from 0 ["/b"] to /d (directory)
                [1/1] ADD a.tgz https://h/x/f.txt?q=1 https://h/r.git#v1:sub git@h:o/r.git b /d/ line 2
        "#]],
    );
}

#[test]
fn heredocs_become_files_and_scripts() {
    check(
        "FROM a\nARG V=1\nCOPY <<one <<-'two' /d/\nv=$V \\$V\none\n\tv=$V\n\ttwo\nRUN <<EOF\n#!/bin/x\nhi\nEOF\nRUN <<EOF\nhi\nEOF\n",
        options(),
        expect![[r#"
            0 [] image docker.io/library/a:latest
                [1/4] FROM docker.io/library/a:latest line 1
            1 [0] file on 0: write one to /d: "v=1 $V\n"; write two to /d: "v=$V\n"
                [2/4] COPY <<one <<-'two' /d/ line 3
            2 [1] exec ["/bin/sh", "-c", "/dev/pipes/EOF"] in / as ""
                [3/4] RUN <<EOF (#!/bin/x...) line 8
            3 [2] exec ["/bin/sh", "-c", "hi\n"] in / as ""
                [4/4] RUN <<EOF (hi) line 12
        "#]],
    );
}

#[test]
fn triggers_of_a_base_may_need_more_bases() {
    check(
        "FROM onbuild AS x\n",
        options(),
        expect![[r#"
            0 [] image docker.io/library/onbuild:latest
                [x 1/3] FROM docker.io/library/onbuild:latest line 1
            1 [] image docker.io/library/tools:latest
                FROM docker.io/library/tools:latest line 1
            2 [0, 1] file on 0: copy from 1 ["/t"] to /t
                [x 2/3] ONBUILD COPY --from=tools /t /t line 1
            3 [2] exec ["/bin/sh", "-c", "hi\n"] in / as ""
                [x 3/3] ONBUILD RUN <<E (hi) line 1
        "#]],
    );
}

#[test]
fn a_named_context_beats_a_stage() {
    let mut options = options();
    options.named_contexts = BTreeMap::from([
        ("s".to_owned(), NamedContext::Files),
        ("docker.io/library/a:latest".to_owned(), NamedContext::Image),
    ]);
    check(
        "FROM a AS s\nFROM a\nCOPY --from=s . /\n",
        options,
        expect![[r#"
        0 [] image docker.io/library/a:latest
            [stage-1 1/2] FROM docker.io/library/a:latest line 2
        1 [] context s
            [context s] load from client
        2 [0, 1] file on 0: copy from 1 ["/"] to / (directory)
            [stage-1 2/2] COPY --from=s . / line 3
    "#]],
    );
}

#[test]
fn proxies_reach_processes_but_not_the_history() {
    let mut options = options();
    options.build_args = BTreeMap::from([("http_proxy".to_owned(), "p:1".to_owned())]);
    let text = "FROM a\nRUN x\n";
    assert_eq!(history(text, options.clone()), ["RUN /bin/sh -c x # buildkit"]);
    let lowered = lower(text, options).unwrap();
    let proxies = lowered.definition.iter().find_map(|(_, vertex)| match &vertex.op {
        Op::Exec(exec) => Some(exec.proxy_env.clone()),
        _ => None,
    });
    assert_eq!(proxies.unwrap(), ["HTTP_PROXY=p:1", "http_proxy=p:1"]);
}

#[test]
fn history_reads_as_elsewhere() {
    let text = "FROM a\nARG A=1 B\nENV A=2\nRUN x\nEXPOSE 443 80/udp\nVOLUME /a /b\nCMD [\"a\", \"b\\\"c\"]\n\
                HEALTHCHECK --interval=90s --timeout=1500ms CMD x\nWORKDIR b\nUSER u\nSTOPSIGNAL SIGTERM\n\
                COPY --chmod=600 --exclude=x --chown=u:g /s /d\n";
    expect![[r#"
        ARG A=1 B
        ENV A=2
        RUN |2 A=2 B= /bin/sh -c x # buildkit
        EXPOSE [443/tcp 80/udp]
        VOLUME [/a /b]
        CMD ["a" "b\"c"]
        HEALTHCHECK {Test:[CMD-SHELL x] Interval:1m30s Timeout:1.5s StartPeriod:0s StartInterval:0s Retries:0}
        WORKDIR /b
        USER u
        STOPSIGNAL SIGTERM
        COPY --chown=u:g --chmod=600 /s /d # buildkit"#]]
    .assert_eq(&history(text, options()).join("\n"));
}

#[test]
fn failures_say_what_is_wrong() {
    let mut asked = options();
    asked.target = Some("bild".to_owned());
    check("FROM a AS build\n", asked, expect![[r#"target stage "bild" could not be found (did you mean build?)"#]]);
    check(
        "FROM a AS early\nCOPY --from=late / /\nFROM a AS late\nFROM early\n",
        options(),
        expect![[r#"cannot copy from stage "late", it needs to be defined before current stage "early""#]],
    );
    check("FROM a\nCOPY --from=3 / /\n", options(), expect!["invalid stage index 3"]);
    check("FROM $x\n", options(), expect!["base name ($x) should not be blank"]);
    check("FROM --platform=$x a\n", options(), expect!["empty platform value from expression $x"]);
    check(
        "FROM A\n",
        options(),
        expect![[
            r#"failed to parse stage name "A": invalid reference format: repository name (library/A) must be lowercase"#
        ]],
    );
    check(
        "FROM a\nENV x=\"${A:?must be set}\"\n",
        options(),
        expect![[r#"failed to process "\"${A:?must be set}\"": A: must be set"#]],
    );
    check(
        "FROM a\nRUN --mount=type=chache,target=/x true\n",
        options(),
        expect![[r#"unsupported mount type "chache" (did you mean cache?)"#]],
    );
    check("FROM a\nRUN --mount=type=tmpfs true\n", options(), expect![[r#"invalid mount target "/""#]]);
    check("FROM a\nSTOPSIGNAL SIGNOPE\n", options(), expect!["invalid signal: SIGNOPE"]);
    check("FROM a\nEXPOSE http\n", options(), expect!["invalid containerPort: http"]);
    check(
        "FROM a\nCOPY --chmod=rwx a b\n",
        options(),
        expect![[r#"invalid chmod parameter: "rwx". it should be an octal or symbolic mode between 0 and 07777"#]],
    );
    check(
        "FROM a\nADD --checksum=sha256:00 f /\n",
        options(),
        expect!["--checksum can only be given for a download or a git repository"],
    );
    check(
        "FROM a\nADD --keep-git-dir=false https://h/r.git?keep-git-dir=true /\n",
        options(),
        expect!["inconsistent keep-git-dir configuration"],
    );
    check("ARG a\n", options(), expect!["dockerfile contains no stages to build"]);
}

#[test]
fn what_nobody_recorded_follows_the_reference() {
    let mut asked = options();
    for (name, value) in [
        ("BUILDKIT_SANDBOX_HOSTNAME", "inside"),
        ("BUILDKIT_CACHE_MOUNT_NS", "mine"),
        ("http_proxy", "lower:1"),
        ("HTTP_PROXY", "upper:1"),
        ("BUILDKIT_SBOM_SCAN_STAGE", "true"),
    ] {
        asked.build_args.insert(name.to_owned(), value.to_owned());
    }
    let text = "FROM a\nARG BUILDKIT_SBOM_SCAN_STAGE\n\
                RUN --device=v.com/d=0,required --device=v.com/e --mount=type=cache,target=/c,id=k x\n";
    let lowered = lower(text, asked).unwrap();
    let exec = lowered.definition.iter().find_map(|(_, vertex)| match &vertex.op {
        Op::Exec(exec) => Some(exec.clone()),
        _ => None,
    });
    let exec = exec.unwrap();
    assert_eq!(exec.hostname.as_deref(), Some("inside"));
    assert_eq!(exec.env, ["PATH=/bin"]);
    assert_eq!(exec.proxy_env, ["HTTP_PROXY=lower:1", "http_proxy=lower:1"]);
    let devices: Vec<_> = exec.devices.iter().map(|device| (device.name.as_str(), device.required)).collect();
    assert_eq!(devices, [("v.com/d=0", true), ("v.com/e", false)]);
    assert!(matches!(&exec.mounts[0].kind, MountKind::Cache(cache) if cache.id == "mine/k"));
}

#[test]
fn a_named_context_takes_the_place_of_a_stage_that_is_asked_for() {
    let mut asked = options();
    asked.named_contexts = BTreeMap::from([("s".to_owned(), NamedContext::Files)]);
    asked.target = Some("S".to_owned());
    check(
        "FROM a AS s\nRUN never\nCOPY --from=t / /\nFROM b AS t\n",
        asked,
        expect![[r#"
            0 [] context s
                [context s] load from client
        "#]],
    );
}

#[test]
fn stages_that_copy_from_each_other_are_refused_even_if_nobody_needs_them() {
    let circle = "FROM a AS x\nCOPY --from=y / /\nFROM a AS y\nCOPY --from=x / /\nFROM a\n";
    check(circle, options(), expect!["circular dependency detected on stage: x"]);
    check("FROM a\nCOPY --from=9 / /\nFROM a\n", options(), expect!["invalid stage index 9"]);
    check("FROM a\nCOPY --from=-1 / /\nFROM a\n", options(), expect!["invalid stage index -1"]);
    check(
        "FROM a\nCOPY --from=$x / /\nFROM a\n",
        options(),
        expect![[
            r#"variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround"#
        ]],
    );
}

#[test]
fn nothing_has_no_platform_of_its_own() {
    let lowered = lower("FROM --platform=linux/arm64 scratch\nCOPY a /\n", options()).unwrap();
    assert_eq!(lowered.config.architecture, "amd64");
}

#[test]
fn variables_that_double_each_other_have_an_end() {
    let doubling: String = (0..64).map(|_| "ENV A=\"$A$A\"\n").collect();
    let error = lower(&format!("FROM a\nENV A=x\n{doubling}"), options()).unwrap_err();
    assert!(error.to_string().contains("more than 1 MiB"), "{error}");
    let often: String = (0..2000).map(|n| format!("LABEL l{n}=$A\n")).collect();
    let error = lower(&format!("FROM a\nENV A=x\n{}{often}", "ENV A=\"$A$A\"\n".repeat(19)), options()).unwrap_err();
    assert_eq!(error.to_string(), "the values of its variables add up to more than 512 MiB");
}
