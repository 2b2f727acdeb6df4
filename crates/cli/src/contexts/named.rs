//! `--build-context`: what its names stand for.

use std::path::{Path, PathBuf};

use kiln_build::NamedContext;
use kiln_dockerfile::GitUrl;
use kiln_images::load::Selector;

use super::argument::is_web;
use crate::failure::Failure;

/// What a name stands for.
pub(super) enum Named {
    /// A directory.
    Directory(PathBuf),
    /// An image, from a registry or a layout.
    Image(NamedContext),
    /// A git repository.
    Repository(GitUrl),
    /// An archive on a web server.
    Web(String),
}

/// One `--build-context`, `NAME=SOURCE`.
pub(super) fn parse(text: &str) -> Result<(String, Named), Failure> {
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
    if source.starts_with("target:") {
        return Err(bad(
            "targets of other builds exist in bake files only; name a stage by --target, or an image".into()
        ));
    }
    let path = PathBuf::from(source);
    if path.is_dir() {
        if path.join("oci-layout").is_file() && path.join("index.json").is_file() {
            let layout = NamedContext::Layout { directory: path, selector: Selector::Default };
            return Ok((name.into(), Named::Image(layout)));
        }
        return Ok((name.into(), Named::Directory(path)));
    }
    if let Some(url) = GitUrl::of_context(source) {
        return Ok((name.into(), Named::Repository(url)));
    }
    if is_web(source) {
        return Ok((name.into(), Named::Web(source.into())));
    }
    let unknown = source.contains("://");
    Err(bad(if unknown { "this kind of source is not known".into() } else { format!("{source:?} is no directory") }))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_apart() {
        let kind = |source: &str| match parse(&format!("n={source}")) {
            Ok((_, Named::Directory(_))) => "directory".to_owned(),
            Ok((_, Named::Image(_))) => "image".into(),
            Ok((_, Named::Repository(_))) => "repository".into(),
            Ok((_, Named::Web(_))) => "web".into(),
            Err(failure) => failure.message,
        };
        assert_eq!(kind("/"), "directory");
        assert_eq!(kind("docker-image://alpine"), "image");
        assert_eq!(kind("oci-layout:///srv/l:v1"), "image");
        assert_eq!(kind("https://h/r.git#v1"), "repository");
        assert_eq!(kind("git@h:r"), "repository");
        assert_eq!(kind("https://h/c.tar.gz"), "web");
        assert!(kind("target:base").contains("bake"));
        assert!(kind("s3://x").contains("not known"));
        assert!(kind("no/such").contains("is no directory"));
        assert!(parse("x").is_err_and(|failure| failure.message.contains("NAME=SOURCE")));
    }
}
