//! `registry ls`: what the registry holds, without a server.

use std::process::ExitCode;

use kiln_store::Store;

use super::Whose;
use crate::commands::caller::Caller;
use crate::failure::{self, Failure};
use crate::{moment, output, table};

/// How many rows are read at once.
const PAGE: usize = 1000;

/// The flags of `registry ls`.
#[derive(clap::Args, Debug)]
pub(crate) struct LsArguments {
    #[command(flatten)]
    whose: Whose,
    /// Only the names
    #[arg(short, long)]
    quiet: bool,
    /// The repository whose tags are wanted
    repository: Option<String>,
}

/// Lists.
pub(crate) fn run(caller: &Caller, arguments: &LsArguments) -> Result<ExitCode, Failure> {
    let store = arguments.whose.open(caller)?;
    let lines = match &arguments.repository {
        Some(repository) => tags(&store, repository, arguments.quiet),
        None => repositories(&store, arguments.quiet),
    };
    let lines = lines.map_err(|error| failure::of_store(&error, store.root()))?;
    match &arguments.repository {
        Some(name) if lines.is_empty() => {
            return Err(Failure::new(format!("ERROR: no tag in the registry's repository {name}")));
        }
        _ => output::text(table::aligned(&lines))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn repositories(store: &Store, quiet: bool) -> Result<Vec<String>, kiln_store::Error> {
    let registry = store.registry();
    let mut lines = if quiet { Vec::new() } else { vec!["REPOSITORY\tTAGS".to_owned()] };
    let mut after: Option<String> = None;
    loop {
        let page = registry.repositories(after.as_deref(), PAGE)?;
        for name in &page {
            match quiet {
                true => lines.push(name.clone()),
                false => lines.push(format!("{name}\t{}", count(store, name)?)),
            }
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.clone()),
            _ => return Ok(lines),
        }
    }
}

fn count(store: &Store, repository: &str) -> Result<usize, kiln_store::Error> {
    let (mut count, mut after) = (0, None);
    loop {
        let page = store.registry().tags(repository, after.as_deref(), PAGE)?;
        count += page.len();
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.name.clone()),
            _ => return Ok(count),
        }
    }
}

fn tags(store: &Store, repository: &str, quiet: bool) -> Result<Vec<String>, kiln_store::Error> {
    let registry = store.registry();
    let (mut lines, mut after): (Vec<String>, Option<String>) = (Vec::new(), None);
    loop {
        let page = registry.tags(repository, after.as_deref(), PAGE)?;
        if !quiet && lines.is_empty() && !page.is_empty() {
            lines.push("TAG\tDIGEST\tPUSHED".to_owned());
        }
        for tag in &page {
            lines.push(match quiet {
                true => tag.name.clone(),
                false => format!("{}\t{}\t{}", tag.name, tag.manifest, moment::ago(tag.changed)),
            });
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.name.clone()),
            _ => return Ok(lines),
        }
    }
}
