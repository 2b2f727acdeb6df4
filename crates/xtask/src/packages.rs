//! The Debian packages that chores need, all named here, and how they are installed.
//! Touches the network only when something is missing.

use crate::command::{Outcome, program, run_quietly};

/// For assembling the base images' stand-ins.
pub(crate) const FIXTURES: &[&str] = &["mmdebstrap", "busybox-static", "tar"];

/// For the tests: other tools that judge kiln's archives, and what the cases set up.
pub(crate) const TESTS: &[&str] = &[
    "attr",
    "buildah",
    "bzip2",
    "docker-registry",
    "e2fsprogs",
    "git",
    "libcap2-bin",
    "mount",
    "openssh-client",
    "podman",
    "python3",
    "python3-venv",
    "skopeo",
    "uidmap",
    "umoci",
    "util-linux",
    "xfsprogs",
    "xz-utils",
    "zstd",
];

/// For the comparisons of `bench`.
pub(crate) const BENCH: &[&str] =
    &["docker-registry", "e2fsprogs", "gzip", "mount", "runc", "skopeo", "tar", "umoci", "util-linux", "zstd"];

/// Installs those of `packages` that are missing.
pub(crate) fn ensure(packages: &[&str]) -> Outcome {
    let missing: Vec<&str> = packages.iter().copied().filter(|name| !installed(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let by_hand = format!("install them and start again: apt-get install {}", missing.join(" "));
    if !rustix::process::geteuid().is_root() {
        return Err(format!("packages are missing and only root can install them; {by_hand}"));
    }
    println!("installing {}", missing.join(", "));
    apt(&["update", "-qq"]).map_err(|e| format!("{e}\n{by_hand}"))?;
    let mut install = vec!["install", "-y", "-qq", "--no-install-recommends"];
    install.extend(&missing);
    apt(&install).map_err(|e| format!("{e}\n{by_hand}"))
}

fn installed(package: &str) -> bool {
    let status = program("dpkg-query", &["-W", "-f", "${db:Status-Status}", package]).output();
    status.is_ok_and(|answer| answer.stdout == b"installed")
}

fn apt(args: &[&str]) -> Outcome {
    run_quietly(program("apt-get", args).env("DEBIAN_FRONTEND", "noninteractive"))
}
