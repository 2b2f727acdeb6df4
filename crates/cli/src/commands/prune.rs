//! `system prune`, `container prune`, `image prune`, `builder prune`.

use std::io::{BufRead, Write};
use std::process::ExitCode;

use kiln_engine::{Engine, Error, Phase, SystemPrune};
use kiln_store::{Freed, Prune};

use super::caller::Caller;
use super::engine;
use crate::failure::{Failure, chain};
use crate::size;

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
    print_containers(&pruned.containers);
    print_freed(&pruned.freed, arguments.dry_run);
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
    print_freed(&host.store.prune(&what).map_err(of_store)?, false);
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
    println!("Total:\t{}", size::words(freed.bytes));
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
    print_containers(&stopped_removed(&engine(&host))?);
    let after = host.store.usage().map_err(of_store)?.container_bytes;
    println!("Total reclaimed space: {}", size::words(before.saturating_sub(after)));
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
    print!("WARNING! {warning}\nAre you sure you want to continue? [y/N] ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}

fn print_containers(ids: &[String]) {
    if !ids.is_empty() {
        println!("Deleted Containers:\n{}\n", ids.join("\n"));
    }
}

fn print_freed(freed: &Freed, dry_run: bool) {
    if !freed.images.is_empty() {
        println!("Deleted Images:");
        for (id, names) in &freed.images {
            for name in names {
                println!(
                    "untagged: {}",
                    name.parse::<kiln_oci::Reference>().map_or_else(|_| name.clone(), |name| name.familiar())
                );
            }
            println!("deleted: {id}");
        }
        println!();
    }
    if freed.records > 0 {
        println!("Deleted build cache objects: {}\n", freed.records);
    }
    let what = if dry_run { "Total reclaimable space" } else { "Total reclaimed space" };
    println!("{what}: {}", size::words(freed.bytes));
}
