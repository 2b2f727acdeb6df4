//! Sources of COPY and ADD that are not there.

use expect_test::expect;

use crate::project::Project;

fn project() -> Project {
    let project = Project::with(&["busybox"]);
    project.file("README.md", b"read me");
    project.file("src/app.py", b"pass");
    project.file("docs/notes.txt", b"notes");
    project.file("build/out.bin", b"binary");
    project.file(".dockerignore", b"# what is made\n/build/\n\n*.txt\n**/*.txt\n");
    project
}

#[test]
fn a_name_in_other_case() {
    project().fails(
        "FROM busybox\nCOPY src readme.md /app/\n",
        &expect![[r#"
        Dockerfile:2
        --------------------
         1 |     FROM busybox
         2 | >>> COPY src readme.md /app/
           |              ^^^^^^^^^
        --------------------
        ERROR: failed to build: [2/2] COPY src readme.md /app/: "/readme.md": not found
        hint: did you mean README.md? Upper and lower case differ
    "#]],
    );
}

#[test]
fn a_name_that_is_nearly_there() {
    project().fails(
        "FROM busybox\nCOPY src/ap.py \\\n  /app/\n",
        &expect![[r#"
        Dockerfile:2
        --------------------
         1 |     FROM busybox
         2 | >>> COPY src/ap.py \
           |          ^^^^^^^^^
         3 | >>>   /app/
        --------------------
        ERROR: failed to build: [2/2] COPY src/ap.py   /app/: "/src/ap.py": not found
        hint: did you mean src/app.py?
    "#]],
    );
}

#[test]
fn a_directory_that_is_nearly_there() {
    project().fails(
        "FROM busybox\nCOPY --chown=1 [\"scr/app.py\", \"/app/\"]\n",
        &expect![[r#"
        Dockerfile:2
        --------------------
         1 |     FROM busybox
         2 | >>> COPY --chown=1 ["scr/app.py", "/app/"]
           |                      ^^^^^^^^^^
        --------------------
        ERROR: failed to build: [2/2] COPY --chown=1 ["scr/app.py", "/app/"]: "/scr/app.py": not found
        hint: did you mean src/app.py?
    "#]],
    );
}

#[test]
fn a_name_that_is_elsewhere() {
    project().fails(
        "FROM busybox\nADD app.py /app/\n",
        &expect![[r#"
        Dockerfile:2
        --------------------
         1 |     FROM busybox
         2 | >>> ADD app.py /app/
           |         ^^^^^^
        --------------------
        ERROR: failed to build: [2/2] ADD app.py /app/: "/app.py": not found
        hint: that name is there as src/app.py
    "#]],
    );
}

#[test]
fn a_file_that_a_rule_ignores() {
    project().fails("FROM busybox\nCOPY build/out.bin /\n", &expect![[r#"
        Dockerfile:2
        --------------------
         1 |     FROM busybox
         2 | >>> COPY build/out.bin /
           |          ^^^^^^^^^^^^^
        --------------------
        ERROR: failed to build: [2/2] COPY build/out.bin /: "/build/out.bin": not found
        hint: build/out.bin is there, but .dockerignore:2: /build/ leaves it out; a line !build/out.bin below it in .dockerignore takes it in again
    "#]]);
}

#[test]
fn a_file_that_the_last_of_two_rules_ignores() {
    project().fails("FROM busybox\nCOPY docs/notes.txt /\n", &expect![[r#"
        Dockerfile:2
        --------------------
         1 |     FROM busybox
         2 | >>> COPY docs/notes.txt /
           |          ^^^^^^^^^^^^^^
        --------------------
        ERROR: failed to build: [2/2] COPY docs/notes.txt /: "/docs/notes.txt": not found
        hint: docs/notes.txt is there, but .dockerignore:5: **/*.txt leaves it out; a line !docs/notes.txt below it in .dockerignore takes it in again
    "#]]);
}

#[test]
fn a_file_that_the_dockerfiles_own_ignore_file_leaves_out() {
    let project = project();
    project.file("web.Dockerfile", b"FROM busybox\nCOPY src/app.py /\n");
    project.file("web.Dockerfile.dockerignore", b"src\n");
    let dockerfile = project.context.join("web.Dockerfile");
    project.fails_as_it_is(&["-f", crate::project::text(&dockerfile)], &expect![[r#"
        web.Dockerfile:2
        --------------------
         1 |     FROM busybox
         2 | >>> COPY src/app.py /
           |          ^^^^^^^^^^
        --------------------
        ERROR: failed to build: [2/2] COPY src/app.py /: "/src/app.py": not found
        hint: src/app.py is there, but web.Dockerfile.dockerignore:1: src leaves it out; a line !src/app.py below it in web.Dockerfile.dockerignore takes it in again
    "#]]);
}

#[test]
fn a_path_outside_of_the_context() {
    project().fails("FROM busybox\nCOPY ../shared/lib.py /\n", &expect![[r#"
        Dockerfile:2
        --------------------
         1 |     FROM busybox
         2 | >>> COPY ../shared/lib.py /
           |          ^^^^^^^^^^^^^^^^
        --------------------
        ERROR: failed to build: [2/2] COPY ../shared/lib.py /: "/shared/lib.py": not found
        hint: nothing outside of the context can be copied: build with a directory above it, or give that directory a name with --build-context NAME=DIRECTORY and copy --from=NAME
    "#]]);
}

#[test]
fn a_file_that_is_taken_for_a_directory() {
    project().fails(
        "FROM busybox\nCOPY README.md/part /\n",
        &expect![[r#"
        Dockerfile:2
        --------------------
         1 |     FROM busybox
         2 | >>> COPY README.md/part /
           |          ^^^^^^^^^^^^^^
        --------------------
        ERROR: failed to build: [2/2] COPY README.md/part /: "/README.md/part": not found
        hint: README.md is there, but it is no directory
    "#]],
    );
}

#[test]
fn a_pattern_in_a_directory_that_is_missing() {
    project().fails(
        "FROM busybox\nCOPY sources/*.py /\n",
        &expect![[r#"
            Dockerfile:2
            --------------------
             1 |     FROM busybox
             2 | >>> COPY sources/*.py /
               |          ^^^^^^^^^^^^
            --------------------
            ERROR: failed to build: [2/2] COPY sources/*.py /: lstat /sources: no such file or directory
        "#]],
    );
}

#[test]
fn a_context_without_files() {
    let project = Project::with(&["busybox"]);
    let elsewhere = project.kiln.scratch("elsewhere").join("Dockerfile");
    std::fs::write(&elsewhere, "FROM busybox\nCOPY main.c /\n").expect("Dockerfile");
    project.fails_as_it_is(
        &["-f", crate::project::text(&elsewhere)],
        &expect![[r#"
        Dockerfile:2
        --------------------
         1 |     FROM busybox
         2 | >>> COPY main.c /
           |          ^^^^^^
        --------------------
        ERROR: failed to build: [2/2] COPY main.c /: "/main.c": not found
        hint: the build context has no files: is it the right directory?
    "#]],
    );
}

#[test]
fn a_path_that_a_stage_does_not_have() {
    let dockerfile = "FROM busybox AS build\nRUN mkdir -p /src/target && echo > /src/target/app\nFROM scratch\nCOPY --from=build /src/app /\n";
    project().fails(
        dockerfile,
        &expect![[r#"
        Dockerfile:4
        --------------------
         2 |     RUN mkdir -p /src/target && echo > /src/target/app
         3 |     FROM scratch
         4 | >>> COPY --from=build /src/app /
           |                       ^^^^^^^^
        --------------------
        ERROR: failed to build: [stage-1 1/1] COPY --from=build /src/app /: "/src/app": not found
        hint: that name is there as /src/target/app
    "#]],
    );
}

#[test]
fn a_path_that_an_image_nearly_has() {
    project().fails(
        "FROM scratch\nCOPY --from=busybox /etc/passwdd /\n",
        &expect![[r#"
        Dockerfile:2
        --------------------
         1 |     FROM scratch
         2 | >>> COPY --from=busybox /etc/passwdd /
           |                         ^^^^^^^^^^^^
        --------------------
        ERROR: failed to build: [1/1] COPY --from=busybox /etc/passwdd /: "/etc/passwdd": not found
        hint: did you mean /etc/passwd?
    "#]],
    );
}

#[test]
fn a_bind_mount_of_nothing() {
    project().fails(
        "FROM busybox\nRUN --mount=type=bind,source=scr,target=/src ls /src\n",
        &expect![[r#"
        Dockerfile:2
        --------------------
         1 |     FROM busybox
         2 | >>> RUN --mount=type=bind,source=scr,target=/src ls /src
           |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
        --------------------
        ERROR: failed to build: [2/2] RUN --mount=type=bind,source=scr,target=/src ls /src: "/scr": not found
        hint: did you mean src?
    "#]],
    );
}

#[test]
fn a_directory_in_the_way_of_a_file() {
    let dockerfile = "FROM busybox\nRUN mkdir -p /app/README.md\nCOPY . /app/\n";
    project().fails(
        dockerfile,
        &expect![[r#"
        Dockerfile:3
        --------------------
         1 |     FROM busybox
         2 |     RUN mkdir -p /app/README.md
         3 | >>> COPY . /app/
        --------------------
        ERROR: failed to build: [3/3] COPY . /app/: cannot replace to directory /app/README.md with file
    "#]],
    );
}

#[test]
fn a_name_that_no_account_file_explains() {
    project().fails("FROM scratch\nCOPY --chown=app README.md /\n", &expect![[r#"
        Dockerfile:2
        --------------------
         1 |     FROM scratch
         2 | >>> COPY --chown=app README.md /
        --------------------
        ERROR: failed to build: [1/1] COPY --chown=app README.md /: invalid user index: -1 (there is no /etc/passwd or /etc/group that could explain "app")
        hint: an image without /etc/passwd knows numbers only, such as --chown=1000:1000
    "#]]);
}
