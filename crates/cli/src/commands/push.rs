//! `push`: images of the store to their registry.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use kiln_images::push::{self, Parcel, SentLayer};
use kiln_oci::{Platform, Reference};
use kiln_progress::Outcome;
use kiln_registry::Sent;
use kiln_store::Image;

use super::caller::Caller;
use crate::arguments;
use crate::display::{Display, Progress};
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
        let pushed = if arguments.all_tags { reference } else { reference.with_default_tag() };
        output::line(pushed.to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// All tags in the repository of `reference`, sorted.
fn tags(host: &Host, reference: &Reference) -> Result<Vec<Reference>, Failure> {
    let images = host.store.images().list().map_err(|error| Failure::new(chain(&error)))?;
    let names = images.iter().flat_map(|image| image.names.iter().chain(&image.names_by_platform));
    let names = names.filter_map(|name| name.parse::<Reference>().ok());
    let mut names: Vec<Reference> =
        names.filter(|name| name.name() == reference.name() && name.tag().is_some()).collect();
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
    let images = images(host, arguments, name)?;
    let known = host.store.images().root(&name.to_string()).map_err(|error| failed(&error))?;
    let parcel = Parcel::of_images(&host.store, &images, known.as_ref()).map_err(|error| failed(&error))?;
    let shown = Shown::new(arguments.quiet);
    let task = shown.display.sink.task(format!("push {}", name.familiar()));
    task.start();
    let tell = |layer: &SentLayer| shown.line(format!("{}: {}", layer.digest.short(), in_words(layer)));
    let pushed = host.runtime.block_on(push::image(&host.store, &host.registry, name, &parcel, &task, &tell));
    task.finish(match &pushed {
        Ok(_) => Outcome::Done,
        Err(error) => Outcome::Failed(error.to_string()),
    });
    if let Ok(descriptor) = &pushed {
        let tag = name.tag().unwrap_or_default();
        shown.line(format!("{tag}: digest: {} size: {}", descriptor.digest, descriptor.size));
    }
    shown.finish()?;
    let descriptor = pushed.map_err(|error| failed(&error))?;
    let index = known.filter(|known| known.media_type.is_index() && arguments.platform.is_none());
    if let Some(index) = index.filter(|index| descriptor.media_type.is_manifest() && index.digest != descriptor.digest)
    {
        eprintln!(
            "Not all multiplatform-content is present and only the available single-platform image was pushed\n{} -> {}",
            index.digest, descriptor.digest
        );
    }
    Ok(())
}

/// What the name means: its image, one a platform, or the one that was asked for.
fn images(host: &Host, arguments: &PushArguments, name: &Reference) -> Result<Vec<Image>, Failure> {
    let found = host.store.images().platforms(&name.to_string());
    let mut images = found.map_err(|error| Failure::new(chain(&error)))?;
    if images.is_empty() {
        return Err(Failure::new(format!("tag does not exist: {}", name.familiar())));
    }
    if let Some(platform) = &arguments.platform {
        images.retain(|image| platform.accepts(&image.platform));
        if images.is_empty() {
            return Err(Failure::new(format!(
                "image with reference {} was found but does not provide the specified platform ({platform})",
                name.familiar()
            )));
        }
    }
    Ok(images)
}

/// Docker's lines on the standard output. On a terminal the uploads are shown while they run, and the lines come after.
struct Shown {
    display: Display,
    quiet: bool,
    /// What is said in the end; `None` where it is said at once.
    later: Option<Mutex<Vec<String>>>,
}

impl Shown {
    fn new(quiet: bool) -> Shown {
        let is_live = !quiet && std::io::stdout().is_terminal();
        let display = Display::new(if is_live { Progress::Auto } else { Progress::Quiet });
        Shown { display, quiet, later: is_live.then(Mutex::default) }
    }

    fn line(&self, text: String) {
        match &self.later {
            _ if self.quiet => {}
            Some(later) => later.lock().unwrap_or_else(PoisonError::into_inner).push(text),
            // Whether anybody reads it decides nothing.
            None => _ = output::line(text),
        }
    }

    fn finish(self) -> Result<(), Failure> {
        self.display.finish();
        let later = self.later.map(|later| later.into_inner().unwrap_or_else(PoisonError::into_inner));
        later.unwrap_or_default().into_iter().try_for_each(output::line)
    }
}

fn in_words(layer: &SentLayer) -> String {
    match &layer.sent {
        None => "Skipped foreign layer".to_owned(),
        Some(Sent::Existed) => "Layer already exists".to_owned(),
        Some(Sent::Mounted(from)) => format!("Mounted from {from}"),
        Some(Sent::Uploaded) => "Pushed".to_owned(),
    }
}
