//! `explain`: why the steps of an earlier build ran or did not.

mod choice;
mod words;

use std::process::ExitCode;

use kiln_build::{BuildOutcome, ExplainedBuild, ExplainedStep, StepResult};
use kiln_store::{Build, Store};
use serde_json::{Value, json};

use super::caller::Caller;
use super::listing::Listing;
use crate::failure::{self, Failure};
use crate::{moment, output};

/// How many builds are listed.
const LISTED: usize = 500;

const TABLE: Listing = Listing {
    table: "{{.ID}}\t{{.CreatedSince}}\t{{.Image}}\t{{.Hits}}\t{{.Misses}}\t{{.Outcome}}\t{{.Dockerfile}}\t{{.Context}}",
    headings: &[
        ("Context", "CONTEXT"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedSince", "CREATED"),
        ("Dockerfile", "DOCKERFILE"),
        ("Hits", "HITS"),
        ("ID", "BUILD"),
        ("Image", "IMAGE"),
        ("Misses", "MISSES"),
        ("Outcome", "OUTCOME"),
    ],
};

/// The flags of `explain`.
#[derive(clap::Args, Debug)]
pub(crate) struct ExplainArguments {
    /// Which step: a number such as 4/7, a stage, a line such as Dockerfile:12, or a piece of the instruction
    step: Vec<String>,
    /// Which build (default: the last one)
    #[arg(long, value_name = "ID", conflicts_with = "list")]
    build: Option<String>,
    /// List the builds that are remembered
    #[arg(long, conflicts_with = "step")]
    list: bool,
    /// Format the output: json; with --list also table, table TEMPLATE, or a Go template
    #[arg(long)]
    format: Option<String>,
}

/// How a build's explanation is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ExplainFormat {
    /// For people, beside the progress.
    Text,
    /// As JSON, to the standard output.
    Json,
}

/// Tells of an earlier build, or lists them.
pub(crate) fn run(caller: &Caller, arguments: &ExplainArguments) -> Result<ExitCode, Failure> {
    let host = caller.host()?;
    if arguments.list {
        list(&host.store, arguments.format.as_deref())?;
        return Ok(ExitCode::SUCCESS);
    }
    let build = wanted(&host.store, arguments.build.as_deref())?;
    let chosen = match &arguments.step[..] {
        [] => build.steps.iter().collect(),
        words => choice::chosen(&build, &words.join(" "))?,
    };
    match arguments.format.as_deref() {
        None | Some("text") => output::text(format!("{}\n{}", words::heading(&build), words::steps(&chosen)))?,
        Some("json") => {
            let steps = chosen.into_iter().cloned().collect();
            output::line(document(&ExplainedBuild { steps, ..build.clone() })?)?;
        }
        Some(other) => {
            return Err(Failure::new(format!("ERROR: --format {other:?} is none of text and json")).with_code(125));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints what is told of a build that has just ended.
pub(crate) fn print(build: &ExplainedBuild, format: ExplainFormat) -> Result<(), Failure> {
    match format {
        ExplainFormat::Text => {
            eprint!("{}", words::steps(&build.steps.iter().collect::<Vec<&ExplainedStep>>()));
            Ok(())
        }
        ExplainFormat::Json => output::line(document(build)?),
    }
}

fn document(build: &ExplainedBuild) -> Result<String, Failure> {
    serde_json::to_string_pretty(build).map_err(|error| Failure::new(format!("ERROR: {error}")))
}

fn wanted(store: &Store, id: Option<&str>) -> Result<ExplainedBuild, Failure> {
    let of_store = |error: kiln_store::Error| failure::of_store(&error, store.root());
    let found = match id {
        Some(id) => store.builds().get(id).map_err(of_store)?,
        None => store.builds().newest(1).map_err(of_store)?.pop(),
    };
    let build = found.ok_or_else(|| {
        Failure::new(match id {
            Some(id) => format!("ERROR: no build {id:?} is remembered\nhint: kiln explain --list names those that are"),
            None => "ERROR: no build is remembered in this store".to_owned(),
        })
    })?;
    read(&build).ok_or_else(|| {
        Failure::new(format!("ERROR: what is remembered of build {} cannot be read: another kiln wrote it", build.id))
    })
}

fn read(build: &Build) -> Option<ExplainedBuild> {
    serde_json::from_str(&build.document).ok()
}

fn list(store: &Store, format: Option<&str>) -> Result<(), Failure> {
    let builds = store.builds().newest(LISTED).map_err(|error| failure::of_store(&error, store.root()))?;
    let rows: Vec<Value> = builds.iter().filter_map(|build| Some(row(build, &read(build)?))).collect();
    TABLE.print(format, &rows)
}

fn row(build: &Build, explained: &ExplainedBuild) -> Value {
    let count = |result: StepResult| explained.steps.iter().filter(|step| step.result == result).count().to_string();
    let started = build.started / 1000;
    json!({
        "Context": build.context,
        "CreatedAt": moment::text(started),
        "CreatedSince": moment::ago(started),
        "Dockerfile": build.dockerfile,
        "Hits": count(StepResult::Hit),
        "ID": build.id,
        "Image": explained.images.join(","),
        "Misses": count(StepResult::Miss),
        "Outcome": match explained.outcome {
            BuildOutcome::Done => "done",
            BuildOutcome::Failed => "failed",
            BuildOutcome::Cancelled => "cancelled",
        },
    })
}
