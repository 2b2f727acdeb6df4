//! `push`: images of the store to their registry.

use std::process::ExitCode;

use kiln_images::push::{self, Parcel, SentLayer};
use kiln_oci::{Platform, Reference};
use kiln_registry::Sent;

use super::caller::Caller;
use crate::arguments;
use crate::failure::{Failure, chain};
use crate::host::Host;
use crate::output;

/// The flags of `push`.
#[derive(clap::Args, Debug)]
pub(crate) struct PushArguments {
    /// The image
    name: String,
    /// All tags of the repository that the store has
    #[arg(short, long)]
    all_tags: bool,
    /// Images are not signed; what asks for that is accepted
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = arguments::go_bool)]
    disable_content_trust: Option<bool>,
    /// Only the image for this platform
    #[arg(long)]
    platform: Option<Platform>,
    /// Show only the name
    #[arg(short, long)]
    quiet: bool,
}

/// Pushes.
pub(crate) fn run(caller: &Caller, arguments: &PushArguments) -> Result<ExitCode, Failure> {
    if arguments.disable_content_trust == Some(false) {
        return Err(Failure::new("--disable-content-trust=false is not supported: Docker Content Trust was retired"));
    }
    let reference: Reference = arguments.name.parse().map_err(|error| Failure::new(chain(&error)))?;
    if reference.digest().is_some() {
        return Err(Failure::new("cannot push a digest reference"));
    }
    if arguments.all_tags && reference.tag().is_some() {
        return Err(Failure::new("tag can't be used with --all-tags/-a"));
    }
    let host = caller.host()?;
    let said = |text: String| if arguments.quiet { Ok(()) } else { output::line(text) };
    if !arguments.all_tags && reference.tag().is_none() {
        said("Using default tag: latest".to_owned())?;
    }
    said(format!("The push refers to repository [{}]", reference.name()))?;
    let names = if arguments.all_tags { tags(&host, &reference)? } else { vec![reference.with_default_tag()] };
    for name in &names {
        one(&host, arguments, name)?;
    }
    if arguments.quiet {
        output::line(reference.with_default_tag().familiar())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// All names in the repository of `reference`, sorted.
fn tags(host: &Host, reference: &Reference) -> Result<Vec<Reference>, Failure> {
    let images = host.store.images().list().map_err(|error| Failure::new(chain(&error)))?;
    let names = images.iter().flat_map(|image| image.names.iter().chain(&image.names_by_platform));
    let names = names.filter_map(|name| name.parse::<Reference>().ok());
    let mut names: Vec<Reference> = names.filter(|name| name.name() == reference.name()).collect();
    names.sort_by_key(Reference::to_string);
    names.dedup();
    if names.is_empty() {
        return Err(Failure::new(format!(
            "An image does not exist locally with the tag: {}",
            reference.familiar_name()
        )));
    }
    Ok(names)
}

fn one(host: &Host, arguments: &PushArguments, name: &Reference) -> Result<(), Failure> {
    let failed = |error: &dyn std::error::Error| Failure::new(chain(error));
    let mut images = host.store.images().platforms(&name.to_string()).map_err(|error| failed(&error))?;
    if let Some(platform) = &arguments.platform {
        images.retain(|image| platform.accepts(&image.platform));
    }
    if images.is_empty() {
        return Err(Failure::new(format!("tag does not exist: {}", name.familiar())));
    }
    let known = host.store.images().root(&name.to_string()).map_err(|error| failed(&error))?;
    let parcel = Parcel::of_images(&host.store, &images, known.as_ref()).map_err(|error| failed(&error))?;
    let tell = |layer: &SentLayer| {
        if !arguments.quiet {
            // Whether anybody reads it decides nothing.
            let _ = output::line(format_args!("{}: {}", layer.digest.short(), in_words(&layer.sent)));
        }
    };
    let pushed = host.runtime.block_on(push::image(&host.store, &host.registry, name, &parcel, &tell));
    let descriptor = pushed.map_err(|error| failed(&error))?;
    if !arguments.quiet {
        let tag = name.tag().unwrap_or_default();
        output::line(format_args!("{tag}: digest: {} size: {}", descriptor.digest, descriptor.size))?;
    }
    Ok(())
}

fn in_words(sent: &Sent) -> String {
    match sent {
        Sent::Existed => "Layer already exists".to_owned(),
        Sent::Mounted(from) => format!("Mounted from {from}"),
        Sent::Uploaded => "Pushed".to_owned(),
    }
}
