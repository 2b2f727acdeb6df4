//! Building kiln itself.

use std::path::{Path, PathBuf};

use crate::command::{Outcome, program, run, shown};
use crate::workspace;

/// Builds the release binary and returns its path.
pub(crate) fn release(root: &Path) -> Outcome<PathBuf> {
    let mut command = program("cargo", &["build", "--release", "--package", "kiln"]);
    command.current_dir(root);
    println!("$ {}", shown(&command));
    run(&mut command)?;
    Ok(workspace::target(root).join("release/kiln"))
}
