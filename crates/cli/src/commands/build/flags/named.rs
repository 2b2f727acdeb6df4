//! `--build-context`: what its names stand for.

use std::path::{Path, PathBuf};

use kiln_build::NamedContext;
use kiln_images::load::Selector;

use crate::failure::Failure;

/// What a name stands for.
pub(super) enum Named {
    Directory(PathBuf),
    Image(NamedContext),
}

impl Named {
    /// As a build sees it.
    pub(super) fn kind(self) -> NamedContext {
        match self {
            Named::Directory(_) => NamedContext::Files,
            Named::Image(image) => image,
        }
    }
}

/// One `--build-context`, `NAME=SOURCE`.
pub(super) fn named_context(text: &str) -> Result<(String, Named), Failure> {
    let bad = |reason: String| Failure::new(format!("ERROR: invalid --build-context {text:?}: {reason}"));
    let (name, source) = text.split_once('=').ok_or_else(|| bad("expected NAME=SOURCE".into()))?;
    if let Some(reference) = source.strip_prefix("docker-image://") {
        let reference = reference.parse().map_err(|error| bad(format!("{error}")))?;
        return Ok((name.into(), Named::Image(NamedContext::Image(reference))));
    }
    if let Some(layout) = source.strip_prefix("oci-layout://") {
        let (directory, selector) = layout_selector(layout).map_err(bad)?;
        return Ok((name.into(), Named::Image(NamedContext::Layout { directory, selector })));
    }
    if source.contains("://") || source.starts_with("target:") {
        return Err(bad("this kind of source is not supported yet".into()));
    }
    let path = PathBuf::from(source);
    if path.is_dir() {
        if path.join("oci-layout").is_file() && path.join("index.json").is_file() {
            let layout = NamedContext::Layout { directory: path, selector: Selector::Default };
            return Ok((name.into(), Named::Image(layout)));
        }
        return Ok((name.into(), Named::Directory(path)));
    }
    Err(bad(format!("{source:?} is no directory")))
}

/// `DIR`, `DIR:TAG` or `DIR@DIGEST`.
fn layout_selector(text: &str) -> Result<(PathBuf, Selector), String> {
    if let Some((directory, digest)) = text.split_once('@') {
        let digest = digest.parse().map_err(|error| format!("{error}"))?;
        return Ok((PathBuf::from(directory), Selector::Digest(digest)));
    }
    match text.rsplit_once(':') {
        Some((directory, tag)) if !tag.contains('/') && !Path::new(text).exists() => {
            Ok((PathBuf::from(directory), Selector::Tag(tag.into())))
        }
        _ => Ok((PathBuf::from(text), Selector::Default)),
    }
}
