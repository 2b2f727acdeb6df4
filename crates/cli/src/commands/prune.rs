//! `system prune`, `container prune`, `image prune`, `builder prune`.

use std::io::BufRead;
use std::process::ExitCode;

use kiln_engine::{Engine, Error, Phase, SystemPrune};
use kiln_store::{Freed, Prune};

use super::caller::Caller;
use super::engine;
use crate::failure::{Failure, chain};
use crate::{output, size};

/// The flags of `system prune`.
#[derive(clap::Args, Debug)]
pub(crate) struct SystemPruneArguments {
    /// All images that no container uses, not only those without a name; and cache mounts
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
    /// Not supported yet
    #[arg(long = "filter", value_name = "NAME=VALUE", hide = true)]
    filters: Vec<String>,
}

/// The flags of `image prune` and `builder prune`.
#[derive(clap::Args, Debug)]
pub(crate) struct PruneArguments {
    /// Not only what is surely of no use
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Not supported yet
    #[arg(long = "filter", value_name = "NAME=VALUE", hide = true)]
    filters: Vec<String>,
}

/// The flags of `container prune`.
#[derive(clap::Args, Debug)]
pub(crate) struct ContainerPruneArguments {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Not supported yet
    #[arg(long = "filter", value_name = "NAME=VALUE", hide = true)]
    filters: Vec<String>,
}

/// Removes what nobody needs.
pub(crate) fn system(caller: &Caller, arguments: &SystemPruneArguments) -> Result<ExitCode, Failure> {
    refuse_filters(&arguments.filters)?;
    if arguments.volumes {
        return Err(Failure::new("not supported yet: --volumes"));
    }
    let images = match arguments.all {
        true => "all images without at least one container associated to them",
        false => "all dangling images",
    };
    let cache = if arguments.all { "all build cache" } else { "unused build cache" };
    let warning = format!(
        "This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n  - {images}\n  - {cache}\n"
    );
    if !arguments.force && !arguments.dry_run && !confirmed(&warning)? {
        return Ok(ExitCode::SUCCESS);
    }
    let host = caller.host()?;
    let what = SystemPrune { all: arguments.all, dry_run: arguments.dry_run };
    let pruned = engine(&host).prune(what)?;
    print_containers(&pruned.containers)?;
    print_freed(&pruned.freed, arguments.dry_run)?;
    Ok(ExitCode::SUCCESS)
}

/// Removes images.
pub(crate) fn images(caller: &Caller, arguments: &PruneArguments) -> Result<ExitCode, Failure> {
    refuse_filters(&arguments.filters)?;
    let warning = match arguments.all {
        true => "This will remove all images without at least one container associated to them.",
        false => "This will remove all dangling images.",
    };
    if !arguments.force && !confirmed(warning)? {
        return Ok(ExitCode::SUCCESS);
    }
    let host = caller.host()?;
    let what = Prune { dangling_images: true, unused_images: arguments.all, ..Prune::default() };
    print_freed(&host.store.prune(&what).map_err(of_store)?, false)?;
    Ok(ExitCode::SUCCESS)
}

/// Removes the build cache.
pub(crate) fn builder(caller: &Caller, arguments: &PruneArguments) -> Result<ExitCode, Failure> {
    refuse_filters(&arguments.filters)?;
    let warning = match arguments.all {
        true => "This will remove all build cache.",
        false => "This will remove all dangling build cache.",
    };
    if !arguments.force && !confirmed(warning)? {
        return Ok(ExitCode::SUCCESS);
    }
    let host = caller.host()?;
    let what = Prune { cache_to: Some(0), cache_mounts: arguments.all, ..Prune::default() };
    let freed = host.store.prune(&what).map_err(of_store)?;
    output::line(format_args!("Total:\t{}", size::words(freed.bytes)))?;
    Ok(ExitCode::SUCCESS)
}

/// Removes containers that do not run.
pub(crate) fn containers(caller: &Caller, arguments: &ContainerPruneArguments) -> Result<ExitCode, Failure> {
    refuse_filters(&arguments.filters)?;
    if !arguments.force && !confirmed("This will remove all stopped containers.")? {
        return Ok(ExitCode::SUCCESS);
    }
    let host = caller.host()?;
    let before = host.store.usage().map_err(of_store)?.container_bytes;
    print_containers(&stopped_removed(&engine(&host))?)?;
    let after = host.store.usage().map_err(of_store)?.container_bytes;
    output::line(format_args!("Total reclaimed space: {}", size::words(before.saturating_sub(after))))?;
    Ok(ExitCode::SUCCESS)
}

/// Ids of what was removed; somebody may start or remove one at the same time.
fn stopped_removed(engine: &Engine) -> Result<Vec<String>, Failure> {
    let mut removed = Vec::new();
    for container in engine.containers()? {
        if container.state.phase == Phase::Running {
            continue;
        }
        match engine.remove(&container.id, false, false) {
            Ok(()) => removed.push(container.id),
            Err(Error::Running(_) | Error::NoSuchContainer(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(removed)
}

fn refuse_filters(filters: &[String]) -> Result<(), Failure> {
    if filters.is_empty() { Ok(()) } else { Err(Failure::new("not supported yet: --filter of prune")) }
}

fn of_store(error: kiln_store::Error) -> Failure {
    Failure::new(format!("Error response from daemon: {}", chain(&error)))
}

/// Asks; anything but `y` is a no.
fn confirmed(warning: &str) -> Result<bool, Failure> {
    output::text(format_args!("WARNING! {warning}\nAre you sure you want to continue? [y/N] "))?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}

fn print_containers(ids: &[String]) -> Result<(), Failure> {
    if !ids.is_empty() {
        output::line(format_args!("Deleted Containers:\n{}\n", ids.join("\n")))?;
    }
    Ok(())
}

fn print_freed(freed: &Freed, dry_run: bool) -> Result<(), Failure> {
    if !freed.images.is_empty() {
        output::line(format_args!("Deleted Images:"))?;
        for (id, names) in &freed.images {
            for name in names {
                output::line(format_args!(
                    "untagged: {}",
                    name.parse::<kiln_oci::Reference>().map_or_else(|_| name.clone(), |name| name.familiar())
                ))?;
            }
            output::line(format_args!("deleted: {id}"))?;
        }
        output::line("")?;
    }
    if freed.records > 0 {
        output::line(format_args!("Deleted build cache objects: {}\n", freed.records))?;
    }
    let what = if dry_run { "Total reclaimable space" } else { "Total reclaimed space" };
    output::line(format_args!("{what}: {}", size::words(freed.bytes)))?;
    Ok(())
}
