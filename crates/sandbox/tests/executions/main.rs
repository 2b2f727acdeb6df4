//! Runs real processes on layers of a real store: as root, and as a user with and without sub-ids.
//!
//! `executions [FILTER]` runs the cases whose name contains FILTER. As root the binary starts
//! itself again as users that no machine has.

mod bench;
mod mounts;
mod process;

use std::path::Path;
use std::process::{Command, ExitCode};

use bench::Bench;
use kiln_runtime::{helper, rootless};

/// The name under which test runners know all cases together.
const EVERY_CASE: &str = "every_case";

type Case = (&'static str, fn(&Bench));

/// Starts `$2 --as-user $1` as the user `$3`, where `/etc/subuid` and `/etc/subgid` are the file
/// `subid` of the directory `$1`; everything goes with the mount namespace.
const AS_USER: &str = r#"set -e; cd "$1"
for file in passwd subuid subgid; do
    test -e /etc/$file || { echo "skipped: there is no /etc/$file"; exit 0; }
done
mount --bind passwd /etc/passwd; mount --bind subid /etc/subuid; mount --bind subid /etc/subgid
exec setpriv --reuid "$3" --regid "$3" --clear-groups "$2" --as-user "$1" "$4""#;

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
    let good = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--as-user", directory, filter] => run_cases(Path::new(directory), filter),
        words => {
            let filter =
                words.iter().find(|word| !word.starts_with('-') && **word != EVERY_CASE).copied().unwrap_or_default();
            let directory = tempfile::tempdir().unwrap();
            run_cases(directory.path(), filter) && run_as_users(filter)
        }
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_as_users(filter: &str) -> bool {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: other users, because only root can become them");
        return true;
    }
    let sub_ids = run_as(54_331, "kiln-test:3000000:65536\n", filter);
    run_as(54_332, "", filter) && sub_ids
}

fn run_as(user: u32, sub_ids: &str, filter: &str) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let binary = directory.path().join("executions");
    std::fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
    std::fs::write(directory.path().join("passwd"), format!("kiln-test:x:{user}:{user}::/:/bin/sh\n")).unwrap();
    std::fs::write(directory.path().join("subid"), sub_ids).unwrap();
    std::os::unix::fs::chown(directory.path(), Some(user), Some(user)).unwrap();
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", AS_USER, "sh"])
        .args([directory.path(), &binary])
        .args([&user.to_string(), filter])
        .env("TMPDIR", directory.path())
        .status();
    status.unwrap().success()
}

fn run_cases(directory: &Path, filter: &str) -> bool {
    let tier = match rootless::enter() {
        Ok(tier) => tier,
        Err(error) => {
            println!("skipped: {error}");
            return true;
        }
    };
    println!("\nas {tier}");
    let bench = Bench::new(directory, tier);
    let mut failed = 0;
    for (name, case) in [process::CASES, mounts::CASES].concat() {
        if !name.contains(filter) {
            continue;
        }
        let good = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case(&bench))).is_ok();
        println!("test {name} ... {}", if good { "ok" } else { "FAILED" });
        failed += usize::from(!good);
    }
    assert_eq!(bench.scratch(), Vec::<String>::new(), "something is left in the session's directory");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let store = bench.store.root().to_str().unwrap().to_owned();
    assert!(!mounts.contains(&store), "a mount is left:\n{mounts}");
    drop(bench);
    // Files of sub-ids can only be removed from inside.
    std::fs::remove_dir_all(store).unwrap();
    failed == 0
}
