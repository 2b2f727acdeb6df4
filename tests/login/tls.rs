//! TLS: authorities of one's own, certificates that are shown to a registry, registries that are declared insecure.

use std::fs;
use std::path::{Path, PathBuf};

use kiln_tests::docker_registry::DockerRegistry;
use kiln_tests::front::{Authority, Front, basic, open};
use kiln_tests::kiln::Kiln;
use kiln_tests::registry::Registry;

use crate::{ANN, login, run_with};

const NAMES: [&str; 2] = ["127.0.0.1", "0.0.0.0"];

fn put(directory: &Path, name: &str, text: &str) -> PathBuf {
    fs::create_dir_all(directory).expect("directory");
    let path = directory.join(name);
    fs::write(&path, text).expect("file");
    path
}

fn certificates(directory: &Path) -> String {
    format!("[registries]\ncertificates = \"{}\"\nhosts = []\n", directory.display())
}

#[test]
fn an_authority_of_ones_own_is_trusted_for_its_registry() {
    let (kiln, registry, authority) = (Kiln::new(), Registry::serve(&["busybox"]), Authority::new("mine"));
    let front = Front::start(Some(&registry.address()), Some(authority.server(&NAMES, None)), open());
    let host = front.elsewhere();
    let name = format!("{host}/library/busybox");
    let directory = kiln.scratch("certs.d");
    let stranger = run_with(&kiln, &certificates(&directory), &["pull", "-q", &name]);
    assert_eq!(stranger.code(), 1);
    assert!(stranger.stderr.contains("UnknownIssuer") && stranger.stderr.contains("certs.d"), "{stranger}");
    put(&directory.join("other.example"), "ca.crt", &authority.pem);
    assert_eq!(run_with(&kiln, &certificates(&directory), &["pull", "-q", &name]).code(), 1);
    let file = put(&directory.join(&host), "ca.crt", &authority.pem);
    run_with(&kiln, &certificates(&directory), &["pull", "-q", &name]).succeeded();
    let settings = format!("[registries]\ncertificates = []\n[registry.\"{host}\"]\nca = \"{}\"\n", file.display());
    run_with(&kiln, &settings, &["pull", "-q", &name]).succeeded();
    let local = format!("{}/library/busybox", front.address());
    put(&directory.join(front.address()), "ca.crt", &authority.pem);
    run_with(&kiln, &certificates(&directory), &["pull", "-q", &local]).succeeded();
}

#[test]
fn a_certificate_is_shown_to_a_registry_that_wants_one() {
    let (kiln, registry, authority) = (Kiln::new(), Registry::serve(&["busybox"]), Authority::new("mine"));
    let (wrong, of_clients) = (Authority::new("wrong"), Authority::new("of clients"));
    let server = authority.server(&NAMES, Some(&of_clients));
    let front = Front::start(Some(&registry.address()), Some(server), open());
    let name = format!("{}/library/busybox", front.elsewhere());
    let directory = kiln.scratch("certs.d");
    let own = directory.join(front.elsewhere());
    put(&own, "ca.crt", &authority.pem);
    let pull = || run_with(&kiln, &certificates(&directory), &["pull", "-q", &name]);
    assert_eq!(pull().code(), 1, "nobody may pull");
    assert!(front.requests().is_empty());
    let stranger = wrong.client("stranger");
    put(&own, "a.cert", &stranger.certificate);
    let half = pull();
    assert!(half.stderr.contains("missing key") && half.stderr.contains("a.key"), "{half}");
    put(&own, "a.key", &stranger.key);
    assert_eq!(pull().code(), 1, "a stranger may not");
    assert!(front.requests().is_empty());
    let ann = of_clients.client("ann");
    put(&own, "b.cert", &ann.certificate);
    put(&own, "b.key", &ann.key);
    // Of two, that one is shown which an authority of the registry's signed.
    pull().succeeded();
    put(&own, "b.key", &stranger.key);
    let mixed = pull();
    assert!(mixed.code() == 1 && mixed.stderr.contains("b.key"), "{mixed}");
    let files = kiln.scratch("files");
    let (cert, key) = (put(&files, "cert", &ann.certificate), put(&files, "key", &ann.key));
    let settings = format!(
        "[registries]\ncertificates = []\n[registry.\"{}\"]\nca = \"{}\"\ncert = \"{}\"\nkey = \"{}\"\n",
        front.elsewhere(),
        own.join("ca.crt").display(),
        cert.display(),
        key.display()
    );
    run_with(&kiln, &settings, &["pull", "-q", &name]).succeeded();
}

#[test]
fn an_insecure_registry_needs_no_certificate_and_no_tls() {
    let (kiln, registry, authority) = (Kiln::new(), Registry::serve(&["busybox"]), Authority::new("mine"));
    let hidden = Front::start(Some(&registry.address()), Some(authority.server(&["x.example"], None)), open());
    let plain = Front::start(Some(&registry.address()), None, open());
    for front in [&hidden, &plain] {
        let name = format!("{}/library/busybox", front.elsewhere());
        let declared = |insecure: bool| format!("[registry.\"{}\"]\ninsecure = {insecure}\n", front.elsewhere());
        assert_eq!(run_with(&kiln, &declared(false), &["pull", "-q", &name]).code(), 1);
        assert!(front.requests().is_empty(), "nothing is said to who cannot be trusted");
        run_with(&kiln, &declared(true), &["pull", "-q", &name]).succeeded();
    }
}

#[test]
fn this_machine_may_speak_tls_without_being_declared() {
    let (kiln, behind, authority) = (Kiln::new(), DockerRegistry::with(&["busybox"]), Authority::new("mine"));
    let front = Front::start(Some(behind.address()), Some(authority.server(&["x.example"], None)), basic(ANN));
    assert!(login(&kiln, &front.address(), "hunter2").status.success());
    let name = format!("{}/library/busybox", front.address());
    kiln.ok(&["pull", "-q", &name]);
    let other = format!("{}/team/app:1", front.address());
    kiln.ok(&["tag", &name, &other]);
    kiln.ok(&["push", "-q", &other]);
    assert!(behind.manifest("team/app:1")["layers"].is_array());
}
