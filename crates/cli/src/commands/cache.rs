//! `cache`: the build cache on its way to other machines and back.

use std::process::ExitCode;

use kiln_build::{CacheError, CacheExport, CacheFilter, CacheImport, CacheStore};
use kiln_cache::Place;
use kiln_cache::mounts::LARGEST_MOUNT;
use kiln_oci::Reference;
use tokio_util::sync::CancellationToken;

use super::build;
use super::caller::Caller;
use crate::display::{Display, Progress};
use crate::failure::{Failure, chain};
use crate::output;
use crate::size;

/// `kiln cache …`
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Cache {
    /// Write the build cache to a directory, a registry or an object store
    Export(ExportArguments),
    /// Take a build cache that was written elsewhere into the store
    Import(ImportArguments),
}

/// The flags of `cache export`.
#[derive(clap::Args, Debug)]
pub(crate) struct ExportArguments {
    /// A directory, or type=registry,ref=NAME, type=local,dest=DIR, type=s3,bucket=NAME,…
    #[arg(value_name = "DEST")]
    place: String,
    /// Only what is in this image
    #[arg(long, value_name = "IMAGE")]
    image: Option<Reference>,
    /// Only the steps of this stage
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// The directories of RUN --mount=type=cache, too
    #[arg(long)]
    mounts: bool,
    /// The largest of them that is written, such as 500MB
    #[arg(long, value_name = "SIZE", requires = "mounts")]
    mounts_limit: Option<String>,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
}

/// The flags of `cache import`.
#[derive(clap::Args, Debug)]
pub(crate) struct ImportArguments {
    /// A directory, or type=registry,ref=NAME, type=local,src=DIR, type=s3,bucket=NAME,…
    #[arg(value_name = "SRC")]
    place: String,
    /// The directories of RUN --mount=type=cache that are not here yet, too
    #[arg(long)]
    mounts: bool,
    /// Those that are here, too: what is in them is lost
    #[arg(long, requires = "mounts")]
    replace_mounts: bool,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
}

impl Cache {
    /// Runs it.
    pub(crate) fn run(&self, caller: &Caller) -> Result<ExitCode, Failure> {
        match self {
            Cache::Export(arguments) => export(caller, arguments),
            Cache::Import(arguments) => import(caller, arguments),
        }
    }
}

fn export(caller: &Caller, arguments: &ExportArguments) -> Result<ExitCode, Failure> {
    let place = place("cache export", &arguments.place, "dest")?;
    let limit = match &arguments.mounts_limit {
        None => LARGEST_MOUNT,
        Some(text) => size::parse(text).map_err(|reason| Failure::new(format!("ERROR: --mounts-limit: {reason}")))?,
    };
    let export = CacheExport {
        filter: CacheFilter { image: arguments.image.clone(), target: arguments.target.clone() },
        mounts: arguments.mounts.then_some(limit),
        ..CacheExport::default()
    };
    let delivery = with_store(caller, arguments.quiet, async |cache| cache.export(&place, &export).await)?;
    if delivery.unchanged {
        output::line(format_args!("{place} has all {} records", delivery.records))?;
    } else {
        let size = size::words(delivery.bytes);
        output::line(format_args!(
            "Exported {} records with {} layers to {place}; sent {} blobs, {size}",
            delivery.records, delivery.layers, delivery.sent
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn import(caller: &Caller, arguments: &ImportArguments) -> Result<ExitCode, Failure> {
    let place = place("cache import", &arguments.place, "src")?;
    let import = CacheImport { mounts: arguments.mounts, replace_mounts: arguments.replace_mounts };
    let imported = with_store(caller, arguments.quiet, async |cache| cache.import(&place, &import).await)?;
    let mut line = format!("Imported {} records from {place}; {} were here", imported.records, imported.known);
    if arguments.mounts {
        line.push_str(&format!("; {} cache mounts", imported.mounts));
    }
    if imported.lost > 0 {
        line.push_str(&format!("; {} left out, whose layers are gone or damaged there", imported.lost));
    }
    output::line(line)?;
    Ok(ExitCode::SUCCESS)
}

/// A directory, or fields such as `type=registry,ref=…`.
fn place(flag: &'static str, text: &str, directory: &'static str) -> Result<Place, Failure> {
    let fields = build::fields(text).map_err(|reason| Failure::new(format!("ERROR: {reason}")))?;
    Place::parse(flag, text, &fields, directory).map_err(|error| Failure::new(format!("ERROR: {error}")))
}

/// Runs `work` on the caller's store; signals end it in order.
fn with_store<T>(
    caller: &Caller,
    quiet: bool,
    work: impl AsyncFnOnce(CacheStore) -> Result<T, CacheError>,
) -> Result<T, Failure> {
    let host = caller.host()?;
    let display = Display::new(if quiet { Progress::Quiet } else { Progress::Auto });
    let cancellation = CancellationToken::new();
    let cache = CacheStore {
        store: host.store.clone(),
        registry: host.registry.clone(),
        progress: display.sink.clone(),
        cancellation: cancellation.clone(),
    };
    let done = host.runtime.block_on(async {
        let interrupted = build::cancel_on_signals(cancellation);
        let done = work(cache).await;
        interrupted.abort();
        done
    });
    display.finish();
    done.map_err(|error| Failure::new(format!("ERROR: {}", chain(&error))))
}
