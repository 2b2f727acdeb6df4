//! Images and their names.
use crate::*;
use kiln_oci::Digest;

/// The images of a store.
pub struct Images<'a> {
    pub(crate) store: &'a Store,
}

/// One layer of an image, bottom first.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ImageLayer {
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// The unpacked layer, if there is one yet.
    pub layer: Option<LayerId>,
    /// The (compressed) blob as pulled or pushed, if known.
    pub blob: Option<kiln_oci::Descriptor>,
}

/// An image to be. Its config is already a blob.
#[derive(Debug, Clone)]
pub struct NewImage {
    /// Digest of the config blob: the image's id.
    pub id: Digest,
    /// The manifest as pulled (a blob), if it was.
    pub manifest: Option<Digest>,
    /// Layers, bottom first.
    pub layers: Vec<ImageLayer>,
}

/// An image that the store holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Digest of the config blob.
    pub id: Digest,
    /// The manifest as pulled, if it was.
    pub manifest: Option<Digest>,
    /// Layers, bottom first.
    pub layers: Vec<ImageLayer>,
    /// Full names such as `docker.io/library/busybox:latest`, sorted.
    pub names: Vec<String>,
    /// When it came into the store.
    pub created: Timestamp,
}

impl Images<'_> {
    /// Adds an image, or completes what is known of it (manifest, layers).
    pub fn insert(&self, _image: &NewImage) -> Result<Image> {
        todo!()
    }
    /// Gives an image a name, taking it from the image that had it; tells which that was.
    pub fn tag(&self, _name: &str, _id: &Digest) -> Result<Option<Digest>> {
        todo!()
    }
    /// Takes a name away; the image stays. Tells which image had it.
    pub fn untag(&self, _name: &str) -> Result<Option<Digest>> {
        todo!()
    }
    /// By id.
    pub fn get(&self, _id: &Digest) -> Result<Option<Image>> {
        todo!()
    }
    /// By full name, `sha256:…` id, manifest digest, or unambiguous beginning of the id's hex digits.
    pub fn resolve(&self, _name: &str) -> Result<Option<Image>> {
        todo!()
    }
    /// All, newest first.
    pub fn list(&self) -> Result<Vec<Image>> {
        todo!()
    }
    /// Forgets an image and its names. Fails if a container uses it and not `force`. What it alone needed goes with the next prune.
    pub fn remove(&self, _id: &Digest, _force: bool) -> Result<()> {
        todo!()
    }
}
