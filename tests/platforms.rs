//! Images for several platforms: built at once, written as an index, kept under one name, and run.

use std::collections::BTreeSet;
use std::path::Path;

use kiln_tests::emulation::Emulation;
use kiln_tests::kiln::{Kiln, answer, tool};
use kiln_tests::registry::Registry;
use kiln_tests::running::{Running, wait_until};
use kiln_tests::steps::executed;
use kiln_tests::{hygiene, is_root_for, skip};
use serde_json::Value;

const BOTH: [&str; 2] = ["--platform", "linux/amd64,linux/arm64"];

/// Tools of this machine make what the images for others get.
const CROSS: &str = "\
FROM --platform=$BUILDPLATFORM busybox AS tools
RUN --mount=type=cache,target=/count echo once >> /count/runs && echo made > /made
FROM --platform=$BUILDPLATFORM busybox AS compiler
ARG TARGETARCH
RUN echo for $TARGETARCH > /program
FROM busybox
COPY --from=tools /made /made
COPY --from=compiler /program /program
CMD [\"cat\", \"/program\"]
";

fn context(kiln: &Kiln, dockerfile: &str) -> std::path::PathBuf {
    let directory = kiln.scratch("context");
    std::fs::write(directory.join("Dockerfile"), dockerfile).expect("Dockerfile");
    directory
}

fn text(path: &Path) -> &str {
    path.to_str().expect("path in UTF-8")
}

/// What a build of `dockerfile` for both platforms says on standard error.
#[track_caller]
fn build_both(kiln: &Kiln, dockerfile: &str, flags: &[&str]) -> String {
    let context = context(kiln, dockerfile);
    let mut args = vec!["build"];
    args.extend(BOTH);
    args.extend(flags);
    args.push(text(&context));
    kiln.ok(&args).stderr
}

/// The architecture of each image of an OCI archive's index, after everything in it was checked.
#[track_caller]
fn architectures(archive: &Path) -> BTreeSet<String> {
    let file = std::fs::File::open(archive).expect("archive");
    let problems = kiln_images::validate::archive(file).expect("readable archive");
    assert!(problems.is_empty(), "{}: {problems:#?}", archive.display());
    let source = format!("oci-archive:{}", text(archive));
    let index: Value = serde_json::from_str(&tool("skopeo", &["inspect", "--raw", &source])).expect("JSON");
    assert_eq!(index["mediaType"], "application/vnd.oci.image.index.v1+json", "{index}");
    let layout = archive.with_extension("layout");
    let target = format!("oci:{}:it", text(&layout));
    tool("skopeo", &["copy", "-q", "--multi-arch", "all", &source, &target]);
    let manifests = index["manifests"].as_array().expect("manifests");
    for manifest in manifests {
        let architecture = manifest["platform"]["architecture"].as_str().expect("platform");
        let chosen = ["--override-os", "linux", "--override-arch", architecture];
        let inspected = tool("skopeo", &[&["inspect"], &chosen[..], &[&target]].concat());
        let inspected: Value = serde_json::from_str(&inspected).expect("JSON");
        assert_eq!(inspected["Architecture"], architecture);
    }
    manifests.iter().map(|each| each["platform"]["architecture"].as_str().unwrap_or_default().to_owned()).collect()
}

fn both() -> BTreeSet<String> {
    ["amd64", "arm64"].map(str::to_owned).into()
}

#[test]
fn every_platform_of_an_index_runs() {
    if !is_root_for("images of other platforms") {
        return;
    }
    let emulation = match Emulation::new() {
        Ok(emulation) => emulation,
        Err(reason) => return skip("images of other platforms", &reason),
    };
    let kiln = Kiln::with(emulation);
    kiln.load("busybox-platforms");
    // Of busybox's commands those that its shell runs without executing itself: that would be the emulator.
    let dockerfile = "FROM busybox\nARG TARGETARCH\nRUN echo $TARGETARCH $(uname -m) > /built\n\
        CMD read line < /built; echo $line; uname -m\n";
    build_both(&kiln, dockerfile, &["-t", "app"]);
    assert_eq!(kiln.ok(&["run", "--rm", "app"]).stdout, "amd64 x86_64\nx86_64\n");
    let foreign = kiln.ok(&["run", "--rm", "--platform", Emulation::PLATFORM, "app"]);
    assert_eq!((foreign.stdout.as_str(), foreign.stderr.as_str()), ("arm64 aarch64\naarch64\n", ""));
    let archive = kiln.scratch("archive").join("app.tar");
    let output = format!("type=oci,dest={}", text(&archive));
    let again = build_both(&kiln, dockerfile, &["--output", &output]);
    assert_eq!(executed(&kiln_tests::steps::steps(&again)), Vec::<&str>::new(), "{again}");
    assert_eq!(architectures(&archive), both());
    // One of them by itself comes from the cache of both, and has the name alone.
    let context = kiln.scratch("context");
    let alone = kiln.build(&context, &["--platform", "arm64", "-t", "alone"]);
    assert_eq!(executed(&alone), Vec::<&str>::new());
    let warned = kiln.ok(&["run", "--rm", "alone"]);
    assert_eq!(warned.stdout, "arm64 aarch64\naarch64\n");
    assert!(warned.stderr.contains("WARNING: The requested image's platform (linux/arm64) does not match"), "{warned}");
}

#[test]
fn what_platforms_share_runs_once_and_crossing_needs_no_emulator() {
    let kiln = Kiln::new();
    kiln.load("busybox-platforms");
    let tree = kiln.scratch("tree");
    let said = build_both(&kiln, CROSS, &["--output", text(&tree)]);
    for step in
        ["[linux/amd64 tools 2/2] RUN", "[linux/amd64->arm64 compiler 2/2] RUN", "[linux/arm64 stage-2 2/3] COPY"]
    {
        assert!(said.contains(step), "{step} is missing: {said}");
    }
    for architecture in ["amd64", "arm64"] {
        let place = tree.join(format!("linux_{architecture}"));
        let read = |file: &str| std::fs::read_to_string(place.join(file)).expect(file);
        assert_eq!((read("made"), read("program")), ("made\n".to_owned(), format!("for {architecture}\n")));
    }
    let runs = "FROM busybox\nRUN --mount=type=cache,target=/count echo runs: $(cat /count/runs)\n";
    let counted = kiln.scratch("counted");
    std::fs::write(counted.join("Dockerfile"), runs).expect("Dockerfile");
    let said = kiln.ok(&["build", text(&counted)]).stderr;
    assert!(said.contains("runs: once\n"), "{said}");
}

#[test]
fn an_index_goes_out_and_comes_back_whole() {
    let kiln = Kiln::new();
    kiln.load("busybox-platforms");
    let place = kiln.scratch("archives");
    let built = place.join("built.tar");
    let metadata = place.join("metadata.json");
    let output = format!("type=oci,dest={}", text(&built));
    build_both(&kiln, CROSS, &["--output", &output, "--metadata-file", text(&metadata)]);
    assert_eq!(architectures(&built), both());
    let archive = std::fs::read(&metadata).expect("metadata");
    let metadata: Value = serde_json::from_slice(&archive).expect("JSON");
    let top: Value = serde_json::from_str(&tool("tar", &["-xOf", text(&built), "index.json"])).expect("JSON");
    assert_eq!(metadata["containerimage.digest"], top["manifests"][0]["digest"]);
    assert!(top["manifests"][0]["annotations"]["org.opencontainers.image.created"].is_string(), "{top}");

    build_both(&kiln, CROSS, &["-t", "app"]);
    let saved = place.join("saved.tar");
    kiln.ok(&["save", "-o", text(&saved), "app"]);
    assert_eq!(architectures(&saved), both());
    let ids = |kiln: &Kiln| {
        let id = |platform: &str| kiln.ok(&["image", "inspect", "--platform", platform, "-f", "{{.Id}}", "app"]).stdout;
        [id("linux/amd64"), id("linux/arm64/v8")]
    };
    let other = Kiln::new();
    assert_eq!(other.ok(&["load", "-i", text(&saved)]).stdout, "Loaded image: app:latest\n");
    assert_eq!(ids(&other), ids(&kiln));
    other.ok(&["tag", "app", "second"]);
    assert_eq!(other.ok(&["images", "-q", "app"]).stdout.lines().count(), 1);
    other.fails(&["image", "inspect", "--platform", "s390x", "app"], &["does not provide the specified platform"]);
    other.ok(&["rmi", "app"]);
    assert_eq!(other.ok(&["run", "--rm", "second"]).stdout, "for amd64\n");
    other.ok(&["rmi", "second"]);
    assert_eq!(other.ok(&["images", "-aq"]).stdout, "");
    let only = Kiln::new();
    only.ok(&["load", "--platform", "linux/arm64", "-i", text(&saved)]);
    assert_eq!(only.ok(&["image", "inspect", "-f", "{{.Architecture}}", "app"]).stdout, "arm64\n");
}

#[test]
fn forms_that_know_one_platform_are_refused_or_split() {
    let kiln = Kiln::new();
    kiln.load("busybox-platforms");
    let context = context(&kiln, "FROM busybox\nCOPY --chmod=600 Dockerfile /\n");
    let place = kiln.scratch("outputs");
    let docker = format!("type=docker,dest={}", text(&place.join("docker.tar")));
    kiln.fails(&["build", BOTH[0], BOTH[1], "-o", &docker, text(&context)], &["type=docker holds one platform"]);
    assert_eq!(place.read_dir().expect("directory").count(), 0);
    let tar = place.join("tree.tar");
    let output = format!("type=tar,dest={}", text(&tar));
    kiln.ok(&["build", BOTH[0], BOTH[1], "-o", &output, text(&context)]);
    let names = tool("tar", &["-tf", text(&tar)]);
    for name in ["linux_amd64/\n", "linux_amd64/Dockerfile\n", "linux_arm64/bin/busybox\n"] {
        assert!(names.contains(name), "{name} is missing:\n{names}");
    }
}

#[test]
fn a_program_for_another_processor_says_what_helps() {
    let kiln = Kiln::new();
    kiln.load("busybox-platforms");
    let run = ["run", "--rm", "--platform", "linux/arm64", "busybox", "true"];
    if kiln.run(&run).status.success() {
        return skip("programs without an emulator", "this machine has one for arm64");
    }
    let words = ["cannot run programs for linux/arm64", "qemu-user-static"];
    assert_eq!(kiln.fails(&run, &words).code(), 126);
    let context = context(&kiln, "FROM busybox\nRUN echo hello\n");
    let step = "[linux/arm64 2/2] RUN echo hello";
    let failed = kiln.fails(&["build", BOTH[0], BOTH[1], text(&context)], &[&words[..], &[step]].concat());
    assert!(failed.stderr.contains(">>> RUN echo hello"), "{failed}");
}

#[test]
fn an_emulator_that_containers_do_not_see_is_named() {
    if !is_root_for("an emulator outside of containers") {
        return;
    }
    let emulation = match Emulation::found_by_path() {
        Ok(emulation) => emulation,
        Err(reason) => return skip("an emulator outside of containers", &reason),
    };
    let kiln = Kiln::with(emulation);
    kiln.load("busybox-platforms");
    let words = ["qemu-aarch64-static for linux/arm64 is registered without the flag F"];
    kiln.fails(&["run", "--rm", "--platform", "linux/arm64", "busybox", "true"], &words);
    let context = context(&kiln, "FROM busybox\nRUN echo hello\n");
    kiln.fails(&["build", "--platform", "linux/arm64", text(&context)], &words);
}

/// A program of 32-bit x86 that ends with this exit code: an ELF header, one segment, `exit(code)` by `int 0x80`.
fn program_for_i386(code: u8) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x03\0\x01\0\0\0".to_vec();
    let (address, start, size) = (0x0804_8000_u32, 84_u32, 96_u32);
    for word in [address + start, 52, 0, 0] {
        bytes.extend(word.to_le_bytes());
    }
    for half in [52_u16, 32, 1, 0, 0, 0] {
        bytes.extend(half.to_le_bytes());
    }
    for word in [1, 0, address, address, size, size, 5, 0x1000] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend([0xb8, 1, 0, 0, 0, 0xbb, code, 0, 0, 0, 0xcd, 0x80]);
    bytes
}

#[test]
fn programs_of_the_32_bit_predecessor_run() {
    if std::env::consts::ARCH != "x86_64" {
        return skip("32-bit programs", "the program is for x86");
    }
    let kiln = Kiln::new();
    let context = context(&kiln, "FROM scratch\nCOPY --chmod=755 program /program\nCMD [\"/program\"]\n");
    std::fs::write(context.join("program"), program_for_i386(42)).expect("program");
    kiln.build(&context, &["--platform", "linux/386", "-t", "app"]);
    let ended = kiln.run(&["run", "--rm", "app"]);
    assert_eq!((ended.code(), ended.stderr.as_str()), (42, ""), "{ended}");
}

#[test]
fn a_base_without_the_platform_names_those_that_it_has() {
    let kiln = Kiln::new();
    let registry = Registry::serve(&["busybox-platforms"]);
    let base = format!("{}/library/busybox", registry.address());
    let context = context(&kiln, &format!("FROM --platform=linux/s390x {base}\nRUN true\n"));
    let words = ["linux/s390x", "it has linux/amd64, linux/arm64"];
    kiln.fails(&["build", text(&context)], &words);
}

#[test]
fn platforms_of_one_index_are_pulled_under_one_name() {
    let kiln = Kiln::new();
    let registry = Registry::serve(&["busybox-platforms"]);
    let name = format!("{}/library/busybox", registry.address());
    kiln.ok(&["pull", "--platform", "linux/arm64", &name]);
    let meant = || kiln.ok(&["inspect", "-f", "{{.Architecture}}", &name]).stdout;
    assert_eq!(meant(), "arm64\n");
    assert_eq!(kiln.ok(&["run", "--rm", "--platform", "linux/amd64", &name, "uname", "-m"]).stdout, "x86_64\n");
    assert_eq!(meant(), "amd64\n");
    let arm64 = kiln.ok(&["image", "inspect", "--platform", "linux/arm64", "-f", "{{.Architecture}}", &name]);
    assert_eq!(arm64.stdout, "arm64\n");
    assert_eq!(kiln.ok(&["images", "-q"]).stdout.lines().count(), 1);
}

#[test]
fn a_killed_build_of_several_platforms_leaves_nothing() {
    let kiln = Kiln::new();
    kiln.load("busybox-platforms");
    let dockerfile = "FROM --platform=$BUILDPLATFORM busybox\nARG TARGETARCH\nRUN echo $TARGETARCH begun; sleep 1000\n";
    let context = context(&kiln, dockerfile);
    let mut build = Running::start(&mut kiln.command(&["build", BOTH[0], BOTH[1], text(&context)]));
    build.wait_for_words("amd64 begun");
    build.signal(rustix::process::Signal::KILL);
    wait_until("the end of the steps", || hygiene::processes(&kiln.root()).is_empty());
    // The next command sweeps what the killed one had in hand; dropping `kiln` checks that nothing is left.
    answer(&mut kiln.command(&["ps", "-a"])).succeeded();
}
