//! `commit`: an image of a container's files.

mod held;

use std::process::ExitCode;

use kiln_engine::CommitOptions;
use kiln_oci::Platform;

use super::caller::Caller;
use super::{changes, engine};
use crate::arguments::go_bool;
use crate::failure::Failure;
use crate::{collector, output};

pub(crate) use held::{HoldArguments, hold};

/// The flags of `commit`.
#[derive(clap::Args, Debug)]
pub(crate) struct CommitArguments {
    /// The container
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// The image's name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
    /// Who made it
    #[arg(short, long, default_value = "", hide_default_value = true)]
    author: String,
    /// Apply a Dockerfile instruction to the image
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    changes: Vec<String>,
    /// A remark for the image's history
    #[arg(short, long, default_value = "", hide_default_value = true)]
    message: String,
    /// Stop the container's processes meanwhile: true (the default) or false
    #[arg(short, long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", action = clap::ArgAction::Set, value_parser = go_bool)]
    pause: bool,
    /// Let the container's processes run meanwhile
    #[arg(long)]
    no_pause: bool,
}

/// Makes the image.
pub(crate) fn run(caller: &Caller, arguments: &CommitArguments) -> Result<ExitCode, Failure> {
    let name = changes::image_name(arguments.name.as_deref())?;
    let settings = caller.config()?;
    let host = caller.host()?;
    let engine = engine(&host);
    let before = engine.config_for_commit(&arguments.container)?;
    let config = changes::applied(&before, &arguments.changes, &Platform::host())?;
    let options = CommitOptions { name, author: arguments.author.clone(), message: arguments.message.clone() };
    let container = engine.container(&arguments.container)?;
    let pauses = arguments.pause && !arguments.no_pause && container.state.pid != 0;
    let held = pauses.then(|| held::Held::stop(container.state.pid)).transpose()?;
    let id = engine.commit(&arguments.container, config, &options);
    drop(held);
    output::line(id?)?;
    collector::collect(&host.store, &settings.gc);
    Ok(ExitCode::SUCCESS)
}
