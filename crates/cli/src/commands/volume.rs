//! `volume ls`.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::caller::Caller;
use super::engine;
use super::filters::Filters;
use super::listing::Listing;
use crate::failure::Failure;

const TABLE: Listing = Listing {
    table: "{{.Driver}}\t{{.Name}}",
    headings: &[
        ("Driver", "DRIVER"),
        ("Labels", "LABELS"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Name", "VOLUME NAME"),
        ("Scope", "SCOPE"),
    ],
};

/// The flags of `volume ls`.
#[derive(clap::Args, Debug)]
pub(crate) struct VolumeLsArguments {
    /// Only what satisfies this: driver, name
    #[arg(short, long = "filter", value_name = "NAME=VALUE")]
    filters: Vec<String>,
    /// Format the output: table, table TEMPLATE, json, or a Go template
    #[arg(long)]
    format: Option<String>,
    /// Print names only
    #[arg(short, long)]
    quiet: bool,
}

/// Lists volumes.
pub(crate) fn ls(caller: &Caller, arguments: &VolumeLsArguments) -> Result<ExitCode, Failure> {
    let filters = Filters::parse(&arguments.filters, &["driver", "name"])?;
    let host = caller.host()?;
    let mut volumes = engine(&host).volumes()?;
    volumes.retain(|volume| {
        filters.any("driver", |driver| driver == "local") && filters.any("name", |name| volume.name.contains(name))
    });
    let row = |volume: &kiln_engine::VolumeSummary| -> Value {
        json!({
            "Driver": "local",
            "Labels": "",
            "Mountpoint": volume.mountpoint,
            "Name": volume.name,
            "Scope": "local",
        })
    };
    let rows: Vec<Value> = volumes.iter().map(row).collect();
    let format = arguments.format.as_deref();
    TABLE.print(if arguments.quiet && format.is_none() { Some("{{.Name}}") } else { format }, &rows)?;
    Ok(ExitCode::SUCCESS)
}
