//! The commands. Each reads its flags, calls the rooms below and prints; rules and meaning are theirs.

mod build;
mod caller;
mod images;
mod load;
mod pull;
mod run;
mod version;

pub(crate) use caller::Caller;

use std::process::ExitCode;

use kiln_engine::Engine;

use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::host::Host;

/// A command with its flags.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Command {
    /// Build an image from a Dockerfile
    Build(build::BuildArguments),
    /// List images
    Images(images::ImagesArguments),
    /// Load images from an archive or from the standard input
    Load(load::LoadArguments),
    /// Download an image from a registry
    Pull(pull::PullArguments),
    /// Create a new container from an image
    Create(run::CreateArguments),
    /// Create and run a new container from an image
    Run(run::RunArguments),
    /// Show the version
    Version(version::VersionArguments),
}

/// Runs what was asked for.
pub(crate) fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let Arguments { caller, command } = arguments;
    match command {
        Command::Build(arguments) => build::run(&caller, &arguments),
        Command::Create(arguments) => run::create(&caller, &arguments),
        Command::Images(arguments) => images::run(&caller, &arguments),
        Command::Load(arguments) => load::run(&caller, &arguments),
        Command::Pull(arguments) => pull::run(&caller, &arguments),
        Command::Run(arguments) => run::run(&caller, &arguments),
        Command::Version(arguments) => version::run(&caller, &arguments),
    }
}

/// The engine on a host's store.
fn engine(host: &Host) -> Engine {
    Engine::new(host.store.clone(), host.tier.clone())
}
