//! `pull`: an image from its registry.

use std::process::ExitCode;

use kiln_images::pull::{self, PullError, Pulled};
use kiln_oci::{Platform, Reference};
use kiln_progress::Task;
use kiln_store::Image;

use super::caller::Caller;
use crate::display::{Display, Progress};
use crate::failure::{Failure, chain};
use crate::host::Host;
use crate::{arguments, collector, output};

/// The flags of `pull`.
#[derive(clap::Args, Debug)]
pub(crate) struct PullArguments {
    /// The image
    name: String,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
    /// The platform of the image
    #[arg(long)]
    platform: Option<Platform>,
    /// All tags of the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Images are not signed; what asks for that is accepted
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = arguments::go_bool)]
    disable_content_trust: Option<bool>,
}

/// Pulls.
pub(crate) fn run(caller: &Caller, arguments: &PullArguments) -> Result<ExitCode, Failure> {
    if arguments.disable_content_trust == Some(false) {
        return Err(Failure::new("--disable-content-trust=false is not supported: Docker Content Trust was retired"));
    }
    let reference: Reference = arguments.name.parse().map_err(|error| Failure::new(chain(&error)))?;
    let plain = reference.tag().is_none() && reference.digest().is_none();
    if arguments.all_tags && !plain {
        return Err(Failure::new("tag can't be used with --all-tags/-a"));
    }
    if plain && !arguments.all_tags && !arguments.quiet {
        output::line(format_args!("Using default tag: latest"))?;
    }
    let config = caller.config()?;
    let host = caller.host()?;
    let wanted = if arguments.all_tags { tags(&host, &reference)? } else { vec![reference.with_default_tag()] };
    for tagged in &wanted {
        one(&host, arguments, tagged)?;
    }
    let named = if arguments.all_tags { reference.name() } else { reference.with_default_tag().to_string() };
    output::line(named)?;
    collector::collect(&host.store, &config.gc);
    Ok(ExitCode::SUCCESS)
}

/// All tags of the repository, as its registry lists them.
fn tags(host: &Host, repository: &Reference) -> Result<Vec<Reference>, Failure> {
    let listed = host.runtime.block_on(host.registry.tags(repository));
    let tags = listed.map_err(|error| Failure::new(format!("Error response from daemon: {}", chain(&error))))?;
    // A tag that is none can be no image's.
    Ok(tags.iter().filter_map(|tag| format!("{}:{tag}", repository.name()).parse().ok()).collect())
}

fn one(host: &Host, arguments: &PullArguments, reference: &Reference) -> Result<(), Failure> {
    let platform = arguments.platform.clone().unwrap_or_else(Platform::host);
    let before = host.store.images().resolve_for(&reference.to_string(), &platform).ok().flatten();
    let display = Display::new(if arguments.quiet { Progress::Quiet } else { Progress::Auto });
    let task = display.sink.task(format!("pull {}", reference.familiar()));
    let pulled = image(host, reference, &platform, &task);
    display.finish();
    let pulled = pulled?;
    if arguments.quiet {
        return Ok(());
    }
    let source = reference.tag().map_or_else(|| reference.digest().map(ToString::to_string), |tag| Some(tag.into()));
    output::line(format_args!("{}: Pulling from {}", source.unwrap_or_default(), reference.path()))?;
    output::line(format_args!("Digest: {}", pulled.root))?;
    let is_new = before.is_none_or(|before| before.id != pulled.image.id);
    let status = if is_new { "Downloaded newer image for" } else { "Image is up to date for" };
    output::line(format_args!("Status: {status} {}", reference.familiar()))
}

/// Pulls an image with all its layers into the store; failures in docker's words.
pub(super) fn image(host: &Host, reference: &Reference, platform: &Platform, task: &Task) -> Result<Pulled, Failure> {
    let pulled = host.runtime.block_on(pull::image(&host.store, &host.registry, reference, platform, task));
    pulled.map_err(|error| of_pull(reference, platform, &error))
}

/// Fetches the layers of an image of the store that are not here: their files, or for an archive their blobs.
///
/// # Errors
/// A layer that nobody gives.
pub(super) fn complete(host: &Host, image: &Image, part: Part, task: &Task) -> Result<(), Failure> {
    let fetched = host.runtime.block_on(async {
        match part {
            Part::Files => pull::layers(&host.store, &host.registry, image, task).await.map(drop),
            Part::Blobs => pull::blobs(&host.store, &host.registry, image, task).await,
        }
    });
    fetched.map_err(|error| Failure::new(chain(&error)))
}

/// Fetches what an archive of these images needs and the store does not hold. A name that means nothing is for those
/// to complain of who write the archive.
///
/// # Errors
/// A layer that nobody gives.
pub(super) fn complete_all(
    host: &Host,
    names: &[String],
    platform: Option<&Platform>,
    task: &Task,
) -> Result<(), Failure> {
    let engine = super::engine(host);
    for name in names {
        let Ok(image) = engine.find_image_for(name, platform) else { continue };
        let full = image.names.iter().chain(&image.names_by_platform).find(|full| means(name, full));
        let images = match (full, platform) {
            (Some(full), None) => host.store.images().platforms(full).map_err(|error| Failure::new(chain(&error)))?,
            _ => vec![image],
        };
        for image in &images {
            complete(host, image, Part::Blobs, task)?;
        }
    }
    Ok(())
}

fn means(name: &str, full: &str) -> bool {
    name.parse::<Reference>().is_ok_and(|reference| reference.with_default_tag().to_string() == *full)
}

/// What of an image's layers is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Their files, to be mounted.
    Files,
    /// Their blobs, or what those can be made of.
    Blobs,
}

fn of_pull(reference: &Reference, platform: &Platform, error: &PullError) -> Failure {
    let full = reference.with_default_tag();
    let words = match error {
        // Otherwise a part of it was not found.
        PullError::Registry(kiln_registry::Error::NotFound { what, .. }) if *what == full.to_string() => {
            format!("failed to resolve reference \"{full}\": {full}: not found")
        }
        PullError::Registry(kiln_registry::Error::NoPlatform { available, .. }) => format!(
            "no matching manifest for {platform} in the manifest list entries: no match for platform in manifest: not \
             found\nhint: {}",
            what_there_is(available)
        ),
        error => chain(error),
    };
    Failure::new(format!("Error response from daemon: {words}"))
}

fn what_there_is(platforms: &[Platform]) -> String {
    if platforms.is_empty() {
        return "it has no image at all".to_owned();
    }
    let platforms: Vec<String> = platforms.iter().map(Platform::to_string).collect();
    format!("it has images for {}", platforms.join(", "))
}
