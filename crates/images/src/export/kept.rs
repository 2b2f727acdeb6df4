//! Images that were just built, into the store.

use kiln_oci::{Digest, ImageConfig, Reference};
use kiln_progress::Task;
use kiln_store::{Image, ImageLayer, NewImage, Store};

use super::{ContentLayer, ExportError, ExportOptions, Exported, ImageContent, Listing, Parts, parts};
use crate::pack;

/// Completes built images, one a platform: computes their diff ids, stores the configs, adds the images to the store
/// and gives them `names` (with the tag `latest` where they have none).
pub fn store_images(store: &Store, contents: &[ImageContent], names: &[Reference]) -> Result<Vec<Image>, ExportError> {
    let ids = contents.iter().map(|content| Ok(store_image(store, content)?.id));
    let ids = ids.collect::<Result<Vec<Digest>, ExportError>>()?;
    named(store, &ids, names)
}

fn store_image(store: &Store, content: &ImageContent) -> Result<Image, ExportError> {
    let diff_ids = diff_ids(store, &content.layers)?;
    let mut config = content.config.clone();
    config.rootfs.diff_ids.clone_from(&diff_ids);
    let raw = config.to_bytes().map_err(|source| ExportError::Document { what: "config", source })?;
    let id = store.blobs().insert(&raw)?.digest;
    let known = parts::known_blobs(store)?;
    let layer = |(diff_id, layer): (Digest, &ContentLayer)| match layer {
        ContentLayer::Here(layer) => {
            ImageLayer { blob: known.get(&diff_id).cloned(), layer: Some(layer.id()), diff_id }
        }
        ContentLayer::Elsewhere(far) => ImageLayer { blob: Some(far.blob.clone()), layer: None, diff_id },
    };
    let layers = diff_ids.into_iter().zip(&content.layers).map(layer).collect();
    let image = NewImage { id, platform: config.platform(), manifest: None, layers };
    let image = store.images().insert(&image)?;
    remember_origins(store, content)?;
    Ok(image)
}

/// Once an image names its layers, it is remembered where those are that are not here.
fn remember_origins(store: &Store, content: &ImageContent) -> Result<(), ExportError> {
    for layer in &content.layers {
        let ContentLayer::Elsewhere(far) = layer else { continue };
        for repository in far.repositories.iter().rev() {
            store.origins().add(&repository.name(), std::slice::from_ref(&far.blob.digest))?;
        }
    }
    Ok(())
}

/// The diff ids of all layers, bottom first. What lies above a layer that is elsewhere must be known already, or not
/// depend on it ([`pack::stands_alone`]).
fn diff_ids(store: &Store, layers: &[ContentLayer]) -> Result<Vec<Digest>, ExportError> {
    let here = pack::diff_ids(store, &parts::held(layers))?;
    let mut here = here.into_iter();
    let each = |layer: &ContentLayer| match layer {
        ContentLayer::Here(_) => here.next(),
        ContentLayer::Elsewhere(far) => Some(far.diff_id.clone()),
    };
    Ok(layers.iter().filter_map(each).collect())
}

/// The same with manifests: layers are compressed now, and a later push sends just these bytes. Gives what names the
/// images together, too.
pub fn store_packed_images(
    store: &Store,
    contents: &[ImageContent],
    names: &[Reference],
    options: &ExportOptions,
    task: &Task,
) -> Result<(Vec<Image>, Exported), ExportError> {
    let parts = parts::of_contents(store, contents, options, task)?;
    let (_, exported) = Listing::platforms(&parts, names, options)?;
    let ids = parts.iter().zip(contents).map(|(part, content)| store_packed_image(store, part, content));
    let ids = ids.collect::<Result<Vec<Digest>, ExportError>>()?;
    Ok((named(store, &ids, names)?, exported))
}

fn store_packed_image(store: &Store, part: &Parts, content: &ImageContent) -> Result<Digest, ExportError> {
    let config = ImageConfig::parse(&part.config).map_err(|source| ExportError::Document { what: "config", source })?;
    let id = store.blobs().insert(&part.config)?.digest;
    let manifest = store.blobs().insert(&part.manifest)?.digest;
    let layers = config.rootfs.diff_ids.iter().zip(&part.layers).zip(&content.layers);
    let layers = layers.map(|((diff_id, blob), layer)| ImageLayer {
        diff_id: diff_id.clone(),
        layer: match layer {
            ContentLayer::Here(layer) => Some(layer.id()),
            ContentLayer::Elsewhere(_) => None,
        },
        blob: Some(blob.clone()),
    });
    let image =
        NewImage { id: id.clone(), platform: config.platform(), manifest: Some(manifest), layers: layers.collect() };
    store.images().insert(&image)?;
    remember_origins(store, content)?;
    Ok(id)
}

/// Gives images of several platforms their names.
fn named(store: &Store, ids: &[Digest], names: &[Reference]) -> Result<Vec<Image>, ExportError> {
    for name in names {
        store.images().tag_all(&name.with_default_tag().to_string(), ids)?;
    }
    let missing = |id: &Digest| kiln_store::Error::MissingImage(id.to_string());
    ids.iter().map(|id| Ok(store.images().get(id)?.ok_or_else(|| missing(id))?)).collect()
}
