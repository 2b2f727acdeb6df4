//! `registry gc`: frees what repositories do not need any more, also while they are served.

use std::process::ExitCode;
use std::time::Duration;

use kiln_store::{RegistryCollected, RegistryPolicy};

use super::Whose;
use crate::commands::caller::Caller;
use crate::failure::{self, Failure};
use crate::{output, size};

/// The flags of `registry gc`.
#[derive(clap::Args, Debug)]
pub(crate) struct GcArguments {
    #[command(flatten)]
    whose: Whose,
    /// Also manifests that no tag leads to
    #[arg(long)]
    delete_untagged: bool,
    /// Keep what came within this time: it may be part of a push that goes on
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = crate::config::duration)]
    keep_younger: Duration,
    /// Tell what would go, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

/// Collects.
pub(crate) fn run(caller: &Caller, arguments: &GcArguments) -> Result<ExitCode, Failure> {
    let store = arguments.whose.open(caller)?;
    let policy = RegistryPolicy {
        untagged: arguments.delete_untagged,
        young: arguments.keep_younger,
        dry_run: arguments.dry_run,
    };
    let collected = store.registry().collect(&policy).map_err(|error| failure::of_store(&error, store.root()))?;
    output::text(words(&collected, arguments.dry_run))?;
    Ok(ExitCode::SUCCESS)
}

fn words(collected: &RegistryCollected, dry_run: bool) -> String {
    let would = if dry_run { "would be " } else { "" };
    let mut text = String::new();
    for (repository, digest) in &collected.manifests {
        text.push_str(&format!("manifest {would}deleted: {repository}@{digest}\n"));
    }
    for (repository, digest) in &collected.blobs {
        text.push_str(&format!("blob {would}deleted: {repository}@{digest}\n"));
    }
    if collected.uploads > 0 {
        text.push_str(&format!("uploads {would}deleted: {}\n", collected.uploads));
    }
    let space = if dry_run { "Reclaimable space" } else { "Total reclaimed space" };
    text.push_str(&format!("{space}: {}\n", size::words(collected.bytes)));
    text
}
