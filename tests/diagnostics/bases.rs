//! Base images that cannot be had.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use expect_test::expect;
use kiln_tests::registry::Registry;

use crate::project::{Project, text};

/// Builds and gives the message, with a word for the registry's address.
#[track_caller]
fn message(project: &Project, dockerfile: &str, address: &str) -> String {
    project.file("Dockerfile", dockerfile.replace("REGISTRY", address).as_bytes());
    let answer = project.kiln.run(&["build", "-q", text(&project.context)]);
    assert_eq!(answer.code(), 1, "{answer}");
    // As long as an address with its port, so that carets stay where they are.
    project.plain(&answer).replace(address, "127.0.0.1:NNNNN")
}

#[test]
fn a_tag_that_the_registry_does_not_have() {
    let registry = Registry::serve(&["busybox"]);
    let said = message(&Project::with(&[]), "FROM REGISTRY/library/busybox:none\n", &registry.address());
    expect![[r#"
        Dockerfile:1
        --------------------
         1 | >>> FROM 127.0.0.1:NNNNN/library/busybox:none
           |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
        --------------------
        ERROR: failed to build: 127.0.0.1:NNNNN/library/busybox:none: 127.0.0.1:NNNNN/library/busybox:none was not found on 127.0.0.1:NNNNN
    "#]]
    .assert_eq(&said);
}

#[test]
fn an_image_to_copy_from_that_is_not_there() {
    let registry = Registry::serve(&["busybox"]);
    let dockerfile = "FROM scratch\nCOPY --from=REGISTRY/library/nothing /a /b\n";
    expect![[r#"
        Dockerfile:2
        --------------------
         1 |     FROM scratch
         2 | >>> COPY --from=127.0.0.1:NNNNN/library/nothing /a /b
           |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
        --------------------
        ERROR: failed to build: 127.0.0.1:NNNNN/library/nothing:latest: 127.0.0.1:NNNNN/library/nothing:latest was not found on 127.0.0.1:NNNNN
    "#]].assert_eq(&message(&Project::with(&[]), dockerfile, &registry.address()));
}

#[test]
fn a_registry_that_wants_a_login() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("free port");
    let address = listener.local_addr().expect("address").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            for line in BufReader::new(&stream).lines() {
                if line.is_ok_and(|line| line.is_empty()) {
                    let answer =
                        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n";
                    // A client that is gone needs no answer.
                    let _ = (&stream).write_all(answer.as_bytes());
                }
            }
        }
    });
    let said = message(&Project::with(&[]), "ARG TAG=1\nFROM REGISTRY/private/app:${TAG}\n", &address);
    expect![[r#"
        Dockerfile:2
        --------------------
         1 |     ARG TAG=1
         2 | >>> FROM 127.0.0.1:NNNNN/private/app:${TAG}
        --------------------
        ERROR: failed to build: 127.0.0.1:NNNNN/private/app:1: 127.0.0.1:NNNNN denies access to private/app: authentication required
        hint: check the name; if the repository is private, log in first (`docker login` or a config.json)
    "#]]
    .assert_eq(&said);
}

#[test]
fn a_registry_that_does_not_answer() {
    let said = message(&Project::with(&[]), "FROM scratch AS a\nFROM REGISTRY/app AS b\n", "127.0.0.1:1");
    expect![[r#"
        Dockerfile:2
        --------------------
         1 |     FROM scratch AS a
         2 | >>> FROM 127.0.0.1:NNNNN/app AS b
           |          ^^^^^^^^^^^^^^^
        --------------------
        ERROR: failed to build: 127.0.0.1:NNNNN/app:latest: cannot reach the registry 127.0.0.1:NNNNN: error sending request: client error (Connect): tcp connect error: Connection refused (os error 111)
        hint: nothing listens there: is the registry running, and is the port right?
    "#]].assert_eq(&said);
}
