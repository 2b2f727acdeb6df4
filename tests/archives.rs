//! The archives that kiln writes, judged by other tools: skopeo, umoci, podman.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_tests::examples::examples;
use kiln_tests::image::shown;
use kiln_tests::is_root_for;
use kiln_tests::kiln::{Kiln, answer, tool};

#[test]
fn every_example_is_accepted_by_other_tools() {
    if !is_root_for("archives in other tools") {
        return;
    }
    let kiln = Kiln::on_fresh_disk();
    for base in ["busybox", "debian", "gcc", "python"] {
        kiln.load(base);
    }
    for example in examples() {
        let context = example.copy_to(&kiln.scratch("contexts").join(&example.name));
        let place = kiln.scratch(&format!("judged/{}", example.name));
        let archive = place.join("image.tar");
        let output = format!("type=oci,dest={}", archive.display());
        let steps = kiln.build(&context, &["-t", &example.name, "--output", &output]);
        assert!(!steps.is_empty());
        assert_valid(&archive);
        let (tree, tar) = (kiln.scratch(&format!("judged/{}/tree", example.name)), place.join("tree.tar"));
        kiln.build(&context, &["--output", &format!("type=tar,dest={}", tar.display())]);
        tool("tar", &["-C", text(&tree), "-xpf", text(&tar), "--numeric-owner"]);
        skopeo_and_umoci(&archive, &place, &tree);
        podman(&archive, &place);
    }
}

/// By kiln's own validator, and by the reader of the recorded cases.
#[track_caller]
fn assert_valid(archive: &Path) {
    let file = std::fs::File::open(archive).expect("archive");
    let problems = kiln_images::validate::archive(file).expect("readable archive");
    assert!(problems.is_empty(), "{}: {problems:#?}", archive.display());
    shown(archive);
}

fn skopeo_and_umoci(archive: &Path, place: &Path, tree: &Path) {
    let source = format!("oci-archive:{}", archive.display());
    let inspected = tool("skopeo", &["inspect", &source]);
    assert!(inspected.contains("\"Layers\""), "{inspected}");
    let layout = place.join("layout");
    tool("skopeo", &["copy", "-q", &source, &format!("oci:{}:it", layout.display())]);
    let bundle = place.join("bundle");
    tool("umoci", &["unpack", "--image", &format!("{}:it", layout.display()), text(&bundle)]);
    let (unpacked, built) = (listing(&bundle.join("rootfs")), listing(tree));
    let differ: Vec<_> = unpacked.symmetric_difference(&built).collect();
    assert!(differ.is_empty(), "{}: {differ:#?}", archive.display());
}

/// Type, mode, number of links, owner and link target of every path, and the content's digest of regular files.
fn listing(tree: &Path) -> BTreeSet<String> {
    let script = r#"cd "$1" && find . -mindepth 1 -printf '%P %y %m %n %U:%G %l\n' &&
        find . -type f -print0 | xargs -0 -r sha256sum"#;
    let list = answer(Command::new("sh").args(["-c", script, "sh"]).arg(tree)).succeeded().stdout;
    list.lines().map(str::to_owned).collect()
}

fn podman(archive: &Path, place: &Path) {
    // Podman refuses a long path here.
    let runroot = tempfile::TempDir::with_prefix("p").expect("temporary directory");
    let root = place.join("podman");
    let podman = |args: &[&str]| {
        let mut all = vec!["--root", text(&root), "--runroot", text(runroot.path()), "--storage-driver", "vfs"];
        all.extend(args);
        tool("podman", &all)
    };
    let loaded = podman(&["load", "-q", "-i", text(archive)]);
    assert!(loaded.contains("Loaded image"), "{loaded}");
    podman(&["rmi", "--all", "--force"]);
}

#[test]
fn what_kiln_saves_it_loads_again() {
    let kiln = Kiln::new();
    kiln.load("busybox");
    let context = kiln.scratch("context");
    std::fs::write(context.join("Dockerfile"), "FROM busybox\nRUN echo hello > /hello\nCMD [\"cat\", \"/hello\"]\n")
        .expect("Dockerfile");
    kiln.build(&context, &["-t", "app"]);
    let id = kiln.ok(&["inspect", "--format", "{{.Id}}", "app"]).stdout;
    let saved = kiln.scratch("saved").join("app.tar");
    kiln.ok(&["save", "-o", text(&saved), "app"]);
    assert_valid(&saved);

    let other = Kiln::new();
    other.ok(&["load", "-i", text(&saved)]);
    assert_eq!(other.ok(&["inspect", "--format", "{{.Id}}", "app"]).stdout, id);
    assert_eq!(other.ok(&["run", "--rm", "app"]).stdout, "hello\n");
}

fn text(path: &(impl AsRef<Path> + ?Sized)) -> &str {
    path.as_ref().to_str().expect("path in UTF-8")
}

#[test]
fn a_base_comes_from_a_layout_too() {
    let kiln = Kiln::new();
    let context = kiln.scratch("context");
    std::fs::write(context.join("Dockerfile"), "FROM busybox\nRUN echo hello > /hello\n").expect("Dockerfile");
    let layout: PathBuf = kiln_tests::kiln::fixture("busybox");
    let base = format!("busybox=oci-layout://{}:latest", layout.display());
    let steps = kiln.build(&context, &["--build-context", &base, "-t", "app"]);
    assert!(steps.iter().any(|step| step.name.starts_with("RUN")), "{steps:?}");
    assert_eq!(kiln.ok(&["run", "--rm", "app", "cat", "/hello"]).stdout, "hello\n");
}
