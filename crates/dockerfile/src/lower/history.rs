//! The texts of an image's history.

use std::collections::HashMap;

use kiln_graph::Chain;
use kiln_oci::{HealthCheck, HistoryEntry};

use crate::environment::Environment;
use crate::quote;
use crate::shell::Variables;

use super::state::Declared;

/// Who made the entry; other tools show it, and some look for it.
const COMMENT: &str = "buildkit.dockerfile.v0";

pub(super) fn entry(text: String, empty_layer: bool) -> HistoryEntry {
    HistoryEntry { created_by: Some(text), comment: Some(COMMENT.to_owned()), empty_layer, ..HistoryEntry::default() }
}

/// RUN with the ARGs in force, each once, with the values that the step sees.
pub(super) fn run(args: &[String], arguments: &Chain<Declared>, environment: &Environment) -> String {
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut listed: Vec<String> = Vec::new();
    for Declared { name, value: declared } in arguments.oldest_first() {
        let value = environment.value(name).or(declared.as_deref()).unwrap_or_default();
        let text = format!("{name}={value}");
        let place = *places.entry(name).or_insert(listed.len());
        match listed.get_mut(place) {
            Some(known) => *known = text,
            None => listed.push(text),
        }
    }
    let mut words = vec!["RUN".to_owned()];
    if !listed.is_empty() {
        words.push(format!("|{}", listed.len()));
        words.append(&mut listed);
    }
    words.extend_from_slice(args);
    words.join(" ") + " # buildkit"
}

/// `["a" "b"]`
pub(super) fn quoted(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| quote::quoted(word)).collect();
    format!("[{}]", quoted.join(" "))
}

/// `[a b]`
pub(super) fn plain(words: &[String]) -> String {
    format!("[{}]", words.join(" "))
}

/// HEALTHCHECK with all its settings.
pub(super) fn health(check: &HealthCheck) -> String {
    format!(
        "HEALTHCHECK {{Test:{} Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
        plain(&check.test),
        duration(check.interval),
        duration(check.timeout),
        duration(check.start_period),
        duration(check.start_interval),
        check.retries,
    )
}

/// Nanoseconds as `1h2m3.5s`, `1.5ms` or `0s`.
fn duration(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let total = nanoseconds.unsigned_abs();
    if total == 0 {
        return "0s".to_owned();
    }
    for (unit, size) in [("ns", 1_000), ("µs", 1_000_000), ("ms", 1_000_000_000)] {
        if total < size {
            return format!("{sign}{}{unit}", decimal(total, size / 1_000));
        }
    }
    let (hours, minutes) = (total / 3_600_000_000_000, total / 60_000_000_000 % 60);
    let seconds = decimal(total % 60_000_000_000, 1_000_000_000);
    match (hours, minutes) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

/// `value / unit` with the decimals that it has.
fn decimal(value: u64, unit: u64) -> String {
    let fraction = value % unit;
    if fraction == 0 {
        return (value / unit).to_string();
    }
    let width = unit.ilog10() as usize;
    let digits = format!("{fraction:0width$}");
    format!("{}.{}", value / unit, digits.trim_end_matches('0'))
}
