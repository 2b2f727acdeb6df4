//! `system check`: whether everything in the store is as it was put there, and mending what is not.

mod print;

use std::process::ExitCode;

use kiln_images::{rediscover, repair};
use kiln_progress::{Outcome, Sink, Task};
use kiln_store::{Error, Finding, Mended, Remedy, Report, Rescued, Store, Subject};

use super::caller::Caller;
use crate::display::{Display, Progress};
use crate::failure::{self, Failure, chain};
use crate::host::{Host, Place};

/// The exit code when something is wrong with the store, and stays so.
const FOUND: u8 = 1;

/// The flags of `system check`.
#[derive(clap::Args, Debug)]
pub(crate) struct CheckArguments {
    /// Mend what can be mended, and drop what cannot
    #[arg(long)]
    repair: bool,
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

/// What a check found, and what a repair did about it.
#[derive(Default)]
struct Checked {
    report: Report,
    /// Each finding with what became of it; empty without a repair.
    mended: Vec<(Finding, Mended)>,
    /// What was made of a database that could not be read.
    rescued: Option<Rescued>,
}

impl Checked {
    /// Whether nothing is wrong, any more.
    fn is_clean(&self) -> bool {
        let is_mended = |mended: &Mended| matches!(mended, Mended::Yes(_));
        match self.mended.is_empty() {
            true => self.report.is_clean(),
            false => self.mended.iter().all(|(_, mended)| is_mended(mended)),
        }
    }
}

/// Checks.
pub(crate) fn run(caller: &Caller, arguments: &CheckArguments) -> Result<ExitCode, Failure> {
    let place = caller.place()?;
    let quiet = arguments.quiet || arguments.format == Format::Json;
    let display = Display::new(if quiet { Progress::Quiet } else { Progress::Auto });
    let checked = checked(place, arguments.repair, &display.sink);
    display.finish();
    let checked = checked?;
    match arguments.format {
        Format::Text => print::text(&checked)?,
        Format::Json => print::json(&checked)?,
    }
    Ok(if checked.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}

fn checked(place: Place, repair: bool, sink: &Sink) -> Result<Checked, Failure> {
    let mut checked = Checked::default();
    let looked = look(&place, sink);
    let store = match looked {
        Ok((store, report)) if !(repair && needs_rescue(&report)) => {
            checked.report = report;
            store
        }
        Err(error) if !repair && error.asks_for_rescue() => {
            checked.report.findings.push(unreadable(&place, &error));
            return Ok(checked);
        }
        Err(error) if !error.asks_for_rescue() => return Err(failure::of_store(&error, &place.root)),
        // The store, if it could be opened, is closed by now.
        _ => {
            let (store, report) = rescued(&place, sink, &mut checked)?;
            checked.report = report;
            store
        }
    };
    if repair && !checked.report.is_clean() {
        let host = place.host(store)?;
        checked.mended = mend(&host, &checked.report, sink)?;
    }
    Ok(checked)
}

/// Opens the store and checks it.
fn look(place: &Place, sink: &Sink) -> Result<(Store, Report), Error> {
    let task = sink.task("checking the store");
    task.start();
    let looked = place.open().and_then(|store| {
        let report = store.check(&|done, total| task.progress(done, Some(total)))?;
        Ok((store, report))
    });
    finish(&task, &looked);
    looked
}

/// Whether the database can be read, but not relied upon.
fn needs_rescue(report: &Report) -> bool {
    report.findings.iter().any(|finding| finding.remedy == Remedy::Rebuild)
}

/// A database that cannot be read is what there is to find.
fn unreadable(place: &Place, error: &Error) -> Finding {
    let subject = if matches!(error, Error::NotAStore { .. }) { Subject::Version } else { Subject::Database };
    let name = if subject == Subject::Version { "version" } else { "db.sqlite" };
    Finding {
        subject,
        path: place.root.join(name),
        problem: chain(error),
        needed_by: vec!["everything in the store".to_owned()],
        remedy: Remedy::Rebuild,
    }
}

/// Makes the database anew, finds the images that only their blobs know, and checks what came of it.
fn rescued(place: &Place, sink: &Sink, checked: &mut Checked) -> Result<(Store, Report), Failure> {
    let failed = |error: Error| failure::of_store(&error, &place.root);
    let task = sink.task("making the database anew");
    task.start();
    let rescued = Store::rescue(&place.root, place.mode);
    finish(&task, &rescued);
    checked.rescued = Some(rescued.map_err(failed)?);
    let store = place.open().map_err(failed)?;
    rediscover::images(&store).map_err(failed)?;
    drop(store);
    look(place, sink).map_err(failed)
}

fn mend(host: &Host, report: &Report, sink: &Sink) -> Result<Vec<(Finding, Mended)>, Failure> {
    let task = sink.task("mending the store");
    task.start();
    let mended = host.runtime.block_on(repair::repair(&host.store, &host.registry, report, &task));
    finish(&task, &mended);
    mended.map_err(|error| failure::of_store(&error, host.store.root()))
}

fn finish<T, E: std::fmt::Display>(task: &Task, result: &Result<T, E>) {
    task.finish(match result {
        Ok(_) => Outcome::Done,
        Err(error) => Outcome::Failed(error.to_string()),
    });
}
