//! Building kiln itself.

use std::path::{Path, PathBuf};

use crate::command::{Outcome, program, run, shown};
use crate::workspace;

/// Builds the binary whose store fails and dies where a test says, and returns its path.
pub(crate) fn with_faults(root: &Path) -> Outcome<PathBuf> {
    let mut command = program("cargo", &["build", "--package", "kiln", "--bin", "kiln-fault-injection"]);
    command.args(["--features", "fault-injection"]).current_dir(root);
    println!("$ {}", shown(&command));
    run(&mut command)?;
    Ok(workspace::target(root).join("debug/kiln-fault-injection"))
}

/// Builds the release binary and returns its path.
pub(crate) fn release(root: &Path) -> Outcome<PathBuf> {
    let mut command = program("cargo", &["build", "--release", "--package", "kiln"]);
    command.current_dir(root);
    println!("$ {}", shown(&command));
    run(&mut command)?;
    Ok(workspace::target(root).join("release/kiln"))
}
