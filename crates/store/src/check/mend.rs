//! Mending what a check found, as far as the store can do it by itself: it knows no archives and no registries.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use kiln_oci::{Digest, ImageConfig};

use super::report::{Finding, Remedy, Subject};
use crate::blobs::{self, Blobs};
use crate::database::to_json;
use crate::error::{At, Error, Result};
use crate::evictions::{EvictionCause, evict};
use crate::images::{Image, ImageLayer, Images};
use crate::layers::{self, LayerId, Layers};
use crate::mending::{self, Retired};
use crate::origins::Origins;
use crate::store::{Inner, create_directory};

/// Where things are put that nobody knows and somebody may want.
const ASIDE: &str = "damaged";

/// A larger config is not read, in bytes.
const DOCUMENT_LIMIT: u64 = 8 << 20;

/// What a repair did about a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mended {
    /// It is as it should be; how, in words.
    Yes(String),
    /// It is as it was; why, in words.
    No(String),
}

/// Does what the finding's remedy says. Of [`Remedy::Unpack`] and [`Remedy::Pull`] others know how; here it drops
/// what is damaged and what is nothing without it.
pub(crate) fn mend(store: &Arc<Inner>, finding: &Finding) -> Result<Mended> {
    let yes = |words: &str| Ok(Mended::Yes(words.to_owned()));
    match &finding.remedy {
        Remedy::None(why) => Ok(Mended::No((*why).to_owned())),
        Remedy::Rebuild => Ok(Mended::No("the database is made anew as a whole".to_owned())),
        Remedy::Remove => {
            store.session.discard(&finding.path)?;
            yes("removed")
        }
        Remedy::SetAside => {
            let place = set_aside(&store.root, &finding.path)?;
            Ok(Mended::Yes(format!("moved to {}", place.display())))
        }
        Remedy::Correct => {
            correct(store, &finding.subject)?;
            yes("written anew")
        }
        Remedy::Drop | Remedy::DropImages(_) | Remedy::Unpack(_) | Remedy::Pull(_) => drop_damaged(store, finding),
    }
}

fn drop_damaged(store: &Arc<Inner>, finding: &Finding) -> Result<Mended> {
    let mut gone = Vec::new();
    for image in (Images { store }).list()? {
        if !is_nothing_without(store, &image, &finding.subject)? {
            continue;
        }
        match (Images { store }).remove(&image.id, false) {
            Ok(()) => gone.push(super::needs::shown(&image)),
            Err(Error::ImageInUse { container, .. }) => {
                return Ok(Mended::No(format!("the container {container} uses its image: remove it first")));
            }
            Err(error) => return Err(error),
        }
    }
    match &finding.subject {
        Subject::Layer(id) if mending::retire(store, *id)? == Retired::InUse => {
            let why = "no build finds it any more, but a container or a running command has it";
            return Ok(Mended::No(why.to_owned()));
        }
        Subject::Blob(digest) => Blobs { store }.remove(digest)?,
        Subject::Record(id) => drop(store.database.write(|db| evict(db, &[*id], EvictionCause::Damaged))?),
        _ => {}
    }
    match gone.is_empty() {
        true => Ok(Mended::Yes("dropped".to_owned())),
        false => Ok(Mended::Yes(format!("dropped, and with it {}: build or load it again", gone.join(", ")))),
    }
}

/// Whether a blob can be fetched from a registry.
fn has_origin(store: &Arc<Inner>, digest: &Digest) -> Result<bool> {
    Ok(!Origins { store }.of(digest)?.is_empty())
}

/// Whether an image cannot be had any more once this is gone.
fn is_nothing_without(store: &Arc<Inner>, image: &Image, subject: &Subject) -> Result<bool> {
    match subject {
        Subject::Image(id) => Ok(image.id == *id),
        Subject::Blob(digest) if image.id == *digest => Ok(true),
        Subject::Blob(digest) => {
            // Its unpacked layer makes the blob again.
            let uses = |layer: &&ImageLayer| layer.blob.as_ref().is_some_and(|blob| blob.digest == *digest);
            let mut lost = false;
            for layer in image.layers.iter().filter(uses).filter(|_| image.manifest.is_none()) {
                lost |= !is_unpacked(store, layer, None)? && !has_origin(store, digest)?;
            }
            Ok(lost)
        }
        Subject::Layer(id) => {
            let mut lost = false;
            for layer in image.layers.iter().filter(|layer| layer.layer == Some(*id)) {
                let blob = layer.blob.as_ref();
                let held = match blob {
                    Some(blob) => {
                        image.manifest.is_some()
                            || blobs::row(store, &blob.digest)?.is_some()
                            || has_origin(store, &blob.digest)?
                    }
                    None => false,
                };
                lost |= !held && !is_unpacked(store, layer, Some(*id))?;
            }
            Ok(lost)
        }
        _ => Ok(false),
    }
}

/// Whether an image's layer is there, in another than `but`.
fn is_unpacked(store: &Arc<Inner>, layer: &ImageLayer, but: Option<LayerId>) -> Result<bool> {
    let by_diff_id = (Layers { store }).by_diff_id(&layer.diff_id)?.map(|found| found.id());
    let by_id = layer.layer.filter(|id| layers::is_there(store, *id));
    Ok(by_diff_id.into_iter().chain(by_id).any(|id| Some(id) != but))
}

/// Moves something to a directory of its own, and tells where.
pub(crate) fn set_aside(root: &Path, path: &Path) -> Result<std::path::PathBuf> {
    let directory = root.join(ASIDE);
    create_directory(&directory)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for number in 1u32.. {
        let place = directory.join(format!("{name}.{number}"));
        if place.symlink_metadata().is_ok() {
            continue;
        }
        fs::rename(path, &place).at("move aside", path)?;
        return Ok(place);
    }
    Ok(directory)
}

/// Writes rows as they follow from what is on disk.
fn correct(store: &Arc<Inner>, subject: &Subject) -> Result<()> {
    match subject {
        Subject::Layer(id) => correct_layer(store, *id),
        Subject::Image(id) => correct_image(store, id),
        Subject::Database => correct_database(store),
        Subject::Record(id) => store.database.write(|db| evict(db, &[*id], EvictionCause::Damaged)).map(drop),
        Subject::Lease(session) => {
            store.database.write(|db| db.execute("DELETE FROM leases WHERE session = ?1", [session])).map(drop)
        }
        Subject::Name(name) => store.database.write(|db| {
            db.execute("DELETE FROM resolutions WHERE name = ?1", [name])?;
            db.execute("DELETE FROM images WHERE id = ?1", [name]).map(drop)
        }),
        _ => Ok(()),
    }
}

fn correct_layer(store: &Arc<Inner>, id: LayerId) -> Result<()> {
    let index = layers::read_index(&layers::directory(store, id).join("index"))?;
    let diff_id = layers::handle(store, id).diff_id()?.map(|diff_id| diff_id.to_string());
    let (entries, bytes) = (index.len() as i64, layers::bytes_of(&index) as i64);
    store.database.write(|db| {
        // The content id is computed again when somebody asks for it.
        let update =
            "UPDATE layers SET entries = ?2, bytes = ?3, diff_id = ?4, content_id = NULL, pulled = 0 WHERE id = ?1";
        db.execute(update, (id.row(), entries, bytes, diff_id)).map(drop)
    })
}

/// The image as its config has it, with what is known of its layers.
fn correct_image(store: &Arc<Inner>, id: &Digest) -> Result<()> {
    let Some(image) = (Images { store }).get(id)? else { return Ok(()) };
    let raw = (Blobs { store }).read(id, DOCUMENT_LIMIT)?;
    let Ok(config) = ImageConfig::parse(&raw) else { return Images { store }.remove(id, false) };
    let layer = |diff_id: Digest| {
        let known = image.layers.iter().find(|layer| layer.diff_id == diff_id).cloned();
        known.unwrap_or(ImageLayer { diff_id, layer: None, blob: None })
    };
    let layers: Vec<ImageLayer> = config.rootfs.diff_ids.into_iter().map(layer).collect();
    let held = match &image.manifest {
        Some(manifest) => blobs::row(store, manifest)?.map(|_| manifest),
        None => None,
    };
    let parsed = held.and_then(|digest| (Blobs { store }).read(digest, DOCUMENT_LIMIT).ok());
    let manifest = parsed.and_then(|raw| serde_json::from_slice::<kiln_oci::Manifest>(&raw).ok());
    let fits = manifest.is_some_and(|each| each.config.digest == *id && each.layers.len() == layers.len());
    let manifest = image.manifest.filter(|_| fits).map(|digest| digest.to_string());
    store.database.write(|db| {
        let update = "UPDATE images SET layers = ?2, manifest = ?3 WHERE id = ?1";
        db.execute(update, (id.to_string(), to_json(&layers)?, manifest)).map(drop)
    })
}

fn correct_database(store: &Inner) -> Result<()> {
    store.database.write(|db| {
        db.execute("UPDATE counter SET value = max(value, (SELECT coalesce(max(id), 0) FROM layers))", [])?;
        let digests: Vec<String> =
            db.prepare("SELECT digest FROM blobs")?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        for digest in digests.iter().filter(|digest| digest.parse::<Digest>().is_err()) {
            db.execute("DELETE FROM blobs WHERE digest = ?1", [digest])?;
        }
        Ok(())
    })
}
