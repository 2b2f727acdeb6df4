//! The helper process: what the same binary does when it was started to run one container.

/// Runs one container and exits, if this process was started for that; returns at once otherwise.
/// Has to be the first thing that `main` does.
pub fn run_if_asked() {}
