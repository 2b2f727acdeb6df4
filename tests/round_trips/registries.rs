//! Pushed by one, pulled by the other, through docker's registry and through kiln's.

use kiln_tests::docker_registry::DockerRegistry;
use kiln_tests::is_root_for;
use kiln_tests::kiln::{Kiln, tool};
use kiln_tests::kiln_registry::KilnRegistry;

use crate::peers::{Containers, config_at, digest_in_registry, listing, skopeo_copy, text};
use crate::{digest, id, with_app};

#[test]
fn what_kiln_pushes_to_docker_s_registry_others_pull() {
    if !is_root_for("round trips") {
        return;
    }
    let registry = DockerRegistry::start();
    pushed_by_kiln(registry.address());
}

#[test]
fn what_kiln_pushes_to_its_own_registry_others_pull() {
    if !is_root_for("round trips") {
        return;
    }
    let store = Kiln::on_fresh_disk();
    let registry = KilnRegistry::start(&store, &[]);
    pushed_by_kiln(registry.address());
}

#[test]
fn what_others_push_to_docker_s_registry_kiln_pulls() {
    if !is_root_for("round trips") {
        return;
    }
    let registry = DockerRegistry::start();
    pushed_by_others(registry.address());
}

#[test]
fn what_others_push_to_kiln_s_registry_kiln_pulls() {
    if !is_root_for("round trips") {
        return;
    }
    let store = Kiln::on_fresh_disk();
    let registry = KilnRegistry::start(&store, &[]);
    pushed_by_others(registry.address());
}

#[test]
fn an_index_of_platforms_keeps_its_digest_through_every_hand() {
    if !is_root_for("round trips") {
        return;
    }
    let (registry, kiln) = (DockerRegistry::with(&["busybox-platforms"]), Kiln::on_fresh_disk());
    let catalog = tool(
        "skopeo",
        &["list-tags", "--tls-verify=false", &format!("docker://{}/library/busybox", registry.address())],
    );
    assert!(catalog.contains("latest"), "{catalog}");
    let name = format!("{}/library/busybox:latest", registry.address());
    let original = format!("{}/many/copied:1", registry.address());
    skopeo_copy(&["--all"], &format!("docker://{name}"), &format!("docker://{original}"));
    let pushed = digest_in_registry(&original);
    let own = KilnRegistry::start(&kiln, &[]);
    let there = format!("{}/many/copied:1", own.address());
    skopeo_copy(&["--all"], &format!("docker://{original}"), &format!("docker://{there}"));
    assert_eq!(digest_in_registry(&there), pushed);
    let back = format!("{}/many/back:1", registry.address());
    skopeo_copy(&["--all"], &format!("docker://{there}"), &format!("docker://{back}"));
    assert_eq!(digest_in_registry(&back), pushed);
}

/// Kiln pushes an image; skopeo, podman, buildah, umoci and another kiln pull it.
fn pushed_by_kiln(address: &str) {
    let kiln = Kiln::on_fresh_disk();
    let name = format!("{address}/round/trip:1");
    let built = with_app(&kiln, &name);
    let said = kiln.ok(&["push", &name]).stdout;
    let pushed = digest_in_registry(&name);
    assert!(said.contains(&format!("1: digest: {pushed} size: ")), "{said}");

    let podman = Containers::podman(&kiln);
    podman.ok(&["pull", "--quiet", "--tls-verify=false", &name]);
    assert_eq!(podman.ok(&["image", "inspect", "--format", "{{.Digest}}", &name]), pushed);
    assert_eq!(podman.id(&name), built);

    let buildah = Containers::buildah(&kiln);
    buildah.ok(&["pull", "--quiet", "--tls-verify=false", &name]);
    assert_eq!(buildah.id(&name), built);

    let layout = kiln.scratch("layout");
    skopeo_copy(&[], &format!("docker://{name}"), &format!("oci:{}:it", text(&layout)));
    let bundle = kiln.scratch("bundles").join("bundle");
    tool("umoci", &["unpack", "--image", &format!("{}:it", text(&layout)), text(&bundle)]);
    let (tree, tar) = (kiln.scratch("tree"), kiln.scratch("bundles").join("tree.tar"));
    kiln.build(&kiln.scratch("app"), &["--output", &format!("type=tar,dest={}", text(&tar))]);
    tool("tar", &["-C", text(&tree), "-xpf", text(&tar), "--numeric-owner"]);
    let (unpacked, built_tree) = (listing(&bundle.join("rootfs")), listing(&tree));
    let differ: Vec<_> = unpacked.symmetric_difference(&built_tree).collect();
    assert!(differ.is_empty(), "{differ:#?}");

    let other = Kiln::on_fresh_disk();
    other.ok(&["pull", "-q", &name]);
    assert_eq!((digest(&other, &name), id(&other, &name)), (pushed.clone(), built));
    let again = format!("{address}/round/again:1");
    other.ok(&["tag", &name, &again]);
    other.ok(&["push", "-q", &again]);
    assert_eq!(digest_in_registry(&again), pushed);
}

/// Others push images in OCI's and docker's form; kiln pulls them, runs one and pushes them on.
fn pushed_by_others(address: &str) {
    let kiln = Kiln::on_fresh_disk();
    let archive = kiln.scratch("archives").join("app.tar");
    let built = with_app(&kiln, "app:1");
    kiln.ok(&["save", "-o", text(&archive), "app:1"]);
    let place = |name: &str| format!("{address}/others/{name}:1");

    let podman = Containers::podman(&kiln);
    podman.ok(&["load", "--quiet", "--input", text(&archive)]);
    for format in ["oci", "v2s2"] {
        let name = place(&format!("podman-{format}"));
        podman.ok(&["push", "--quiet", "--tls-verify=false", "--format", format, "app:1", &name]);
    }
    let buildah = Containers::buildah(&kiln);
    let container = buildah.ok(&["from", &format!("oci-archive:{}", text(&archive))]);
    buildah.ok(&["config", "--env", "FROM=buildah", "--user", "0", &container]);
    for format in ["oci", "docker"] {
        buildah.ok(&["commit", "--quiet", "--format", format, &container, &format!("made-{format}")]);
        let name = place(&format!("buildah-{format}"));
        buildah.ok(&["push", "--quiet", "--tls-verify=false", &format!("made-{format}"), &format!("docker://{name}")]);
    }
    let layout = kiln.scratch("layout");
    skopeo_copy(&[], &format!("oci-archive:{}", text(&archive)), &format!("oci:{}:it", text(&layout)));
    let image = format!("{}:it", text(&layout));
    tool("umoci", &["insert", "--image", &image, text(&kiln.scratch("app")), "/inserted"]);
    tool("umoci", &["config", "--image", &image, "--config.user", "0", "--config.cmd", "cat /inserted/Dockerfile"]);
    skopeo_copy(&[], &format!("oci:{image}"), &format!("docker://{}", place("umoci")));
    let plain = archive.with_file_name("plain.tar");
    let output = format!("type=oci,compression=uncompressed,force-compression=true,dest={}", text(&plain));
    kiln.build(&kiln.scratch("app"), &["--output", &output]);
    for compression in ["gzip", "zstd"] {
        let name = place(&format!("skopeo-{compression}"));
        let flags = ["--dest-compress-format", compression];
        skopeo_copy(&flags, &format!("oci-archive:{}", text(&plain)), &format!("docker://{name}"));
    }

    for made in ["podman-oci", "podman-v2s2", "buildah-oci", "buildah-docker", "umoci", "skopeo-gzip", "skopeo-zstd"] {
        let (name, pushed) = (place(made), digest_in_registry(&place(made)));
        let other = Kiln::in_memory(kiln.program());
        other.ok(&["pull", "-q", &name]);
        assert_eq!(digest(&other, &name), pushed, "{made}");
        assert_eq!(id(&other, &name), config_at(&format!("docker://{name}")), "{made}");
        if made.starts_with("skopeo") {
            assert_eq!(id(&other, &name), built, "{made}");
        }
        let again = place(&format!("{made}-again"));
        other.ok(&["tag", &name, &again]);
        other.ok(&["push", "-q", &again]);
        assert_eq!(digest_in_registry(&again), pushed, "{made}");
        let printed = other.ok(&["run", "--rm", &name]).stdout;
        assert!(printed == "one\n" || printed.starts_with("FROM busybox"), "{made}: {printed}");
    }
}
