//! The options of `--output`, as they are found in what comes out: by other tools, and by a later push or save.

mod forms;
mod kept;
mod squash;

use std::fs;
use std::path::{Path, PathBuf};

use kiln_tests::kiln::{Kiln, tool};
use serde_json::Value;

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

fn text(path: &Path) -> &str {
    path.to_str().expect("path in UTF-8")
}

fn json(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}: {text}", path.display()))
}

/// A context with this Dockerfile, a file `file`, and a file for each of two architectures.
fn context(kiln: &Kiln, dockerfile: &str) -> PathBuf {
    let context = kiln.scratch("context");
    for (name, content) in [("Dockerfile", dockerfile), ("file", "content\n"), ("amd64", "amd64"), ("arm64", "arm64")] {
        fs::write(context.join(name), content).expect("file of the context");
    }
    context
}

/// A manifest or index in a layout, by skopeo.
#[track_caller]
fn manifest(place: &str) -> Value {
    serde_json::from_str(&tool("skopeo", &["inspect", "--raw", place])).expect("JSON")
}

/// The media types of the layers of a manifest.
fn layer_types(manifest: &Value) -> Vec<&str> {
    let layers = manifest["layers"].as_array().unwrap_or_else(|| panic!("no layers: {manifest}"));
    layers.iter().map(|layer| layer["mediaType"].as_str().expect("media type")).collect()
}
