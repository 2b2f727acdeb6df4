//! A context that was fetched: its Dockerfile is in it.

use std::path::Path;
use std::sync::Arc;

use kiln_build::{Context, DockerfileText, FetchedContext, StoredFiles};

use super::{DOCKERFILE, directory, text, unreadable};
use crate::failure::Failure;

/// The Dockerfile of what was fetched. `named` is the path that `-f` says, from the context's root.
pub(super) fn main(files: &StoredFiles, named: Option<&Path>) -> Result<DockerfileText, Failure> {
    let named = named.map(|path| path.to_string_lossy().into_owned());
    dockerfile(files, &named.unwrap_or_else(|| default_path(files)))
}

/// What was fetched for a `--build-context`.
pub(super) fn named(name: &str, fetched: FetchedContext) -> Result<Arc<dyn Context>, Failure> {
    match fetched {
        FetchedContext::Files(files) => Ok(Arc::new(files.context())),
        FetchedContext::Text(_) => {
            let reason = "it is no archive: ADD takes single files from web servers";
            Err(Failure::new(format!("ERROR: failed to build: build context {name:?}: {reason}")))
        }
    }
}

/// `Dockerfile`, or `dockerfile` where only that is there.
fn default_path(files: &StoredFiles) -> String {
    let names = files.names("");
    let lower = DOCKERFILE.to_lowercase();
    let only_lower = names.contains(&lower) && !names.iter().any(|name| name == DOCKERFILE);
    if only_lower { lower } else { DOCKERFILE.to_owned() }
}

fn dockerfile(files: &StoredFiles, path: &str) -> Result<DockerfileText, Failure> {
    match files.read(path).map_err(unreadable)? {
        Some(bytes) => Ok(text(path.rsplit('/').next().unwrap_or(path), &bytes)),
        None => {
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
            let hint = directory::hint(name, files.names(parent).into_iter());
            Err(unreadable(format!("open {path}: no such file or directory{hint}")))
        }
    }
}
