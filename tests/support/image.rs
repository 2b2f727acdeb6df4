//! An image archive in the form in which two builds are compared: `diffbuild.py show`.

use std::path::Path;

use serde_json::Value;

use crate::kiln::tool;
use crate::testdata;

/// Config, history, file system and layer lists of an OCI or docker archive; fresh times read `now`.
#[track_caller]
pub fn shown(archive: &Path) -> Value {
    let script = testdata("conformance/diffbuild.py");
    let script = script.to_str().expect("path in UTF-8");
    let archive = archive.to_str().expect("path in UTF-8");
    // Port 9 answers nothing: the base's layers are compared too.
    let text = tool("python3", &[script, "show", archive, "--registry", "127.0.0.1:9"]);
    let shown: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(shown["problems"], Value::Array(Vec::new()), "{archive} is not valid");
    assert!(shown["images"].as_object().is_some_and(|images| !images.is_empty()), "{archive} is empty");
    shown
}

/// The first difference of two values, as a path; none if they are equal.
pub fn difference(one: &Value, other: &Value) -> Option<String> {
    match (one, other) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
            keys.into_iter().find_map(|key| {
                let missing = Value::Null;
                let (a, b) = (a.get(key).unwrap_or(&missing), b.get(key).unwrap_or(&missing));
                difference(a, b).map(|inner| format!("{key}/{inner}"))
            })
        }
        _ => (one != other).then(|| format!(": {one} and {other}")),
    }
}
