//! `cargo xtask fixtures`: stand-ins for the public base images, assembled from Debian packages into OCI layouts under
//! `target/fixtures`, and an emulator beside them. Done once; afterwards nothing here needs the network. Starts nothing
//! that stays.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::command::{Outcome, output, program, run_quietly};
use crate::layout::{self, About, Build};
use crate::{emulator, foreign, layer_difference, packages, workspace};

/// Change this when an image is assembled differently: older ones are then made again.
const EDITION: &str = "3";
/// The time stamped on everything that has none of its own: 2020-01-01T00:00:00Z.
const EPOCH: &str = "1577836800";
const CREATED: &str = "2020-01-01T00:00:00Z";

/// This machine's, of the package busybox-static.
const BUSYBOX: &str = "/bin/busybox";

struct Image {
    /// Directory below `target/fixtures`.
    directory: &'static str,
    name: &'static str,
    command: &'static str,
    environment: &'static [&'static str],
    contents: Contents,
}

enum Contents {
    Busybox,
    /// The same for each of these architectures.
    BusyboxFor(&'static [&'static str]),
    /// A minimal Debian.
    Debian,
    /// A layer over that Debian: these packages, then these symbolic links (path, target).
    DebianWith(&'static [&'static str], &'static [(&'static str, &'static str)]),
}

const IMAGES: &[Image] = &[
    Image {
        directory: "busybox",
        name: "docker.io/library/busybox:latest",
        command: "sh",
        environment: &[],
        contents: Contents::Busybox,
    },
    Image {
        directory: "busybox-platforms",
        name: "docker.io/library/busybox:latest",
        command: "sh",
        environment: &[],
        contents: Contents::BusyboxFor(&["amd64", "arm64"]),
    },
    Image {
        directory: "debian",
        name: "docker.io/library/debian:bookworm",
        // Not `bash` as the public one: the images that BuildKit was recorded with stand on a Debian with `sh`.
        command: "sh",
        environment: &[],
        contents: Contents::Debian,
    },
    Image {
        directory: "gcc",
        name: "docker.io/library/gcc:12",
        command: "bash",
        environment: &["GCC_VERSION=12"],
        contents: Contents::DebianWith(&["gcc", "libc6-dev", "make"], &[]),
    },
    Image {
        directory: "python",
        name: "docker.io/library/python:3.11-slim",
        command: "python3",
        environment: &["LANG=C.UTF-8", "PYTHON_VERSION=3.11"],
        contents: Contents::DebianWith(
            &["python3"],
            &[("usr/local/bin/python", "/usr/bin/python3"), ("usr/local/bin/python3", "/usr/bin/python3")],
        ),
    },
];

/// Assembles what is missing and returns the directory that holds all layouts.
pub(crate) fn assemble() -> Outcome<PathBuf> {
    assemble_wanted(|_| true)
}

/// The same, but only these images (by directory) and what they stand on.
pub(crate) fn assemble_only(directories: &[&str]) -> Outcome<PathBuf> {
    if let Some(unknown) = directories.iter().find(|name| IMAGES.iter().all(|image| image.directory != **name)) {
        return Err(format!("there is no image {unknown}"));
    }
    let stands_on_debian = |image: &Image| matches!(image.contents, Contents::DebianWith(..));
    let wanted = |image: &Image| directories.contains(&image.directory);
    let debian = IMAGES.iter().any(|image| wanted(image) && stands_on_debian(image));
    assemble_wanted(|image| wanted(image) || debian && matches!(image.contents, Contents::Debian))
}

fn assemble_wanted(wanted: impl Fn(&Image) -> bool) -> Outcome<PathBuf> {
    let directory = workspace::fixtures(&workspace::root()?);
    let wanted = IMAGES.iter().filter(|image| wanted(image));
    let missing: Vec<&Image> = wanted.filter(|image| !done(&directory, image)).collect();
    if missing.is_empty() {
        return emulator::ensure(&directory).map(|()| directory);
    }
    if !rustix::process::geteuid().is_root() {
        return Err("assembling the base images needs root, once (their files belong to several users)".into());
    }
    packages::ensure(packages::FIXTURES)?;
    fs::create_dir_all(&directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    for image in missing {
        println!("assembling {} in {}", image.name, directory.join(image.directory).display());
        assemble_one(&directory, image).map_err(|e| format!("{}: {e}", image.name))?;
    }
    emulator::ensure(&directory).map(|()| directory)
}

fn done(directory: &Path, image: &Image) -> bool {
    if matches!(image.contents, Contents::Debian) && !debian_tar(directory).is_file() {
        return false;
    }
    let stamp = fs::read_to_string(directory.join(image.directory).join("edition"));
    stamp.is_ok_and(|edition| edition == EDITION)
}

/// Makes the layout beside its final place and renames it, so that it is there whole or not at all.
fn assemble_one(directory: &Path, image: &Image) -> Outcome {
    let work = directory.join(format!(".{}.{}", image.directory, std::process::id()));
    let finished = work.join("layout");
    let result = builds(directory, &work, image).and_then(|builds| {
        let about =
            About { name: image.name, command: image.command, environment: image.environment, created: CREATED };
        let place = directory.join(image.directory);
        fs::create_dir_all(&finished)
            .and_then(|()| layout::write(&finished, &about, &builds))
            .and_then(|()| fs::write(finished.join("edition"), EDITION))
            .and_then(|()| if place.exists() { fs::remove_dir_all(&place) } else { Ok(()) })
            .and_then(|()| fs::rename(&finished, &place))
            .map_err(|e| format!("cannot write the layout: {e}"))
    });
    let cleared = fs::remove_dir_all(&work).map_err(|e| format!("{}: {e}", work.display()));
    result.and(cleared)
}

/// The image for each of its platforms.
fn builds(directory: &Path, work: &Path, image: &Image) -> Outcome<Vec<Build>> {
    fs::create_dir_all(work).map_err(|e| format!("{}: {e}", work.display()))?;
    let Contents::BusyboxFor(architectures) = image.contents else {
        return Ok(vec![Build { architecture: layout::architecture(), layers: layers(directory, work, image)? }]);
    };
    let build = |architecture: &&'static str| {
        let work = work.join(architecture);
        fs::create_dir_all(&work).map_err(|e| format!("{}: {e}", work.display()))?;
        let program = if *architecture == layout::architecture() {
            PathBuf::from(BUSYBOX)
        } else {
            foreign::unpacked("busybox-static", Some(architecture), &work)?.join("bin/busybox")
        };
        Ok(Build { architecture, layers: vec![busybox(&work, &program)?] })
    };
    architectures.iter().map(build).collect()
}

/// The uncompressed layer tars of an image for this machine, bottom first.
fn layers(directory: &Path, work: &Path, image: &Image) -> Outcome<Vec<PathBuf>> {
    let debian = debian_tar(directory);
    match image.contents {
        Contents::Busybox | Contents::BusyboxFor(_) => busybox(work, Path::new(BUSYBOX)).map(|tar| vec![tar]),
        Contents::Debian => {
            let tar = work.join("debian.tar");
            bootstrap(&tar, &[], &[])?;
            fs::rename(&tar, &debian).map_err(|e| format!("{}: {e}", debian.display()))?;
            Ok(vec![debian])
        }
        Contents::DebianWith(packages, links) => {
            let whole = work.join("whole.tar");
            bootstrap(&whole, packages, links)?;
            let layer = work.join("layer.tar");
            layer_difference::write(&debian, &whole, &layer)
                .map_err(|e| format!("difference to {}: {e}", debian.display()))?;
            Ok(vec![debian, layer])
        }
    }
}

/// The tar of the minimal Debian, kept for the images that stand on it.
fn debian_tar(directory: &Path) -> PathBuf {
    directory.join(format!("debian-{EDITION}.tar"))
}

/// A minimal Debian with these packages as a tar.
fn bootstrap(tar: &Path, packages: &[&str], links: &[(&str, &str)]) -> Outcome {
    let mut command = program("mmdebstrap", &["--quiet", "--variant=minbase"]);
    command.env("SOURCE_DATE_EPOCH", EPOCH);
    if !packages.is_empty() {
        command.arg(format!("--include={}", packages.join(",")));
    }
    for (path, target) in links {
        command.arg(format!("--customize-hook=ln -s {target} \"$1/{path}\""));
    }
    run_quietly(command.arg("bookworm").arg(tar))
}

/// A static busybox under the name of each command that this machine's has, as a tar.
fn busybox(work: &Path, program_file: &Path) -> Outcome<PathBuf> {
    let root = work.join("root");
    let at = |path: &str| root.join(path);
    let wrong = |e: std::io::Error| format!("{}: {e}", root.display());
    for directory in ["bin", "etc", "tmp", "root", "usr", "var", "dev", "proc", "sys"] {
        fs::create_dir_all(at(directory)).map_err(wrong)?;
        fs::set_permissions(at(directory), fs::Permissions::from_mode(0o755)).map_err(wrong)?;
    }
    fs::set_permissions(at("tmp"), fs::Permissions::from_mode(0o1777)).map_err(wrong)?;
    fs::copy(program_file, at("bin/busybox")).map_err(wrong)?;
    for applet in output(&mut program(BUSYBOX, &["--list"]))?.lines() {
        if applet != "busybox" {
            symlink("busybox", at("bin").join(applet)).map_err(wrong)?;
        }
    }
    let users = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n";
    fs::write(at("etc/passwd"), users).map_err(wrong)?;
    fs::write(at("etc/group"), "root:x:0:\nnogroup:x:65534:\n").map_err(wrong)?;
    let tar = work.join("busybox.tar");
    let mut command = program("tar", &["--owner=0", "--group=0", "--numeric-owner", "--sort=name"]);
    // As in the busybox that BuildKit was recorded with: a copied directory keeps its time.
    command.arg("--mtime=@0").arg("-C").arg(&root).arg("-cf").arg(&tar).arg(".");
    run_quietly(&mut command)?;
    Ok(tar)
}
