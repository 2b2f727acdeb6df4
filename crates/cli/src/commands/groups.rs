//! Docker's management names: `image ls` is `images`, and so on.

use std::process::ExitCode;

use super::caller::Caller;
use super::inspect::Kind;
use super::{
    build, check, commit, df, du, export, history, images, import, info, inspect, load, prune, ps, pull, push, rm, rmi,
    run, save, start, tag, volume,
};
use crate::failure::Failure;

/// `builder …`
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Builder {
    /// Build an image from a Dockerfile
    Build(Box<build::BuildArguments>),
    /// Show what the build cache consists of
    Du(du::DuArguments),
    /// Remove the build cache
    Prune(prune::BuilderPruneArguments),
}

/// `buildx …`
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Buildx {
    /// Build an image from a Dockerfile
    #[command(alias = "b")]
    Build(Box<build::BuildArguments>),
    /// Show what the build cache consists of
    Du(du::DuArguments),
    /// Remove the build cache
    Prune(prune::BuilderPruneArguments),
}

/// `container …`
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Container {
    /// Make an image of a container's files
    Commit(commit::CommitArguments),
    /// Create a new container from an image
    Create(run::CreateArguments),
    /// Write a container's files into a tar archive
    Export(export::ExportArguments),
    /// Show everything about containers
    Inspect(inspect::InspectKindArguments),
    /// List containers
    #[command(alias = "ps", alias = "list")]
    Ls(ps::PsArguments),
    /// Remove containers that do not run
    Prune(prune::ContainerPruneArguments),
    /// Remove containers
    #[command(alias = "remove")]
    Rm(rm::RmArguments),
    /// Create and run a new container from an image
    Run(run::RunArguments),
    /// Start a container that was created or has ended
    Start(start::StartArguments),
}

/// `image …`
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Image {
    /// Build an image from a Dockerfile
    Build(Box<build::BuildArguments>),
    /// Show how an image came to be
    History(history::HistoryArguments),
    /// Make an image of a tar archive
    Import(import::ImportArguments),
    /// Show everything about images
    Inspect(inspect::InspectImageArguments),
    /// Load images from an archive or from the standard input
    Load(load::LoadArguments),
    /// List images
    #[command(alias = "list")]
    Ls(images::ImagesArguments),
    /// Remove images that nobody needs
    Prune(prune::ImagePruneArguments),
    /// Download an image from a registry
    Pull(pull::PullArguments),
    /// Upload an image to its registry
    Push(push::PushArguments),
    /// Remove images
    #[command(alias = "remove")]
    Rm(rmi::RmiArguments),
    /// Save images to an archive or to the standard output
    Save(save::SaveArguments),
    /// Give an image a further name
    Tag(tag::TagArguments),
}

/// `system …`
#[derive(clap::Subcommand, Debug)]
pub(crate) enum System {
    /// Check everything in the store, and mend it
    Check(check::CheckArguments),
    /// Show how much room everything takes
    Df(df::DfArguments),
    /// Show what there is to know of the engine
    Info(info::InfoArguments),
    /// Remove what nobody needs
    Prune(prune::SystemPruneArguments),
}

/// `volume …`
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Volume {
    /// Show everything about volumes
    Inspect(inspect::InspectKindArguments),
    /// List volumes
    #[command(alias = "list")]
    Ls(volume::VolumeLsArguments),
}

impl Builder {
    /// Runs it.
    pub(super) fn run(&self, caller: &Caller) -> Result<ExitCode, Failure> {
        match self {
            Builder::Build(arguments) => build::run(caller, arguments),
            Builder::Du(arguments) => du::run(caller, arguments),
            Builder::Prune(arguments) => prune::builder(caller, arguments),
        }
    }
}

impl Buildx {
    /// Runs it.
    pub(super) fn run(&self, caller: &Caller) -> Result<ExitCode, Failure> {
        match self {
            Buildx::Build(arguments) => build::run(caller, arguments),
            Buildx::Du(arguments) => du::run(caller, arguments),
            Buildx::Prune(arguments) => prune::builder(caller, arguments),
        }
    }
}

impl Container {
    /// Runs it.
    pub(super) fn run(&self, caller: &Caller) -> Result<ExitCode, Failure> {
        match self {
            Container::Commit(arguments) => commit::run(caller, arguments),
            Container::Create(arguments) => run::create(caller, arguments),
            Container::Export(arguments) => export::run(caller, arguments),
            Container::Inspect(arguments) => inspect::run_kind(caller, arguments, Kind::Container),
            Container::Ls(arguments) => ps::run(caller, arguments),
            Container::Prune(arguments) => prune::containers(caller, arguments),
            Container::Rm(arguments) => rm::run(caller, arguments),
            Container::Run(arguments) => run::run(caller, arguments),
            Container::Start(arguments) => start::run(caller, arguments),
        }
    }
}

impl Image {
    /// Runs it.
    pub(super) fn run(&self, caller: &Caller) -> Result<ExitCode, Failure> {
        match self {
            Image::Build(arguments) => build::run(caller, arguments),
            Image::History(arguments) => history::run(caller, arguments),
            Image::Import(arguments) => import::run(caller, arguments),
            Image::Inspect(arguments) => inspect::run_image(caller, arguments),
            Image::Load(arguments) => load::run(caller, arguments),
            Image::Ls(arguments) => images::run(caller, arguments),
            Image::Prune(arguments) => prune::images(caller, arguments),
            Image::Pull(arguments) => pull::run(caller, arguments),
            Image::Push(arguments) => push::run(caller, arguments),
            Image::Rm(arguments) => rmi::run(caller, arguments),
            Image::Save(arguments) => save::run(caller, arguments),
            Image::Tag(arguments) => tag::run(caller, arguments),
        }
    }
}

impl System {
    /// Runs it.
    pub(super) fn run(&self, caller: &Caller) -> Result<ExitCode, Failure> {
        match self {
            System::Check(arguments) => check::run(caller, arguments),
            System::Df(arguments) => df::run(caller, arguments),
            System::Info(arguments) => info::run(caller, arguments),
            System::Prune(arguments) => prune::system(caller, arguments),
        }
    }
}

impl Volume {
    /// Runs it.
    pub(super) fn run(&self, caller: &Caller) -> Result<ExitCode, Failure> {
        match self {
            Volume::Inspect(arguments) => inspect::run_kind(caller, arguments, Kind::Volume),
            Volume::Ls(arguments) => volume::ls(caller, arguments),
        }
    }
}
