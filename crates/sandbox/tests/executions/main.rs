//! Runs real processes on layers of a real store.
//!
//! `executions [FILTER]` runs the cases whose name contains FILTER.

mod bench;
mod mounts;
mod process;

use std::process::ExitCode;

use bench::Bench;
use kiln_runtime::{helper, rootless};

type Case = (&'static str, fn(&Bench));

fn main() -> ExitCode {
    helper::run_if_asked();
    let tier = match rootless::enter() {
        Ok(tier) => tier,
        Err(error) => {
            println!("skipped: {error}");
            return ExitCode::SUCCESS;
        }
    };
    let filter = std::env::args().skip(1).find(|word| !word.starts_with('-')).unwrap_or_default();
    let directory = tempfile::tempdir().unwrap();
    let bench = Bench::new(directory.path(), tier);
    let mut failed = 0;
    for (name, case) in [process::CASES, mounts::CASES].concat() {
        if !name.contains(&filter) {
            continue;
        }
        let good = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case(&bench))).is_ok();
        println!("test {name} ... {}", if good { "ok" } else { "FAILED" });
        failed += usize::from(!good);
    }
    assert_eq!(bench.scratch(), Vec::<String>::new(), "something is left in the session's directory");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(directory.path().to_str().unwrap()), "a mount is left:\n{mounts}");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
