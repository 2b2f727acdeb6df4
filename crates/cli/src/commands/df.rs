//! `system df`.

use std::process::ExitCode;

use kiln_engine::Phase;
use kiln_store::Prune;
use serde_json::{Value, json};

use super::caller::Caller;
use super::engine;
use super::listing::Listing;
use crate::failure::{Failure, chain};
use crate::size;

const TABLE: Listing = Listing {
    table: "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
    headings: &[
        ("Active", "ACTIVE"),
        ("Reclaimable", "RECLAIMABLE"),
        ("Size", "SIZE"),
        ("TotalCount", "TOTAL"),
        ("Type", "TYPE"),
    ],
};

/// The flags of `system df`.
#[derive(clap::Args, Debug)]
pub(crate) struct DfArguments {
    /// Format the output: table, table TEMPLATE, json, or a Go template
    #[arg(long)]
    format: Option<String>,
    /// Details (not supported yet)
    #[arg(short, long)]
    verbose: bool,
}

/// Prints how much room everything takes.
pub(crate) fn run(caller: &Caller, arguments: &DfArguments) -> Result<ExitCode, Failure> {
    if arguments.verbose {
        return Err(Failure::new("not supported yet: --verbose"));
    }
    let host = caller.host()?;
    let engine = engine(&host);
    let usage = engine.usage()?;
    let images = engine.images()?;
    let running = engine.list(true)?.iter().filter(|one| one.phase == Phase::Running).count();
    let unused = Prune { dangling_images: true, unused_images: true, dry_run: true, ..Prune::default() };
    let unused = host.store.prune(&unused).map_err(|error| Failure::new(chain(&error)))?;
    let used = images.iter().filter(|image| image.containers > 0).count();
    let stopped = if running == 0 { usage.container_bytes } else { 0 };
    let rows = [
        row("Images", usage.images, used as u64, usage.image_bytes, unused.bytes.min(usage.image_bytes)),
        row("Containers", usage.containers, running as u64, usage.container_bytes, stopped),
        row("Local Volumes", engine.volumes()?.len() as u64, 0, 0, 0),
        row("Build Cache", usage.records, 0, usage.cache_bytes + usage.cache_mount_bytes, usage.cache_bytes),
    ];
    TABLE.print(arguments.format.as_deref(), &rows)?;
    Ok(ExitCode::SUCCESS)
}

fn row(kind: &str, total: u64, active: u64, bytes: u64, reclaimable: u64) -> Value {
    let share = (reclaimable * 100).checked_div(bytes);
    let reclaimable = size::words(reclaimable);
    json!({
        "Active": active.to_string(),
        "Reclaimable": share.map_or_else(|| reclaimable.clone(), |share| format!("{reclaimable} ({share}%)")),
        "Size": size::words(bytes),
        "TotalCount": total.to_string(),
        "Type": kind,
    })
}
