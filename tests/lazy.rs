//! Layers that nobody reads are not fetched: a proxy before docker's registry counts what is asked for.

use std::fs;
use std::path::PathBuf;

use kiln_tests::counting_proxy::CountingProxy;
use kiln_tests::docker_registry::DockerRegistry;
use kiln_tests::is_root_for;
use kiln_tests::kiln::{Kiln, tool};

/// The base image's names in the registry.
const BUSYBOX: &str = "library/busybox:latest";
const OTHER: &str = "library/other:1";

/// A registry with a base image under two names, and what is asked of it.
struct Bases {
    registry: DockerRegistry,
    proxy: CountingProxy,
}

impl Bases {
    fn new() -> Bases {
        let registry = DockerRegistry::with(&["busybox"]);
        let place = |name: &str| format!("docker://{}/{name}", registry.address());
        let flags = ["copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false"];
        tool("skopeo", &[&flags[..], &[&place(BUSYBOX), &place(OTHER)]].concat());
        let proxy = CountingProxy::before(registry.address());
        Bases { registry, proxy }
    }

    /// A base image's name.
    fn name(&self, base: &str) -> String {
        format!("{}/{base}", self.proxy.address())
    }

    /// The digests of a base image's layers.
    fn layers(&self, base: &str) -> Vec<String> {
        let manifest = self.registry.manifest(base);
        let layers = manifest["layers"].as_array().expect("layers").iter();
        layers.map(|layer| layer["digest"].as_str().expect("digest").to_owned()).collect()
    }

    /// How many layers were asked for since the last time.
    fn fetched(&self) -> usize {
        let layers = self.layers(BUSYBOX);
        let asked = self.proxy.take();
        let is_layer = |line: &&String| line.starts_with("GET ") && layers.iter().any(|layer| line.contains(layer));
        asked.iter().filter(is_layer).count()
    }
}

fn context(kiln: &Kiln, dockerfile: &str) -> PathBuf {
    let context = kiln.scratch("context");
    fs::write(context.join("Dockerfile"), dockerfile).expect("Dockerfile");
    fs::write(context.join("file"), "some text\n").expect("file");
    context
}

#[test]
fn a_build_that_reads_no_file_of_its_bases_fetches_no_layer() {
    let (kiln, bases) = (Kiln::new(), Bases::new());
    let (busybox, other) = (bases.name(BUSYBOX), bases.name(OTHER));
    let dockerfile = format!(
        "FROM {other} AS unused\nRUN false\nFROM {other} AS read\nENV A=1\nFROM {busybox} AS base\nLABEL a=b\n\
         FROM base\nENV X=1 Y=2\nEXPOSE 80\nCMD [\"true\"]\n"
    );
    kiln.build(&context(&kiln, &dockerfile), &["-t", "app", "-t", "app:2"]);
    assert_eq!(bases.fetched(), 0);
    let inspected = kiln.ok(&["inspect", "--format", "{{.Config.Env}} {{len .RootFS.Layers}}", "app"]).stdout;
    assert!(inspected.contains("X=1 Y=2") && inspected.trim_end().ends_with('1'), "{inspected}");
    // Again, and upon what is there now: still nothing.
    kiln.build(&context(&kiln, &dockerfile), &["-t", "app"]);
    kiln.build(&context(&kiln, "FROM app\nLABEL c=d\n"), &["-t", "more"]);
    kiln.ok(&["history", "more"]);
    kiln.ok(&["images"]);
    assert_eq!(bases.fetched(), 0);
    kiln.ok(&["system", "check"]);
}

#[test]
fn a_linked_copy_upon_a_base_fetches_nothing_of_it() {
    let (kiln, bases) = (Kiln::new(), Bases::new());
    let dockerfile = format!("FROM {}\nCOPY --link file /data/\nCMD cat /data/file\n", bases.name(BUSYBOX));
    kiln.build(&context(&kiln, &dockerfile), &["-t", "app"]);
    assert_eq!(bases.fetched(), 0);
    if is_root_for("a_linked_copy_upon_a_base_fetches_nothing_of_it (run)") {
        assert_eq!(kiln.ok(&["run", "--rm", "app"]).stdout, "some text\n");
        assert_eq!(bases.fetched(), 1);
    }
}

#[test]
fn what_was_left_in_the_registry_is_fetched_when_somebody_reads_it() {
    let (kiln, bases) = (Kiln::new(), Bases::new());
    let dockerfile = format!("FROM {}\nLABEL a=b\n", bases.name(BUSYBOX));
    kiln.build(&context(&kiln, &dockerfile), &["-t", "app"]);
    // The base itself has gone: what names its layers is enough.
    kiln.ok(&["image", "prune", "--force"]);
    assert_eq!(bases.fetched(), 0);
    kiln.build(&context(&kiln, "FROM app\nCOPY file /bin/file\n"), &["-t", "copied"]);
    assert_eq!(bases.fetched(), 1, "a copy looks where links lead");
    kiln.build(&context(&kiln, "FROM app\nCOPY file /other\n"), &["-t", "copied"]);
    assert_eq!(bases.fetched(), 0);
}

#[test]
fn an_archive_and_a_container_of_an_image_without_layers_are_whole() {
    let (kiln, other, bases) = (Kiln::new(), Kiln::new(), Bases::new());
    let dockerfile = format!("FROM {}\nLABEL a=b\n", bases.name(BUSYBOX));
    kiln.build(&context(&kiln, &dockerfile), &["-t", "app"]);
    let archive = kiln.scratch("archive").join("app.tar");
    let archive = archive.to_str().expect("UTF-8");
    kiln.ok(&["save", "-o", archive, "app"]);
    assert_eq!(bases.fetched(), 1);
    other.ok(&["load", "-i", archive]);
    let id = |kiln: &Kiln| kiln.ok(&["inspect", "--format", "{{.Id}}", "app"]).stdout;
    assert_eq!(id(&kiln), id(&other));
    if is_root_for("an_archive_and_a_container_of_an_image_without_layers_are_whole (run)") {
        assert_eq!(other.ok(&["run", "--rm", "app", "echo", "ran"]).stdout, "ran\n");
        let third = Kiln::new();
        third.build(&context(&third, &dockerfile), &["-t", "lazy"]);
        assert_eq!(third.ok(&["run", "--rm", "--pull", "never", "lazy", "echo", "ran"]).stdout, "ran\n");
    }
}

#[test]
fn an_output_of_files_fetches_what_it_contains() {
    let (kiln, bases) = (Kiln::new(), Bases::new());
    let dockerfile = format!("FROM {}\nLABEL a=b\n", bases.name(BUSYBOX));
    let out = kiln.scratch("out").join("files");
    kiln.build(&context(&kiln, &dockerfile), &["-o", out.to_str().expect("UTF-8")]);
    assert!(out.join("bin/busybox").exists());
    assert_eq!(bases.fetched(), bases.layers(BUSYBOX).len());
}

#[test]
fn what_is_pushed_where_its_base_lies_is_mounted_there() {
    let (kiln, bases) = (Kiln::new(), Bases::new());
    let dockerfile = format!("FROM {}\nCOPY --link file /data/\n", bases.name(BUSYBOX));
    let name = format!("{}/team/app:1", bases.proxy.address());
    kiln.build(&context(&kiln, &dockerfile), &["-t", &name, "--push"]);
    assert_eq!(bases.fetched(), 0);
    let pushed = bases.registry.manifest("team/app:1");
    assert_eq!(pushed["layers"][0]["digest"], bases.layers(BUSYBOX)[0].as_str());
    // The same from the store, a second time and under another name.
    let other = format!("{}/team/other:1", bases.proxy.address());
    kiln.build(&context(&kiln, &dockerfile), &["-t", &other]);
    kiln.ok(&["push", &other]);
    assert_eq!(bases.fetched(), 0);
    assert_eq!(bases.registry.manifest("team/other:1")["layers"], pushed["layers"]);
}

#[test]
fn a_registry_that_lacks_the_base_gets_it() {
    let (kiln, bases, target) = (Kiln::new(), Bases::new(), DockerRegistry::start());
    let dockerfile = format!("FROM {}\nLABEL a=b\n", bases.name(BUSYBOX));
    let name = format!("{}/team/app:1", target.address());
    kiln.build(&context(&kiln, &dockerfile), &["-t", &name]);
    kiln.ok(&["push", &name]);
    assert_eq!(bases.fetched(), 1);
    assert_eq!(target.manifest("team/app:1")["layers"][0]["digest"], bases.layers(BUSYBOX)[0].as_str());
    kiln.ok(&["rmi", "--force", &name]);
    kiln.ok(&["pull", &name]);
}
