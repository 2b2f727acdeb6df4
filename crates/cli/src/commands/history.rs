//! `history`.

use std::process::ExitCode;

use kiln_engine::HistoryRow;
use kiln_oci::Platform;
use serde_json::{Value, json};

use super::caller::Caller;
use super::engine;
use super::listing::{self, Listing};
use crate::arguments::go_bool;
use crate::failure::Failure;
use crate::{moment, size};

/// Characters of an instruction that the table shows.
const CREATED_BY_LENGTH: usize = 45;
const MISSING: &str = "<missing>";

const HEADINGS: &[(&str, &str)] = &[
    ("Comment", "COMMENT"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("CreatedSince", "CREATED"),
    ("ID", "IMAGE"),
    ("Size", "SIZE"),
];

const FOR_PEOPLE: Listing =
    Listing { table: "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}", headings: HEADINGS };

const FOR_MACHINES: Listing =
    Listing { table: "{{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}", headings: HEADINGS };

/// The flags of `history`.
#[derive(clap::Args, Debug)]
pub(crate) struct HistoryArguments {
    /// The image
    image: String,
    /// Format the output: table, table TEMPLATE, json, or a Go template
    #[arg(long)]
    format: Option<String>,
    /// Ages and sizes for people: true (the default) or false
    #[arg(short = 'H', long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", action = clap::ArgAction::Set, value_parser = go_bool)]
    human: bool,
    /// Do not shorten
    #[arg(long)]
    no_trunc: bool,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
    /// Of an image for several platforms, the one for this
    #[arg(long)]
    platform: Option<Platform>,
}

/// Prints the steps of an image's making.
pub(crate) fn run(caller: &Caller, arguments: &HistoryArguments) -> Result<ExitCode, Failure> {
    let host = caller.host()?;
    let steps = engine(&host).history(&arguments.image, arguments.platform.as_ref())?;
    let rows: Vec<Value> = steps.iter().map(|step| row(step, arguments)).collect();
    let format = arguments.format.as_deref();
    let listing = if arguments.human { FOR_PEOPLE } else { FOR_MACHINES };
    listing.print(if arguments.quiet && format.is_none() { Some("{{.ID}}") } else { format }, &rows)?;
    Ok(ExitCode::SUCCESS)
}

fn row(step: &HistoryRow, arguments: &HistoryArguments) -> Value {
    let id = match &step.id {
        Some(id) if arguments.no_trunc => id.clone(),
        Some(id) => id.trim_start_matches("sha256:").chars().take(12).collect(),
        None => MISSING.into(),
    };
    let created_by = step.created_by.replace('\t', " ");
    let created_by = if arguments.no_trunc { created_by } else { listing::shortened(&created_by, CREATED_BY_LENGTH) };
    let at = moment::rfc3339(step.created.unwrap_or_default());
    let since = step.created.map_or_else(|| "N/A".to_owned(), moment::ago);
    json!({
        "Comment": step.comment,
        "CreatedAt": at,
        "CreatedBy": created_by,
        "CreatedSince": since,
        "ID": id,
        "Size": if arguments.human { size::words(step.size) } else { step.size.to_string() },
    })
}
