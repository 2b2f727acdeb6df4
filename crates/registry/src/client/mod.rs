//! The client: finds and fetches manifests and blobs.

use std::sync::Arc;

use bytes::Bytes;
use kiln_oci::{Descriptor, Manifest, ManifestOrIndex, Platform, Reference};

use crate::{Config, CredentialSource, Error};

/// Talks to registries. Cheap to clone; clones share connections, tokens and limits.
#[derive(Clone, Debug)]
pub struct Client {}

/// A manifest or index as the registry holds it.
#[derive(Clone, Debug)]
pub struct Document {
    /// Media type, digest and size of [`Document::raw`].
    pub descriptor: Descriptor,
    /// The bytes; their digest was checked.
    pub raw: Bytes,
    /// The same, read.
    pub content: ManifestOrIndex,
}

/// An image for one platform.
#[derive(Clone, Debug)]
pub struct RemoteImage {
    /// What the reference names: the index, or the manifest itself where there is no index.
    pub root: Document,
    /// Media type, digest and size of the manifest; from an index, with its platform.
    pub descriptor: Descriptor,
    /// The bytes of the manifest; their digest was checked.
    pub raw: Bytes,
    /// The same, read.
    pub manifest: Manifest,
}

/// The bytes of a blob, checked while they come.
#[derive(Debug)]
pub struct BlobStream {}

impl BlobStream {
    /// The next piece; `None` at the end, and only then the bytes are known to be the right ones. A broken
    /// connection is taken up again where it broke.
    ///
    /// # Errors
    /// Wrong digest or size, or a connection that breaks each time. After an error the stream is finished.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        unimplemented!()
    }

    /// Bytes handed out so far.
    pub fn received(&self) -> u64 {
        unimplemented!()
    }
}

impl Client {
    /// A client that asks `credentials` when a registry wants some.
    ///
    /// # Errors
    /// Certificates that cannot be read.
    pub fn new(_config: Config, _credentials: Arc<dyn CredentialSource>) -> Result<Self, Error> {
        unimplemented!()
    }

    /// What `reference` names now, without fetching it: a tag (`latest` by default) or a digest. One `HEAD`
    /// request, which public registries do not count as a pull.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn head(&self, _reference: &Reference) -> Result<Descriptor, Error> {
        unimplemented!()
    }

    /// Fetches what `reference` names: a tag (`latest` by default) or a digest, which counts where both are given.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn resolve(&self, _reference: &Reference) -> Result<Document, Error> {
        unimplemented!()
    }

    /// Fetches what `reference` names, and of an index the manifest for `platform`. Whether the config of
    /// an image without an index is for `platform` is not looked at.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::NoPlatform`] lists what an index has.
    pub async fn image(&self, _reference: &Reference, _platform: &Platform) -> Result<RemoteImage, Error> {
        unimplemented!()
    }

    /// Fetches a manifest or index of the repository of `reference` by its descriptor.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn document(&self, _reference: &Reference, _descriptor: &Descriptor) -> Result<Document, Error> {
        unimplemented!()
    }

    /// Starts to fetch a blob of the repository of `reference`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn blob(&self, _reference: &Reference, _descriptor: &Descriptor) -> Result<BlobStream, Error> {
        unimplemented!()
    }

    /// Fetches a small blob of the repository of `reference`, such as an image config, whole: at most 8 MiB.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn small_blob(&self, _reference: &Reference, _descriptor: &Descriptor) -> Result<Bytes, Error> {
        unimplemented!()
    }
}
