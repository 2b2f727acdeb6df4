//! moto, a server that speaks S3 and forgets everything when it ends: in a virtual environment of its own, from the
//! registry of Python packages, in pinned versions.

use std::fs;
use std::path::Path;

use crate::command::{Outcome, program, run_quietly};

/// What is installed, and in which versions.
const PACKAGES: [&str; 3] = ["moto[s3]==5.2.5", "flask==3.1.3", "flask-cors==6.0.5"];

/// Puts `bin/moto_server` into `target/moto`, unless it is there in these versions.
pub(crate) fn ensure(root: &Path) -> Outcome {
    let place = root.join("target/moto");
    let mark = place.join("installed");
    let wanted = PACKAGES.join("\n");
    if fs::read_to_string(&mark).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    println!("installing {} into {}", PACKAGES[0], place.display());
    let failed = |e| format!("{}: {e}", place.display());
    if place.exists() {
        fs::remove_dir_all(&place).map_err(failed)?;
    }
    run_quietly(program("/usr/bin/python3", &["-m", "venv"]).arg(&place))?;
    let mut install = program(place.join("bin/pip"), &["install", "--quiet", "--no-input"]);
    run_quietly(install.arg("--disable-pip-version-check").args(PACKAGES))?;
    fs::write(&mark, wanted).map_err(failed)
}
