//! Images from what the store holds of them, where its database was lost: their manifests and configs are blobs, and
//! a config names its layers by digests that the layers still have.
//!
//! Their names are those of the copy that the store keeps beside the database.

use std::collections::HashMap;
use std::io;

use kiln_oci::{Descriptor, Digest, ImageConfig};
use kiln_store::{ImageLayer, Layer, LayerId, NewImage, Store, Union};

use crate::import::{DOCUMENT_LIMIT, Described, ImportError};
use crate::pack::{self, Hashing};

type Result<T, E = kiln_store::Error> = std::result::Result<T, E>;

/// Adds the images that the store does not know and that blobs describe: pulled and loaded ones whose manifest is here,
/// and built ones whose layers are.
///
/// # Errors
/// The store's own. What describes no image, or none that is whole, is passed over.
pub fn images(store: &Store) -> Result<()> {
    let documents = documents(store)?;
    for digest in &documents {
        let Ok(described) = Described::read(store, digest) else { continue };
        match described.insert(store) {
            Err(ImportError::Store(error)) => return Err(error),
            _ => continue,
        }
    }
    let mut finder = Finder { store, blobs: blobs(store)?, tars: HashMap::new() };
    for digest in &documents {
        if store.images().get(digest)?.is_none() {
            finder.built(digest)?;
        }
    }
    named(store)
}

/// Gives images the names that they had, as far as those mean nothing now.
fn named(store: &Store) -> Result<()> {
    for (name, mut ids) in store.images().copied_names() {
        if !store.images().platforms(&name)?.is_empty() {
            continue;
        }
        let mut known = Vec::new();
        for id in ids.drain(..) {
            known.extend(store.images().get(&id)?.map(|image| image.id));
        }
        if !known.is_empty() {
            store.images().tag_all(&name, &known)?;
        }
    }
    Ok(())
}

/// Blobs that may be a manifest or a config.
fn documents(store: &Store) -> Result<Vec<Digest>> {
    let mut found = Vec::new();
    for (digest, size) in store.blobs().list()? {
        if size <= DOCUMENT_LIMIT {
            let mut first = [0];
            // A blob that cannot be read is a check's business.
            let read = store.blobs().open(&digest).map(|mut blob| io::Read::read_exact(&mut blob, &mut first));
            if matches!(read, Ok(Ok(()))) && first == *b"{" {
                found.push(digest);
            }
        }
    }
    Ok(found)
}

/// The blobs of layers, by diff id.
fn blobs(store: &Store) -> Result<HashMap<Digest, Descriptor>> {
    let images = store.images().list()?;
    let layers = images.into_iter().flat_map(|image| image.layers);
    Ok(layers.filter_map(|layer| Some((layer.diff_id, layer.blob?))).collect())
}

struct Finder<'a> {
    store: &'a Store,
    blobs: HashMap<Digest, Descriptor>,
    /// Digests of layers' tars, as far as they do not depend on what lies below.
    tars: HashMap<LayerId, Digest>,
}

impl Finder<'_> {
    /// Adds the image of a config, if all its layers are here.
    fn built(&mut self, id: &Digest) -> Result<()> {
        let Ok(raw) = self.store.blobs().read(id, DOCUMENT_LIMIT) else { return Ok(()) };
        let Ok(config) = ImageConfig::parse(&raw) else { return Ok(()) };
        let (mut layers, mut below): (Vec<ImageLayer>, Vec<Layer>) = (Vec::new(), Vec::new());
        for diff_id in &config.rootfs.diff_ids {
            let Some(layer) = self.layer(diff_id, &below)? else { return Ok(()) };
            let blob = self.blobs.get(diff_id).cloned();
            layers.push(ImageLayer { diff_id: diff_id.clone(), layer: Some(layer.id()), blob });
            below.push(layer);
        }
        // Many a document has no layers, and is no config either.
        if !layers.is_empty() {
            let image = NewImage { id: id.clone(), platform: config.platform(), manifest: None, layers };
            self.store.images().insert(&image)?;
        }
        Ok(())
    }

    /// The layer with this diff id over these: known, unpacked from its blob, or one that has no diff id yet.
    fn layer(&mut self, diff_id: &Digest, below: &[Layer]) -> Result<Option<Layer>> {
        if let Some(layer) = self.store.layers().by_diff_id(diff_id)? {
            return Ok(Some(layer));
        }
        if let Some(blob) = self.blobs.get(diff_id)
            && crate::import::unpack_blob(self.store, blob, diff_id).is_ok()
        {
            return self.store.layers().by_diff_id(diff_id);
        }
        let lower = Union::new(below.to_vec())?;
        for id in self.store.layers().unnamed()? {
            let Some(layer) = self.store.layers().get(id)? else { continue };
            if self.tar(&layer, &lower)?.as_ref() == Some(diff_id) {
                self.store.layers().set_diff_id(&layer, diff_id, false)?;
                return Ok(Some(layer));
            }
        }
        Ok(None)
    }

    /// The digest of the layer's tar over `lower`; `None` if the layer is damaged.
    fn tar(&mut self, layer: &Layer, lower: &Union) -> Result<Option<Digest>> {
        if let Some(known) = self.tars.get(&layer.id()) {
            return Ok(Some(known.clone()));
        }
        let Ok(alone) = pack::stands_alone(layer) else { return Ok(None) };
        let Ok(hashed) = pack::write_layer(Hashing::new(io::sink()), layer, lower, None) else { return Ok(None) };
        let (_, digest) = hashed.finish();
        if alone {
            self.tars.insert(layer.id(), digest.clone());
        }
        Ok(Some(digest))
    }
}
