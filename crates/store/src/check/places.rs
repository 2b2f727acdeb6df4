//! The other directories of the store: containers, cache mounts, repositories, digests of contexts, logs, `tmp/`.
//!
//! What is in the first three is their owners' business: only that they are there, and nothing besides, is checked.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::needs::Needs;
use super::report::{Finding, Remedy, Report, Subject};
use super::{Checker, listed};
use crate::containers::Containers;
use crate::error::Result;
use crate::store::Inner;
use crate::{repositories, session, stat_cache};

/// How often, and how long apart, a container that somebody may just be making or removing is looked at.
const PATIENCE: (u32, Duration) = (20, Duration::from_millis(50));

pub(super) fn check(checker: &Checker<'_>, needs: &Needs) -> Result<Report> {
    let store = checker.store;
    let mut report = Report::default();
    containers(checker, needs, &mut report)?;
    let hashed = |name: &str| {
        let (hash, number) = name.split_once('-').unwrap_or((name, "1"));
        hash.len() == 32 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) && number.parse::<u32>().is_ok()
    };
    named(store, "cache-mounts", &|path, name| path.is_dir() && hashed(name), &Subject::CacheMount, &mut report)?;
    let repositories = repositories::DIRECTORY;
    named(store, repositories, &|path, name| path.is_dir() && hashed(name), &Subject::Repository, &mut report)?;
    stat_caches(store, &mut report)?;
    logs(store, &mut report)?;
    leftovers(store, &mut report)?;
    Ok(report)
}

fn stray(subject: Subject, path: PathBuf, problem: &str, remedy: Remedy) -> Finding {
    Finding { subject, path, problem: problem.into(), needed_by: Vec::new(), remedy }
}

/// Everything in a directory must be as `fits` wants it.
fn named(
    store: &Inner,
    directory: &str,
    fits: &dyn Fn(&Path, &str) -> bool,
    subject: &dyn Fn(String) -> Subject,
    report: &mut Report,
) -> Result<()> {
    for path in listed(&store.root.join(directory))? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !fits(&path, &name) && path.symlink_metadata().is_ok() {
            report.findings.push(stray(subject(name), path, "it does not belong there", Remedy::SetAside));
        }
    }
    Ok(())
}

fn containers(checker: &Checker<'_>, needs: &Needs, report: &mut Report) -> Result<()> {
    let store = checker.store;
    let place = store.root.join("containers");
    let settles = |differs: &dyn Fn() -> Result<bool>| -> Result<bool> {
        for _ in 0..PATIENCE.0 {
            if !differs()? {
                return Ok(true);
            }
            std::thread::sleep(PATIENCE.1);
        }
        Ok(false)
    };
    let has_row = |id: &str| Ok::<_, crate::Error>(Containers { store }.find(id)?.is_some_and(|found| found.id == id));
    let known: BTreeSet<&str> = needs.containers.iter().map(|each| each.id.as_str()).collect();
    for container in &needs.containers {
        report.counted.containers += 1;
        let (id, path) = (&container.id, place.join(&container.id));
        if !path.is_dir() && !settles(&|| Ok(has_row(id)? && !path.is_dir()))? {
            let needed_by = vec![format!("container {}", container.name)];
            let why = "nothing else has what was in it: remove the container";
            let (subject, remedy) = (Subject::Container(id.clone()), Remedy::None(why));
            let problem = "its directory is missing".to_owned();
            report.findings.push(Finding { subject, path, problem, needed_by, remedy });
        }
    }
    for path in listed(&place)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !known.contains(name.as_str()) && !settles(&|| Ok(path.symlink_metadata().is_ok() && !has_row(&name)?))? {
            let problem = "the database does not know this container";
            report.findings.push(stray(Subject::Container(name), path, problem, Remedy::SetAside));
        }
    }
    Ok(())
}

fn stat_caches(store: &Inner, report: &mut Report) -> Result<()> {
    for path in listed(&store.root.join("contexts"))? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !path.is_file() {
            report.findings.push(stray(Subject::StatCache(name), path, "it does not belong there", Remedy::Remove));
            continue;
        }
        match std::fs::read(&path).map(stat_cache::is_whole) {
            Ok(false) => {
                let problem = "its bytes differ from its checksum";
                report.findings.push(stray(Subject::StatCache(name), path, problem, Remedy::Remove));
            }
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                let problem = format!("it cannot be read: {error}");
                report.findings.push(stray(Subject::StatCache(name), path, &problem, Remedy::Remove));
            }
            _ => {}
        }
    }
    Ok(())
}

/// What a log says is nobody's business; that it is one can be told.
fn logs(store: &Inner, report: &mut Report) -> Result<()> {
    for build in listed(&store.root.join("logs"))? {
        let name = build.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !build.is_dir() {
            if build.symlink_metadata().is_ok() {
                report.findings.push(stray(Subject::Log(name), build, "it does not belong there", Remedy::Remove));
            }
            continue;
        }
        for path in listed(&build)? {
            let is_log = path.extension().is_some_and(|extension| extension == "log");
            let regular = path.symlink_metadata().is_ok_and(|status| status.is_file());
            if !(is_log && regular) && path.symlink_metadata().is_ok() {
                let problem = "it does not belong there";
                report.findings.push(stray(Subject::Log(name.clone()), path, problem, Remedy::Remove));
            }
        }
    }
    Ok(())
}

/// What is in `tmp/` belongs to sessions that live. Opening the store sweeps the rest.
fn leftovers(store: &Inner, report: &mut Report) -> Result<()> {
    for path in listed(&store.root.join("tmp"))? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let own = name == store.session.name() || name == crate::version::NEW;
        if !own && !session::is_alive(&name, &store.locks)? && path.symlink_metadata().is_ok() {
            let problem = "it was left behind by a process that is gone";
            report.findings.push(stray(Subject::Leftover(name), path, problem, Remedy::Remove));
        }
    }
    Ok(())
}
