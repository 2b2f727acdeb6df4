//! `builder du`, `buildx du`: what the build cache consists of.

use std::process::ExitCode;

use kiln_store::CacheEntry;
use serde_json::{Value, json};

use super::caller::Caller;
use super::engine;
use super::filters::{CACHE, Filters};
use super::listing::Listing;
use crate::failure::Failure;
use crate::{moment, output, size, table};

const TABLE: Listing = Listing {
    table: "{{.ID}}\t{{.Reclaimable}}\t{{.Size}}\t{{.LastUsedAt}}",
    headings: &[
        ("CreatedAt", "CREATED AT"),
        ("Description", "DESCRIPTION"),
        ("ID", "ID"),
        ("InUse", "IN USE"),
        ("LastUsedAt", "LAST ACCESSED"),
        ("Mutable", "MUTABLE"),
        ("Reclaimable", "RECLAIMABLE"),
        ("Shared", "SHARED"),
        ("Size", "SIZE"),
        ("Type", "TYPE"),
        ("UsageCount", "USAGE COUNT"),
    ],
};

/// The flags of `du`.
#[derive(clap::Args, Debug)]
pub(crate) struct DuArguments {
    /// Only what satisfies this: description, id, immutable, inuse, mutable, private, shared, type, until, unused-for
    #[arg(long = "filter", value_name = "NAME=VALUE")]
    filters: Vec<String>,
    /// Format the output: table, table TEMPLATE, json, or a Go template
    #[arg(long)]
    format: Option<String>,
    /// Tell all that is known of each part
    #[arg(long)]
    verbose: bool,
}

/// Prints the parts of the build cache and what they take.
pub(crate) fn run(caller: &Caller, arguments: &DuArguments) -> Result<ExitCode, Failure> {
    let filters = Filters::parse(&arguments.filters, &CACHE)?.of_cache()?;
    let host = caller.host()?;
    let mut entries = engine(&host).cache_entries()?;
    entries.retain(|entry| filters.iter().all(|filter| filter.accepts(entry)));
    if let Some(format) = &arguments.format {
        let rows: Vec<Value> = entries.iter().map(row).collect();
        TABLE.print(Some(format), &rows)?;
        return Ok(ExitCode::SUCCESS);
    }
    print(&entries, arguments.verbose)?;
    if arguments.filters.is_empty() {
        print_sums(&entries)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Parts of the build cache as a table, or with all that is known of them.
pub(super) fn print(entries: &[CacheEntry], verbose: bool) -> Result<(), Failure> {
    if verbose {
        return entries.iter().try_for_each(|entry| output::text(details(entry)));
    }
    if !entries.is_empty() {
        let line = |entry: &CacheEntry| {
            let size = size::words(entry.bytes) + if entry.shared { "*" } else { "" };
            format!("{}\t{}\t{size}\t{}", id(entry), !entry.in_use, moment::ago(entry.used.seconds))
        };
        let heading = "ID\tRECLAIMABLE\tSIZE\tLAST ACCESSED".to_owned();
        let lines: Vec<String> = std::iter::once(heading).chain(entries.iter().map(line)).collect();
        output::text(table::aligned(&lines))?;
    }
    Ok(())
}

/// The id, marked if what it names changes.
fn id(entry: &CacheEntry) -> String {
    format!("{}{}", entry.id, if entry.mutable { "*" } else { "" })
}

fn details(entry: &CacheEntry) -> String {
    let mut lines = vec![
        format!("ID:\t{}", entry.id),
        format!("Created at:\t{}", moment::text(entry.created.seconds)),
        format!("Mutable:\t{}", entry.mutable),
        format!("Reclaimable:\t{}", !entry.in_use),
        format!("Shared:\t{}", entry.shared),
        format!("Size:\t{}", size::words(entry.bytes)),
    ];
    if !entry.description.is_empty() {
        lines.push(format!("Description:\t{}", entry.description.replace('\n', " ")));
    }
    lines.push(format!("Usage count:\t{}", entry.uses));
    lines.push(format!("Last used:\t{}", moment::ago(entry.used.seconds)));
    lines.push(format!("Type:\t{}", entry.kind.as_str()));
    table::aligned(&lines) + "\n"
}

fn print_sums(entries: &[CacheEntry]) -> Result<(), Failure> {
    let sum = |of: &dyn Fn(&CacheEntry) -> bool| -> u64 {
        entries.iter().filter(|entry| of(entry)).map(|entry| entry.bytes).sum()
    };
    let (total, shared) = (sum(&|_| true), sum(&|entry| entry.shared));
    let mut lines = Vec::new();
    if shared > 0 {
        lines.push(format!("Shared:\t{}", size::words(shared)));
        lines.push(format!("Private:\t{}", size::words(total - shared)));
    }
    lines.push(format!("Reclaimable:\t{}", size::words(sum(&|entry| !entry.in_use && !entry.shared))));
    lines.push(format!("Total:\t{}", size::words(total)));
    output::text(table::aligned(&lines))?;
    Ok(())
}

fn row(entry: &CacheEntry) -> Value {
    json!({
        "CreatedAt": moment::text(entry.created.seconds),
        "Description": entry.description,
        "ID": entry.id,
        "InUse": entry.in_use,
        "LastUsedAt": moment::ago(entry.used.seconds),
        "Mutable": entry.mutable,
        "Reclaimable": !entry.in_use,
        "Shared": entry.shared,
        "Size": size::words(entry.bytes),
        "Type": entry.kind.as_str(),
        "UsageCount": entry.uses,
    })
}
