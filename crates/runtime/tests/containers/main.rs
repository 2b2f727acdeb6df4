//! Runs real containers on this machine: as root, and as a user with and without sub-ids.
//!
//! `containers [FILTER]` runs the cases whose name contains FILTER. The binary starts itself again
//! in other roles: as a user, and as a supervisor that is going to be killed.

mod bench;
mod cases;
mod death;
mod files;
mod streams;

use std::path::Path;
use std::process::{Command, ExitCode};

use bench::Bench;
use kiln_runtime::{Tier, helper, rootless};

/// A user that no machine has, given sub-ids in a private view of `/etc`.
const USER_WITH_SUB_IDS: u32 = 54_321;
/// A user that no machine has.
const USER_WITHOUT: u32 = 54_322;

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
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--supervise", directory] => death::supervise(Path::new(directory)),
        ["--as-user", directory, rest @ ..] => run_cases(Path::new(directory), rest),
        rest => run_roles(rest),
    }
}

fn run_roles(filter: &[&str]) -> ExitCode {
    let directory = tempfile::tempdir().unwrap();
    if let Err(reason) = bench::make_base(directory.path()) {
        println!("skipped: {reason}");
        return ExitCode::SUCCESS;
    }
    let root = rustix::process::geteuid().is_root();
    let mut good = run_cases(directory.path(), filter) == ExitCode::SUCCESS;
    if root {
        for user in [USER_WITH_SUB_IDS, USER_WITHOUT] {
            let directory = tempfile::tempdir().unwrap();
            good &= run_as(user, directory.path(), filter);
        }
    } else {
        println!("skipped: the other roles, because only root can change the user");
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_cases(directory: &Path, filter: &[&str]) -> ExitCode {
    let tier = match rootless::enter() {
        Ok(tier) => tier,
        Err(error) => {
            println!("skipped: {error}");
            return ExitCode::SUCCESS;
        }
    };
    println!("\nas {tier}");
    if matches!(&tier, Tier::Rootless(_)) && !directory.join("base").exists() {
        bench::make_base(directory).unwrap();
    }
    let filter = filter.iter().find(|word| !word.starts_with('-') && **word != EVERY_CASE).copied().unwrap_or("");
    let all = [cases::CASES, files::CASES, streams::CASES, death::CASES].concat();
    let mut failed = 0;
    for (name, case) in all.into_iter().filter(|(name, _)| name.contains(filter)) {
        let bench = Bench::new(directory, tier.clone());
        let good = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case(&bench))).is_ok();
        println!("test {name} ... {}", if good { "ok" } else { "FAILED" });
        failed += usize::from(!good);
    }
    assert_eq!(bench::mounts_beneath(directory), Vec::<String>::new());
    // Files of sub-ids can only be removed from inside.
    bench::remove_contents(directory);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs this binary as another user in a mount namespace where that user has an entry in the
/// files that name users and sub-ids (or none).
fn run_as(user: u32, directory: &Path, filter: &[&str]) -> bool {
    let binary = directory.join("containers");
    std::fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
    std::fs::write(directory.join("passwd"), format!("kiln-test:x:{user}:{user}::/:/bin/sh\n")).unwrap();
    let ranges = if user == USER_WITH_SUB_IDS { "kiln-test:3000000:65536\n" } else { "" };
    std::fs::write(directory.join("subid"), ranges).unwrap();
    let script = "set -e; cd \"$1\"; touch passwd subid
        for file in passwd subuid subgid; do
            test -e /etc/$file || { echo \"skipped: no /etc/$file\"; exit 0; }
        done
        mount --bind passwd /etc/passwd; mount --bind subid /etc/subuid; mount --bind subid /etc/subgid
        chown \"$2\" .; chmod 755 .
        exec setpriv --reuid \"$2\" --regid \"$2\" --clear-groups \"$1/containers\" --as-user \"$1\" $3";
    let filter = filter.iter().find(|word| !word.starts_with('-') && **word != EVERY_CASE).copied().unwrap_or("");
    for tool in ["unshare", "setpriv"] {
        if let Err(error) = Command::new(tool).arg("--version").output() {
            println!("skipped: user {user}, because {tool} does not run: {error}");
            return true;
        }
    }
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"])
        .arg(directory)
        .args([&user.to_string(), filter])
        .status();
    status.unwrap().success()
}
