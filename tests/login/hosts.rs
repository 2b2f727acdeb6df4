//! Which hosts are asked for a registry's content: mirrors, containerd's `hosts.toml`, limits; and what each gets to see.

use std::fs;
use std::path::Path;

use kiln_tests::docker_registry::DockerRegistry;
use kiln_tests::front::{Authority, Front, Reply, basic, open};
use kiln_tests::kiln::Kiln;
use kiln_tests::registry::Registry;

use crate::{ANN, run_with, write_docker_config};

const NOWHERE: &str = "127.0.0.1:1";

fn hosts(directory: &Path, registry: &str, text: &str) -> String {
    let own = directory.join(registry);
    fs::create_dir_all(&own).expect("directory");
    fs::write(own.join("hosts.toml"), text).expect("hosts.toml");
    format!("[registries]\ncertificates = []\nhosts = \"{}\"\n", directory.display())
}

#[test]
fn a_mirror_is_asked_first_and_is_told_no_secret() {
    let (kiln, registry) = (Kiln::new(), Registry::serve(&["busybox"]));
    let mirror = Front::start(Some(&registry.address()), None, open());
    let origin = Front::start(Some(&registry.address()), None, basic(ANN));
    write_docker_config(&kiln, &format!(r#"{{"auths":{{"{}":{{"auth":"{ANN}"}}}}}}"#, origin.address()));
    let name = format!("{}/library/busybox", origin.address());
    let declared = |mirrors: &str| format!("[registry.\"{}\"]\nmirrors = [{mirrors}]\n", origin.address());
    run_with(&kiln, &declared(&format!("{:?}", mirror.address())), &["pull", "-q", &name]).succeeded();
    let asked = mirror.requests();
    assert!(!asked.is_empty() && asked.iter().all(|request| request.header("authorization").is_none()));
    assert_eq!(origin.lines(), Vec::<String>::new());
    kiln.ok(&["rmi", &name]);
    let gone = format!("\"{NOWHERE}\", \"http://{NOWHERE}/cache\"");
    run_with(&kiln, &declared(&gone), &["pull", "-q", &name]).succeeded();
    assert!(!origin.lines().is_empty(), "mirrors that are gone are passed over");
}

#[test]
fn hosts_are_asked_for_what_they_can() {
    let (kiln, registry) = (Kiln::new(), Registry::serve(&["busybox"]));
    let giving = Front::start(Some(&registry.address()), None, open());
    let knowing = Front::start(Some(&registry.address()), None, open());
    let text = format!(
        "server = \"http://{NOWHERE}\"\n[host.\"http://{}\"]\ncapabilities = [\"pull\"]\n\
         [host.\"http://{}\"]\ncapabilities = [\"resolve\"]\n[host.\"http://{}\".header]\nx-secret = \"hunter2\"\n",
        giving.address(),
        knowing.address(),
        knowing.address(),
    );
    let settings = hosts(&kiln.scratch("hosts"), "a.example", &text);
    run_with(&kiln, &settings, &["pull", "-q", "a.example/library/busybox"]).succeeded();
    let resolved = knowing.requests();
    assert!(!resolved.is_empty());
    for request in &resolved {
        assert!(request.target.ends_with("/manifests/latest?ns=a.example"), "{}", request.target);
        assert_eq!(request.header("x-secret"), Some("hunter2"));
    }
    let given = giving.requests();
    assert!(given.iter().any(|request| request.target.contains("/blobs/")));
    assert!(!given.iter().any(|request| request.target.contains("/manifests/latest")));
    assert!(given.iter().all(|request| request.header("x-secret").is_none()), "a header is for one host");
}

#[test]
fn a_registry_may_lie_below_a_path_of_its_own() {
    let (kiln, registry, authority) = (Kiln::new(), Registry::serve(&["busybox"]), Authority::new("mine"));
    let tls = authority.server(&["127.0.0.1"], None);
    let below: kiln_tests::front::Guard = Box::new(|request| match request.target.strip_prefix("/hub/") {
        Some(rest) => {
            request.target = format!("/v2/{rest}");
            None
        }
        None => Some(Reply::new(404)),
    });
    let front = Front::start(Some(&registry.address()), Some(tls), below);
    let directory = kiln.scratch("hosts");
    let text = format!("server = \"https://{}/hub\"\noverride_path = true\nca = \"mine.pem\"\n", front.address());
    let settings = hosts(&directory, "_default", &text);
    assert_eq!(run_with(&kiln, &settings, &["pull", "-q", "b.example/library/busybox"]).code(), 1);
    fs::write(directory.join("_default/mine.pem"), &authority.pem).expect("authority");
    run_with(&kiln, &settings, &["pull", "-q", "b.example/library/busybox"]).succeeded();
    let text = format!("server = \"https://{}/hub\"\noverride_path = true\nskip_verify = true\n", front.address());
    run_with(&kiln, &hosts(&directory, "_default", &text), &["pull", "-q", "c.example/library/busybox"]).succeeded();
}

#[test]
fn what_is_pushed_goes_to_who_takes_it() {
    let (kiln, behind) = (Kiln::new(), DockerRegistry::start());
    let mirror = Front::start(Some(behind.address()), None, open());
    let origin = Front::start(Some(behind.address()), None, open());
    let text = format!(
        "server = \"http://{}\"\n[host.\"http://{}\"]\ncapabilities = [\"pull\", \"resolve\"]\n",
        origin.address(),
        mirror.address()
    );
    let settings = hosts(&kiln.scratch("hosts"), "a.example", &text);
    kiln.load("busybox");
    kiln.ok(&["tag", "busybox", "a.example/team/app:1"]);
    run_with(&kiln, &settings, &["push", "-q", "a.example/team/app:1"]).succeeded();
    assert_eq!(mirror.lines(), Vec::<String>::new());
    assert!(behind.manifest("team/app:1")["layers"].is_array());
    run_with(&kiln, &settings, &["pull", "-q", "a.example/team/app:1"]).succeeded();
    assert!(!mirror.lines().is_empty());
}

#[test]
fn what_makes_no_sense_is_named() {
    let kiln = Kiln::new();
    let directory = kiln.scratch("hosts");
    let settings = hosts(&directory, "a.example", "capabilities = [\"fly\"]\n");
    let answer = run_with(&kiln, &settings, &["pull", "-q", "a.example/app"]);
    let file = directory.join("a.example/hosts.toml");
    assert!(answer.code() == 1 && answer.stderr.contains(&file.display().to_string()), "{answer}");
    let settings = hosts(&directory, "a.example", "capabilities = [\"push\"]\n");
    let answer = run_with(&kiln, &settings, &["pull", "-q", "a.example/app"]);
    assert!(answer.stderr.contains("no host of a.example may be asked to resolve a tag"), "{answer}");
}

#[test]
fn a_host_gets_no_more_requests_at_once_than_it_may() {
    let (maker, taker, behind) = (Kiln::new(), Kiln::new(), DockerRegistry::start());
    let context = maker.scratch("context");
    let mut dockerfile = "FROM scratch\n".to_owned();
    for n in 0..8 {
        fs::write(context.join(format!("f{n}")), vec![n; 50_000]).expect("file");
        dockerfile.push_str(&format!("COPY f{n} /\n"));
    }
    fs::write(context.join("Dockerfile"), dockerfile).expect("Dockerfile");
    let name = format!("{}/team/app:1", behind.address());
    maker.build(&context, &["-t", &name]);
    maker.ok(&["push", "-q", &name]);
    let front = Front::start(Some(behind.address()), None, open());
    let settings = format!("[registry.\"{}\"]\nconnections = 1\n", front.address());
    run_with(&taker, &settings, &["pull", "-q", &format!("{}/team/app:1", front.address())]).succeeded();
    assert_eq!(front.requests().iter().filter(|request| request.target.contains("/blobs/")).count(), 9);
    assert_eq!(front.most_at_once(), 1);
}
