//! Images and file systems on their way out of the store.
use std::io::Write;
use std::os::fd::BorrowedFd;

use kiln_oci::{Descriptor, Digest, ImageConfig, Platform, Reference};
use kiln_progress::Task;
use kiln_store::{Image, Layer, Store, Timestamp, Union};

use crate::compression::Format;

/// Why an export failed.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A layer cannot be packed.
    #[error(transparent)]
    Pack(#[from] crate::pack::PackError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] kiln_store::Error),
}

/// What one image of an export consists of.
#[derive(Clone, Debug)]
pub struct ImageContent {
    /// The config; its diff ids are filled in from `layers` if they are empty.
    pub config: ImageConfig,
    /// The layers, bottom first.
    pub layers: Vec<Layer>,
    /// The platform, for an index of several.
    pub platform: Platform,
}

/// How layers are written.
#[derive(Clone, Debug, Default)]
pub struct ExportOptions {
    /// Compression of layers.
    pub format: Format,
    /// File times after this one are written as this one (`rewrite-timestamp`).
    pub newest: Option<Timestamp>,
    /// `org.opencontainers.image.created` of the index entry, RFC 3339; the config's `created` if absent.
    pub created: Option<String>,
}

/// What was written.
#[derive(Clone, Debug)]
pub struct Exported {
    /// The manifest, or the index of several platforms.
    pub descriptor: Descriptor,
    /// Digests of the configs, one an image.
    pub configs: Vec<Digest>,
}

/// Completes a built image: computes diff ids, stores config, adds the image to the store and gives it `names`.
pub fn store_image(store: &Store, content: &ImageContent, names: &[Reference]) -> Result<Image, ExportError> {
    todo!()
}

/// Writes an OCI layout as a tar. Several images become one index, one a platform.
pub fn oci<W: Write>(
    output: W,
    store: &Store,
    images: &[ImageContent],
    names: &[Reference],
    options: &ExportOptions,
    task: &Task,
) -> Result<Exported, ExportError> {
    todo!()
}

/// Writes one image as `docker load` takes it: docker archive and OCI layout in one tar.
pub fn docker<W: Write>(
    output: W,
    store: &Store,
    image: &ImageContent,
    names: &[Reference],
    options: &ExportOptions,
    task: &Task,
) -> Result<Exported, ExportError> {
    todo!()
}

/// Writes the root file system as a flat tar.
pub fn tar<W: Write>(output: W, rootfs: &Union, newest: Option<Timestamp>) -> Result<W, ExportError> {
    todo!()
}

/// Writes the root file system into a directory, as the calling user.
pub fn local(directory: BorrowedFd<'_>, rootfs: &Union, newest: Option<Timestamp>) -> Result<(), ExportError> {
    todo!()
}
