//! Processes that fail, or do not start.

use expect_test::expect;

use crate::project::Project;

/// The header of a program for 64 bit ARM.
const ARM64: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x40\0\x38\0\0\0\0\0\0\0\0\0";

fn busybox() -> Project {
    Project::with(&["busybox"])
}

#[test]
fn a_command_that_fails() {
    let dockerfile = "FROM busybox\nRUN echo compiling; echo main.c:3: error >&2; exit 7\n";
    busybox().fails(dockerfile, &expect![[r#"
        ------
         > [2/2] RUN echo compiling; echo main.c:3: error >&2; exit 7:
        compiling
        main.c:3: error
        ------
        Dockerfile:2
        --------------------
         1 |     FROM busybox
         2 | >>> RUN echo compiling; echo main.c:3: error >&2; exit 7
        --------------------
        ERROR: failed to build: [2/2] RUN echo compiling; echo main.c:3: error >&2; exit 7: process "/bin/sh -c echo compiling; echo main.c:3: error >&2; exit 7" did not complete successfully: exit code: 7
        note: the whole output of this step is in THE-LOG
    "#]]);
}

#[test]
fn only_the_last_lines_of_much_output() {
    busybox().fails("FROM busybox\nRUN seq 1 5000; printf '\\033[31mred\\033[0m\\n'; false\n", &expect![[r#"
        ------
         > [2/2] RUN seq 1 5000; printf '\033[31mred\033[0m\n'; false:
        4992
        4993
        4994
        4995
        4996
        4997
        4998
        4999
        5000
        red
        ------
        Dockerfile:2
        --------------------
         1 |     FROM busybox
         2 | >>> RUN seq 1 5000; printf '\033[31mred\033[0m\n'; false
        --------------------
        ERROR: failed to build: [2/2] RUN seq 1 5000; printf '\033[31mred\033[0m\n'; false: process "/bin/sh -c seq 1 5000; printf '\\033[31mred\\033[0m\\n'; false" did not complete successfully: exit code: 1
        note: the whole output of this step is in THE-LOG
    "#]]);
}

#[test]
fn a_command_that_a_debian_does_not_have() {
    Project::with(&["debian"]).fails("FROM debian:bookworm\nRUN true && \\\n    curl -O x\n", &expect![[r#"
        ------
         > [2/2] RUN true &&     curl -O x:
        /bin/sh: 1: curl: not found
        ------
        Dockerfile:2
        --------------------
         1 |     FROM debian:bookworm
         2 | >>> RUN true && \
         3 | >>>     curl -O x
           |         ^^^^
        --------------------
        ERROR: failed to build: [2/2] RUN true &&     curl -O x: process "/bin/sh -c true &&     curl -O x" did not complete successfully: exit code: 127
        hint: curl is not in the image; install its package: RUN apt-get update && apt-get install -y PACKAGE
        note: the whole output of this step is in THE-LOG
    "#]]);
}

#[test]
fn a_command_that_an_image_without_packages_does_not_have() {
    busybox().fails("FROM busybox\nRUN [\"make\", \"all\"]\n", &expect![[r#"
        Dockerfile:2
        --------------------
         1 |     FROM busybox
         2 | >>> RUN ["make", "all"]
           |           ^^^^
        --------------------
        ERROR: failed to build: [2/2] RUN ["make", "all"]: process "make all" did not complete successfully: exit code: 127
        hint: make is not in the image, and neither is a package manager: copy it, or use another base
        note: exec: "make": executable file not found in $PATH
        note: the whole output of this step is in THE-LOG
    "#]]);
}

#[test]
fn an_image_without_a_shell() {
    let project = busybox();
    project.fails("FROM scratch\nCOPY Dockerfile /\nRUN true\n", &expect![[r#"
        Dockerfile:3
        --------------------
         1 |     FROM scratch
         2 |     COPY Dockerfile /
         3 | >>> RUN true
        --------------------
        ERROR: failed to build: [2/2] RUN true: process "/bin/sh -c true" did not complete successfully: exit code: 127
        hint: the image has no /bin/sh: name the program itself, RUN ["PROGRAM", "ARGUMENT"], or run it in an earlier stage
        note: exec: "/bin/sh": no such file or directory
        note: the whole output of this step is in THE-LOG
    "#]]);
}

#[test]
fn a_script_with_windows_line_ends() {
    let project = busybox();
    project.program("run.sh", b"#!/bin/sh\r\necho hello\r\n");
    project.fails("FROM busybox\nCOPY run.sh /\nRUN /run.sh\n", &expect![[r#"
        ------
         > [3/3] RUN /run.sh:
        /bin/sh: /run.sh: not found
        ------
        Dockerfile:3
        --------------------
         1 |     FROM busybox
         2 |     COPY run.sh /
         3 | >>> RUN /run.sh
           |         ^^^^^^^
        --------------------
        ERROR: failed to build: [3/3] RUN /run.sh: process "/bin/sh -c /run.sh" did not complete successfully: exit code: 127
        hint: /run.sh has Windows line ends, which become part of the interpreter's name: sed -i 's/\r$//' /run.sh
        note: the whole output of this step is in THE-LOG
    "#]]);
    project.fails(
        "FROM busybox\nCOPY run.sh /\nRUN [\"/run.sh\"]\n",
        &expect![[r#"
        Dockerfile:3
        --------------------
         1 |     FROM busybox
         2 |     COPY run.sh /
         3 | >>> RUN ["/run.sh"]
           |           ^^^^^^^
        --------------------
        ERROR: failed to build: [3/3] RUN ["/run.sh"]: process "/run.sh" did not complete successfully: exit code: 127
        hint: /run.sh has Windows line ends, which become part of the interpreter's name: sed -i 's/\r$//' /run.sh
        note: exec: "/run.sh": no such file or directory
        note: the whole output of this step is in THE-LOG
    "#]],
    );
}

#[test]
fn a_script_without_its_interpreter() {
    let project = busybox();
    project.program("run.py", b"#!/usr/bin/python3\nprint()\n");
    project.fails("FROM busybox\nWORKDIR /srv\nCOPY run.py .\nRUN ./run.py\n", &expect![[r#"
        ------
         > [4/4] RUN ./run.py:
        /bin/sh: ./run.py: not found
        ------
        Dockerfile:4
        --------------------
         2 |     WORKDIR /srv
         3 |     COPY run.py .
         4 | >>> RUN ./run.py
           |         ^^^^^^^^
        --------------------
        ERROR: failed to build: [4/4] RUN ./run.py: process "/bin/sh -c ./run.py" did not complete successfully: exit code: 127
        hint: ./run.py is there, but what runs it is not in the image: /usr/bin/python3
        note: the whole output of this step is in THE-LOG
    "#]]);
}

#[test]
fn a_program_without_its_loader() {
    let dockerfile = "FROM busybox\nCOPY --from=debian:bookworm /bin/ls /usr/bin/ls\nRUN /usr/bin/ls\n";
    Project::with(&["busybox", "debian"]).fails(dockerfile, &expect![[r#"
        ------
         > [3/3] RUN /usr/bin/ls:
        /bin/sh: /usr/bin/ls: not found
        ------
        Dockerfile:3
        --------------------
         1 |     FROM busybox
         2 |     COPY --from=debian:bookworm /bin/ls /usr/bin/ls
         3 | >>> RUN /usr/bin/ls
           |         ^^^^^^^^^^^
        --------------------
        ERROR: failed to build: [3/3] RUN /usr/bin/ls: process "/bin/sh -c /usr/bin/ls" did not complete successfully: exit code: 127
        hint: /usr/bin/ls is there, but what runs it is not in the image: /lib64/ld-linux-x86-64.so.2 (a program for glibc; images such as Alpine have musl)
        note: the whole output of this step is in THE-LOG
    "#]]);
}

#[test]
fn a_script_that_is_not_executable() {
    let project = busybox();
    project.file("run.sh", b"#!/bin/sh\n");
    project.fails("FROM busybox\nCOPY run.sh /usr/bin/\nRUN /usr/bin/run.sh\n", &expect![[r#"
        ------
         > [3/3] RUN /usr/bin/run.sh:
        /bin/sh: /usr/bin/run.sh: Permission denied
        ------
        Dockerfile:3
        --------------------
         1 |     FROM busybox
         2 |     COPY run.sh /usr/bin/
         3 | >>> RUN /usr/bin/run.sh
           |         ^^^^^^^^^^^^^^^
        --------------------
        ERROR: failed to build: [3/3] RUN /usr/bin/run.sh: process "/bin/sh -c /usr/bin/run.sh" did not complete successfully: exit code: 126
        hint: /usr/bin/run.sh is not executable: RUN chmod +x /usr/bin/run.sh, or COPY --chmod=755
        note: the whole output of this step is in THE-LOG
    "#]]);
}

#[test]
fn a_script_that_names_no_interpreter() {
    let project = busybox();
    project.program("run", b"echo hello\n");
    project.fails(
        "FROM busybox\nCOPY run /\nRUN [\"/run\"]\n",
        &expect![[r#"
        Dockerfile:3
        --------------------
         1 |     FROM busybox
         2 |     COPY run /
         3 | >>> RUN ["/run"]
           |           ^^^^
        --------------------
        ERROR: failed to build: [3/3] RUN ["/run"]: process "/run" did not complete successfully: exit code: 126
        hint: /run is neither a program nor a script whose first line names an interpreter, such as #!/bin/sh
        note: exec: "/run": Exec format error
        note: the whole output of this step is in THE-LOG
    "#]],
    );
}

#[test]
fn a_program_for_other_machines() {
    let project = busybox();
    project.program("app", ARM64);
    project.fails(
        "FROM busybox\nCOPY app /\nRUN [\"/app\"]\n",
        &expect![[r#"
        Dockerfile:3
        --------------------
         1 |     FROM busybox
         2 |     COPY app /
         3 | >>> RUN ["/app"]
           |           ^^^^
        --------------------
        ERROR: failed to build: [3/3] RUN ["/app"]: process "/app" did not complete successfully: exit code: 126
        hint: /app is a program for arm64
        note: exec: "/app": Exec format error
        note: the whole output of this step is in THE-LOG
    "#]],
    );
}

#[test]
fn a_process_that_was_killed() {
    busybox().fails("FROM busybox\nRUN sleep 1000 & kill -9 $!; wait $!\n", &expect![[r#"
        ------
         > [2/2] RUN sleep 1000 & kill -9 $!; wait $!:
        Killed
        ------
        Dockerfile:2
        --------------------
         1 |     FROM busybox
         2 | >>> RUN sleep 1000 & kill -9 $!; wait $!
        --------------------
        ERROR: failed to build: [2/2] RUN sleep 1000 & kill -9 $!; wait $!: process "/bin/sh -c sleep 1000 & kill -9 $!; wait $!" did not complete successfully: exit code: 137
        hint: signal 9 ended it: if the machine's memory ran out, the kernel's log says so (dmesg)
        note: the whole output of this step is in THE-LOG
    "#]]);
}

#[test]
fn a_user_that_the_image_does_not_know() {
    busybox().fails(
        "FROM busybox\nUSER app\nRUN true\n",
        &expect![[r#"
            Dockerfile:3
            --------------------
             1 |     FROM busybox
             2 |     USER app
             3 | >>> RUN true
            --------------------
            ERROR: failed to build: [2/2] RUN true: unable to find user app: no matching entries in passwd file
            hint: make the user before: RUN useradd app, with busybox RUN adduser -D app; or use a number
        "#]],
    );
}

#[test]
fn a_secret_that_nobody_gave() {
    let dockerfile = "FROM busybox\nRUN --mount=type=cache,target=/c --mount=type=secret,id=token,required \\\n  cat /run/secrets/token\n";
    busybox().fails(dockerfile, &expect![[r#"
        Dockerfile:2
        --------------------
         1 |     FROM busybox
         2 | >>> RUN --mount=type=cache,target=/c --mount=type=secret,id=token,required \
           |                                      ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
         3 | >>>   cat /run/secrets/token
        --------------------
        ERROR: failed to build: [2/2] RUN --mount=type=cache,target=/c --mount=type=secret,id=token,required   cat /run/secrets/token: secret token: not found
        hint: give it with --secret id=token,src=FILE or --secret id=token,env=VARIABLE
    "#]]);
}

#[test]
fn an_agent_that_nobody_gave() {
    busybox().fails("FROM busybox\nRUN --mount=type=ssh,id=github,required ssh-add -l\n", &expect![[r#"
        Dockerfile:2
        --------------------
         1 |     FROM busybox
         2 | >>> RUN --mount=type=ssh,id=github,required ssh-add -l
           |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
        --------------------
        ERROR: failed to build: [2/2] RUN --mount=type=ssh,id=github,required ssh-add -l: no SSH key "github" forwarded from the client
        hint: give it with --ssh github for the agent of SSH_AUTH_SOCK, or --ssh github=SOCKET, or --ssh github=KEY
    "#]]);
}

#[test]
fn rights_that_nobody_allowed() {
    let project = busybox();
    project.fails(
        "FROM busybox\nRUN --security=insecure mount\n",
        &expect![[r#"
        Dockerfile:2
        --------------------
         1 |     FROM busybox
         2 | >>> RUN --security=insecure mount
           |         ^^^^^^^^^^^^^^^^^^^
        --------------------
        ERROR: failed to build: [2/2] RUN --security=insecure mount: security.insecure is not allowed
        hint: such a step may do all that you may do on this machine; permit it with --allow security.insecure
    "#]],
    );
    project.fails(
        "FROM busybox\nRUN --network=host true\n",
        &expect![[r#"
        Dockerfile:2
        --------------------
         1 |     FROM busybox
         2 | >>> RUN --network=host true
           |         ^^^^^^^^^^^^^^
        --------------------
        ERROR: failed to build: [2/2] RUN --network=host true: network.host is not allowed
        hint: such a step sees everything that listens on this machine; permit it with --allow network.host
    "#]],
    );
}
