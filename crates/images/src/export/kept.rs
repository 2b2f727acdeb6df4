//! Images that were just built, into the store.

use kiln_oci::{Descriptor, Digest, ImageConfig, Reference};
use kiln_progress::Task;
use kiln_store::{Image, ImageLayer, LayerId, NewImage, Store};

use super::{ContentLayer, ExportError, ExportOptions, Exported, ImageContent, Parts, Whole, parts};
use crate::pack;

/// Completes built images, one a platform: computes their diff ids, stores the configs, adds the images to the store
/// and gives them `names` (with the tag `latest` where they have none).
pub fn store_images(store: &Store, contents: &[ImageContent], names: &[Reference]) -> Result<Vec<Image>, ExportError> {
    let ids = contents.iter().map(|content| Ok(store_image(store, content)?.id));
    let ids = ids.collect::<Result<Vec<Digest>, ExportError>>()?;
    name_images(store, &ids, names, None)
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

/// The same with manifests: layers are compressed now, and a later push or save has just these bytes, with the index of
/// several platforms and all annotations. Gives what names the images together, too.
pub fn store_packed_images(
    store: &Store,
    contents: &[ImageContent],
    names: &[Reference],
    options: &ExportOptions,
    task: &Task,
) -> Result<(Vec<Image>, Exported), ExportError> {
    let whole = Whole::of_contents(store, contents, options, task)?;
    let ids = whole.parts.iter().zip(contents).map(|(part, content)| store_packed_image(store, part, content));
    let ids = ids.collect::<Result<Vec<Digest>, ExportError>>()?;
    if let Some(index) = &whole.index {
        store.blobs().insert(index)?;
    }
    Ok((name_images(store, &ids, names, Some(&whole.root))?, whole.exported()))
}

fn store_packed_image(store: &Store, part: &Parts, content: &ImageContent) -> Result<Digest, ExportError> {
    let config = ImageConfig::parse(&part.config).map_err(|source| ExportError::Document { what: "config", source })?;
    let id = store.blobs().insert(&part.config)?.digest;
    let manifest = store.blobs().insert(&part.manifest)?.digest;
    let layers = config.rootfs.diff_ids.iter().zip(&part.layers).zip(&content.layers);
    let layers = layers.map(|((diff_id, blob), layer)| {
        let layer = unpacked_as(layer, diff_id)?;
        Ok(ImageLayer { diff_id: diff_id.clone(), layer, blob: Some(blob.clone()) })
    });
    let layers = layers.collect::<Result<_, ExportError>>()?;
    let image = NewImage { id: id.clone(), platform: config.platform(), manifest: Some(manifest), layers };
    store.images().insert(&image)?;
    remember_origins(store, content)?;
    Ok(id)
}

/// The unpacked form of a layer whose blob has this diff id: none where its files' times were rewritten on the way.
fn unpacked_as(layer: &ContentLayer, diff_id: &Digest) -> Result<Option<LayerId>, ExportError> {
    match layer {
        ContentLayer::Here(layer) if layer.diff_id()?.as_ref() == Some(diff_id) => Ok(Some(layer.id())),
        _ => Ok(None),
    }
}

/// Gives images of the store, one a platform, names (with the tag `latest` where they have neither tag nor digest).
/// `root` is the document, a blob of the store, that the names stand for, if there is one.
///
/// # Errors
/// Images that the store does not have.
pub fn name_images(
    store: &Store,
    ids: &[Digest],
    names: &[Reference],
    root: Option<&Descriptor>,
) -> Result<Vec<Image>, ExportError> {
    for name in names {
        let name = name.with_default_tag().to_string();
        store.images().tag_all(&name, ids)?;
        if let Some(root) = root {
            store.images().set_root(&name, root)?;
        }
    }
    let missing = |id: &Digest| kiln_store::Error::MissingImage(id.to_string());
    ids.iter().map(|id| Ok(store.images().get(id)?.ok_or_else(|| missing(id))?)).collect()
}
