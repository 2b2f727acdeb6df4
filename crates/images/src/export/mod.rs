//! Images and file systems on their way out of the store.
//!
//! An image becomes an OCI layout or a docker archive, each as one tar; a root file system becomes
//! a flat tar or a directory. Where the bytes go is the caller's business.

mod annotations;
mod archive;
mod directory;
mod kept;
mod local;
mod parts;
mod rootfs;
mod squash;
mod whole;

use std::io::{self, Write};

use kiln_oci::{Descriptor, Digest, ImageConfig, Platform, Reference};
use kiln_progress::Task;
use kiln_store::{Layer, Store, Timestamp};

use crate::compression::Format;
use crate::import::ImportError;
use crate::pack::PackError;
use crate::pull::Unpulled;

pub use annotations::{Annotation, AnnotationTarget};
pub use directory::oci_directory;
pub use kept::{name_images, store_images, store_packed_images};
pub use local::{Owners, local, materialize};
pub use parts::known_blobs;
pub use rootfs::{tar, tar_of_several};
pub use squash::squash;

pub(crate) use archive::{Listing, write_archive};
pub(crate) use parts::Parts;
pub(crate) use whole::Whole;

/// Why an export failed.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A layer cannot be packed.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// A layer that is there as a blob cannot be unpacked.
    #[error(transparent)]
    Unpack(#[from] ImportError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] kiln_store::Error),
    /// The destination cannot be written.
    #[error("cannot write the export: {0}")]
    Write(#[source] io::Error),
    /// An entry of the destination directory cannot be written.
    #[error("cannot write {path:?} in the destination: {source}")]
    WriteEntry {
        /// The entry beneath the destination, lossily.
        path: String,
        /// What the disk said.
        source: io::Error,
    },
    /// A document cannot be expressed as JSON, or read as what it should be.
    #[error("the {what} of the image is malformed: {source}")]
    Document {
        /// Which document.
        what: &'static str,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A layer of the image is neither unpacked nor kept as a blob.
    #[error("layer {diff_id} of the image is not in the store; pull the image again")]
    MissingLayer {
        /// The layer.
        diff_id: Digest,
    },
    /// A layer cannot be dropped from or added to a finished image.
    #[error("the config names {diff_ids} layers, but the image has {layers}")]
    LayerCount {
        /// Diff ids in the config.
        diff_ids: usize,
        /// Layers known.
        layers: usize,
    },
    /// Annotations for an index that does not come to be.
    #[error("index annotations not supported for single platform export")]
    IndexAnnotations,
}

/// What one image of an export consists of.
#[derive(Clone, Debug)]
pub struct ImageContent {
    /// The config; its diff ids are replaced by those of `layers`.
    pub config: ImageConfig,
    /// The layers, bottom first.
    pub layers: Vec<ContentLayer>,
    /// The platform, for an index of several.
    pub platform: Platform,
}

/// A layer of an image on its way out.
#[derive(Clone, Debug)]
pub enum ContentLayer {
    /// One that the store holds.
    Here(Layer),
    /// One that the store only knows: its blob lies in registries. The forms of an image
    /// that consist of documents can be made with it; what is made of bytes needs it here.
    Elsewhere(Box<Unpulled>),
}

impl ImageContent {
    /// The layers, if the store holds all of them.
    ///
    /// # Errors
    /// [`ExportError::MissingLayer`] names the first that it does not hold.
    pub fn layers_here(&self) -> Result<Vec<Layer>, ExportError> {
        let here = |layer: &ContentLayer| match layer {
            ContentLayer::Here(layer) => Ok(layer.clone()),
            ContentLayer::Elsewhere(layer) => Err(ExportError::MissingLayer { diff_id: layer.diff_id.clone() }),
        };
        self.layers.iter().map(here).collect()
    }
}

/// The family of media types in manifests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MediaTypes {
    /// `application/vnd.oci.…`
    #[default]
    Oci,
    /// `application/vnd.docker.…`; where annotations or zstd need OCI's, those are taken.
    Docker,
}

/// How layers and documents are written.
#[derive(Clone, Debug, Default)]
pub struct ExportOptions {
    /// Compression of layers that are not blobs already.
    pub format: Format,
    /// Layers that are blobs in another compression are compressed anew.
    pub force_format: bool,
    /// The media types of manifests.
    pub media_types: MediaTypes,
    /// What is added to manifests, indexes and their entries.
    pub annotations: Vec<Annotation>,
    /// File times after this one are written as this one (`rewrite-timestamp`). Layers that came
    /// with the base image stay as they are.
    pub newest: Option<Timestamp>,
    /// `org.opencontainers.image.created` of the index entry, RFC 3339; the config's `created` if
    /// absent.
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

impl ExportOptions {
    /// Refuses annotations that nothing of this export could carry.
    fn check(&self, images: usize) -> Result<(), ExportError> {
        let needs_index = self.annotations.iter().any(|annotation| annotation.target.needs_index());
        if needs_index && images < 2 { Err(ExportError::IndexAnnotations) } else { Ok(()) }
    }
}

/// Writes an OCI layout as a tar. Several images become one index of platforms.
pub fn oci<W: Write>(
    output: W,
    store: &Store,
    images: &[ImageContent],
    names: &[Reference],
    options: &ExportOptions,
    task: &Task,
) -> Result<Exported, ExportError> {
    let whole = Whole::of_contents(store, images, options, task)?;
    let (listing, exported) = Listing::of(&whole, names, options.created.as_deref());
    write_archive(output, store, &listing, task)?;
    Ok(exported)
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
    let whole = Whole::of_contents(store, std::slice::from_ref(image), options, task)?;
    let (mut listing, exported) = Listing::of(&whole, names, options.created.as_deref());
    for part in &whole.parts {
        listing.add_docker_image(part, names);
    }
    write_archive(output, store, &listing, task)?;
    Ok(exported)
}

#[cfg(test)]
mod tests;
