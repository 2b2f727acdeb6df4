//! `kiln load`: images from an archive, or an OCI layout directory, into the store.
//!
//! What the input is, is found in its content: OCI archive, docker archive or both in one, each
//! compressed or not. Does not know names' meaning for a user, nor how results are shown.

mod archive;
mod directory;
mod docker;
mod oci;

use std::io::{self, Read};
use std::path::Path;

use kiln_oci::{Digest, Platform};
use kiln_progress::Task;
use kiln_store::{Image, Store};

pub use crate::import::ImportError;
use crate::tar::TarError;

/// Why an archive or layout cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// An image of it cannot be taken in.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] kiln_store::Error),
    /// The archive is damaged, or none.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// The input cannot be read or decompressed.
    #[error("cannot read {place}: {source}")]
    Read {
        /// Which file.
        place: String,
        /// Why.
        source: io::Error,
    },
    /// The input is something else.
    #[error("{place} holds no image: neither index.json (OCI) nor manifest.json (docker)")]
    NoImage {
        /// The archive or directory.
        place: String,
    },
    /// The archive has more files than an image archive has.
    #[error("the archive has more than {limit} files; it is no image archive")]
    TooManyFiles {
        /// The limit.
        limit: usize,
    },
    /// A document is not what it should be.
    #[error("{place} is malformed: {source}")]
    Document {
        /// Which file.
        place: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A document that is larger than any real one.
    #[error("{place} has {size} bytes, which is no real image's")]
    DocumentTooLarge {
        /// Which file.
        place: String,
        /// Its size.
        size: u64,
    },
    /// A file is over a limit.
    #[error("refusing {path}: {source}")]
    Limit {
        /// The file.
        path: String,
        /// Which limit.
        source: crate::unpack::LimitExceeded,
    },
    /// A file that a document names is missing.
    #[error("{path} is missing, which {named_by} names")]
    MissingFile {
        /// The file.
        path: String,
        /// The document.
        named_by: String,
    },
    /// A file's bytes are not those that its name promises.
    #[error("{path} is damaged: {source}")]
    DamagedFile {
        /// The file.
        path: String,
        /// What differs.
        source: kiln_store::Error,
    },
    /// The layout has no such image.
    #[error("no image {wanted} in {place}; it has {available}")]
    NoSuchImage {
        /// What was asked for.
        wanted: String,
        /// The layout.
        place: String,
        /// What there is, comma-separated.
        available: String,
    },
}

/// An image that came with an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Full names that it was given; may be none.
    pub names: Vec<String>,
    /// Its id; of an image for several platforms, that of the one which its names mean by themselves.
    pub id: Digest,
}

/// Loads every image of an OCI archive, docker archive or both in one, in any known compression,
/// from a file or a pipe. Of an image for several platforms, those that the archive holds, or the one for `platform`.
pub fn load<R: Read>(
    store: &Store,
    archive: R,
    platform: Option<&Platform>,
    task: &Task,
) -> Result<Vec<Loaded>, LoadError> {
    let spool = archive::Spool::read(store, archive, task)?;
    if spool.document(crate::layout::INDEX).is_some() {
        oci::load_archive(store, &spool, platform, task)
    } else if spool.document(crate::layout::DOCKER_MANIFEST).is_some() {
        docker::load_archive(store, &spool, task)
    } else {
        Err(LoadError::NoImage { place: "the archive".to_owned() })
    }
}

/// Which image of an OCI layout is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// The only one, or the one tagged `latest`.
    Default,
    /// By its tag (`org.opencontainers.image.ref.name`).
    Tag(String),
    /// By digest of its manifest or index.
    Digest(Digest),
}

/// Takes one image of an OCI layout directory into the store, without naming it.
pub fn from_layout(
    store: &Store,
    directory: &Path,
    selector: &Selector,
    platform: &Platform,
    task: &Task,
) -> Result<Image, LoadError> {
    let layout = directory::Layout::open(directory)?;
    let chosen = layout.select(selector)?;
    let manifest = layout.fetch_manifest(store, &chosen, platform)?;
    layout.fetch_image(store, &manifest)?;
    let described = crate::import::Described::read(store, &manifest.digest)?;
    described.unpack(store, task)?;
    Ok(described.insert(store)?)
}

/// Reads a JSON document.
fn parse<T: serde::de::DeserializeOwned>(raw: &[u8], place: &str) -> Result<T, LoadError> {
    serde_json::from_slice(raw).map_err(|source| LoadError::Document { place: place.to_owned(), source })
}

#[cfg(test)]
mod tests;
