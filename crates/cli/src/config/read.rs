//! TOML into [`Config`]; what is wrong, with its place.

use std::ops::Range;
use std::path::Path;

use kiln_dockerfile::suggestion;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::value::{Space, duration};
use super::{BuildConfig, Config, GcConfig};
use crate::failure::Failure;

const TABLES: [&str; 5] = ["build", "gc", "limits", "registries", "registry"];
const BUILD: [&str; 4] = ["jobs", "step-timeout", "step-memory", "step-cpus"];
const GC: [&str; 4] = ["quota", "keep-free", "keep-newer-than", "cache-mounts-quota"];

/// What is wrong with a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// Bytes of the text; an error of the whole file has none.
    span: Option<Range<usize>>,
    message: String,
    hint: Option<String>,
}

pub(super) type Result<T> = std::result::Result<T, Problem>;

impl Problem {
    pub(super) fn at(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span: Some(span), message: message.into(), hint: None }
    }

    pub(super) fn with_hint(self, hint: &str) -> Self {
        Self { hint: Some(hint.to_owned()), ..self }
    }

    /// As a person reads it: file, line and column, the line, the hint.
    pub(super) fn failure(self, file: &Path, text: &str) -> Failure {
        let file = file.display();
        let message = self.message;
        let mut shown = match self.span.and_then(|span| place(text, span.start)) {
            Some((line, column, content)) => {
                let number = line.to_string();
                let gap = " ".repeat(number.len());
                let before = " ".repeat(column - 1);
                format!("ERROR: {file}:{line}:{column}: {message}\n {gap} |\n {number} | {content}\n {gap} | {before}^")
            }
            None => format!("ERROR: {file}: {message}"),
        };
        if let Some(hint) = self.hint {
            shown.push_str(&format!("\nhint: {hint}"));
        }
        Failure::new(shown)
    }
}

/// Line and column from 1, and the line, of a byte of the text.
fn place(text: &str, at: usize) -> Option<(usize, usize, &str)> {
    let before = text.get(..at)?;
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    let column = before.get(start..)?.chars().count() + 1;
    let content = text.get(start..)?.lines().next().unwrap_or_default();
    Some((line, column, content))
}

/// Puts what the text says into the configuration; keys that it does not have stay as they are.
pub(super) fn into(config: &mut Config, text: &str) -> Result<()> {
    let document = DeTable::parse(text).map_err(|error| {
        let message = error.message().to_owned();
        Problem { span: error.span(), message, hint: Some("the file is TOML, as docs/config.md shows it".into()) }
    })?;
    for (key, value) in document.get_ref() {
        match key.get_ref().as_ref() {
            "build" => entries(value, |key, value| build(&mut config.build, key, value))?,
            "gc" => entries(value, |key, value| gc(&mut config.gc, key, value))?,
            "limits" => entries(value, |key, value| config.limits.take(key, value))?,
            "registries" => entries(value, |key, value| config.registries.take(key, value))?,
            "registry" => entries(value, |key, value| config.registries.take_host(key, value))?,
            _ => return Err(unknown(key, None, &TABLES)),
        }
    }
    Ok(())
}

pub(super) type Key<'i> = Spanned<std::borrow::Cow<'i, str>>;
pub(super) type Of<'i> = Spanned<DeValue<'i>>;

pub(super) fn entries<'i>(table: &Of<'i>, mut take: impl FnMut(&Key<'i>, &Of<'i>) -> Result<()>) -> Result<()> {
    let DeValue::Table(entries) = table.get_ref() else {
        return Err(wrong(table, "a table is expected"));
    };
    entries.iter().try_for_each(|(key, value)| take(key, value))
}

fn build(config: &mut BuildConfig, key: &Key<'_>, value: &Of<'_>) -> Result<()> {
    match key.get_ref().as_ref() {
        "jobs" => config.jobs = Some(jobs(value)?),
        "step-timeout" => config.step_timeout = Some(time(value)?),
        "step-memory" => config.step_memory = Some(bytes(value)?),
        "step-cpus" => config.step_cpus = Some(processors(value)?),
        _ => return Err(unknown(key, Some("build"), &BUILD)),
    }
    Ok(())
}

fn gc(config: &mut GcConfig, key: &Key<'_>, value: &Of<'_>) -> Result<()> {
    match key.get_ref().as_ref() {
        "quota" => config.quota = Some(space(value)?),
        "keep-free" => config.keep_free = Some(space(value)?),
        "keep-newer-than" => config.keep_newer_than = Some(time(value)?),
        "cache-mounts-quota" => config.cache_mounts_quota = Some(space(value)?),
        _ => return Err(unknown(key, Some("gc"), &GC)),
    }
    Ok(())
}

pub(super) fn unknown(key: &Key<'_>, table: Option<&str>, known: &[&str]) -> Problem {
    let name = key.get_ref();
    let within = table.map(|table| format!(" in [{table}]")).unwrap_or_default();
    let near = suggestion(name, known.iter().copied()).map(|near| format!("did you mean {near}? "));
    let owner = table.map_or_else(|| "the file".to_owned(), |table| format!("[{table}]"));
    let hint = format!("{}{owner} has {}", near.unwrap_or_default(), known.join(", "));
    Problem { span: Some(key.span()), message: format!("unknown key {name:?}{within}"), hint: Some(hint) }
}

pub(super) fn wrong(value: &Of<'_>, expected: &str) -> Problem {
    Problem::at(value.span(), expected)
}

fn jobs(value: &Of<'_>) -> Result<std::num::NonZeroUsize> {
    let DeValue::Integer(number) = value.get_ref() else { return Err(wrong(value, "a whole number is expected")) };
    let number = usize::from_str_radix(number.as_str(), number.radix()).ok().and_then(std::num::NonZeroUsize::new);
    number.ok_or_else(|| wrong(value, "at least one step must run at once"))
}

fn processors(value: &Of<'_>) -> Result<f64> {
    let number = match value.get_ref() {
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse().ok(),
        DeValue::Float(number) => number.as_str().parse().ok(),
        _ => None,
    };
    let sensible = number.filter(|number: &f64| number.is_finite() && *number > 0.0);
    sensible.ok_or_else(|| wrong(value, "a number of processors is expected, such as 2 or 0.5"))
}

/// A number from 0.
pub(super) fn whole_number(value: &Of<'_>) -> Result<u64> {
    let DeValue::Integer(number) = value.get_ref() else { return Err(wrong(value, "a whole number is expected")) };
    u64::from_str_radix(number.as_str(), number.radix()).map_err(|_| wrong(value, "a whole number is expected, from 0"))
}

/// A size that is no share of a disk.
pub(super) fn bytes(value: &Of<'_>) -> Result<u64> {
    match space(value)? {
        Space::Bytes(bytes) => Ok(bytes),
        Space::Percent(_) => Err(wrong(value, "a size is expected, such as \"2GB\"")),
    }
}

/// A text such as `"20GB"` or `"10%"`, or a number of bytes.
fn space(value: &Of<'_>) -> Result<Space> {
    match value.get_ref() {
        DeValue::String(text) => {
            let hint = Some("a size is such as \"20GB\" or \"512MiB\", a share of the disk such as \"10%\"".into());
            Space::parse(text).map_err(|message| Problem { hint, ..Problem::at(value.span(), message) })
        }
        DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix())
            .map(Space::Bytes)
            .map_err(|_| wrong(value, "a size is not negative")),
        _ => Err(wrong(value, "a size is expected, such as \"20GB\"")),
    }
}

fn time(value: &Of<'_>) -> Result<std::time::Duration> {
    match value.get_ref() {
        DeValue::String(text) => duration(text).map_err(|message| Problem::at(value.span(), message)),
        _ => Err(wrong(value, "a duration is expected, such as \"48h\"")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use expect_test::{Expect, expect};

    use super::*;

    fn check(text: &str, want: Expect) {
        let problem = into(&mut Config::default(), text).unwrap_err();
        want.assert_eq(&problem.failure(Path::new("config.toml"), text).message);
    }

    #[test]
    fn every_key_is_read() {
        let text = "[build]\njobs = 4\nstep-timeout = \"1h30m\"\nstep-memory = \"2GB\"\nstep-cpus = 1.5\n\
            [gc]\nquota = \"20GB\"\nkeep-free = \"10%\"\nkeep-newer-than = \"48h\"\ncache-mounts-quota = 1_000\n\
            [limits]\nlayer-size = \"1GB\"\nlayer-expansion = 50\nlayer-entries = 1_000\n";
        let mut config = Config::default();
        into(&mut config, text).unwrap();
        assert_eq!(config.build.jobs.map(usize::from), Some(4));
        assert_eq!(config.build.step_timeout, Some(Duration::from_secs(5400)));
        assert_eq!((config.build.step_memory, config.build.step_cpus), (Some(2 << 30), Some(1.5)));
        assert_eq!(config.gc.quota, Some(Space::Bytes(20 << 30)));
        assert_eq!(config.gc.keep_free, Some(Space::Percent(10.0)));
        assert_eq!(config.gc.keep_newer_than, Some(Duration::from_secs(48 * 3600)));
        assert_eq!(config.gc.cache_mounts_quota, Some(Space::Bytes(1000)));
        let shown = serde_json::json!({"layer-size": 1 << 30, "layer-expansion": 50, "layer-entries": 1000});
        assert_eq!(serde_json::Value::from(config.limits.shown()), shown);
        let before = config.clone();
        into(&mut config, "gc.quota = 7\n").unwrap();
        assert_eq!(config, Config { gc: GcConfig { quota: Some(Space::Bytes(7)), ..before.gc }, ..before });
    }

    #[test]
    fn an_unknown_key_is_named_with_its_place_and_the_near_one() {
        check(
            "# mine\n[gc]\n  quotta = \"20GB\"\n",
            expect![[r#"
                ERROR: config.toml:3:3: unknown key "quotta" in [gc]
                   |
                 3 |   quotta = "20GB"
                   |   ^
                hint: did you mean quota? [gc] has quota, keep-free, keep-newer-than, cache-mounts-quota"#]],
        );
        check(
            "[biuld]\njobs = 1\n",
            expect![[r#"
                ERROR: config.toml:1:2: unknown key "biuld"
                   |
                 1 | [biuld]
                   |  ^
                hint: did you mean build? the file has build, gc, limits, registries, registry"#]],
        );
    }

    #[test]
    fn a_value_that_makes_no_sense_is_pointed_at() {
        check(
            "[gc]\nkeep-free = \"200%\"\n",
            expect![[r#"
                ERROR: config.toml:2:13: a share is from 0% to 100%, not 200%
                   |
                 2 | keep-free = "200%"
                   |             ^
                hint: a size is such as "20GB" or "512MiB", a share of the disk such as "10%""#]],
        );
        check(
            "build = 3",
            expect![[r#"
                ERROR: config.toml:1:9: a table is expected
                   |
                 1 | build = 3
                   |         ^"#]],
        );
        for wrong in [
            "[build]\njobs = 0",
            "[build]\njobs = -1",
            "[build]\njobs = \"4\"",
            "[build]\nstep-memory = \"10%\"",
            "[build]\nstep-cpus = nan",
            "[build]\nstep-cpus = -1",
            "[build]\nstep-timeout = 5",
            "[gc]\nquota = -1",
            "[gc]\nquota = true",
            "[limits]\nlayer-size = \"5%\"",
            "[limits]\nlayer-entries = -1",
        ] {
            assert!(into(&mut Config::default(), wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_toml_is_pointed_at() {
        let text = "[gc\n";
        let message = into(&mut Config::default(), text).unwrap_err().failure(Path::new("c"), text).message;
        assert!(message.starts_with("ERROR: c:1:") && message.contains("TOML"), "{message}");
    }
}
