//! An image of everything that a layer can hold, in every spelling of it: it leaves kiln as it came, entry by entry, and
//! a container sees what other tools unpack.
//!
//! `image.py` makes the image by programs that are not under test, `tree.py` lists trees.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_tests::docker_registry::DockerRegistry;
use kiln_tests::is_root_for;
use kiln_tests::kiln::{Kiln, answer, tool};
use kiln_tests::user::User;
use serde_json::Value;
use tempfile::TempDir;

/// The layout of the image, as this reader can take it, in a directory of its own.
fn torture(reader: &str) -> TempDir {
    let place = TempDir::with_prefix("kiln-torture-").expect("temporary directory");
    let (layout, scratch) = (place.path().join("layout"), place.path().join("scratch"));
    std::fs::create_dir(&scratch).expect("scratch");
    tool("python3", &[text(&script("image.py")), text(&layout), text(&scratch), reader]);
    place
}

fn script(name: &str) -> PathBuf {
    kiln_tests::workspace().join("tests/torture").join(name)
}

/// Loads the layout as an archive; the image gets the name `torture`.
#[track_caller]
fn load(kiln: &Kiln, place: &TempDir) {
    let archive = kiln.scratch("archives").join("torture.tar");
    tool("tar", &["-C", text(&place.path().join("layout")), "-cf", text(&archive), "."]);
    let said = kiln.ok(&["load", "-q", "-i", text(&archive)]).stdout;
    let id = said.trim().rsplit(' ').next().expect("an id").to_owned();
    kiln.ok(&["tag", &id, "torture"]);
}

/// The entries of every layer's tar, as Python's tarfile reads them, and the digests of the tars.
#[track_caller]
fn layers(layout: &Path) -> (String, Value) {
    let read = |path: PathBuf| -> Value {
        let raw = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        serde_json::from_slice(&raw).expect("JSON")
    };
    let blob = |digest: &Value| layout.join("blobs/sha256").join(&digest.as_str().expect("digest")[7..]);
    let manifest = read(blob(&read(layout.join("index.json"))["manifests"][0]["digest"]));
    let config = read(blob(&manifest["config"]["digest"]));
    let blobs: Vec<PathBuf> =
        manifest["layers"].as_array().expect("layers").iter().map(|layer| blob(&layer["digest"])).collect();
    let script = script("entries.py");
    let mut args = vec![text(&script)];
    args.extend(blobs.iter().map(|blob| text(blob)));
    (tool("python3", &args), config["rootfs"]["diff_ids"].clone())
}

#[track_caller]
fn assert_same_entries(original: &TempDir, returned: &Path) {
    let (were, were_ids) = layers(&original.path().join("layout"));
    let (are, are_ids) = layers(returned);
    assert!(were.lines().count() > 250, "{were}");
    for (before, after) in were.lines().zip(are.lines()) {
        assert_eq!(before, after);
    }
    assert_eq!(were.lines().count(), are.lines().count());
    assert_eq!(were_ids, are_ids);
}

/// `kiln save`, unpacked.
#[track_caller]
fn saved(kiln: &Kiln) -> PathBuf {
    let archive = kiln.scratch("archives").join("saved.tar");
    kiln.ok(&["save", "-o", text(&archive), "torture"]);
    let layout = kiln.scratch("archives/saved");
    tool("tar", &["-C", text(&layout), "-xf", text(&archive)]);
    layout
}

#[test]
fn loaded_and_saved_it_is_the_same_entry_by_entry() {
    if is_root_for("the torture image saved") {
        let (kiln, place) = (Kiln::on_fresh_disk(), torture("kiln"));
        load(&kiln, &place);
        assert_same_entries(&place, &saved(&kiln));
        kiln.ok(&["system", "check", "-q"]);
    }
}

#[test]
fn pulled_and_pushed_it_is_the_same_entry_by_entry() {
    if !is_root_for("the torture image pushed") {
        return;
    }
    let (kiln, place) = (Kiln::on_fresh_disk(), torture("kiln"));
    let registry = DockerRegistry::start();
    let name = |tag: &str| format!("{}/torture:{tag}", registry.address());
    let layout = format!("oci:{}:torture", text(&place.path().join("layout")));
    let remote = |tag: &str| format!("docker://{}", name(tag));
    tool("skopeo", &["copy", "-q", "--dest-tls-verify=false", &layout, &remote("original")]);
    kiln.ok(&["pull", &name("original")]);
    kiln.ok(&["tag", &name("original"), &name("again")]);
    kiln.ok(&["push", &name("again")]);
    let returned = kiln.scratch("returned");
    let copy = format!("oci:{}:it", text(&returned));
    tool("skopeo", &["copy", "-q", "--src-tls-verify=false", &remote("again"), &copy]);
    assert_same_entries(&place, &returned);
    assert_eq!(registry.manifest("torture:again"), registry.manifest("torture:original"));
    kiln.ok(&["system", "check", "-q"]);
}

/// A user cannot make devices, and has no use for most owners; yet the image goes on unchanged.
#[test]
fn loaded_and_saved_by_a_user_it_is_the_same() {
    for user in [User::with_subordinate_ids, User::with_single_id] {
        if is_root_for("the torture image of an unprivileged user") {
            let (kiln, place) = (Kiln::of(user()), torture("kiln"));
            load(&kiln, &place);
            assert_same_entries(&place, &saved(&kiln));
            kiln.ok(&["system", "check", "-q"]);
        }
    }
}

/// One line a path of what a container with the host's Python sees.
fn in_a_container(kiln: &Kiln) -> Listing {
    let scripts = format!("{}:/script", text(&kiln_tests::workspace().join("tests/torture")));
    let mut args = vec!["run", "--rm", "-v", &scripts];
    let mut left_out = vec!["script", "proc", "sys", "dev", "etc"];
    let host = ["usr", "lib", "lib64", "bin"].iter().filter(|name| Path::new("/").join(name).exists());
    let mounts: Vec<String> = host.clone().map(|name| format!("/{name}:/{name}:ro")).collect();
    mounts.iter().for_each(|mount| args.extend(["-v", mount.as_str()]));
    left_out.extend(host);
    args.extend(["torture", "/usr/bin/python3", "/script/tree.py", "/"]);
    args.extend(left_out);
    listing(&kiln.ok(&args).stdout)
}

/// What is told of each path.
type Listing = BTreeMap<String, String>;

fn listing(text: &str) -> Listing {
    text.lines().map(|line| line.split_once(" | ").expect("path | facts")).map(|(a, b)| (a.into(), b.into())).collect()
}

/// What a tree on this machine holds.
fn tree(root: &Path) -> Listing {
    listing(&tool("python3", &[text(&script("tree.py")), text(root)]))
}

#[track_caller]
fn assert_same_trees(ours: &Listing, theirs: &Listing) {
    assert!(theirs.len() > 200, "{theirs:#?}");
    let paths = ours.keys().chain(theirs.keys());
    let differ = paths.filter(|path| ours.get(*path) != theirs.get(*path));
    let shown: Vec<String> =
        differ.map(|path| format!("{path}\n  {:?}\n  {:?}", ours.get(path), theirs.get(path))).collect();
    assert!(shown.is_empty(), "first kiln, then the other:\n{}", shown.join("\n"));
}

#[test]
fn a_container_sees_what_umoci_unpacks() {
    if !is_root_for("the torture image and umoci") {
        return;
    }
    let (kiln, place) = (Kiln::on_fresh_disk(), torture("umoci"));
    load(&kiln, &place);
    let bundle = kiln.scratch("umoci").join("bundle");
    let image = format!("{}:torture", text(&place.path().join("layout")));
    tool("umoci", &["unpack", "--image", &image, text(&bundle)]);
    let mut theirs = tree(&bundle.join("rootfs"));
    // These only who may administer the system sees.
    let trusted = |fact: &&str| !fact.starts_with("trusted.");
    theirs.values_mut().for_each(|facts| {
        *facts = facts.split(" | ").filter(trusted).collect::<Vec<_>>().join(" | ");
    });
    assert_same_trees(&in_a_container(&kiln), &theirs);
}

/// Podman loses times before 1970, ACLs, modes of devices and the look of directories that a layer only implies.
#[test]
fn a_container_sees_what_podman_unpacks() {
    if !is_root_for("the torture image and podman") {
        return;
    }
    let (kiln, place) = (Kiln::on_fresh_disk(), torture("podman"));
    load(&kiln, &place);
    let theirs = unpacked_by_podman(&kiln);
    let told = |listing: Listing| -> Listing {
        let kept = listing.into_iter().map(|(path, facts)| (path, without_what_podman_loses(&facts)));
        kept.collect()
    };
    assert_same_trees(&told(in_a_container(&kiln)), &told(theirs));
}

fn unpacked_by_podman(kiln: &Kiln) -> Listing {
    // Podman refuses a long path here.
    let runroot = TempDir::with_prefix("p").expect("temporary directory");
    let root = kiln.scratch("podman");
    let podman = |args: &[&str]| {
        let mut all = vec!["--root", text(&root), "--runroot", text(runroot.path()), "--storage-driver", "vfs"];
        all.extend(args);
        tool("podman", &all).trim().to_owned()
    };
    podman(&["load", "-q", "-i", text(&kiln.scratch("archives").join("torture.tar"))]);
    let id = podman(&["images", "-q"]);
    let listing = tree(Path::new(&podman(&["image", "mount", &id])));
    podman(&["image", "umount", &id]);
    podman(&["rmi", "--all", "--force"]);
    listing
}

fn without_what_podman_loses(facts: &str) -> String {
    let is_special = facts.starts_with(['c', 'b', 'p']);
    let is_lost = |fact: &str| {
        ["time ", "system.posix_acl", "trusted."].iter().any(|start| fact.starts_with(start))
            || is_special && ["mode ", "same as "].iter().any(|start| fact.starts_with(start))
    };
    facts.split(" | ").filter(|fact| !is_lost(fact)).collect::<Vec<_>>().join(" | ")
}

/// No other tool here reads them: they are compared with the same files in another spelling.
#[test]
fn sparse_files_are_the_same_in_every_spelling_and_stay_sparse() {
    if !is_root_for("sparse files of the torture image") {
        return;
    }
    let (kiln, place) = (Kiln::on_fresh_disk(), torture("kiln"));
    load(&kiln, &place);
    let all = in_a_container(&kiln);
    let below = |top: &str| -> Vec<(String, String)> {
        let named = all.iter().filter_map(|(path, facts)| Some((path.split_once(top)?.1.to_owned(), facts)));
        let content = |facts: &str| facts.split(" | ").filter(|fact| fact.starts_with("content ")).collect::<String>();
        named.map(|(path, facts)| (path, content(facts))).filter(|(_, content)| !content.is_empty()).collect()
    };
    let spelt = ["old sparse/", "sparse 0.0/", "sparse 0.1/", "sparse 1.0/"].map(below);
    assert_eq!(spelt[0].len(), 6, "{spelt:#?}");
    spelt.iter().for_each(|each| assert_eq!(*each, spelt[3]));
    let script = "find . -name 'sparse *' -type f -printf '%b %s %p\n'";
    let blocks = answer(Command::new("sh").args(["-c", script]).current_dir(kiln.root().join("layers"))).succeeded();
    assert_eq!(blocks.stdout.lines().count(), 16, "{blocks}");
    for line in blocks.stdout.lines() {
        let used: u64 = line.split(' ').next().and_then(|blocks| blocks.parse().ok()).expect("blocks");
        assert!(used * 512 < 1 << 20, "a file of 6 MB, most of it holes: {line}");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("path in UTF-8")
}
