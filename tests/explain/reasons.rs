//! Each kind of reason but files of the context.

use std::fs;

use expect_test::expect;
use kiln_tests::kiln::Kiln;
use kiln_tests::running::{Running, wait_until};

use crate::project::{Project, with_busybox};

#[test]
fn a_build_argument_counts_for_the_steps_that_see_it() {
    let kiln = with_busybox();
    let dockerfile = "FROM busybox\nRUN echo before\nARG V=1\nCOPY $V /\nRUN echo $V\n";
    let project = Project::new(&kiln, "p", dockerfile);
    project.write("1", "1");
    project.write("2", "2");
    project.build(&[]);
    project.explains(
        &["--build-arg", "V=2"],
        expect![[r#"
        [3/4] COPY 2 / (line 4): miss:
            variable V changed: "1" -> "2"
        [4/4] RUN echo 2 (line 5): miss:
            variable V changed: "1" -> "2"
            step [3/4] COPY 2 / changed
        compared with the build of TIME in /p
    "#]],
    );
}

#[test]
fn variables_come_change_and_go() {
    let kiln = with_busybox();
    let dockerfile = |env: &str| format!("FROM busybox\nENV {env}\nRUN true\n");
    let project = Project::new(&kiln, "p", &dockerfile("A=1 B=2"));
    project.build(&[]);
    project.write("Dockerfile", &dockerfile("A=3 C=4"));
    project.explains(
        &[],
        expect![[r#"
        [2/2] RUN true (line 3): miss:
            variable A changed: "1" -> "3"
            variable B removed: "2"
            variable C added: "4"
        compared with the build of TIME in /p
    "#]],
    );
    project.write("Dockerfile", &dockerfile("C=4 A=3"));
    project.explains(
        &[],
        expect![[r#"
        [2/2] RUN true (line 3): miss:
            order of variables changed
        compared with the build of TIME in /p
    "#]],
    );
}

#[test]
fn values_that_look_secret_are_not_told_and_not_kept() {
    let kiln = with_busybox();
    let dockerfile = "FROM busybox\nARG API_TOKEN=hush-one\nRUN true\nCOPY [\"$API_TOKEN\", \"/\"]\n";
    let project = Project::new(&kiln, "p", dockerfile);
    project.write("hush-one", "1");
    project.write("hush-two", "2");
    project.build(&[]);
    project.explains(
        &["--build-arg", "API_TOKEN=hush-two"],
        expect![[r#"
        [2/3] RUN true (line 3): miss:
            variable API_TOKEN changed
        [3/3] COPY ["***", "/"] (line 4): miss:
            variable API_TOKEN changed
            step [2/3] RUN true changed
        compared with the build of TIME in /p
    "#]],
    );
    let document = kiln.ok(&["explain", "--format", "json"]).stdout;
    assert!(!document.contains("hush-"), "{document}");
    let mut kept = String::new();
    for name in ["db.sqlite", "db.sqlite-wal"] {
        kept.push_str(&String::from_utf8_lossy(&fs::read(kiln.root().join(name)).unwrap_or_default()));
    }
    assert!(!kept.contains("\"=hush-") && !kept.contains("COPY [\"hush-"), "a value is in the database");
}

#[test]
fn the_base_image_moved_or_another_was_named() {
    let kiln = with_busybox();
    let base = Project::new(&kiln, "base", "FROM busybox\nRUN echo one > /f\n");
    base.build(&["-t", "base"]);
    let project = Project::new(&kiln, "p", "FROM base\nRUN true\nRUN echo\n");
    project.build(&[]);
    base.write("Dockerfile", "FROM busybox\nRUN echo two > /f\n");
    base.build(&["-t", "base"]);
    project.explains(
        &[],
        expect![[r#"
        [2/3] RUN true (line 2): miss:
            base image base:latest changed: sha256:... -> sha256:... (the name stands for another image now)
        [3/3] RUN echo (line 3): miss:
            step [2/3] RUN true changed
        compared with the build of TIME in /p
    "#]],
    );
    project.write("Dockerfile", "FROM busybox\nRUN true\nRUN echo\n");
    project.explains(
        &[],
        expect![[r#"
        [2/3] RUN true (line 2): miss:
            base image changed: base:latest -> busybox:latest (sha256:... -> sha256:...)
        [3/3] RUN echo (line 3): miss:
            step [2/3] RUN true changed
        compared with the build of TIME in /p
    "#]],
    );
    project.write("Dockerfile", "FROM base AS tools\nRUN true\nFROM busybox\nCOPY --from=base /f /\n");
    project.build(&[]);
    base.write("Dockerfile", "FROM busybox\nRUN echo three > /f\n");
    base.build(&["-t", "base"]);
    project.explains(
        &[],
        expect![[r#"
        [stage-1 2/2] COPY --from=base /f / (line 4): miss:
            base image base:latest changed: sha256:... -> sha256:... (the name stands for another image now)
        compared with the build of TIME in /p
    "#]],
    );
}

#[test]
fn texts_and_flags_of_instructions() {
    let kiln = with_busybox();
    let project = Project::new(&kiln, "p", "");
    project.write("f", "f");
    let build = |dockerfile: &str| project.write("Dockerfile", &format!("FROM busybox\n{dockerfile}"));
    build("COPY f /\nRUN echo one\n");
    project.build(&[]);
    build("COPY --chown=1 --chmod=600 f /\nRUN echo one\n");
    project.explains(
        &[],
        expect![[r#"
        [2/3] COPY --chown=1 --chmod=600 f / (line 2): miss:
            instruction changed: COPY f / -> COPY --chown=1 --chmod=600 f /
        [3/3] RUN echo one (line 3): miss:
            step [2/3] COPY --chown=1 --chmod=600 f / changed
        compared with the build of TIME in /p
    "#]],
    );
    build("COPY f /\nRUN --network=none echo one\n");
    project.explains(
        &[],
        expect![[r#"
        [3/3] RUN --network=none echo one (line 3): miss:
            instruction changed: RUN echo one -> RUN --network=none echo one
        compared with the build of TIME in /p
    "#]],
    );
}

#[test]
fn what_other_instructions_set() {
    let kiln = with_busybox();
    let project = Project::new(&kiln, "p", "FROM busybox\nCOPY f /\nRUN echo one\n");
    project.write("f", "f");
    project.build(&[]);
    let build = |dockerfile: &str| project.write("Dockerfile", &format!("FROM busybox\n{dockerfile}"));
    build("COPY f /\nUSER 7\nRUN echo one\n");
    project.explains(
        &[],
        expect![[r#"
        [3/3] RUN echo one (line 4): miss:
            user changed: it is "7" now
        compared with the build of TIME in /p
    "#]],
    );
    build("COPY f /\nSHELL [\"sh\", \"-ec\"]\nRUN echo one\n");
    project.explains(
        &[],
        expect![[r#"
        [3/3] RUN echo one (line 4): miss:
            command changed: "[\"/bin/sh\",\"-c\",\"echo one\"]" -> "[\"sh\",\"-ec\",\"echo one\"]"
        compared with the build of TIME in /p
    "#]],
    );
    build("COPY f /\nWORKDIR /w\nRUN echo one\n");
    project.explains(
        &[],
        expect![[r#"
        [3/4] WORKDIR /w (line 3): miss:
            the instruction is new
        [4/4] RUN echo one (line 4): miss:
            step [3/4] WORKDIR /w is new
        compared with the build of TIME in /p
    "#]],
    );
}

#[test]
fn options_of_the_build_and_texts_that_mean_the_same() {
    let kiln = with_busybox();
    let project = Project::new(&kiln, "p", "FROM busybox\nCOPY f /\nRUN echo one\n");
    project.write("f", "f");
    project.build(&[]);
    let build = |dockerfile: &str| project.write("Dockerfile", &format!("FROM busybox\n{dockerfile}"));
    build("COPY f /\nRUN echo one\n");
    project.write("f", "g");
    project.build(&[]);
    project.explains(
        &["--network", "none"],
        expect![[r#"
        [3/3] RUN echo one (line 3): miss:
            network changed: "default" -> "none"
        compared with the build of TIME in /p
    "#]],
    );
    build("COPY f /\n# a comment\nRUN    echo one\n");
    project.explains(
        &["--shm-size", "1m"],
        expect![[r#"
        [3/3] RUN    echo one (line 4): miss:
            shm size changed: it is "1048576" now
        compared with the build of TIME in /p
    "#]],
    );
    build("COPY f /\nRUN <<E\necho one\nE\n");
    project.build(&[]);
    project.explains(
        &["--ulimit", "nofile=99"],
        expect![[r#"
        [3/3] RUN <<E (echo one) (line 3): miss:
            ulimits changed: it is "[{\"name\":\"nofile\",\"soft\":99,\"hard\":99}]" now
        compared with the build of TIME in /p
    "#]],
    );
    build("COPY f /\nRUN <<E\necho two\nE\n");
    project.explains(
        &[],
        expect![[r#"
        [3/3] RUN <<E (echo two) (line 3): miss:
            instruction changed: RUN <<E echo one E -> RUN <<E echo two E
        compared with the build of TIME in /p
    "#]],
    );
}

#[test]
fn the_cache_was_not_to_be_used() {
    let kiln = with_busybox();
    let same = "FROM busybox AS a\nRUN echo same > /f\nFROM busybox\nCOPY --from=a /f /\n";
    let project = Project::new(&kiln, "p", same);
    project.build(&[]);
    project.explains(&["--no-cache-filter", "a"], expect![[r#"
        [a 2/2] RUN echo same > /f (line 2): miss:
            the cache was not to be used (--no-cache)
        [stage-1 2/2] COPY --from=a /f / (line 4): hit: [a 2/2] RUN echo same > /f ran again, and what this step takes is as before
    "#]]);
    let other = "FROM busybox AS a\nRUN cat /proc/sys/kernel/random/uuid > /f\nFROM busybox\nCOPY --from=a /f /\n";
    let project = Project::new(&kiln, "q", other);
    project.build(&[]);
    project.explains(
        &["--no-cache-filter", "a"],
        expect![[r#"
        [a 2/2] RUN cat /proc/sys/kernel/random/uuid > /f (line 2): miss:
            the cache was not to be used (--no-cache)
        [stage-1 2/2] COPY --from=a /f / (line 4): miss:
            step [a 2/2] RUN cat /proc/sys/kernel/random/uuid > /f changed
        compared with the build of TIME in /q
    "#]],
    );
}

#[test]
fn a_result_that_was_deleted_or_damaged() {
    let kiln = with_busybox();
    let project = Project::new(&kiln, "p", "FROM busybox\nRUN echo one > /one\nRUN echo two > /two\n");
    project.build(&[]);
    kiln.ok(&["builder", "prune", "-a", "-f"]);
    project.explains(
        &[],
        expect![[r#"
        [2/3] RUN echo one > /one (line 2): miss:
            nothing changed; its result was deleted on TIME: by a prune command
        [3/3] RUN echo two > /two (line 3): miss:
            nothing changed; its result was deleted on TIME: by a prune command
    "#]],
    );
    kiln.ok(&["builder", "prune", "-a", "-f"]);
    project.write("Dockerfile", "FROM busybox\nRUN echo three > /one\nRUN echo two > /two\n");
    project.explains(
        &[],
        expect![[r#"
        [2/3] RUN echo three > /one (line 2): miss:
            instruction changed: RUN echo one > /one -> RUN echo three > /one
        [3/3] RUN echo two > /two (line 3): miss:
            step [2/3] RUN echo three > /one changed
        compared with the build of TIME in /p
    "#]],
    );
    let layers = fs::read_dir(kiln.root().join("layers")).expect("layers");
    let newest = layers
        .map(|entry| entry.expect("layer").path())
        .max_by_key(|path| path.file_name().and_then(|name| name.to_str()?.parse::<u64>().ok()).unwrap_or_default());
    fs::remove_dir_all(newest.expect("a layer")).expect("delete");
    project.explains(
        &[],
        expect![[r#"
        [3/3] RUN echo two > /two (line 3): miss:
            nothing changed; the layers of the earlier result are missing or damaged
    "#]],
    );
}

#[test]
fn a_step_that_failed_before() {
    let kiln = with_busybox();
    let failing = "FROM busybox\nRUN --mount=type=cache,id=c,target=/c test -e /c/x || { touch /c/x; false; }\n";
    let project = Project::new(&kiln, "p", failing);
    let failed = project.run(&["--explain"]);
    assert_eq!(failed.code(), 1, "{failed}");
    let told: String =
        failed.stderr.lines().take_while(|line| !line.starts_with("---")).map(|line| format!("{line}\n")).collect();
    expect![[r#"
        [1/2] FROM docker.io/library/busybox:latest (line 1): hit
        [2/2] RUN --mount=type=cache,id=c,target=/c test -e /c/x || { touch /c/x; false; } (line 2): failed:
            no earlier build of this Dockerfile is known
        Dockerfile:2
    "#]]
    .assert_eq(&project.steady(&told));
    project.explains(
        &[],
        expect![[r#"
        [2/2] RUN --mount=type=cache,id=c,target=/c test -e /c/x || { touch /c/x; false; } (line 2): miss:
            nothing changed; the earlier run failed, and only completed steps are kept
        compared with the build of TIME in /p
    "#]],
    );
}

#[test]
fn a_step_that_ran_again_and_gave_the_same() {
    let kiln = with_busybox();
    let dockerfile = |comment: &str| {
        format!(
            "FROM busybox AS a\nRUN true {comment} && echo same > /f\nFROM busybox\nCOPY other /\nCOPY --from=a /f /\nRUN cat /f\n"
        )
    };
    let project = Project::new(&kiln, "p", &dockerfile("one"));
    project.write("other", "1");
    project.build(&[]);
    project.write("Dockerfile", &dockerfile("two"));
    project.explains(&[], expect![[r#"
        [a 2/2] RUN true two && echo same > /f (line 2): miss:
            instruction changed: RUN true one && echo same > /f -> RUN true two && echo same > /f
        [stage-1 3/4] COPY --from=a /f / (line 5): hit: [a 2/2] RUN true two && echo same > /f ran again, and what this step takes is as before
        [stage-1 4/4] RUN cat /f (line 6): hit: [a 2/2] RUN true two && echo same > /f ran again, and what this step takes is as before
        compared with the build of TIME in /p
    "#]]);
    // What came out the same is no cause of what ran for another reason.
    project.write("Dockerfile", &dockerfile("three"));
    project.write("other", "2");
    project.explains(
        &[],
        expect![[r#"
        [a 2/2] RUN true three && echo same > /f (line 2): miss:
            instruction changed: RUN true two && echo same > /f -> RUN true three && echo same > /f
        [stage-1 2/4] COPY other / (line 4): miss:
            file other changed
        [stage-1 3/4] COPY --from=a /f / (line 5): miss:
            step [stage-1 2/4] COPY other / changed
        [stage-1 4/4] RUN cat /f (line 6): miss:
            step [stage-1 2/4] COPY other / changed
        compared with the build of TIME in /p
    "#]],
    );
}

#[test]
fn a_download_that_changed() {
    let kiln = Kiln::new();
    let web = kiln_tests::web::Web::serve();
    web.put("/f", kiln_tests::web::Page::of(b"one"));
    let project = Project::new(&kiln, "p", &format!("FROM scratch\nADD {} /\n", web.url("/f")));
    let steady = |text: &str| project.steady(text).replace(&web.url(""), "http://server");
    let told = |answer: &kiln_tests::kiln::Answer| steady(&answer.stderr);
    expect![[r#"
        http://server/f (line 2): miss:
            it was not in the store, and was fetched
        [1/1] ADD http://server/f / (line 2): miss:
            no earlier build of this Dockerfile is known
    "#]]
    .assert_eq(&told(&project.build(&["--explain"])));
    web.put("/f", kiln_tests::web::Page::of(b"two"));
    expect![[r#"
        http://server/f (line 2): miss:
            what is at http://server/f changed
        [1/1] ADD http://server/f / (line 2): miss:
            what is at http://server/f changed
        compared with the build of TIME in /p
    "#]]
    .assert_eq(&told(&project.build(&["--explain"])));
}

#[test]
fn a_step_that_another_build_ran_meanwhile() {
    let kiln = with_busybox();
    let wait = "RUN --mount=type=cache,id=notes,target=/n echo >> /n/ran; until test -e /n/go; do usleep 20000; done";
    let project = Project::new(&kiln, "p", &format!("FROM busybox\n{wait}\n"));
    let directory = project.directory.to_str().expect("UTF-8");
    let start = || Running::start(&mut kiln.command(&["build", "--progress", "plain", "--explain", directory]));
    let mut first = start();
    first.wait_for_step("RUN --mount=type=cache,id=notes");
    let mut second = start();
    second.wait_for_step("RUN --mount=type=cache,id=notes");
    second.wait_for_words("another build runs this step");
    let mounts = kiln.root().join("cache-mounts");
    let notes = || {
        fs::read_dir(&mounts)
            .ok()?
            .map(|entry| entry.expect("cache mount").path())
            .find(|path| path.join("ran").exists())
    };
    wait_until("the step runs", || notes().is_some());
    fs::write(notes().expect("notes").join("go"), "").expect("go");
    let ((_, first), (_, second)) = (first.end(), second.end());
    assert!(first.contains("no earlier build of this Dockerfile is known"), "{first}");
    assert!(second.contains("(line 2): hit: another build ran it meanwhile"), "{second}");
}
