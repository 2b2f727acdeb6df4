//! `login` and `logout` as docker words them; what they leave in `config.json`.

use kiln_tests::front::{Front, basic, open};
use kiln_tests::kiln::Kiln;
use kiln_tests::registry::Registry;

use crate::{ANN, docker_config, login, warning, with_input, write_docker_config};

const INSECURE: &str = "WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n";
const AGAIN: &str = "Authenticating with existing credentials... [Username: ann]\n\n Info -> To login with a different \
                     account, run 'docker logout' followed by 'docker login'\n\n\n";

#[test]
fn a_login_is_kept_until_the_logout() {
    let (kiln, front) = (Kiln::new(), Front::start(None, None, answers_200_to(ANN)));
    let address = front.address();
    let first = kiln.ok(&["login", "-u", "ann", "-p", "hunter2", &address]);
    assert_eq!(first.stdout, "Login Succeeded\n");
    assert_eq!(first.stderr, format!("{INSECURE}{}", warning(&kiln)));
    let kept = format!("{{\n\t\"auths\": {{\n\t\t\"{address}\": {{\n\t\t\t\"auth\": \"{ANN}\"\n\t\t}}\n\t}}\n}}");
    assert_eq!(docker_config(&kiln), kept);
    let second = kiln.ok(&["login", &address]);
    assert_eq!((second.stdout.as_str(), second.stderr.as_str()), ("Login Succeeded\n", AGAIN));
    let third = kiln.ok(&["login", "-u", "ann", "-p", "hunter2", &format!("https://{address}/v2/")]);
    assert_eq!((third.stdout.as_str(), third.stderr.as_str()), ("Login Succeeded\n", INSECURE), "nothing changed");
    let out = kiln.ok(&["logout", &address]);
    assert_eq!(out.stdout, format!("Removing login credentials for {address}\n"));
    assert_eq!((out.stderr.as_str(), docker_config(&kiln).as_str()), ("", "{\n\t\"auths\": {}\n}"));
    let out = kiln.ok(&["logout", &format!("https://{address}")]);
    assert_eq!(out.stdout, format!("Removing login credentials for {address}\n"));
    let out = kiln.ok(&["logout"]);
    assert_eq!(out.stdout, "Removing login credentials for https://index.docker.io/v1/\n");
    assert!(!kiln.root().exists(), "nobody needs a store to log in");
}

/// A registry that has nothing but users.
fn answers_200_to(user: &'static str) -> kiln_tests::front::Guard {
    let guard = basic(user);
    Box::new(move |request| guard(request).or_else(|| Some(kiln_tests::front::Reply::new(200))))
}

#[test]
fn a_refused_login_keeps_nothing() {
    let (kiln, front) = (Kiln::new(), Front::start(None, None, basic(ANN)));
    let address = front.address();
    let refused = login(&kiln, &address, "wrong\n");
    let words = format!(
        "Error response from daemon: login attempt to http://{address}/v2/ failed with status: 401 Unauthorized\n"
    );
    assert_eq!((refused.code(), refused.stdout.as_str(), refused.stderr), (1, "", words));
    assert_eq!(docker_config(&kiln), "");
    let nobody = login(&kiln, "127.0.0.1:1", "hunter2");
    assert_eq!(nobody.code(), 1, "{nobody}");
    assert!(nobody.stderr.starts_with("Error response from daemon: Get \"http://127.0.0.1:1/v2/\": "), "{nobody}");
    write_docker_config(&kiln, &format!(r#"{{"auths":{{"{address}":{{"auth":"YW5uOndyb25n"}}}},"x":1}}"#));
    let before = docker_config(&kiln);
    let stale = kiln.run(&["login", &address]);
    let words =
        "Stored credentials invalid or expired\nError: Cannot perform an interactive login from a non TTY device\n";
    assert_eq!((stale.code(), stale.stdout.as_str(), stale.stderr), (1, "", format!("{AGAIN}{words}")));
    assert_eq!(docker_config(&kiln), before);
}

#[test]
fn flags_that_do_not_go_together_are_refused() {
    let (kiln, front) = (Kiln::new(), Front::start(None, None, open()));
    let address = front.address();
    let check = |args: &[&str], words: &str| {
        let answer = with_input(&kiln, &[&["login"], args, &[address.as_str()]].concat(), "hunter2\n");
        assert_eq!((answer.code(), answer.stdout.as_str()), (1, ""), "{answer}");
        assert_eq!(answer.stderr.trim_start_matches(INSECURE), format!("{words}\n"), "{answer}");
    };
    let no_terminal = "Error: Cannot perform an interactive login from a non TTY device";
    check(&[], no_terminal);
    check(&["-u", "ann"], no_terminal);
    check(&["-p", "hunter2"], no_terminal);
    check(&["--password-stdin"], "the --password-stdin option requires --username to be set");
    check(&["--username=", "--password-stdin"], "username is empty");
    check(&["-u", "ann", "-p", ""], "password is empty");
    let both = "conflicting options: cannot specify both --password and --password-stdin";
    check(&["-u", "ann", "-p", "x", "--password-stdin"], both);
    assert!(front.requests().is_empty());
    let many = kiln.run(&["login", "a", "b"]);
    assert_eq!(many.code(), 1);
    assert!(many.stderr.starts_with("kiln: 'kiln login' requires at most 1 argument\n"), "{many}");
}

#[test]
fn what_was_logged_in_to_can_be_pulled_from() {
    let (kiln, registry) = (Kiln::new(), Registry::serve(&["busybox"]));
    let front = Front::start(Some(&registry.address()), None, basic(ANN));
    let name = format!("{}/library/busybox", front.address());
    kiln.fails(&["pull", "-q", &name], &["denies access", "log in"]);
    assert!(login(&kiln, &front.address(), "hunter2\r\n").status.success());
    kiln.ok(&["pull", "-q", &name]);
    kiln.ok(&["logout", &front.address()]);
    kiln.ok(&["rmi", &name]);
    kiln.fails(&["pull", "-q", &name], &[]);
}

#[test]
fn a_password_is_shown_to_nobody() {
    let (kiln, registry) = (Kiln::new(), Registry::serve(&["busybox"]));
    let front = Front::start(Some(&registry.address()), None, basic(ANN));
    let name = format!("{}/library/busybox", front.address());
    let mut command = kiln.command(&["login", "-u", "ann", "-p", "hunter2", &front.address()]);
    let logged_in = kiln_tests::kiln::answer(command.env("RUST_LOG", "trace"));
    let pulled = kiln_tests::kiln::answer(kiln.command(&["pull", &name]).env("RUST_LOG", "trace"));
    for answer in [logged_in.succeeded(), pulled.succeeded()] {
        let said = format!("{}{}", answer.stdout, answer.stderr);
        assert!(!said.contains(ANN) && !said.contains("hunter2"), "{answer}");
    }
}

#[test]
fn the_environment_may_hold_credentials() {
    let (kiln, registry) = (Kiln::new(), Registry::serve(&["busybox"]));
    let front = Front::start(Some(&registry.address()), None, basic(ANN));
    let name = format!("{}/library/busybox", front.address());
    let mut command = kiln.command(&["pull", "-q", &name]);
    let text = format!(r#"{{"auths":{{"{}":{{"auth":"{ANN}"}}}}}}"#, front.address());
    kiln_tests::kiln::answer(command.env("DOCKER_AUTH_CONFIG", text)).succeeded();
}
