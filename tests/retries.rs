//! Sources that fail for a moment are asked again, and the build says so; what would fail again is not.

use std::fs;
use std::path::PathBuf;

use kiln_tests::kiln::{Answer, Kiln};
use kiln_tests::registry::Registry;
use kiln_tests::repository::{GitServer, Repository};
use kiln_tests::web::{Page, Web};

fn build(kiln: &Kiln, dockerfile: &str) -> Answer {
    let context: PathBuf = kiln.scratch("context");
    fs::write(context.join("Dockerfile"), dockerfile).expect("Dockerfile");
    kiln.run(&["build", "--progress=plain", context.to_str().expect("UTF-8")])
}

/// Which attempts were announced, as `2 of 6`.
fn attempts(answer: &Answer) -> Vec<String> {
    let announced = answer.stderr.lines().filter_map(|line| line.split_once(": attempt ")?.1.split_once(" in "));
    announced.map(|(attempt, _)| attempt.to_owned()).collect()
}

fn statuses(web: &Web) -> Vec<u16> {
    web.requests().iter().map(|request| request.status).collect()
}

#[test]
fn a_web_server_without_time_is_asked_again() {
    let (kiln, web) = (Kiln::new(), Web::serve());
    web.put("/f", Page { failing: vec![502, 429, 503], ..Page::of(b"content") });
    let answer = build(&kiln, &format!("FROM scratch\nADD {} /\n", web.url("/f"))).succeeded();
    assert_eq!(statuses(&web), [503, 429, 502, 200]);
    assert_eq!(attempts(&answer), ["2 of 6", "3 of 6", "4 of 6"], "{answer}");
    assert!(answer.stderr.contains("429 Too Many Requests"), "{answer}");
}

#[test]
fn a_download_that_breaks_off_is_begun_anew() {
    let (kiln, web) = (Kiln::new(), Web::serve());
    web.put("/f", Page { breaks: 2, ..Page::of(&[b'x'; 100_000]) });
    let answer = build(&kiln, &format!("FROM scratch\nADD {} /\n", web.url("/f"))).succeeded();
    assert_eq!(statuses(&web), [200, 200, 200]);
    assert_eq!(attempts(&answer), ["2 of 5", "3 of 5"], "{answer}");
}

#[test]
fn what_stays_wrong_is_asked_for_once() {
    let (kiln, web) = (Kiln::new(), Web::serve());
    web.put("/f", Page::of(b"content"));
    for (status, path) in [(403, "/forbidden"), (401, "/secret")] {
        web.put(path, Page { failing: vec![status; 9], ..Page::of(b"") });
    }
    let wrong = format!("ADD --checksum=sha256:{} {} /", "0".repeat(64), web.url("/f"));
    let none = |path: &str| format!("ADD {} /", web.url(path));
    for (add, status) in [(none("/none"), 404), (none("/forbidden"), 403), (none("/secret"), 401), (wrong, 200)] {
        let answer = build(&kiln, &format!("FROM scratch\n{add}\n"));
        assert_eq!(answer.code(), 1, "{answer}");
        assert_eq!(statuses(&web), [status], "{answer}");
        assert_eq!(attempts(&answer), Vec::<String>::new(), "{answer}");
    }
}

#[test]
fn a_server_that_stays_busy_ends_the_build_with_its_status() {
    let (kiln, web) = (Kiln::new(), Web::serve());
    web.put("/f", Page { failing: vec![503; 9], ..Page::of(b"") });
    let answer = build(&kiln, &format!("FROM scratch\nADD {} /\n", web.url("/f")));
    assert_eq!(answer.code(), 1, "{answer}");
    assert!(answer.stderr.contains("invalid response status 503"), "{answer}");
    assert_eq!(statuses(&web), [503; 6]);
}

#[test]
fn a_repository_whose_server_breaks_off_is_asked_again() {
    let kiln = Kiln::new();
    let place = kiln.scratch("repositories");
    Repository::new(&place.join("r")).commit(&[("f", "1")]);
    let server = GitServer::serve(&place);
    server.break_off(2);
    let answer = build(&kiln, &format!("FROM scratch\nADD {}#main /r\n", server.url("r"))).succeeded();
    assert_eq!(attempts(&answer), ["2 of 5", "3 of 5"], "{answer}");
    let gone = build(&kiln, &format!("FROM scratch\nADD {}#main /r\n", server.url("none")));
    assert_eq!((gone.code(), attempts(&gone)), (1, Vec::new()), "{gone}");
    let no_branch = build(&kiln, &format!("FROM scratch\nADD {}#none /r\n", server.url("r")));
    assert_eq!((no_branch.code(), attempts(&no_branch)), (1, Vec::new()), "{no_branch}");
}

#[test]
fn a_base_image_is_pulled_from_a_registry_that_has_no_time_at_first() {
    let kiln = Kiln::new();
    let registry = Registry::serve(&["busybox"]);
    registry.be_busy(2);
    let base = format!("{}/library/busybox:latest", registry.address());
    let answer = build(&kiln, &format!("FROM {base}\nRUN true\n")).succeeded();
    assert_eq!(attempts(&answer), ["2 of 6", "3 of 6"], "{answer}");
    let missing = build(&kiln, &format!("FROM {}/none:latest\nRUN true\n", registry.address()));
    assert_eq!((missing.code(), attempts(&missing)), (1, Vec::new()), "{missing}");
}
