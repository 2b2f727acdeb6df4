//! `system df`: how much room everything takes, in four lines or one by one.

mod measured;
mod verbose;

use std::process::ExitCode;

use kiln_engine::Phase;
use serde_json::{Value, json};

use super::caller::Caller;
use super::listing::Listing;
use crate::failure::Failure;
use crate::size;
use measured::Measured;

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
    /// Everything one by one
    #[arg(short, long)]
    verbose: bool,
}

/// Prints how much room everything takes.
pub(crate) fn run(caller: &Caller, arguments: &DfArguments) -> Result<ExitCode, Failure> {
    let host = caller.host()?;
    let measured = Measured::of(&host)?;
    if arguments.verbose {
        verbose::print(&measured, arguments.format.as_deref())?;
        return Ok(ExitCode::SUCCESS);
    }
    TABLE.print(
        arguments.format.as_deref(),
        &[images(&measured), containers(&measured), volumes(&measured), cache(&measured)],
    )?;
    Ok(ExitCode::SUCCESS)
}

fn images(measured: &Measured) -> Value {
    let used = measured.images.iter().filter(|image| image.summary.containers > 0);
    let needed = measured.bytes_of(used.clone());
    let bytes = measured.bytes_of(measured.images.iter());
    row("Images", measured.images.len(), used.count(), bytes, Some(bytes - needed))
}

fn containers(measured: &Measured) -> Value {
    let sum = |running: Option<bool>| -> u64 {
        let fits =
            |one: &&measured::Container| running.is_none_or(|wanted| wanted == (one.summary.phase == Phase::Running));
        measured.containers.iter().filter(fits).map(|one| one.bytes).sum()
    };
    let running = measured.containers.iter().filter(|one| one.summary.phase == Phase::Running).count();
    row("Containers", measured.containers.len(), running, sum(None), Some(sum(Some(false))))
}

fn volumes(measured: &Measured) -> Value {
    let used = measured.volumes.iter().filter(|volume| volume.links > 0).count();
    let sum = |of: &dyn Fn(&measured::Volume) -> bool| -> u64 {
        measured.volumes.iter().filter(|volume| of(volume)).map(|volume| volume.bytes).sum()
    };
    row("Local Volumes", measured.volumes.len(), used, sum(&|_| true), Some(sum(&|volume| volume.links == 0)))
}

fn cache(measured: &Measured) -> Value {
    let idle = measured.cache.iter().filter(|entry| !entry.in_use && !entry.shared).map(|entry| entry.bytes).sum();
    let used = measured.cache.iter().filter(|entry| entry.in_use).count();
    let mut row = row("Build Cache", measured.cache.len(), used, measured.cache_bytes(), None);
    row["Reclaimable"] = size::words(idle).into();
    row
}

fn row(kind: &str, total: usize, active: usize, bytes: u64, reclaimable: Option<u64>) -> Value {
    let reclaimable = reclaimable.map(|reclaimable| {
        let share = (reclaimable * 100).checked_div(bytes);
        let words = size::words(reclaimable);
        share.map_or_else(|| words.clone(), |share| format!("{words} ({share}%)"))
    });
    json!({
        "Active": active.to_string(),
        "Reclaimable": reclaimable,
        "Size": size::words(bytes),
        "TotalCount": total.to_string(),
        "Type": kind,
    })
}
