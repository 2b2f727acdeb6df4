//! Kiln's own client before these registries.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

use kiln_tests::kiln::{Kiln, answer};

use super::tls::Identity;
use super::users::Users;
use crate::peer::Peer;

/// Somebody with a store and a configuration file.
struct Somebody {
    kiln: Kiln,
}

impl Somebody {
    fn with(config: &str) -> Somebody {
        let kiln = Kiln::new();
        fs::write(kiln.home().join("config.toml"), config).expect("configuration");
        Somebody { kiln }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.kiln.command(args);
        command.env("KILN_CONFIG", self.kiln.home().join("config.toml"));
        command
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        answer(&mut self.command(args)).succeeded().stdout
    }

    #[track_caller]
    fn log_in(&self, registry: &str, password: &str) {
        let args = ["login", "--username", "ada", "--password-stdin", registry];
        let mut login = self.command(&args).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("kiln login");
        login.stdin.take().expect("piped").write_all(password.as_bytes()).expect("password");
        assert!(login.wait().expect("its end").success());
    }

    #[track_caller]
    fn push_busybox(&self, name: &str) {
        self.kiln.load("busybox");
        self.ok(&["tag", "busybox", name]);
        self.ok(&["push", "-q", name]);
    }

    #[track_caller]
    fn id(&self, name: &str) -> String {
        self.ok(&["image", "inspect", "--format", "{{.Id}}", name])
    }
}

#[test]
fn kiln_logs_in_over_tls_pushes_and_pulls() {
    let (identity, users) = (Identity::new(), Users::ada());
    let mut flags = identity.flags().to_vec();
    flags.extend(users.flags());
    let peer = Peer::kiln_with(&flags.iter().map(String::as_str).collect::<Vec<_>>());
    let registry = &peer.server().address;
    let name = format!("{registry}/team/busybox:1");
    let config = format!("[registry.\"{registry}\"]\nca = {:?}\n", identity.file("registry.crt"));
    let (one, other) = (Somebody::with(&config), Somebody::with(&config));
    one.log_in(registry, "correct horse");
    one.push_busybox(&name);
    let refused = answer(&mut other.command(&["pull", &name]));
    assert!(!refused.status.success(), "{refused}");
    other.log_in(registry, "correct horse");
    other.ok(&["pull", "-q", &name]);
    assert_eq!(one.id(&name), other.id(&name));
}

#[test]
fn kiln_pulls_through_a_mirror_also_when_the_registry_is_gone() {
    let upstream = Peer::kiln();
    let registry = upstream.server().address.clone();
    let name = format!("{registry}/library/busybox:1");
    let pusher = Somebody::with("");
    pusher.push_busybox(&name);
    let mirror = Peer::over(Arc::new(Kiln::new()), &["--mirror-of", &format!("http://{registry}")]);
    let config = format!("[registry.\"{registry}\"]\nmirrors = [\"http://{}\"]\n", mirror.server().address);
    let first = Somebody::with(&config);
    first.ok(&["pull", "-q", &name]);
    drop(upstream);
    let second = Somebody::with(&config);
    second.ok(&["pull", "-q", &name]);
    assert_eq!(pusher.id(&name), first.id(&name));
    assert_eq!(pusher.id(&name), second.id(&name));
}
