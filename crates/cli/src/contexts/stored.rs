//! A context that was fetched: its Dockerfile and its ignore file are in it.

use std::path::Path;
use std::sync::Arc;

use kiln_build::{Context, ContextError, DockerfileText, FetchedContext, IgnoreFile, StoredFiles};

use super::{DOCKERFILE, directory, ignore, text, unreadable};
use crate::failure::Failure;

/// The Dockerfile of what was fetched, and its ignore file. `named` is the path that `-f` says, from the context's root;
/// `given` is a Dockerfile that came from elsewhere.
pub(super) fn main(
    files: &StoredFiles,
    named: Option<&Path>,
    given: Option<DockerfileText>,
) -> Result<(DockerfileText, Option<IgnoreFile>), Failure> {
    let named = named.map(|path| path.to_string_lossy().into_owned());
    let path = match named {
        Some(path) => path,
        None => default_path(files),
    };
    let dockerfile = match given {
        Some(given) => given,
        None => dockerfile(files, &path)?,
    };
    let own = ignore_file(files, &format!("{path}{}", ignore::NAME))?;
    let ignore = match own {
        Some(own) => Some(own),
        None => ignore_file(files, ignore::NAME)?,
    };
    Ok((dockerfile, ignore))
}

/// What was fetched, without what the ignore file leaves out.
pub(super) fn context(files: &StoredFiles, ignore: Option<&IgnoreFile>) -> Result<Arc<dyn Context>, Failure> {
    Ok(Arc::new(files.context(ignore).map_err(unusable)?))
}

/// What was fetched for a `--build-context`.
pub(super) fn named(name: &str, fetched: FetchedContext) -> Result<Arc<dyn Context>, Failure> {
    match fetched {
        FetchedContext::Files(files) => {
            let ignore = ignore_file(&files, ignore::NAME)?;
            context(&files, ignore.as_ref())
        }
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

fn ignore_file(files: &StoredFiles, path: &str) -> Result<Option<IgnoreFile>, Failure> {
    let bytes = files.read(path).map_err(unusable)?;
    let name = path.rsplit('/').next().unwrap_or(path).to_owned();
    Ok(bytes.map(|bytes| IgnoreFile { name, text: kiln_dockerfile::text_of(&bytes) }))
}

fn unusable(error: ContextError) -> Failure {
    Failure::new(format!("ERROR: failed to build: {error}"))
}
