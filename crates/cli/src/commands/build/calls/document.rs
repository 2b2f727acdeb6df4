//! What the JSON documents of `--call` have in common.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kiln_dockerfile::Span;
use serde_json::{Map, Value, json};

/// A member of an object, unless it is empty or false: docker leaves such out.
pub(super) fn member(name: &str, value: Value) -> Option<(String, Value)> {
    let is_empty = match &value {
        Value::Null => true,
        Value::Bool(truth) => !truth,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Number(_) | Value::Object(_) => false,
    };
    (!is_empty).then(|| (name.to_owned(), value))
}

/// An object of the members that are there, in this order.
pub(super) fn object(members: impl IntoIterator<Item = Option<(String, Value)>>) -> Value {
    Value::Object(members.into_iter().flatten().collect::<Map<_, _>>())
}

/// Where something stands.
pub(super) fn location(span: &Span) -> Value {
    json!({ "ranges": [{ "start": { "line": span.first_line }, "end": { "line": span.last_line } }] })
}

/// The Dockerfile that locations are about.
pub(super) fn sources(text: &str) -> Value {
    json!([STANDARD.encode(text)])
}

/// As it is printed.
pub(super) fn printed(document: &Value) -> String {
    format!("{document:#}\n")
}
