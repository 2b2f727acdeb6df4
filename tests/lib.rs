//! What whole-program tests share: the binary under test in a root directory of its own, the base images, what a
//! build printed, and the check that nothing was left behind. Knows kiln only from outside, by its command line.

#[path = "support/counting_proxy.rs"]
pub mod counting_proxy;
#[path = "support/cutting_proxy.rs"]
pub mod cutting_proxy;
#[path = "support/disk.rs"]
pub mod disk;
#[path = "support/docker_registry.rs"]
pub mod docker_registry;
#[path = "support/emulation.rs"]
pub mod emulation;
#[path = "support/examples.rs"]
pub mod examples;
#[path = "support/exceptions.rs"]
pub mod exceptions;
#[path = "support/faults.rs"]
pub mod faults;
#[path = "support/front.rs"]
pub mod front;
#[path = "support/http.rs"]
pub mod http;
#[path = "support/hygiene.rs"]
pub mod hygiene;
#[path = "support/image.rs"]
pub mod image;
#[path = "support/kills.rs"]
pub mod kills;
#[path = "support/kiln.rs"]
pub mod kiln;
#[path = "support/kiln_registry.rs"]
pub mod kiln_registry;
#[path = "support/misbehaving.rs"]
pub mod misbehaving;
#[path = "support/registry.rs"]
pub mod registry;
#[path = "support/repository.rs"]
pub mod repository;
#[path = "support/running.rs"]
pub mod running;
#[path = "support/s3.rs"]
pub mod s3;
#[path = "support/source.rs"]
pub mod source;
#[path = "support/steps.rs"]
pub mod steps;
#[path = "support/tarball.rs"]
pub mod tarball;
#[path = "support/user.rs"]
pub mod user;
#[path = "support/web.rs"]
pub mod web;

use std::io::Write;
use std::path::{Path, PathBuf};

/// The directory of the workspace.
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("tests/ is inside the workspace").to_path_buf()
}

/// A file or directory below `testdata/`.
pub fn testdata(path: &str) -> PathBuf {
    workspace().join("testdata").join(path)
}

/// Says something worth reading after a run that passed. `cargo xtask test` repeats it at its end.
pub fn say(line: &str) {
    println!("{line}");
    if let Some(notes) = std::env::var_os("KILN_TEST_NOTES") {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(notes);
        file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes())).expect("notes of the tests");
    }
}

/// Says that a test, or a part of one, does not run here and why. `cargo xtask test` counts these.
pub fn skip(test: &str, reason: &str) {
    say(&format!("skipped: {test}: {reason}"));
}

/// Whether this process may do what only root can; if not, says that `test` is skipped.
pub fn is_root_for(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip(test, "needs root");
    }
    root
}

/// Whether the large counts were asked for (`cargo xtask test --full`).
pub fn full() -> bool {
    std::env::var_os("KILN_TEST_FULL").is_some()
}
