//! `system prune`, `container prune`, `image prune`, `builder prune`.

use std::io::BufRead;
use std::process::ExitCode;

use kiln_engine::{CacheFilter, CachePrune, Engine, ImagePrune, Pruned, SystemPrune, Which};

use super::caller::Caller;
use super::du;
use super::engine;
use super::filters::{CACHE, Filters};
use crate::failure::Failure;
use crate::{output, size};

/// The flags of `system prune`.
#[derive(clap::Args, Debug)]
pub(crate) struct SystemPruneArguments {
    /// All images that no container uses, not only those without a name; and all of the build cache
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Anonymous volumes, too (not supported yet)
    #[arg(long)]
    volumes: bool,
    /// Tell what would go, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Only what satisfies this: label, label!, until
    #[arg(long = "filter", value_name = "NAME=VALUE")]
    filters: Vec<String>,
}

/// The flags of `image prune`.
#[derive(clap::Args, Debug)]
pub(crate) struct ImagePruneArguments {
    /// All images that no container uses, not only those without a name
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Tell what would go, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Only what satisfies this: dangling, label, label!, until
    #[arg(long = "filter", value_name = "NAME=VALUE")]
    filters: Vec<String>,
}

/// The flags of `builder prune`.
#[derive(clap::Args, Debug)]
pub(crate) struct BuilderPruneArguments {
    /// Also what images need, and what is of use inside only
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Tell what would go, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Only what satisfies this: description, id, immutable, inuse, mutable, private, shared, type, until, unused-for
    #[arg(long = "filter", value_name = "NAME=VALUE")]
    filters: Vec<String>,
    /// Keep this much of the cache, what was used last
    #[arg(long, alias = "keep-storage", value_name = "SIZE", value_parser = size::parse)]
    reserved_space: Option<u64>,
    /// Keep no more than this
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    max_used_space: Option<u64>,
    /// Remove until this much of the disk is free
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    min_free_space: Option<u64>,
    /// Tell all that is known of what goes
    #[arg(long)]
    verbose: bool,
}

/// The flags of `container prune`.
#[derive(clap::Args, Debug)]
pub(crate) struct ContainerPruneArguments {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Tell what would go, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Only what satisfies this: label, label!, until
    #[arg(long = "filter", value_name = "NAME=VALUE")]
    filters: Vec<String>,
}

/// Removes what nobody needs.
pub(crate) fn system(caller: &Caller, arguments: &SystemPruneArguments) -> Result<ExitCode, Failure> {
    let filters = Filters::parse(&arguments.filters, &["label", "label!", "until"])?;
    if arguments.volumes {
        return Err(Failure::new("not supported yet: --volumes"));
    }
    let until = filters.until()?;
    let images = match arguments.all {
        true => "all images without at least one container associated to them",
        false => "all dangling images",
    };
    let cache = if arguments.all { "all build cache" } else { "unused build cache" };
    let mut warning = format!(
        "This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n  - {images}\n  - {cache}\n"
    );
    if !arguments.filters.is_empty() {
        warning.push_str(&format!(
            "\n  Items to be pruned will be filtered with:\n  - {}\n",
            arguments.filters.join("\n  - ")
        ));
    }
    if !arguments.force && !arguments.dry_run && !confirmed(&warning)? {
        return Ok(ExitCode::SUCCESS);
    }
    let host = caller.host()?;
    let engine = engine(&host);
    let cache = CachePrune {
        all: arguments.all,
        filters: until.map(CacheFilter::UnusedSince).into_iter().collect(),
        ..CachePrune::default()
    };
    let what = SystemPrune {
        containers: containers_meant(&engine, &filters)?,
        images: Some(images_meant(&engine, &filters, arguments.all)?),
        cache: Some(cache),
        dry_run: arguments.dry_run,
    };
    let pruned = engine.prune(&what)?;
    print_containers(&pruned)?;
    print_images(&pruned)?;
    print_cache(&pruned)?;
    print_total(&pruned, arguments.dry_run)
}

/// Removes images.
pub(crate) fn images(caller: &Caller, arguments: &ImagePruneArguments) -> Result<ExitCode, Failure> {
    let filters = Filters::parse(&arguments.filters, &["dangling", "label", "label!", "until"])?;
    filters.until()?;
    let all = arguments.all || filters.truth("dangling")? == Some(false);
    let warning = match all {
        true => "This will remove all images without at least one container associated to them.",
        false => "This will remove all dangling images.",
    };
    if !arguments.force && !arguments.dry_run && !confirmed(warning)? {
        return Ok(ExitCode::SUCCESS);
    }
    let host = caller.host()?;
    let engine = engine(&host);
    let images = Some(images_meant(&engine, &filters, all)?);
    let pruned = engine.prune(&SystemPrune { images, dry_run: arguments.dry_run, ..SystemPrune::default() })?;
    print_images(&pruned)?;
    print_total(&pruned, arguments.dry_run)
}

/// Removes the build cache.
pub(crate) fn builder(caller: &Caller, arguments: &BuilderPruneArguments) -> Result<ExitCode, Failure> {
    let filters = Filters::parse(&arguments.filters, &CACHE)?.of_cache()?;
    let warning = match arguments.all {
        true => "This will remove all build cache.",
        false => "This will remove all dangling build cache.",
    };
    if !arguments.force && !arguments.dry_run && !confirmed(warning)? {
        return Ok(ExitCode::SUCCESS);
    }
    let host = caller.host()?;
    let cache = CachePrune {
        all: arguments.all,
        filters,
        reserved: arguments.reserved_space.unwrap_or_default(),
        max_used: arguments.max_used_space.unwrap_or_default(),
        min_free: arguments.min_free_space.unwrap_or_default(),
    };
    let what = SystemPrune { cache: Some(cache), dry_run: arguments.dry_run, ..SystemPrune::default() };
    let pruned = engine(&host).prune(&what)?;
    du::print(&pruned.cache, arguments.verbose)?;
    output::line(format_args!("Total:\t{}", size::words(pruned.freed.bytes)))?;
    Ok(ExitCode::SUCCESS)
}

/// Removes containers that do not run.
pub(crate) fn containers(caller: &Caller, arguments: &ContainerPruneArguments) -> Result<ExitCode, Failure> {
    let filters = Filters::parse(&arguments.filters, &["label", "label!", "until"])?;
    filters.until()?;
    if !arguments.force && !arguments.dry_run && !confirmed("This will remove all stopped containers.")? {
        return Ok(ExitCode::SUCCESS);
    }
    let host = caller.host()?;
    let engine = engine(&host);
    let containers = containers_meant(&engine, &filters)?;
    let pruned = engine.prune(&SystemPrune { containers, dry_run: arguments.dry_run, ..SystemPrune::default() })?;
    print_containers(&pruned)?;
    print_total(&pruned, arguments.dry_run)
}

fn containers_meant(engine: &Engine, filters: &Filters) -> Result<Which<String>, Failure> {
    let until = filters.until()?;
    if filters.is_empty() {
        return Ok(Which::All);
    }
    let list = engine.list(true)?.into_iter();
    let meant = list.filter(|one| {
        until.is_none_or(|until| one.created < until) && filters.prunes_labels(&one.container.settings.labels)
    });
    Ok(Which::Only(meant.map(|one| one.id).collect()))
}

fn images_meant(engine: &Engine, filters: &Filters, named: bool) -> Result<ImagePrune, Failure> {
    let until = filters.until()?;
    if until.is_none() && filters.values("label").is_empty() && filters.values("label!").is_empty() {
        return Ok(ImagePrune { named, only: None });
    }
    let images = engine.images()?.into_iter();
    let meant = images.filter(|image| {
        let old = until.is_none_or(|until| image.created.unwrap_or_default() < until);
        old && filters.prunes_labels(&image.labels)
    });
    Ok(ImagePrune { named, only: Some(meant.map(|image| image.id).collect()) })
}

/// Asks; anything but `y` is a no.
fn confirmed(warning: &str) -> Result<bool, Failure> {
    output::text(format_args!("WARNING! {warning}\nAre you sure you want to continue? [y/N] "))?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}

fn print_containers(pruned: &Pruned) -> Result<(), Failure> {
    if !pruned.containers.is_empty() {
        output::line(format_args!("Deleted Containers:\n{}\n", pruned.containers.join("\n")))?;
    }
    Ok(())
}

fn print_images(pruned: &Pruned) -> Result<(), Failure> {
    if pruned.freed.images.is_empty() {
        return Ok(());
    }
    output::line(format_args!("Deleted Images:"))?;
    for (id, names) in &pruned.freed.images {
        for name in names {
            let name = name.parse::<kiln_oci::Reference>().map_or_else(|_| name.clone(), |name| name.familiar());
            output::line(format_args!("untagged: {name}"))?;
        }
        output::line(format_args!("deleted: {id}"))?;
    }
    output::line("")?;
    Ok(())
}

fn print_cache(pruned: &Pruned) -> Result<(), Failure> {
    if !pruned.cache.is_empty() {
        let ids: Vec<&str> = pruned.cache.iter().map(|entry| entry.id.as_str()).collect();
        output::line(format_args!("Deleted build cache objects:\n{}\n", ids.join("\n")))?;
    }
    Ok(())
}

fn print_total(pruned: &Pruned, dry_run: bool) -> Result<ExitCode, Failure> {
    let what = if dry_run { "Total reclaimable space" } else { "Total reclaimed space" };
    output::line(format_args!("{what}: {}", size::words(pruned.freed.bytes)))?;
    Ok(ExitCode::SUCCESS)
}
