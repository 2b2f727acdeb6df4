//! `kill -9` of the process that started a container.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio as ProcessStdio};

use kiln_runtime::{Stdio, rootless, start};
use rustix::fs::{FlockOperation, flock};

use crate::Case;
use crate::bench::Bench;

pub(crate) const CASES: &[Case] = &[("a_killed_supervisor_leaves_nothing", a_killed_supervisor_leaves_nothing)];

/// The other role: starts a container that holds a lock, with this process's output as its own,
/// and never ends by itself.
pub(crate) fn supervise(directory: &Path) -> ExitCode {
    let tier = rootless::enter().unwrap();
    let bench = Bench::new(directory, tier);
    let lock = File::create(directory.join("lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let script = "setsid sh -c 'trap \"\" TERM HUP INT; echo started; sleep 1000' & \
                  touch /made; sleep 1000";
    let mut launch = bench.script(script);
    let output: OwnedFd = rustix::io::dup(std::io::stdout()).unwrap();
    launch.stdio = Stdio::Streams { stdin: None, stdout: Some(output), stderr: None };
    launch.held = vec![lock.into()];
    let mut container = start(launch).unwrap();
    container.wait().unwrap();
    ExitCode::FAILURE
}

fn a_killed_supervisor_leaves_nothing(bench: &Bench) {
    for _ in 0..5 {
        let directory = bench.fresh("supervised");
        std::os::unix::fs::symlink(bench.base(), directory.join("base")).unwrap();
        let mut supervisor = Command::new(std::env::current_exe().unwrap())
            .arg("--supervise")
            .arg(&directory)
            .stdout(ProcessStdio::piped())
            .spawn()
            .unwrap();
        let mut output = supervisor.stdout.take().unwrap();
        let mut started = [0u8; 8];
        output.read_exact(&mut started).unwrap();
        assert_eq!(&started, b"started\n");
        supervisor.kill().unwrap();
        supervisor.wait().unwrap();
        // Free only when the helper is gone, which waits for the container's last process.
        let lock = File::open(directory.join("lock")).unwrap();
        flock(&lock, FlockOperation::LockExclusive).unwrap();
        rustix::io::ioctl_fionbio(&output, true).unwrap();
        let end = output.read(&mut started).expect("a process still has the output open");
        assert_eq!(end, 0);
        assert_eq!(crate::bench::mounts_beneath(&directory), Vec::<String>::new());
        fs::remove_file(directory.join("base")).unwrap();
        crate::bench::remove_contents(&directory);
    }
    std::io::stdout().flush().unwrap();
}
