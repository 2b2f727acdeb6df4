//! `system check`: whether everything in the store is as it was put there.

use std::process::ExitCode;

use kiln_store::{Counted, Finding, Report, Unverified};
use serde_json::{Value, json};

use super::caller::Caller;
use crate::display::{Display, Progress};
use crate::failure::{Failure, chain};
use crate::{output, size};

/// The exit code when something is wrong with the store.
const FOUND: u8 = 1;

/// The flags of `system check`.
#[derive(clap::Args, Debug)]
pub(crate) struct CheckArguments {
    /// Format the output: text or json
    #[arg(long, default_value = "text")]
    format: Format,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
}

/// How findings are printed.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// For people.
    Text,
    /// One JSON document.
    Json,
}

/// Checks.
pub(crate) fn run(caller: &Caller, arguments: &CheckArguments) -> Result<ExitCode, Failure> {
    let host = caller.host()?;
    let display = Display::new(if arguments.quiet { Progress::Quiet } else { Progress::Auto });
    let task = display.sink.task("checking the store");
    task.start();
    let report = host.store.check(&|done, total| task.progress(done, Some(total)));
    task.finish(match &report {
        Ok(_) => kiln_progress::Outcome::Done,
        Err(error) => kiln_progress::Outcome::Failed(error.to_string()),
    });
    display.finish();
    let report = report.map_err(|error| Failure::new(format!("ERROR: {}", chain(&error))))?;
    match arguments.format {
        Format::Text => text(&report)?,
        Format::Json => output::line(document(&report))?,
    }
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}

fn text(report: &Report) -> Result<(), Failure> {
    for finding in &report.findings {
        output::line(format_args!("{}: {}: {}", finding.subject, finding.path.display(), finding.problem))?;
        if !finding.needed_by.is_empty() {
            output::line(format_args!("    needed by: {}", finding.needed_by.join(", ")))?;
        }
        output::line(format_args!("    a repair {}", finding.remedy))?;
    }
    output::line(looked_at(&report.counted))?;
    unverified(&report.unverified)?;
    match report.findings.len() {
        0 => output::line("Nothing is wrong."),
        1 => output::line("1 problem; `kiln system check --repair` mends what can be mended."),
        count => output::line(format_args!("{count} problems; `kiln system check --repair` mends what can be mended.")),
    }
}

fn looked_at(counted: &Counted) -> String {
    let Counted { layers, entries, blobs, bytes, images, records, containers } = counted;
    format!(
        "Checked {layers} layers with {entries} entries, {blobs} blobs, {images} images, {records} cache records, \
         {containers} containers; {} read.",
        size::words(*bytes)
    )
}

fn unverified(unverified: &Unverified) -> Result<(), Failure> {
    let Unverified { hashed_now, unknown, closed, blobs } = unverified;
    if *hashed_now > 0 {
        output::line(format_args!(
            "{hashed_now} files had not been hashed before; nobody wrote to them since they were stored. They are now."
        ))?;
    }
    if *unknown > 0 {
        output::line(format_args!(
            "{unknown} files had not been hashed before: only their sizes and times could be compared. They are now."
        ))?;
    }
    if *closed > 0 {
        output::line(format_args!("{closed} entries could not be looked into: this user may not read them."))?;
    }
    if *blobs > 0 {
        output::line(format_args!("{blobs} blobs have digests of a kind that kiln cannot compute."))?;
    }
    Ok(())
}

fn document(report: &Report) -> Value {
    let (counted, unverified) = (&report.counted, &report.unverified);
    json!({
        "findings": report.findings.iter().map(finding).collect::<Vec<_>>(),
        "checked": {
            "layers": counted.layers,
            "entries": counted.entries,
            "blobs": counted.blobs,
            "bytes": counted.bytes,
            "images": counted.images,
            "records": counted.records,
            "containers": counted.containers,
        },
        "unverified": {
            "hashed_now": unverified.hashed_now,
            "unknown": unverified.unknown,
            "closed": unverified.closed,
            "blobs": unverified.blobs,
        },
    })
}

fn finding(finding: &Finding) -> Value {
    json!({
        "kind": finding.subject.kind(),
        "name": finding.subject.name(),
        "path": finding.path.to_string_lossy(),
        "problem": finding.problem,
        "needed_by": finding.needed_by,
        "repair": finding.remedy.to_string(),
    })
}
