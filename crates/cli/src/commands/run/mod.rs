//! `run`: a container in the foreground, made and started.

mod flags;
mod foreground;

pub(crate) use flags::{CreateArguments, Pull, RunArguments};
pub(crate) use foreground::{Streams, attend};

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use kiln_engine::{Container, CreateOptions, Engine, Error};
use kiln_oci::{Platform, Reference};

use super::caller::Caller;
use super::{engine, pull};
use crate::display::{Display, Progress};
use crate::failure::{Failure, chain};
use crate::host::Host;
use crate::{os_error, output, refusal};

/// The exit code for what prevents a container from running.
const CANNOT_RUN: u8 = 125;

/// Runs a container to its end; its exit code is ours.
pub(crate) fn run(caller: &Caller, arguments: &RunArguments) -> Result<ExitCode, Failure> {
    let hint = |failure| with_hint(&caller.program, "run", failure);
    flags::refuse_unsupported(&caller.program, arguments)?;
    let streams = Streams { input: arguments.create.interactive, terminal: arguments.create.tty };
    streams.check()?;
    let options = flags::options(&arguments.create).map_err(hint)?;
    let options = CreateOptions { starts_at_once: true, ..options };
    let cidfile = cidfile_is_new(&arguments.create).map_err(hint)?;
    let host = caller.host().map_err(|failure| failure.with_code(CANNOT_RUN))?;
    let engine = engine(&host);
    let container = made(&host, &engine, &arguments.create, &options).map_err(hint)?;
    if let Some(path) = cidfile {
        std::fs::write(path, &container.id).map_err(|error| hint(os_error::failure("open", path, &error)))?;
    }
    match attend(&host, &engine, &container.id, streams) {
        Ok(code) => Ok(ExitCode::from(code)),
        Err(error) => {
            let mut failure = refusal::of_engine(&error).with_code(error.run_exit_code());
            if let Some(reason) = engine.not_emulated(&container, &error) {
                failure.message.push_str(&format!("\nhint: {reason}"));
            }
            Err(hint(failure))
        }
    }
}

/// `create`: a container that is not started.
pub(crate) fn create(caller: &Caller, arguments: &CreateArguments) -> Result<ExitCode, Failure> {
    let hint = |failure: Failure| with_hint(&caller.program, "create", failure).with_code(1);
    flags::refuse_unsupported_of_create(&caller.program, "create", arguments)?;
    let options = flags::options(arguments).map_err(hint)?;
    let cidfile = cidfile_is_new(arguments).map_err(hint)?;
    let host = caller.host()?;
    let container = made(&host, &engine(&host), arguments, &options).map_err(hint)?;
    if let Some(path) = cidfile {
        std::fs::write(path, &container.id).map_err(|error| hint(os_error::failure("open", path, &error)))?;
    }
    output::line(container.id)?;
    Ok(ExitCode::SUCCESS)
}

/// The message as docker ends it, with exit code 125 where the failure has no other.
fn with_hint(program: &str, command: &str, failure: Failure) -> Failure {
    let code = if failure.code == 1 { CANNOT_RUN } else { failure.code };
    let message = format!("{program}: {}\n\nRun '{program} {command} --help' for more information", failure.message);
    Failure { message, code }
}

/// Docker asks for a file that does not exist yet.
fn cidfile_is_new(arguments: &CreateArguments) -> Result<Option<&Path>, Failure> {
    match &arguments.cidfile {
        Some(path) if path.exists() => Err(Failure::new(format!(
            "container ID file found, make sure the other container isn't running or delete {}",
            path.display()
        ))),
        path => Ok(path.as_deref()),
    }
}

/// Makes the container; pulls the image where that is wanted, and warns of one that is for another machine.
fn made(
    host: &Host,
    engine: &Engine,
    arguments: &CreateArguments,
    options: &CreateOptions,
) -> Result<Container, Failure> {
    if arguments.pull == Pull::Always {
        pull_for(host, arguments, &options.image)?;
    }
    let container = created(host, engine, arguments, options)?;
    if arguments.platform.is_none()
        && let Some(platform) = engine.foreign_platform(&container)?
    {
        eprintln!(
            "WARNING: The requested image's platform ({platform}) does not match the detected host platform ({}) and no \
             specific platform was requested",
            Platform::host()
        );
    }
    Ok(container)
}

fn created(
    host: &Host,
    engine: &Engine,
    arguments: &CreateArguments,
    options: &CreateOptions,
) -> Result<Container, Failure> {
    match engine.create(options) {
        Err(Error::NoSuchImage(name) | Error::NoSuchPlatform { name, .. }) if arguments.pull == Pull::Missing => {
            if !arguments.quiet {
                eprintln!("Unable to find image '{name}' locally");
            }
            pull_for(host, arguments, &options.image)?;
            Ok(engine.create(options)?)
        }
        Err(Error::NotUnpacked { .. }) => {
            complete(host, engine, arguments, options)?;
            Ok(engine.create(options)?)
        }
        made => Ok(made?),
    }
}

/// Fetches the layers of an image that is here without them.
fn complete(host: &Host, engine: &Engine, arguments: &CreateArguments, options: &CreateOptions) -> Result<(), Failure> {
    let image = engine.find_image_for(&options.image, arguments.platform.as_ref())?;
    let display = Display::new(if arguments.quiet { Progress::Quiet } else { Progress::Auto });
    let task = display.sink.task(format!("pull layers of {}", options.image));
    let fetched = pull::complete(host, &image, pull::Part::Files, &task);
    display.finish();
    std::io::stderr().flush()?;
    fetched
}

fn pull_for(host: &Host, arguments: &CreateArguments, image: &str) -> Result<(), Failure> {
    let reference: Reference = image.parse().map_err(|error| Failure::new(chain(&error)))?;
    let platform = arguments.platform.clone().unwrap_or_else(Platform::host);
    let display = Display::new(if arguments.quiet { Progress::Quiet } else { Progress::Auto });
    let task = display.sink.task(format!("pull {}", reference.familiar()));
    let pulled = pull::image(host, &reference, &platform, &task);
    display.finish();
    // A failed pull's last words must not come before the display's.
    std::io::stderr().flush()?;
    pulled.map(drop)
}
