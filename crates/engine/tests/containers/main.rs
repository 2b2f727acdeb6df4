//! Makes and runs real containers of a small image.
//!
//! `containers [FILTER]` runs the cases whose name contains FILTER. The binary starts itself again
//! as the runner that is going to be killed.

mod bench;
mod images;
mod life;
mod volumes;

use std::path::Path;
use std::process::ExitCode;

use bench::Bench;
use kiln_runtime::{helper, rootless};

/// The name under which test runners know all cases together.
const EVERY_CASE: &str = "every_case";

type Case = (&'static str, fn(&Bench));

fn main() -> ExitCode {
    helper::run_if_asked();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|word| word == "--list") {
        // Runners that ask for a list see all cases as one test.
        if !arguments.iter().any(|word| word == "--ignored") {
            println!("{EVERY_CASE}: test");
        }
        return ExitCode::SUCCESS;
    }
    let tier = match rootless::enter() {
        Ok(tier) => tier,
        Err(error) => {
            println!("skipped: {error}");
            return ExitCode::SUCCESS;
        }
    };
    if let [role, directory, container] = arguments.as_slice()
        && role == "--run"
    {
        life::run_until_killed(Path::new(directory), tier, container);
    }
    let filter = arguments.into_iter().find(|word| !word.starts_with('-') && word != EVERY_CASE).unwrap_or_default();
    let mut failed = 0;
    for (name, case) in [life::CASES, volumes::CASES, images::CASES].concat() {
        if !name.contains(&filter) {
            continue;
        }
        let directory = tempfile::tempdir().unwrap();
        let bench = Bench::new(directory.path(), tier.clone());
        let good = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case(&bench))).is_ok();
        println!("test {name} ... {}", if good { "ok" } else { "FAILED" });
        failed += usize::from(!good);
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(directory.path().to_str().unwrap()), "a mount is left:\n{mounts}");
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
