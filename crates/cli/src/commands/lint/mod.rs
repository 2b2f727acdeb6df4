//! `lint`, and how findings are shown wherever they are asked for.

mod human;
mod json;
#[cfg(test)]
mod pages;
mod sarif;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use kiln_build::DockerfileText;
use kiln_dockerfile::ignore::IgnoreMatcher;
use kiln_dockerfile::lint::{self, Finding, LintOptions, Report};
use kiln_dockerfile::{Bases, PlanOptions};
use kiln_oci::Platform;

use super::caller::Caller;
use crate::contexts;
use crate::failure::Failure;
use crate::output;

/// How findings are shown.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LintFormat {
    /// For people: each finding with the lines that it is about
    #[default]
    Human,
    /// As docker build --call=check,format=json has it
    Json,
    /// SARIF 2.1.0
    Sarif,
}

/// The flags of `lint`.
#[derive(clap::Args, Debug)]
pub(crate) struct LintArguments {
    /// A Dockerfile, or the directory of one (default: the current one)
    #[arg(value_name = "PATH", default_value = ".")]
    path: PathBuf,
    /// The Dockerfile (- is the standard input)
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    file: Option<PathBuf>,
    /// How findings are shown
    #[arg(long, value_enum, default_value_t)]
    format: LintFormat,
    /// Look only at the stages that this one needs
    #[arg(long)]
    target: Option<String>,
    /// A build argument, NAME=VALUE
    #[arg(long = "build-arg", value_name = "NAME=VALUE")]
    build_args: Vec<String>,
    /// The platform to build for
    #[arg(long)]
    platform: Option<Platform>,
    /// Only what BuildKit checks, without kiln's own hints
    #[arg(long)]
    no_hints: bool,
    /// Hints count for the exit code, too
    #[arg(long, conflicts_with = "no_hints")]
    strict: bool,
}

/// Looks at a Dockerfile. Nothing but it and its ignore file is read.
pub(crate) fn run(_: &Caller, arguments: &LintArguments) -> Result<ExitCode, Failure> {
    let (context, file) = place(arguments);
    let (dockerfile, ignore) = contexts::of_directory(&context.to_string_lossy(), file.as_deref())?;
    let ignored = ignore.as_ref().map(|file| IgnoreMatcher::from_file(&file.text)).transpose();
    let ignored = ignored.map_err(|error| Failure::new(format!("ERROR: the ignore file: {error}")))?;
    let plan = plan_options(arguments);
    let bases = Bases::new();
    let options =
        LintOptions { ignored: ignored.as_ref(), hints: !arguments.no_hints, ..LintOptions::new(&plan, &bases) };
    let report = lint::check(&dockerfile.text, &options);
    let DockerfileText { name, text } = dockerfile;
    let path = file.filter(|file| file != Path::new("-")).map_or(name.clone(), |file| file.display().to_string());
    let source = Source { name: &name, path: &path, text: &text };
    let mut shown = show(&source, &report, arguments.format);
    if arguments.strict && !report.findings.is_empty() {
        shown.code = 1;
    }
    shown.print()
}

/// The directory of the context, and the Dockerfile if it has not the usual name there.
fn place(arguments: &LintArguments) -> (PathBuf, Option<PathBuf>) {
    if arguments.file.is_none() && arguments.path.is_file() {
        let parent = arguments.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        return (parent.unwrap_or(Path::new(".")).to_owned(), Some(arguments.path.clone()));
    }
    (arguments.path.clone(), arguments.file.clone())
}

fn plan_options(arguments: &LintArguments) -> PlanOptions {
    let pair = |text: &String| match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), value.to_owned()),
        None => (text.clone(), String::new()),
    };
    PlanOptions {
        build_args: arguments.build_args.iter().map(pair).collect::<BTreeMap<_, _>>(),
        target: arguments.target.clone(),
        ..PlanOptions::new(arguments.platform.clone().unwrap_or_else(Platform::host))
    }
}

/// A Dockerfile that findings are about.
pub(crate) struct Source<'a> {
    /// What messages call it.
    pub(crate) name: &'a str,
    /// Its path, for tools that open it.
    pub(crate) path: &'a str,
    /// What is in it.
    pub(crate) text: &'a str,
}

/// What is printed about a Dockerfile, and the exit code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// For the standard output.
    pub(crate) out: String,
    /// For the standard error.
    pub(crate) error: String,
    /// 1 when a check found something or the Dockerfile cannot be built.
    pub(crate) code: u8,
}

impl Shown {
    /// Prints it.
    pub(crate) fn print(&self) -> Result<ExitCode, Failure> {
        output::text(&self.out)?;
        if !self.error.is_empty() {
            let _ = write!(std::io::stderr().lock(), "{}", self.error);
        }
        Ok(ExitCode::from(self.code))
    }
}

/// Shows a report in the form that was asked for.
pub(crate) fn show(source: &Source<'_>, report: &Report, format: LintFormat) -> Shown {
    let code = u8::from(!report.errors.is_empty() || report.findings.iter().any(is_check));
    let (out, error) = match format {
        LintFormat::Human => human::show(source, report),
        LintFormat::Json => (json::show(source, report), String::new()),
        LintFormat::Sarif => (sarif::show(source, report), String::new()),
    };
    Shown { out, error, code }
}

/// Whether a finding is one of BuildKit's, not just a hint of ours.
fn is_check(finding: &Finding) -> bool {
    !finding.rule.is_ours()
}
