//! Dockerfiles that are missing or wrong, ignore files that are wrong, stages that are not there.

use expect_test::expect;

use crate::project::{Project, text};

fn project() -> Project {
    Project::with(&["busybox"])
}

#[test]
fn no_dockerfile() {
    let project = project();
    project.file("Containerfile", b"FROM busybox\n");
    project.fails_as_it_is(
        &[],
        &expect![[r#"
        ERROR: failed to build: failed to read dockerfile: open CONTEXT/Dockerfile: no such file or directory
        hint: there is "Containerfile"; name it with -f
    "#]],
    );
    project.fails_as_it_is(
        &["-f", "nowhere/Dockerfile"],
        &expect![[r#"
        ERROR: failed to build: failed to read dockerfile: open nowhere/Dockerfile: no such file or directory
    "#]],
    );
}

#[test]
fn a_directory_for_a_dockerfile() {
    let project = project();
    project.file("Dockerfile/x", b"");
    project.fails_as_it_is(
        &[],
        &expect![[r#"
        ERROR: failed to build: failed to read dockerfile CONTEXT/Dockerfile: Is a directory (os error 21)
    "#]],
    );
}

#[test]
fn an_empty_dockerfile() {
    let project = project();
    project.fails(
        "",
        &expect![[r#"
            ERROR: failed to build: Dockerfile: file with no instructions
        "#]],
    );
    project.fails(
        "# nothing\n\n",
        &expect![[r#"
        Dockerfile:2
        --------------------
         1 |     # nothing
         2 | >>> 
        --------------------
        ERROR: failed to build: file with no instructions
    "#]],
    );
}

#[test]
fn a_dockerfile_of_other_bytes() {
    let project = project();
    project.file("Dockerfile", b"\xff\xfeF\0R\0O\0M\0 \0b\0\n\0");
    project.fails_as_it_is(
        &[],
        &expect![[r#"
            Dockerfile:1
            --------------------
             1 | >>> ��F·R·O·M· ·b·
               |     ^
             2 |     ·
            --------------------
            ERROR: failed to build: invalid UTF-8: only comments, what is told about the image, and heredocs that become files may hold any bytes

            Dockerfile:2
            --------------------
             1 |     ��F·R·O·M· ·b·
             2 | >>> ·
               |     ^
            --------------------
            ERROR: failed to build: dockerfile parse error on line 2: unknown instruction: ·
            hint: this is no UTF-8 text, perhaps UTF-16: save it as UTF-8
        "#]],
    );
}

#[test]
fn all_errors_of_a_dockerfile_at_once() {
    project().fails(
        "FROM busybox\nCPOY a b\nCOPY --chwon=1 a b\n",
        &expect![[r#"
        Dockerfile:2
        --------------------
         1 |     FROM busybox
         2 | >>> CPOY a b
           |     ^^^^
         3 |     COPY --chwon=1 a b
        --------------------
        ERROR: failed to build: dockerfile parse error on line 2: unknown instruction: CPOY (did you mean COPY?)

        Dockerfile:3
        --------------------
         1 |     FROM busybox
         2 |     CPOY a b
         3 | >>> COPY --chwon=1 a b
           |          ^^^^^^^^^
        --------------------
        ERROR: failed to build: dockerfile parse error on line 3: unknown flag: --chwon (did you mean chown?)
    "#]],
    );
}

#[test]
fn a_stage_that_is_not_there() {
    let dockerfile = "FROM busybox AS base\nFROM base AS builder\nFROM base AS test\n";
    project().fails_with(
        dockerfile,
        &["--target", "biulder"],
        &expect![[r#"
            ERROR: failed to build: Dockerfile: target stage "biulder" could not be found (did you mean builder?)
            hint: the stages are base, builder, test
        "#]],
    );
    project().fails_with(
        dockerfile,
        &["--target", "release"],
        &expect![[r#"
            ERROR: failed to build: Dockerfile: target stage "release" could not be found
            hint: the stages are base, builder, test
        "#]],
    );
}

#[test]
fn a_stage_that_comes_later() {
    let dockerfile = "FROM busybox AS early\nCOPY --from=late /a /b\nFROM busybox AS late\n";
    project().fails_with(
        dockerfile,
        &["--target", "early"],
        &expect![[r#"
            Dockerfile:2
            --------------------
             1 |     FROM busybox AS early
             2 | >>> COPY --from=late /a /b
               |                 ^^^^
             3 |     FROM busybox AS late
            --------------------
            ERROR: failed to build: cannot copy from stage "late", it needs to be defined before current stage "early"
        "#]],
    );
}

#[test]
fn an_ignore_file_with_a_line_that_is_no_pattern() {
    let project = project();
    project.file(".dockerignore", b"*.log\n[\n");
    project.fails(
        "FROM busybox\nCOPY . /\n",
        &expect![[r#"
            ERROR: failed to build: the ignore file: syntax error in pattern
        "#]],
    );
}

#[test]
fn a_context_that_is_not_there() {
    let project = project();
    let answer = project.kiln.run(&["build", "-q", "nowhere"]);
    assert_eq!(answer.code(), 1, "{answer}");
    expect![[r#"
        ERROR: failed to build: unable to prepare context: path "nowhere" not found
    "#]]
    .assert_eq(&project.plain(&answer));
    project.file("file", b"");
    let answer = project.kiln.run(&["build", "-q", text(&project.context.join("file"))]);
    assert_eq!(answer.code(), 1, "{answer}");
    expect![[r#"
        ERROR: failed to build: unable to prepare context: "CONTEXT/file" is not a directory
    "#]]
    .assert_eq(&project.plain(&answer));
}

#[test]
fn a_frontend_of_somebody_elses() {
    project().fails(
        "# syntax=example/frontend:1\nFROM busybox\n",
        &expect![[r#"
        Dockerfile:1
        --------------------
         1 | >>> # syntax=example/frontend:1
           |              ^^^^^^^^^^^^^^^^^^
         2 |     FROM busybox
        --------------------
        ERROR: failed to build: unsupported frontend example/frontend:1: only docker/dockerfile is built in
    "#]],
    );
}
