//! Saved by one, loaded by the other, in every form and compression.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_tests::is_root_for;
use kiln_tests::kiln::{Kiln, answer};

use crate::peers::{Containers, config_at, skopeo_copy, text};
use crate::{id, with_app};

#[test]
fn what_kiln_saves_others_load() {
    if !is_root_for("round trips") {
        return;
    }
    let kiln = Kiln::on_fresh_disk();
    let built = with_app(&kiln, "app:1");
    let base = id(&kiln, "busybox");
    kiln.ok(&["tag", "app:1", "second/name:2"]);
    let archive = kiln.scratch("archives").join("both.tar");
    kiln.ok(&["save", "-o", text(&archive), "app:1", "busybox", "second/name:2"]);

    let podman = Containers::podman(&kiln);
    podman.ok(&["load", "--quiet", "--input", text(&archive)]);
    for (name, id) in [("app:1", &built), ("second/name:2", &built), ("busybox:latest", &base)] {
        assert_eq!(podman.id(name), *id, "{name}");
    }
    for name in ["app:1", "second/name:2"] {
        assert_eq!(config_at(&format!("docker-archive:{}:{name}", text(&archive))), built);
    }
    let single = archive.with_file_name("single.tar");
    kiln.ok(&["save", "-o", text(&single), "app:1"]);
    assert_eq!(config_at(&format!("oci-archive:{}", text(&single))), built);
    let buildah = Containers::buildah(&kiln);
    buildah.ok(&["pull", "--quiet", &format!("docker-archive:{}:app:1", text(&archive))]);
    assert_eq!(buildah.id("app:1"), built);
}

#[test]
fn what_others_save_kiln_loads() {
    if !is_root_for("round trips") {
        return;
    }
    let kiln = Kiln::on_fresh_disk();
    let built = with_app(&kiln, "app:1");
    let source = kiln.scratch("archives").join("source.tar");
    kiln.ok(&["save", "-o", text(&source), "app:1", "busybox"]);
    let base = id(&kiln, "busybox");
    let podman = Containers::podman(&kiln);
    podman.ok(&["load", "--quiet", "--input", text(&source)]);

    for format in ["docker-archive", "oci-archive"] {
        let archive = source.with_file_name(format!("podman-{format}.tar"));
        podman.ok(&["save", "--quiet", "--format", format, "--output", text(&archive), "app:1"]);
        loaded(&kiln, &archive, &[("localhost/app:1", &config_at(&format!("{format}:{}", text(&archive))))]);
    }
    let both = source.with_file_name("podman-both.tar");
    podman.ok(&["save", "--quiet", "-m", "--output", text(&both), "app:1", "busybox:latest"]);
    loaded(&kiln, &both, &[("localhost/app:1", &built), ("localhost/busybox:latest", &base)]);

    let single = source.with_file_name("single.tar");
    kiln.ok(&["save", "-o", text(&single), "app:1"]);
    for (kind, reference) in [("docker-archive", "from/skopeo:3"), ("oci-archive", "from/skopeo:3")] {
        let archive = source.with_file_name(format!("skopeo-{kind}.tar"));
        let to = format!("{kind}:{}:{reference}", text(&archive));
        skopeo_copy(&[], &format!("oci-archive:{}", text(&single)), &to);
        loaded(&kiln, &archive, &[(reference, &built)]);
    }
    let buildah = Containers::buildah(&kiln);
    buildah.ok(&["pull", "--quiet", &format!("oci-archive:{}", text(&single))]);
    let archive = source.with_file_name("buildah.tar");
    let to = format!("docker-archive:{}:from/buildah:4", text(&archive));
    buildah.ok(&["push", "--quiet", &built, &to]);
    loaded(&kiln, &archive, &[("from/buildah:4", &built)]);
}

#[test]
fn archives_are_loaded_in_every_compression_from_a_file_and_from_a_pipe() {
    if !is_root_for("round trips") {
        return;
    }
    let kiln = Kiln::on_fresh_disk();
    let built = with_app(&kiln, "app:1");
    let archive = kiln.scratch("archives").join("app.tar");
    kiln.ok(&["save", "-o", text(&archive), "app:1"]);
    for compressor in ["gzip", "zstd", "xz", "bzip2"] {
        let compressed = archive.with_extension(format!("tar.{compressor}"));
        let pipe = format!("{compressor} -c {} > {}", text(&archive), text(&compressed));
        answer(Command::new("sh").args(["-c", &pipe])).succeeded();
        loaded(&kiln, &compressed, &[("app:1", &built)]);
    }
}

/// Loads an archive into an empty store, from the file and from a pipe; these names must have these ids.
#[track_caller]
fn loaded(kiln: &Kiln, archive: &Path, names: &[(&str, &String)]) {
    for piped in [false, true] {
        let other = Kiln::in_memory(kiln.program());
        let said = match piped {
            false => other.ok(&["load", "-i", text(archive)]).stdout,
            true => answer(other.command(&["load"]).stdin(File::open(archive).expect("archive"))).succeeded().stdout,
        };
        for (name, id) in names {
            assert!(said.lines().any(|line| line == format!("Loaded image: {name}")), "{name}: {said}");
            assert_eq!(crate::id(&other, name), **id, "{name} of {}", archive.display());
        }
        assert_eq!(said.lines().count(), names.len(), "{said}");
    }
}

#[test]
fn an_image_without_a_name_is_saved_and_loaded_by_its_id() {
    if !is_root_for("round trips") {
        return;
    }
    let kiln = Kiln::on_fresh_disk();
    let built = with_app(&kiln, "app:1");
    let archive: PathBuf = kiln.scratch("archives").join("nameless.tar");
    kiln.ok(&["save", "-o", text(&archive), built.trim_start_matches("sha256:").get(..12).expect("a long id")]);
    let other = Kiln::in_memory(kiln.program());
    assert_eq!(other.ok(&["load", "-q", "-i", text(&archive)]).stdout, format!("Loaded image ID: {built}\n"));
    let podman = Containers::podman(&kiln);
    podman.ok(&["load", "--quiet", "--input", text(&archive)]);
    assert_eq!(podman.id(&built), built);
}
