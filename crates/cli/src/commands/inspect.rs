//! `inspect`: everything about containers, images and volumes, as JSON or through a template.

use std::process::ExitCode;

use kiln_engine::{Engine, Error};
use kiln_oci::Platform;
use serde::Serialize;
use serde_json::{Value, json};

use super::caller::Caller;
use super::engine;
use crate::failure::Failure;
use crate::template::{self, Template};
use crate::{output, refusal};

/// The exit code for a template that is none.
const BAD_TEMPLATE: u8 = 64;

/// The flags of `inspect`.
#[derive(clap::Args, Debug)]
pub(crate) struct InspectArguments {
    /// Containers, images or volumes
    #[arg(value_name = "NAME|ID", required = true)]
    names: Vec<String>,
    /// Format the output: json, or a Go template
    #[arg(short, long)]
    format: Option<String>,
    /// Show sizes of containers (not supported yet)
    #[arg(short, long, hide = true)]
    size: bool,
    /// Only this kind: container, image or volume
    #[arg(long = "type", value_name = "KIND")]
    kind: Option<String>,
}

/// The flags of `container inspect`, `image inspect`, `volume inspect`.
#[derive(clap::Args, Debug)]
pub(crate) struct InspectKindArguments {
    /// Names or ids
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// Format the output: json, or a Go template
    #[arg(short, long)]
    format: Option<String>,
}

/// The flags of `image inspect`.
#[derive(clap::Args, Debug)]
pub(crate) struct InspectImageArguments {
    #[command(flatten)]
    what: InspectKindArguments,
    /// Of an image for several platforms, the one for this
    #[arg(long)]
    platform: Option<Platform>,
}

/// What is inspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Container,
    Image,
    Volume,
}

/// Inspects whatever the names mean.
pub(crate) fn run(caller: &Caller, arguments: &InspectArguments) -> Result<ExitCode, Failure> {
    if arguments.size {
        return Err(Failure::new("not supported yet: --size"));
    }
    let kind = match arguments.kind.as_deref() {
        None | Some("") => None,
        Some("container") => Some(Kind::Container),
        Some("image") => Some(Kind::Image),
        Some("volume") => Some(Kind::Volume),
        Some("network" | "node" | "plugin" | "secret" | "service" | "task" | "config") => {
            return Err(Failure::new("not supported yet: this --type"));
        }
        Some(other) => return Err(Failure::new(format!("\"{other}\" is not a valid value for --type"))),
    };
    let (names, format) = (&arguments.names, arguments.format.as_deref());
    show(caller, names, format, |engine, name| find(engine, name, kind))
}

/// Inspects things of one kind.
pub(crate) fn run_kind(caller: &Caller, arguments: &InspectKindArguments, kind: Kind) -> Result<ExitCode, Failure> {
    let (names, format) = (&arguments.names, arguments.format.as_deref());
    show(caller, names, format, |engine, name| find(engine, name, Some(kind)))
}

/// Inspects images.
pub(crate) fn run_image(caller: &Caller, arguments: &InspectImageArguments) -> Result<ExitCode, Failure> {
    let (names, format) = (&arguments.what.names, arguments.what.format.as_deref());
    show(caller, names, format, |engine, name| Ok(engine.inspect_image(name, arguments.platform.as_ref())?))
}

fn show(
    caller: &Caller,
    names: &[String],
    format: Option<&str>,
    find: impl Fn(&Engine, &str) -> Result<Value, Failure>,
) -> Result<ExitCode, Failure> {
    let template = format.filter(|format| !format.is_empty()).map(template::of_flag).transpose();
    let template = template.map_err(|failure| failure.with_code(BAD_TEMPLATE))?;
    let host = caller.host()?;
    let engine = engine(&host);
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        match find(&engine, name) {
            Ok(value) => found.push(value),
            Err(failure) => failures.push(failure.message),
        }
    }
    match &template {
        Some(template) => print_each(template, &found)?,
        None => print_list(&found)?,
    }
    if failures.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(Failure::new(failures.join("\n"))) }
}

fn find(engine: &Engine, name: &str, kind: Option<Kind>) -> Result<Value, Failure> {
    match kind {
        Some(Kind::Container) => Ok(engine.inspect_container(name)?),
        Some(Kind::Image) => Ok(engine.inspect_image(name, None)?),
        Some(Kind::Volume) => volume(engine, name)?
            .ok_or_else(|| Failure::new(format!("Error response from daemon: get {name}: no such volume"))),
        None => anything(engine, name),
    }
}

/// A container, else an image, else a volume.
fn anything(engine: &Engine, name: &str) -> Result<Value, Failure> {
    match engine.inspect_container(name) {
        Err(Error::NoSuchContainer(_)) => {}
        shown => return Ok(shown?),
    }
    match engine.inspect_image(name, None) {
        Err(Error::NoSuchImage(_) | Error::ImageName(_)) => {}
        shown => return shown.map_err(|error| refusal::of_engine(&error)),
    }
    let missing = || Failure::new(format!("Error: No such object: {name}"));
    volume(engine, name)?.ok_or_else(missing)
}

fn volume(engine: &Engine, name: &str) -> Result<Option<Value>, Failure> {
    let found = engine.volumes()?.into_iter().find(|volume| volume.name == name);
    Ok(found.map(|volume| {
        json!({
            "Driver": "local",
            "Labels": null,
            "Mountpoint": volume.mountpoint,
            "Name": volume.name,
            "Options": null,
            "Scope": "local",
        })
    }))
}

fn print_each(template: &Template, values: &[Value]) -> Result<(), Failure> {
    for value in values {
        match template.execute(value) {
            Ok(text) => output::line(text)?,
            Err(failed) => {
                output::line(failed.written)?;
                return Err(Failure::new(format!("template parsing error: {}", failed.error)));
            }
        }
    }
    Ok(())
}

/// A JSON list, indented by four.
fn print_list(values: &[Value]) -> Result<(), Failure> {
    let mut text = Vec::new();
    let indented = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let written = values.serialize(&mut serde_json::Serializer::with_formatter(&mut text, indented));
    written.map_err(|error| Failure::new(error.to_string()))?;
    output::line(String::from_utf8_lossy(&text))
}
