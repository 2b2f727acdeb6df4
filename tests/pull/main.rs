//! Pulls: what happens when they are killed, what several at once do, where layers come from that no registry has, and
//! what is said.

mod halting;

use std::fs;
use std::path::{Path, PathBuf};

use halting::HaltingProxy;
use kiln_tests::counting_proxy::CountingProxy;
use kiln_tests::docker_registry::DockerRegistry;
use kiln_tests::kiln::{Kiln, fixture, tool};
use kiln_tests::registry::Registry;
use kiln_tests::running::{Running, wait_until};
use kiln_tests::web::{Page, Web};
use rustix::process::Signal;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Bytes that nothing can compress, always the same.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// An image `large:1` in a registry, with one layer of `size` bytes and a little.
fn large_image(size: usize) -> DockerRegistry {
    let (kiln, registry) = (Kiln::new(), DockerRegistry::start());
    let context = kiln.scratch("context");
    fs::write(context.join("Dockerfile"), "FROM scratch\nCOPY noise /\n").expect("Dockerfile");
    fs::write(context.join("noise"), noise(size)).expect("noise");
    let output = format!("type=registry,name={}/large:1,compression=uncompressed", registry.address());
    kiln.build(&context, &["--output", &output]);
    registry
}

/// The beginnings of blobs that wait in a store.
fn partial(kiln: &Kiln) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(kiln.root().join("partial")) else { return Vec::new() };
    entries.map(|entry| entry.expect("entry").path()).collect()
}

fn length(path: &Path) -> u64 {
    path.metadata().map_or(0, |status| status.len())
}

/// Kills a pull of `image` after so many bytes, and tells how many of its layer wait in the store then.
fn killed_after(kiln: &Kiln, proxy: &HaltingProxy, image: &str, bytes: u64, enough: u64) -> u64 {
    proxy.halt_after(Some(bytes));
    let pulling = Running::start(&mut kiln.command(&["pull", image]));
    wait_until("the bytes to be on the disk", || partial(kiln).iter().map(|path| length(path)).sum::<u64>() >= enough);
    pulling.signal(Signal::KILL);
    let there = partial(kiln);
    assert_eq!(there.len(), 1, "{there:?}");
    length(&there[0])
}

fn killed_pull_goes_on(size: u64) {
    let registry = large_image(size as usize);
    let proxy = HaltingProxy::before(registry.address());
    let (kiln, image) = (Kiln::new(), format!("{}/large:1", proxy.address()));
    let mut there = 0;
    for part in [1, 2] {
        let brought = if part == 1 { size / 3 } else { size / 2 };
        // What is on its way when it is killed is lost.
        let kept = killed_after(&kiln, &proxy, &image, brought, there + brought / 4);
        assert!(kept > there);
        there = kept;
    }
    proxy.halt_after(None);
    kiln.ok(&["pull", &image]);
    let again = proxy.brought();
    assert!(again <= size - there + (256 << 10), "{again} bytes again, though {there} of {size} were here");
    assert!(partial(&kiln).is_empty());
    kiln.ok(&["system", "check"]);
}

#[test]
fn a_killed_pull_goes_on_where_it_was() {
    killed_pull_goes_on(12 << 20);
}

#[test]
fn a_killed_pull_over_several_connections_goes_on_where_it_was() {
    // What is left at the second attempt is less than what is worth several connections.
    killed_pull_goes_on(80 << 20);
}

#[test]
fn a_registry_that_gives_no_parts_gives_a_large_layer_as_a_whole() {
    let registry = Registry::serve(&["debian"]);
    let proxy = HaltingProxy::before(&registry.address());
    let (kiln, image) = (Kiln::new(), format!("{}/library/debian:bookworm", proxy.address()));
    let largest = fs::read_dir(fixture("debian").join("blobs/sha256")).expect("blobs");
    let largest = largest.map(|entry| entry.expect("blob").metadata().expect("status").len()).max().expect("a blob");
    // Enough for several connections, if they were of use.
    assert!(largest > 32 << 20, "{largest}");
    // Killed in the middle it goes on, but the registry sends it all once more.
    killed_after(&kiln, &proxy, &image, largest / 2, largest / 8);
    proxy.halt_after(None);
    kiln.ok(&["pull", &image]);
    assert!(proxy.brought() > largest);
    kiln.ok(&["system", "check"]);
}

#[test]
fn a_beginning_that_is_wrong_is_thrown_away() {
    let size = 6 << 20;
    let registry = large_image(size);
    let proxy = HaltingProxy::before(registry.address());
    let (kiln, image) = (Kiln::new(), format!("{}/large:1", proxy.address()));
    killed_after(&kiln, &proxy, &image, size as u64 / 2, size as u64 / 8);
    let path = &partial(&kiln)[0];
    let mut bytes = fs::read(path).expect("partial blob");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(path, bytes).expect("partial blob");
    proxy.halt_after(None);
    kiln.ok(&["pull", &image]);
    assert!(proxy.brought() > size as u64, "the blob came as a whole");
    assert!(partial(&kiln).is_empty());
    kiln.ok(&["system", "check"]);
}

#[test]
fn pulls_at_once_fetch_a_layer_once() {
    let registry = DockerRegistry::with(&["busybox"]);
    let proxy = CountingProxy::before(registry.address());
    let (kiln, image) = (Kiln::new(), format!("{}/library/busybox:latest", proxy.address()));
    let pulls: Vec<Running> = (0..6).map(|_| Running::start(&mut kiln.command(&["pull", &image]))).collect();
    pulls.into_iter().for_each(Running::must_succeed);
    let layer = registry.manifest("library/busybox:latest")["layers"][0]["digest"].as_str().expect("digest").to_owned();
    let asked = proxy.take();
    let fetched = asked.iter().filter(|line| line.starts_with("GET ") && line.contains(&layer)).count();
    assert_eq!(fetched, 1, "{asked:?}");
}

/// A registry of one image whose only layer lies on a web server, at `/layer`, unless `held` says that the registry
/// has it, too.
fn foreign(layer: &[u8], url: Option<&str>, media_type: &str) -> Web {
    let web = Web::serve();
    let digest = |bytes: &[u8]| format!("sha256:{}", hex(&Sha256::digest(bytes)));
    let config = json!({ "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": [digest(layer)] } });
    let config = config.to_string().into_bytes();
    let own = web.url("/layer");
    let manifest = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "size": config.len(),
            "digest": digest(&config) },
        "layers": [{ "mediaType": media_type, "size": layer.len(), "digest": digest(layer),
            "urls": [url.unwrap_or(&own)] }] });
    web.put("/v2/team/foreign/manifests/latest", Page::of(manifest.to_string().as_bytes()));
    web.put(&format!("/v2/team/foreign/blobs/{}", digest(&config)), Page::of(&config));
    web.put("/layer", Page::of(layer));
    web
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const NOT_DISTRIBUTABLE: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar";

#[test]
fn a_foreign_layer_comes_from_the_server_that_its_descriptor_names() {
    let layer = kiln_tests::tarball::tarball(&[kiln_tests::tarball::Entry::file("file", b"text")]);
    let web = foreign(&layer, None, NOT_DISTRIBUTABLE);
    let (kiln, image) = (Kiln::new(), format!("{}/team/foreign", web.address()));
    kiln.ok(&["pull", &image]);
    let fetched = web.requests().iter().filter(|request| request.path == "/layer").count();
    assert_eq!(fetched, 1);
    // It is not pushed; whether the registry takes a manifest that names it is the registry's business.
    let (target, pushed) = (DockerRegistry::start(), kiln.scratch("pushed"));
    fs::write(pushed.join("Dockerfile"), format!("FROM {image}\nCOPY Dockerfile /\n")).expect("Dockerfile");
    let name = format!("{}/app:1", target.address());
    kiln.build(&pushed, &["-t", &name]);
    let answer = kiln.run(&["push", &name]);
    let skipped = format!("{}: Skipped foreign layer\n", &hex(&Sha256::digest(&layer))[..12]);
    assert!(answer.stdout.contains(&skipped), "{answer}");
    let out = kiln.scratch("out");
    let context = kiln.scratch("context");
    fs::write(context.join("Dockerfile"), format!("FROM {image}\n")).expect("Dockerfile");
    kiln.build(&context, &["-o", out.to_str().expect("UTF-8")]);
    assert_eq!(fs::read(out.join("file")).expect("file"), b"text");
}

#[test]
fn a_foreign_layer_is_verified_and_its_addresses_count_for_no_other() {
    let layer = kiln_tests::tarball::tarball(&[kiln_tests::tarball::Entry::file("file", b"text")]);
    let kiln = Kiln::new();
    let web = foreign(&layer, None, NOT_DISTRIBUTABLE);
    let mut other = layer.clone();
    other[0] ^= 1;
    web.put("/layer", Page::of(&other));
    let image = format!("{}/team/foreign", web.address());
    kiln.fails(&["pull", &image], &["sha256:"]);
    // An ordinary layer is the registry's to give: nobody is sent elsewhere for it.
    let web = foreign(&layer, None, "application/vnd.oci.image.layer.v1.tar");
    let image = format!("{}/team/foreign", web.address());
    kiln.fails(&["pull", &image], &["sha256:"]);
    assert!(web.requests().iter().all(|request| request.path != "/layer"));
    for url in ["file:///etc/passwd", "ftp://127.0.0.1/layer", "nonsense"] {
        let web = foreign(&layer, Some(url), NOT_DISTRIBUTABLE);
        kiln.fails(&["pull", &format!("{}/team/foreign", web.address())], &[]);
    }
}

#[test]
fn what_a_pull_says_is_what_docker_says() {
    let registry = DockerRegistry::with(&["busybox"]);
    let (kiln, repository) = (Kiln::new(), format!("{}/library/busybox", registry.address()));
    for tag in ["latest", "other"] {
        let tagged = format!("{repository}:{tag}");
        kiln.ok(&["pull", "-q", &format!("{repository}:latest")]);
        kiln.ok(&["tag", &format!("{repository}:latest"), &tagged]);
        kiln.ok(&["push", &tagged]);
    }
    kiln.ok(&["rmi", "--force", &format!("{repository}:latest"), &format!("{repository}:other")]);
    let digest = |tag: &str| {
        let raw = tool("skopeo", &["inspect", "--raw", "--tls-verify=false", &format!("docker://{repository}:{tag}")]);
        let _: Value = serde_json::from_str(&raw).expect("manifest");
        format!("sha256:{}", hex(&Sha256::digest(raw.as_bytes())))
    };
    let said = |tag: &str, status: &str| {
        let digest = digest(tag);
        format!("{tag}: Pulling from library/busybox\nDigest: {digest}\nStatus: {status} {repository}:{tag}\n")
    };
    let all = kiln.ok(&["pull", "--all-tags", &repository]).stdout;
    let new = "Downloaded newer image for";
    assert_eq!(all, format!("{}{}{repository}\n", said("latest", new), said("other", new)));
    let again = kiln.ok(&["pull", "--disable-content-trust", &repository]).stdout;
    let same = said("latest", "Image is up to date for");
    assert_eq!(again, format!("Using default tag: latest\n{same}{repository}:latest\n"));
    assert_eq!(kiln.ok(&["pull", "-q", &repository]).stdout, format!("{repository}:latest\n"));
    assert_eq!(kiln.ok(&["pull", "-a", "-q", &repository]).stdout, format!("{repository}\n"));
    kiln.fails(&["pull", "-a", &format!("{repository}:latest")], &["tag can't be used with --all-tags/-a"]);
}

#[test]
fn a_platform_that_an_index_lacks_is_named() {
    let registry = DockerRegistry::start();
    let (layout, place) = (fixture("busybox-platforms"), format!("docker://{}/busybox:2", registry.address()));
    let layout = format!("oci:{}", layout.display());
    tool("skopeo", &["copy", "--quiet", "--all", "--dest-tls-verify=false", &layout, &place]);
    let (kiln, image) = (Kiln::new(), format!("{}/busybox:2", registry.address()));
    let words = "no matching manifest for linux/s390x in the manifest list entries";
    kiln.fails(&["pull", "--platform", "linux/s390x", &image], &[words, "it has images for linux/"]);
    kiln.ok(&["pull", "--platform", "linux/arm64", &image]);
}
