//! What is brought in from outside: images, contexts, downloads, repositories.

use kiln_oci::{Digest, Reference};
use serde::Serialize;

/// Where a root file system comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceOp {
    /// The layers of an image.
    Image(ImageSource),
    /// A directory of the caller's.
    Context(ContextSource),
    /// One file from an HTTP server.
    Http(HttpSource),
    /// A tree of a git repository.
    Git(GitSource),
}

/// An image that was resolved: its name is for people, its diff ids are what counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImageSource {
    /// The reference as resolved.
    pub reference: Reference,
    /// The manifest that it stands for, where one is known.
    pub manifest: Option<Digest>,
    /// The layers, bottom first.
    pub diff_ids: Vec<Digest>,
}

/// A directory of the caller's, by the name under which the caller knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ContextSource {
    /// `context` for the main one, else the name of `--build-context`.
    pub name: String,
}

/// A file from an HTTP server. The root file system made of it holds that one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HttpSource {
    /// The URL.
    pub url: String,
    /// The digest that the bytes must have.
    pub checksum: Option<Digest>,
    /// The name of the file in the root file system.
    pub file_name: String,
}

/// A tree of a git repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GitSource {
    /// The repository, without fragment and query.
    pub url: String,
    /// A branch, tag, commit or other ref; the default branch otherwise.
    pub reference: Option<String>,
    /// A directory within the repository that becomes the root.
    pub subdirectory: Option<String>,
    /// Whether `.git` stays.
    pub keep_git_directory: bool,
    /// The commit (full or abbreviated) that it must be.
    pub checksum: Option<String>,
}
