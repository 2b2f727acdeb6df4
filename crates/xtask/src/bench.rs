//! `cargo xtask bench`: builds the release binary and starts the benchmark program with it.

use crate::command::{Outcome, program, run, shown};
use crate::{binary, fixtures, packages, workspace};

/// Prints kiln beside plain tools, as ratios of this run.
pub(crate) fn bench() -> Outcome {
    if !rustix::process::geteuid().is_root() {
        return Err("the comparison needs root: a fresh file system, and runc".into());
    }
    packages::ensure(packages::BENCH)?;
    fixtures::assemble()?;
    let root = workspace::root()?;
    let binary = binary::release(&root)?;
    let mut command = program("cargo", &["run", "--release", "--package", "kiln-benches"]);
    println!("$ {}", shown(&command));
    run(command.current_dir(&root).env("KILN_BIN", binary))
}
