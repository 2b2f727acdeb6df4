//! The kiln command line: the only binary.
//!
//! The order at the start matters: a process that was started as a container's helper never returns from the
//! first call; a user without privileges becomes root of a user namespace before any thread is started or any
//! file of the store is opened.

mod arguments;
mod collector;
mod commands;
mod config;
mod contexts;
mod display;
mod failure;
mod host;
mod moment;
mod os_error;
mod output;
mod refusal;
mod size;
mod table;
mod template;

use std::process::ExitCode;

fn main() -> ExitCode {
    kiln_runtime::helper::run_if_asked();
    kiln_runtime::heap::bound();
    let arguments = match arguments::parse() {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    start_diagnostics();
    match commands::run(&arguments) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

/// Diagnostics for developers, off unless `RUST_LOG` asks for them.
fn start_diagnostics() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
