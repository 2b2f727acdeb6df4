//! Requests to answers, by the kind of question.

use std::collections::BTreeMap;

use kiln_dockerfile::ignore::{IgnoreError, IgnoreMatcher, Inherited, read_ignore_file};
use kiln_dockerfile::shell::{Options, Shell};
use kiln_oci::Reference;
use serde_json::{Value, json};

mod lint;
mod lower;
mod parse;

/// Answers one request.
pub(crate) fn answer(request: &Value) -> Value {
    match text(request, "op").as_str() {
        "shell" => shell(request),
        "ref" => reference(&text(request, "ref")),
        "parse" => parse::parse(&text(request, "text")),
        "pattern" => pattern(request),
        "ignorefile" => json!({ "patterns": read_ignore_file(&text(request, "text")) }),
        "llb" => lower::lower(request),
        "lint" => lint::lint(request),
        _ => json!({ "unsupported": true }),
    }
}

/// A member that is a string; empty when absent.
pub(crate) fn text(request: &Value, name: &str) -> String {
    request[name].as_str().unwrap_or_default().to_owned()
}

/// A member that maps strings to strings.
pub(crate) fn map(request: &Value, name: &str) -> BTreeMap<String, String> {
    let members = request[name].as_object().into_iter().flatten();
    members.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

fn shell(request: &Value) -> Value {
    let flag = |name: &str| request["opts"][name].as_bool().unwrap_or(false);
    let options = Options {
        raw_quotes: flag("raw_quotes"),
        raw_escapes: flag("raw_escapes"),
        skip_quotes: flag("skip_process_quotes"),
        skip_unset: flag("skip_unset_env"),
    };
    let escape = text(request, "escape").chars().next().unwrap_or('\\');
    match Shell::new(escape, options).expand(&text(request, "word"), &map(request, "env")) {
        Ok(found) => json!({
            "word": found.word, "words": found.words, "matched": found.matched, "unmatched": found.unmatched,
        }),
        Err(error) => json!({ "error": error.to_string() }),
    }
}

fn pattern(request: &Value) -> Value {
    let lines: Vec<&str> = request["lines"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let raw = request["raw"].as_bool().unwrap_or(false);
    let matcher = if raw { IgnoreMatcher::new(&lines) } else { IgnoreMatcher::from_file(&lines.join("\n")) };
    let path = text(request, "path");
    let both = matcher.and_then(|matcher| Ok((matcher.excludes(&path)?, walk(&matcher, &path)?)));
    match both {
        Ok((ignored, walk)) => json!({ "ignored": ignored, "walk": walk }),
        Err(error) => json!({ "error": error.to_string() }),
    }
}

/// Asks about each directory on the way down to `path`.
fn walk(matcher: &IgnoreMatcher, path: &str) -> Result<bool, IgnoreError> {
    let mut inherited = Inherited::default();
    for (slash, _) in path.match_indices('/') {
        inherited = matcher.check(&path[..slash], &inherited)?.inherited;
    }
    Ok(matcher.check(path, &inherited)?.excluded)
}

fn reference(written: &str) -> Value {
    let reference: Reference = match written.parse() {
        Ok(reference) => reference,
        Err(error) => return json!({ "error": format!("{error}") }),
    };
    let mut answer = json!({
        "name": reference.name(),
        "domain": reference.domain(),
        "path": reference.path(),
        "string": reference.to_string(),
        "familiar": reference.familiar(),
        "with_default_tag": reference.with_default_tag().to_string(),
    });
    if let Some(tag) = reference.tag() {
        answer["tag"] = json!(tag);
    }
    if let Some(digest) = reference.digest() {
        answer["digest"] = json!(digest.to_string());
    }
    answer
}
