//! `--filter NAME=VALUE` of commands that list.

use std::collections::BTreeMap;

use kiln_engine::CacheFilter;

use crate::failure::Failure;
use crate::moment;

/// The names of filters of the build cache.
pub(super) const CACHE: [&str; 10] =
    ["description", "id", "immutable", "inuse", "mutable", "private", "shared", "type", "until", "unused-for"];

/// Filters by name; every name must be satisfied, by any of its values (by all of them for labels).
#[derive(Debug, Default)]
pub(super) struct Filters {
    values: BTreeMap<String, Vec<String>>,
}

impl Filters {
    /// Reads the flags; names that are not `known` are refused.
    pub(super) fn parse(flags: &[String], known: &[&str]) -> Result<Self, Failure> {
        let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for flag in flags.iter().filter(|flag| !flag.is_empty()) {
            let Some((name, value)) = flag.split_once('=') else {
                return Err(Failure::new(format!(
                    "invalid argument \"{flag}\" for \"-f, --filter\" flag: invalid filter '{flag}' (must be NAME=VALUE)"
                ))
                .with_code(125));
            };
            let name = name.trim().to_ascii_lowercase();
            if !known.contains(&name.as_str()) {
                return Err(Failure::new(format!("Error response from daemon: invalid filter '{name}'")));
            }
            values.entry(name).or_default().push(value.trim().to_owned());
        }
        Ok(Filters { values })
    }

    /// Whether one of the values of `name` satisfies, or there are none.
    pub(super) fn any(&self, name: &str, satisfies: impl Fn(&str) -> bool) -> bool {
        self.values.get(name).is_none_or(|values| values.iter().any(|value| satisfies(value)))
    }

    /// Whether these labels satisfy every `label` filter: `NAME`, or `NAME=VALUE`.
    pub(super) fn labels(&self, labels: &BTreeMap<String, String>) -> bool {
        let satisfied = |wanted: &String| match wanted.split_once('=') {
            Some((name, value)) => labels.get(name).is_some_and(|found| found == value),
            None => labels.contains_key(wanted),
        };
        self.values.get("label").is_none_or(|wanted| wanted.iter().all(satisfied))
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Whether these labels satisfy every `label` filter, and none of those called `label!`.
    pub(super) fn prunes_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = |unwanted: &String| match unwanted.split_once('=') {
            Some((name, value)) => labels.get(name).is_some_and(|found| found == value),
            None => labels.contains_key(unwanted),
        };
        self.labels(labels) && !self.values("label!").iter().any(has)
    }

    /// The moment that `until` names, in seconds since 1970: a moment, or how long ago it was.
    pub(super) fn until(&self) -> Result<Option<i64>, Failure> {
        match self.values("until") {
            [] => Ok(None),
            [text] => moment::parse(text)
                .map(Some)
                .ok_or_else(|| Failure::new(format!("Error response from daemon: invalid filter 'until=[{text}]'"))),
            _ => Err(Failure::new("Error response from daemon: more than one until filter specified")),
        }
    }

    /// What the filters ask of parts of the build cache.
    pub(super) fn of_cache(&self) -> Result<Vec<CacheFilter>, Failure> {
        let mut found = Vec::new();
        let times: usize = ["until", "unused-for"].iter().map(|name| self.values(name).len()).sum();
        if times > 1 {
            return Err(Failure::new("Error response from daemon: conflicting filters: until, unused-for"));
        }
        found.extend(self.until()?.map(CacheFilter::UnusedSince));
        for text in self.values("unused-for") {
            let invalid = || Failure::new(format!("Error response from daemon: invalid filter 'unused-for=[{text}]'"));
            found.push(CacheFilter::UnusedSince(moment::parse(text).ok_or_else(invalid)?));
        }
        found.extend(self.values("id").iter().cloned().map(CacheFilter::Id));
        found.extend(self.values("type").iter().cloned().map(CacheFilter::Kind));
        found.extend(self.values("description").iter().cloned().map(CacheFilter::Description));
        found.extend(self.truth("inuse")?.map(CacheFilter::InUse));
        found.extend(self.truth("shared")?.map(CacheFilter::Shared));
        found.extend(self.truth("private")?.map(|private| CacheFilter::Shared(!private)));
        found.extend(self.truth("mutable")?.map(CacheFilter::Mutable));
        found.extend(self.truth("immutable")?.map(|immutable| CacheFilter::Mutable(!immutable)));
        Ok(found)
    }

    /// The values of `name`.
    pub(super) fn values(&self, name: &str) -> &[String] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    /// The truth that `name` asks for, if it is there.
    pub(super) fn truth(&self, name: &str) -> Result<Option<bool>, Failure> {
        match self.values(name).last().map(String::as_str) {
            None => Ok(None),
            Some("1" | "true" | "True" | "TRUE" | "t" | "T") => Ok(Some(true)),
            Some("0" | "false" | "False" | "FALSE" | "f" | "F") => Ok(Some(false)),
            Some(other) => Err(Failure::new(format!("Error response from daemon: invalid filter '{name}=[{other}]'"))),
        }
    }
}

/// Whether `text` is of the `pattern`: `*` and `?` stand for anything but a slash, `[a-z]` for one letter.
pub(super) fn glob(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    matches(&pattern, &text)
}

/// Goes back to the last `*` only, so that the work stays within the product of the lengths.
fn matches(pattern: &[char], text: &[char]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        let letter = text[t];
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
                continue;
            }
            Some(_) => {
                if let Some(used) = one_letter(&pattern[p..], letter) {
                    p += used;
                    t += 1;
                    continue;
                }
            }
            None => {}
        }
        match star {
            Some((at, from)) if text.get(from).is_some_and(|skipped| *skipped != '/') => {
                star = Some((at, from + 1));
                (p, t) = (at + 1, from + 1);
            }
            _ => return false,
        }
    }
    pattern.iter().skip(p).all(|letter| *letter == '*')
}

/// How much of the pattern this letter satisfies.
fn one_letter(pattern: &[char], letter: char) -> Option<usize> {
    match pattern.first()? {
        '?' => (letter != '/').then_some(1),
        '\\' => pattern.get(1).filter(|wanted| **wanted == letter).map(|_| 2),
        '[' => class(pattern, letter),
        wanted => (*wanted == letter).then_some(1),
    }
}

fn class(pattern: &[char], letter: char) -> Option<usize> {
    let end = pattern.iter().position(|c| *c == ']')?;
    let inner = pattern.get(1..end)?;
    let (negated, inner) = match inner.split_first() {
        Some(('^' | '!', rest)) => (true, rest),
        _ => (false, inner),
    };
    let (mut found, mut at) = (false, 0);
    while let Some(first) = inner.get(at) {
        match (inner.get(at + 1), inner.get(at + 2)) {
            (Some('-'), Some(last)) => {
                found |= (*first..=*last).contains(&letter);
                at += 3;
            }
            _ => {
                found |= *first == letter;
                at += 1;
            }
        }
    }
    (found != negated && letter != '/').then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_stop_at_slashes() {
        let check = |pattern, text, want| assert_eq!(glob(pattern, text), want, "{pattern} {text}");
        check("my/*", "my/one", true);
        check("my/*", "my/one/two", false);
        check("*", "busybox", true);
        check("busy*x:*", "busybox:latest", true);
        check("b?x", "box", true);
        check("b?x", "b/x", false);
        check("[a-c]x", "bx", true);
        check("[^a-c]x", "bx", false);
        check("a**b", "ab", true);
        check("", "a", false);
    }

    #[test]
    fn unknown_filters_are_refused() {
        let parse = |flag: &str| Filters::parse(&[flag.to_owned()], &["name", "label"]);
        assert_eq!(parse("bad=1").unwrap_err().message, "Error response from daemon: invalid filter 'bad'");
        assert_eq!(parse("bad").unwrap_err().code, 125);
        let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let satisfied = |flag: &str| parse(flag).unwrap().labels(&labels);
        assert!(satisfied("label=a") && satisfied("label=a=b") && !satisfied("label=a=c") && !satisfied("label=x"));
    }
}
