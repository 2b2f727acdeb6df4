//! Credential helpers: what they are told and asked, by docker's protocol.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use kiln_tests::front::{Front, basic};
use kiln_tests::kiln::{Answer, Kiln, answer};
use kiln_tests::registry::Registry;

use crate::{ANN, docker_config, write_docker_config};

/// A helper `docker-credential-test`, which writes down what it is told and keeps one secret.
struct Helper {
    directory: PathBuf,
}

const SCRIPT: &str = r#"#!/bin/sh
cd "$(dirname "$0")"
input=$(cat)
printf '%s %s\n' "$1" "$input" >> log
case $1 in
get) cat kept 2>/dev/null || { echo credentials not found in native keychain; exit 1; } ;;
store) if [ -e locked ]; then echo locked; exit 1; fi; printf %s "$input" > kept ;;
erase) rm kept || exit 1 ;;
esac
"#;

impl Helper {
    fn new(kiln: &Kiln) -> Helper {
        let directory = kiln.scratch("helper");
        let program = directory.join("docker-credential-test");
        fs::write(&program, SCRIPT).expect("helper");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("mode");
        Helper { directory }
    }

    fn run(&self, kiln: &Kiln, args: &[&str]) -> Answer {
        let path = std::env::var("PATH").expect("PATH");
        let mut command: Command = kiln.command(args);
        answer(command.env("PATH", format!("{}:{path}", self.directory.display())))
    }

    /// What it was told since this was asked last.
    fn log(&self) -> Vec<String> {
        let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        fs::write(self.directory.join("log"), "").expect("log");
        log.lines().map(str::to_owned).collect()
    }
}

#[test]
fn a_helper_keeps_what_the_file_does_not() {
    let (kiln, registry) = (Kiln::new(), Registry::serve(&["busybox"]));
    let front = Front::start(Some(&registry.address()), None, basic(ANN));
    let (helper, address) = (Helper::new(&kiln), front.address());
    write_docker_config(&kiln, r#"{"credsStore":"test"}"#);
    let first = helper.run(&kiln, &["login", "-u", "ann", "-p", "hunter2", &address]).succeeded();
    assert!(!first.stderr.contains("unencrypted"), "{first}");
    let entry = format!(r#"{{"ServerURL":"{address}","Username":"ann","Secret":"hunter2"}}"#);
    assert_eq!(helper.log(), [format!("store {entry}")]);
    let config = docker_config(&kiln);
    assert_eq!(config, format!("{{\n\t\"auths\": {{\n\t\t\"{address}\": {{}}\n\t}},\n\t\"credsStore\": \"test\"\n}}"));
    helper.run(&kiln, &["pull", "-q", &format!("{address}/library/busybox")]).succeeded();
    let asked = helper.log();
    assert!(!asked.is_empty() && asked.iter().all(|line| *line == format!("get {address}")), "{asked:?}");
    helper.run(&kiln, &["logout", &address]).succeeded();
    let told = [&address, &format!("http://{address}"), &format!("https://{address}")];
    assert_eq!(helper.log(), told.map(|name| format!("erase {name}")));
    assert_eq!(docker_config(&kiln), "{\n\t\"auths\": {},\n\t\"credsStore\": \"test\"\n}");
    let again = helper.run(&kiln, &["logout"]);
    assert_eq!(again.code(), 0);
    let words = "WARNING: could not erase credentials:\nhttps://index.docker.io/v1/: error erasing credentials - err: \
                 exit status 1, out: ``\n";
    assert_eq!(again.stderr, words);
}

#[test]
fn a_helper_may_be_for_one_registry() {
    let (kiln, front) = (Kiln::new(), Front::start(None, None, registry_for_all()));
    let (helper, address) = (Helper::new(&kiln), front.address());
    write_docker_config(&kiln, &format!(r#"{{"credHelpers":{{"{address}":"test","missing.example":"missing"}}}}"#));
    helper.run(&kiln, &["login", "-u", "ann", "-p", "x", &address]).succeeded();
    assert_eq!(helper.log().len(), 1);
    let other = front.elsewhere();
    let kept =
        helper.run(&kiln, &["login", "-u", "ann", "-p", "x", &format!("localhost:{}", port(&other))]).succeeded();
    assert!(kept.stderr.contains("unencrypted") && helper.log().is_empty(), "{kept}");
}

fn port(address: &str) -> &str {
    address.rsplit(':').next().expect("port")
}

/// A registry that asks nobody who they are.
fn registry_for_all() -> kiln_tests::front::Guard {
    Box::new(|_| Some(kiln_tests::front::Reply::new(200)))
}

#[test]
fn a_helper_that_fails_fails_the_login() {
    let (kiln, front) = (Kiln::new(), Front::start(None, None, registry_for_all()));
    let (helper, address) = (Helper::new(&kiln), front.address());
    write_docker_config(&kiln, r#"{"credsStore":"test"}"#);
    fs::write(helper.directory.join("locked"), "").expect("locked");
    let failed = helper.run(&kiln, &["login", "-u", "ann", "-p", "hunter2", &address]);
    assert_eq!((failed.code(), failed.stdout.as_str()), (1, ""));
    let words = "Error saving credentials: error storing credentials - err: exit status 1, out: `locked`\n";
    assert!(failed.stderr.ends_with(words), "{failed}");
    write_docker_config(&kiln, r#"{"credsStore":"missing"}"#);
    let failed = helper.run(&kiln, &["login", "-u", "ann", "-p", "hunter2", &address]);
    let words = "err: exec: \"docker-credential-missing\": executable file not found in $PATH, out: ``\n";
    assert!(failed.code() == 1 && failed.stderr.ends_with(words), "{failed}");
}
