//! The commands. Each reads its flags, calls the rooms below and prints; rules and meaning are theirs.

mod archive_file;
mod build;
mod cache;
mod caller;
mod changes;
mod check;
mod commit;
mod df;
mod du;
mod explain;
mod export;
mod filters;
mod fmt;
mod groups;
mod history;
mod images;
mod import;
mod info;
mod inspect;
mod lint;
mod listing;
mod load;
mod login;
mod logout;
mod prune;
mod ps;
mod pull;
mod push;
mod registry;
mod rm;
mod rmi;
mod run;
mod save;
mod several;
mod start;
mod tag;
mod version;
mod volume;

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
    /// Manage the build cache
    #[command(subcommand)]
    Builder(groups::Builder),
    /// Build images, under buildx's name
    #[command(subcommand)]
    Buildx(groups::Buildx),
    /// Carry the build cache to other machines and back
    #[command(subcommand)]
    Cache(cache::Cache),
    /// Make an image of a container's files
    Commit(commit::CommitArguments),
    /// Manage containers
    #[command(subcommand)]
    Container(groups::Container),
    /// Create a new container from an image
    Create(run::CreateArguments),
    /// Say why the steps of an earlier build ran or did not
    Explain(explain::ExplainArguments),
    /// Write a container's files into a tar archive
    Export(export::ExportArguments),
    /// Bring a Dockerfile into its usual form, changing only white space and case
    Fmt(fmt::FmtArguments),
    /// Show how an image came to be
    History(history::HistoryArguments),
    /// Stop processes until the standard input ends, for kiln's own use
    #[command(hide = true)]
    HoldProcesses(commit::HoldArguments),
    /// Manage images
    #[command(subcommand)]
    Image(groups::Image),
    /// List images
    Images(images::ImagesArguments),
    /// Make an image of a tar archive
    Import(import::ImportArguments),
    /// Show what there is to know of the engine
    Info(info::InfoArguments),
    /// Show everything about containers, images and volumes
    Inspect(inspect::InspectArguments),
    /// Check a Dockerfile without building it
    Lint(lint::LintArguments),
    /// Load images from an archive or from the standard input
    Load(load::LoadArguments),
    /// Authenticate to a registry
    Login(login::LoginArguments),
    /// Log out from a registry
    Logout(logout::LogoutArguments),
    /// List containers
    Ps(ps::PsArguments),
    /// Download an image from a registry
    Pull(pull::PullArguments),
    /// Upload an image to its registry
    Push(push::PushArguments),
    /// Serve one's own registry, and look after it
    #[command(subcommand)]
    Registry(registry::Registry),
    /// Remove containers
    Rm(rm::RmArguments),
    /// Remove images
    Rmi(rmi::RmiArguments),
    /// Create and run a new container from an image
    Run(run::RunArguments),
    /// Save images to an archive or to the standard output
    Save(save::SaveArguments),
    /// Start a container that was created or has ended
    Start(start::StartArguments),
    /// Manage kiln as a whole
    #[command(subcommand)]
    System(groups::System),
    /// Give an image a further name
    Tag(tag::TagArguments),
    /// Show the version
    Version(version::VersionArguments),
    /// Manage volumes
    #[command(subcommand)]
    Volume(groups::Volume),
}

/// Runs what was asked for.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let Arguments { caller, command } = arguments;
    match command {
        Command::Build(arguments) => build::run(caller, arguments),
        Command::Builder(command) => command.run(caller),
        Command::Buildx(command) => command.run(caller),
        Command::Cache(command) => command.run(caller),
        Command::Commit(arguments) => commit::run(caller, arguments),
        Command::Container(command) => command.run(caller),
        Command::Create(arguments) => run::create(caller, arguments),
        Command::Explain(arguments) => explain::run(caller, arguments),
        Command::Export(arguments) => export::run(caller, arguments),
        Command::Fmt(arguments) => fmt::run(arguments),
        Command::History(arguments) => history::run(caller, arguments),
        Command::HoldProcesses(arguments) => commit::hold(arguments),
        Command::Image(command) => command.run(caller),
        Command::Images(arguments) => images::run(caller, arguments),
        Command::Import(arguments) => import::run(caller, arguments),
        Command::Info(arguments) => info::run(caller, arguments),
        Command::Inspect(arguments) => inspect::run(caller, arguments),
        Command::Lint(arguments) => lint::run(caller, arguments),
        Command::Load(arguments) => load::run(caller, arguments),
        Command::Login(arguments) => login::run(arguments),
        Command::Logout(arguments) => logout::run(arguments),
        Command::Ps(arguments) => ps::run(caller, arguments),
        Command::Pull(arguments) => pull::run(caller, arguments),
        Command::Push(arguments) => push::run(caller, arguments),
        Command::Registry(command) => command.run(caller),
        Command::Rm(arguments) => rm::run(caller, arguments),
        Command::Rmi(arguments) => rmi::run(caller, arguments),
        Command::Run(arguments) => run::run(caller, arguments),
        Command::Save(arguments) => save::run(caller, arguments),
        Command::Start(arguments) => start::run(caller, arguments),
        Command::System(command) => command.run(caller),
        Command::Tag(arguments) => tag::run(caller, arguments),
        Command::Version(arguments) => version::run(caller, arguments),
        Command::Volume(command) => command.run(caller),
    }
}

/// The engine on a host's store.
fn engine(host: &Host) -> Engine {
    Engine::new(host.store.clone(), host.tier.clone())
}
