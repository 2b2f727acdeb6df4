//! Where things are: the workspace, its target directory, the fixtures. Knows no chore.

use std::path::{Path, PathBuf};

use crate::command::Outcome;

/// The directory of the workspace's `Cargo.toml`.
pub(crate) fn root() -> Outcome<PathBuf> {
    let here = match std::env::var_os("CARGO_MANIFEST_DIR") {
        Some(manifest) => PathBuf::from(manifest),
        None => std::env::current_dir().map_err(|e| format!("no current directory: {e}"))?,
    };
    let found = here.ancestors().find(|dir| dir.join("crates/xtask/Cargo.toml").is_file());
    found
        .map(Path::to_path_buf)
        .ok_or_else(|| format!("{} is not inside kiln's workspace: start this as `cargo xtask …`", here.display()))
}

/// Where cargo puts what it builds.
pub(crate) fn target(root: &Path) -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root.join(dir),
        None => root.join("target"),
    }
}

/// Where the base images' stand-ins are: `target/fixtures`, wherever cargo's own output goes.
pub(crate) fn fixtures(root: &Path) -> PathBuf {
    root.join("target/fixtures")
}
