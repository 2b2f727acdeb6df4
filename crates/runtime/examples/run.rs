//! Runs one command in a directory or in layers, the smallest use of this crate:
//! `run [-n COUNT] ROOTFS COMMAND…`; with a count it prints the median time instead.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use kiln_runtime::{Container, Launch, Overlay, Rootfs, Stdio, helper, rootless, spec, start};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    helper::run_if_asked();
    let tier = rootless::enter()?;
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let count = match arguments.first().map(String::as_str) {
        Some("-n") => {
            arguments.remove(0);
            let count = arguments.first().ok_or("-n needs a count")?.parse::<usize>()?;
            arguments.remove(0);
            Some(count)
        }
        _ => None,
    };
    if arguments.len() < 2 {
        return Err("usage: run [-n COUNT] ROOTFS COMMAND…".into());
    }
    let rootfs = std::path::absolute(arguments.remove(0))?;
    let scratch = rootfs.with_extension(format!("run-{}", std::process::id()));
    let mut times = Vec::new();
    let mut code = 0;
    for round in 0..count.unwrap_or(1) {
        let (upper, work) = (scratch.join(format!("{round}u")), scratch.join(format!("{round}w")));
        std::fs::create_dir_all(&upper)?;
        std::fs::create_dir_all(&work)?;
        let rootfs = Rootfs::Overlay(Overlay { lowers: vec![rootfs.clone()], upper, work, volatile: true });
        let environment = vec!["PATH=/usr/local/bin:/usr/bin:/bin".to_owned()];
        let user = spec::user(0, 0, Vec::new())?;
        let process = spec::process(arguments.clone(), environment, "/", user)?;
        let spec = spec::docker_default(process, "example", &spec::Network::Host)?;
        let mut launch = Launch::new(spec, rootfs, tier.clone());
        if count.is_none() {
            launch.stdio = ours()?;
        }
        let began = Instant::now();
        let mut container: Container = start(launch)?;
        code = container.wait()?.status.exit_code();
        times.push(began.elapsed());
    }
    std::fs::remove_dir_all(&scratch)?;
    match count {
        None => std::process::exit(code.into()),
        Some(_) => println!("median {:?}, exit code {code}", median(times)),
    }
    Ok(())
}

fn ours() -> std::io::Result<Stdio> {
    fn copy(stream: impl std::os::fd::AsFd) -> std::io::Result<Option<OwnedFd>> {
        stream.as_fd().try_clone_to_owned().map(Some)
    }
    Ok(Stdio::Streams {
        stdin: copy(std::io::stdin())?,
        stdout: copy(std::io::stdout())?,
        stderr: copy(std::io::stderr())?,
    })
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
