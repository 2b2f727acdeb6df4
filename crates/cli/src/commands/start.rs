//! `start`: in the foreground, until containers run in the background.

use std::process::ExitCode;

use super::caller::Caller;
use super::engine;
use super::run::{Streams, attend};
use crate::failure::Failure;
use crate::refusal;

/// The flags of `start`.
#[derive(clap::Args, Debug)]
pub(crate) struct StartArguments {
    /// Containers
    #[arg(value_name = "CONTAINER", required = true)]
    names: Vec<String>,
    /// Stay with the container, show what it writes and pass signals on
    #[arg(short, long)]
    attach: bool,
    /// Give it the standard input
    #[arg(short, long)]
    interactive: bool,
}

/// Starts a container and stays with it.
pub(crate) fn run(caller: &Caller, arguments: &StartArguments) -> Result<ExitCode, Failure> {
    let host = caller.host()?;
    let engine = engine(&host);
    if !arguments.attach && !arguments.interactive {
        return Err(refuse_background(&engine, &arguments.names));
    }
    let [name] = arguments.names.as_slice() else {
        return Err(Failure::new("you cannot start and attach multiple containers at once"));
    };
    let container = engine.container(name)?;
    let terminal = container.settings.tty;
    let streams = Streams { input: arguments.interactive && container.settings.open_stdin, terminal };
    streams.check()?;
    match attend(&host, &engine, &container.id, streams) {
        Ok(code) => Ok(ExitCode::from(code)),
        Err(error) => {
            let message = format!("{}\nError: failed to start containers: {name}", refusal::words(&error));
            Err(Failure::new(message))
        }
    }
}

/// What is missing is told first, as docker does.
fn refuse_background(engine: &kiln_engine::Engine, names: &[String]) -> Failure {
    let mut lines = Vec::new();
    for name in names {
        match engine.container(name) {
            Ok(_) => lines.push(format!("not supported yet: starting {name} in the background; use start -a")),
            Err(error) => lines.push(refusal::words(&error)),
        }
    }
    lines.push(format!("Error: failed to start containers: {}", names.join(", ")));
    Failure::new(lines.join("\n"))
}
