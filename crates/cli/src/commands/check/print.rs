//! What a check found, for people and for programs.

use kiln_store::{Counted, Finding, Mended, Rescued, Unverified};
use serde_json::{Value, json};

use super::Checked;
use crate::failure::Failure;
use crate::{output, size};

/// Prints it for people: what is wrong first, then what was looked at.
pub(super) fn text(checked: &Checked) -> Result<(), Failure> {
    if let Some(rescued) = &checked.rescued {
        print_rescued(rescued)?;
    }
    match checked.mended.is_empty() {
        true => {
            for found in &checked.report.findings {
                problem(found)?;
                output::line(format_args!("    a repair {}", found.remedy))?;
            }
        }
        false => {
            for (found, mended) in &checked.mended {
                problem(found)?;
                match mended {
                    Mended::Yes(how) => output::line(format_args!("    mended: {how}"))?,
                    Mended::No(why) => output::line(format_args!("    not mended: {why}"))?,
                }
            }
        }
    }
    output::line(looked_at(&checked.report.counted))?;
    unverified(&checked.report.unverified)?;
    output::line(verdict(checked))
}

fn problem(finding: &Finding) -> Result<(), Failure> {
    output::line(format_args!("{}: {}: {}", finding.subject, finding.path.display(), finding.problem))?;
    match finding.needed_by.is_empty() {
        true => Ok(()),
        false => output::line(format_args!("    needed by: {}", finding.needed_by.join(", "))),
    }
}

fn print_rescued(rescued: &Rescued) -> Result<(), Failure> {
    output::line("The database could not be read; it was made anew.")?;
    for path in &rescued.set_aside {
        output::line(format_args!("    kept: {}", path.display()))?;
    }
    let rows: Vec<String> = rescued.rows.iter().map(|(table, rows)| format!("{rows} of {table}")).collect();
    if !rows.is_empty() {
        output::line(format_args!("    read from the old one: {}", rows.join(", ")))?;
    }
    let Rescued { layers, blobs, .. } = rescued;
    output::line(format_args!("    found on disk besides: {layers} layers, {blobs} blobs"))
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
    let lines = [
        (hashed_now, "files had not been hashed before; nobody wrote to them since they were stored. They are now."),
        (unknown, "files had not been hashed before: only sizes and times could be compared. They are now."),
        (closed, "entries could not be looked into: this user may not read them."),
        (blobs, "blobs have digests of a kind that kiln cannot compute."),
    ];
    lines
        .into_iter()
        .filter(|(count, _)| **count > 0)
        .try_for_each(|(count, what)| output::line(format_args!("{count} {what}")))
}

fn verdict(checked: &Checked) -> String {
    let count = checked.report.findings.len();
    let problems = if count == 1 { "1 problem".to_owned() } else { format!("{count} problems") };
    let left = checked.mended.iter().filter(|(_, mended)| matches!(mended, Mended::No(_))).count();
    match (count, checked.mended.is_empty()) {
        (0, _) => "Nothing is wrong.".to_owned(),
        (_, true) => format!("{problems}; `kiln system check --repair` mends what can be mended."),
        (_, false) if left == 0 => format!("{problems}, all mended."),
        (_, false) => format!("{problems}, {left} of them not mended."),
    }
}

/// Prints one JSON document.
pub(super) fn json(checked: &Checked) -> Result<(), Failure> {
    let (counted, unverified) = (&checked.report.counted, &checked.report.unverified);
    let findings: Vec<Value> = match checked.mended.is_empty() {
        true => checked.report.findings.iter().map(|found| finding(found, None)).collect(),
        false => checked.mended.iter().map(|(found, mended)| finding(found, Some(mended))).collect(),
    };
    output::line(json!({
        "clean": checked.is_clean(),
        "findings": findings,
        "rescued": checked.rescued.as_ref().map(|rescued| json!({
            "kept": rescued.set_aside.iter().map(|path| path.to_string_lossy()).collect::<Vec<_>>(),
            "rows": rescued.rows.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
            "layers": rescued.layers,
            "blobs": rescued.blobs,
        })),
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
    }))
}

fn finding(finding: &Finding, mended: Option<&Mended>) -> Value {
    let (is_mended, how) = match mended {
        None => (None, None),
        Some(Mended::Yes(how)) => (Some(true), Some(how)),
        Some(Mended::No(why)) => (Some(false), Some(why)),
    };
    json!({
        "kind": finding.subject.kind(),
        "name": finding.subject.name(),
        "path": finding.path.to_string_lossy(),
        "problem": finding.problem,
        "needed_by": finding.needed_by,
        "repair": finding.remedy.to_string(),
        "mended": is_mended,
        "outcome": how,
    })
}
