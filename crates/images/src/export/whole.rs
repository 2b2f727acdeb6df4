//! An image with all of its platforms on its way out: the parts, and the document that names them together.

use kiln_oci::{Descriptor, Digest, Manifest, ManifestOrIndex};
use kiln_progress::Task;
use kiln_store::{Image, Store};

use super::archive::root;
use super::parts::DOCUMENT_LIMIT;
use super::{ExportError, ExportOptions, Exported, ImageContent, Parts, parts};

/// An image, or several platforms of one.
#[derive(Clone, Debug)]
pub(crate) struct Whole {
    /// The manifest, or the index of several platforms.
    pub(crate) root: Descriptor,
    /// The index, where `root` is one.
    pub(crate) index: Option<Vec<u8>>,
    /// One a platform.
    pub(crate) parts: Vec<Parts>,
}

impl Whole {
    /// Packs images that were just built; several layers at once.
    pub(crate) fn of_contents(
        store: &Store,
        images: &[ImageContent],
        options: &ExportOptions,
        task: &Task,
    ) -> Result<Whole, ExportError> {
        Whole::new(parts::of_contents(store, images, options, task)?, options)
    }

    /// Puts parts together, with an index of their own where they are several.
    fn new(parts: Vec<Parts>, options: &ExportOptions) -> Result<Whole, ExportError> {
        let (root, index) = root(&parts, options)?;
        Ok(Whole { root, index, parts })
    }

    /// Makes images of the store ready, one a platform. `known` is what they go by together, if anything: its manifests
    /// are theirs if they are here, and it is taken as it is if it lists these images and nothing else.
    pub(crate) fn of_images(store: &Store, images: &[Image], known: Option<&Descriptor>) -> Result<Whole, ExportError> {
        let options = ExportOptions::default();
        let document = known.map(|known| Document::read(store, known)).transpose()?.flatten();
        let manifests = document.as_ref().map(Document::manifests).unwrap_or_default();
        let mut parts = Vec::new();
        for image in images {
            let own = manifest_of(store, image, &manifests)?;
            let own = own.or_else(|| image.manifest.clone());
            parts.push(Parts::of_image(store, image, own.as_ref(), &options)?);
        }
        match (document, known) {
            (Some(document), Some(known)) if document.is_of(&manifests, &parts) => {
                Ok(Whole { root: known.clone(), index: document.index(), parts })
            }
            _ => Whole::new(parts, &options),
        }
    }

    /// What there is to tell of it.
    pub(crate) fn exported(&self) -> Exported {
        let configs = self.parts.iter().map(|part| part.config_descriptor.digest.clone()).collect();
        Exported { descriptor: self.root.clone(), configs }
    }

    /// The bytes of `root`.
    pub(crate) fn root_bytes(&self) -> &[u8] {
        match (&self.index, self.parts.as_slice()) {
            (None, [one]) => &one.manifest,
            (index, _) => index.as_deref().unwrap_or_default(),
        }
    }
}

/// The manifest among `listed` that is of `image`.
fn manifest_of(store: &Store, image: &Image, listed: &[Digest]) -> Result<Option<Digest>, ExportError> {
    for digest in listed {
        if !store.blobs().contains(digest)? {
            continue;
        }
        let raw = store.blobs().read(digest, DOCUMENT_LIMIT)?;
        if serde_json::from_slice::<Manifest>(&raw).is_ok_and(|manifest| manifest.config.digest == image.id) {
            return Ok(Some(digest.clone()));
        }
    }
    Ok(None)
}

/// What a name stands for, as it was written.
struct Document {
    digest: Digest,
    raw: Vec<u8>,
    content: ManifestOrIndex,
}

impl Document {
    /// `None` if it is not in the store, or is nothing that could be passed on.
    fn read(store: &Store, known: &Descriptor) -> Result<Option<Document>, ExportError> {
        if !store.blobs().contains(&known.digest)? {
            return Ok(None);
        }
        let raw = store.blobs().read(&known.digest, DOCUMENT_LIMIT)?;
        let document = ManifestOrIndex::parse(&raw).ok();
        Ok(document.map(|content| Document { digest: known.digest.clone(), raw, content }))
    }

    /// Itself, or what it lists.
    fn manifests(&self) -> Vec<Digest> {
        match &self.content {
            ManifestOrIndex::Manifest(_) => vec![self.digest.clone()],
            ManifestOrIndex::Index(index) => index.manifests.iter().map(|entry| entry.digest.clone()).collect(),
        }
    }

    /// Whether just these parts are what it lists.
    fn is_of(&self, manifests: &[Digest], parts: &[Parts]) -> bool {
        let is_part = |digest: &Digest| parts.iter().any(|part| part.descriptor.digest == *digest);
        manifests.len() == parts.len() && manifests.iter().all(is_part)
    }

    fn index(self) -> Option<Vec<u8>> {
        matches!(self.content, ManifestOrIndex::Index(_)).then_some(self.raw)
    }
}
