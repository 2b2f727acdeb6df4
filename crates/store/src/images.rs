//! Images and their names.
//!
//! An image is a config (a blob) and diff ids; what is known of each layer besides comes as it becomes known. Names
//! are full references as their owner normalised them. A name has one image, or one for each of several platforms;
//! the first of them, this machine's if it is there, is what the name means by itself.

use std::sync::Arc;

use kiln_oci::{Digest, Platform};
use rusqlite::{Connection, OptionalExtension, Row};

use crate::database::{digest, json, now, to_json};
use crate::error::{Error, Result};
use crate::layers::LayerId;
use crate::metadata::Timestamp;
use crate::names;
use crate::origins;
use crate::store::Inner;

/// The images of a store.
pub struct Images<'a> {
    pub(crate) store: &'a Arc<Inner>,
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
    /// What its config says that it runs on.
    pub platform: Platform,
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
    /// What its config says that it runs on.
    pub platform: Platform,
    /// The manifest as pulled, if it was.
    pub manifest: Option<Digest>,
    /// Layers, bottom first.
    pub layers: Vec<ImageLayer>,
    /// Full names such as `docker.io/library/busybox:latest` that mean it by themselves, sorted.
    pub names: Vec<String>,
    /// Full names that mean it only where its platform is asked for, sorted.
    pub names_by_platform: Vec<String>,
    /// When it came into the store.
    pub created: Timestamp,
}

const SELECT: &str = "SELECT id, manifest, layers, created, platform FROM images";

impl Images<'_> {
    /// Adds an image, or completes what is known of it (manifest, layers).
    pub fn insert(&self, image: &NewImage) -> Result<Image> {
        self.store.database.write(|db| {
            let mut layers = image.layers.clone();
            let known = get(db, &image.id)?;
            if let Some(known) = &known {
                complete(&mut layers, &known.layers);
            }
            let manifest = image.manifest.clone().or(known.and_then(|known| known.manifest));
            db.execute(
                "INSERT INTO images (id, platform, manifest, layers, created, turn, serial) VALUES (?1, ?2, ?3, ?4, ?5,
                 ?6, (SELECT coalesce(max(serial), 0) + 1 FROM images))
                 ON CONFLICT (id) DO UPDATE SET manifest = excluded.manifest, layers = excluded.layers,
                 turn = excluded.turn",
                (
                    image.id.to_string(),
                    to_json(&image.platform)?,
                    manifest.map(|each| each.to_string()),
                    to_json(&layers)?,
                    now(),
                    self.store.recency.turn(db)?,
                ),
            )?;
            get(db, &image.id)?.ok_or(rusqlite::Error::QueryReturnedNoRows)
        })
    }

    /// Gives an image a name, taking it from what had it; tells which image that meant.
    pub fn tag(&self, name: &str, id: &Digest) -> Result<Option<Digest>> {
        self.tag_all(name, std::slice::from_ref(id))
    }

    /// Gives the images of several platforms one name, taking it from what had it; tells which image that meant. By
    /// itself the name means the image for this machine, or the first if there is none.
    pub fn tag_all(&self, name: &str, ids: &[Digest]) -> Result<Option<Digest>> {
        self.store
            .database
            .write(|db| {
                let mut images = Vec::new();
                for id in ids {
                    match get(db, id)? {
                        Some(image) => images.push(image),
                        None => return Ok(Err(Error::MissingImage(id.to_string()))),
                    }
                }
                let host = Platform::host();
                images.sort_by_key(|image| host.rank(&image.platform).unwrap_or(usize::MAX));
                let before = named(db, name)?;
                db.execute("DELETE FROM image_names WHERE name = ?1", [name])?;
                for (position, image) in images.iter().enumerate() {
                    db.execute(
                        "INSERT OR IGNORE INTO image_names (name, position, image) VALUES (?1, ?2, ?3)",
                        (name, position as i64, image.id.to_string()),
                    )?;
                }
                Ok(Ok(before))
            })?
            .and_then(|before| names::copy(self.store).map(|()| before))
    }

    /// Takes a name away; its images stay. Tells which image it meant.
    pub fn untag(&self, name: &str) -> Result<Option<Digest>> {
        let before = self.store.database.write(|db| {
            let before = named(db, name)?;
            db.execute("DELETE FROM image_names WHERE name = ?1", [name])?;
            Ok(before)
        })?;
        names::copy(self.store)?;
        Ok(before)
    }

    /// Names with their images as they were copied beside the database, for when that was lost.
    pub fn copied_names(&self) -> Vec<(String, Vec<Digest>)> {
        names::copied(&self.store.root)
    }

    /// By id.
    pub fn get(&self, id: &Digest) -> Result<Option<Image>> {
        self.store.database.read(|db| get(db, id))
    }

    /// By full name, `sha256:…` id, manifest digest, or unambiguous beginning of the id's hex digits.
    pub fn resolve(&self, name: &str) -> Result<Option<Image>> {
        let exact = self.store.database.read(|db| match named(db, name)? {
            Some(id) => get(db, &id),
            None => {
                let query = format!("{SELECT} WHERE id = ?1 OR manifest = ?1 ORDER BY id = ?1 DESC LIMIT 1");
                let found = db.prepare_cached(&query)?.query_row([name], image).optional()?;
                found.map(|image| with_names(db, image)).transpose()
            }
        })?;
        let prefix = name.strip_prefix("sha256:").unwrap_or(name);
        let hex = !prefix.is_empty() && prefix.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if exact.is_some() || !hex {
            return Ok(exact);
        }
        let mut found = self.matching("WHERE id GLOB 'sha256:' || ?1 || '*'", [prefix])?;
        match found.len() {
            0 | 1 => Ok(found.pop()),
            count => Err(Error::Ambiguous { prefix: name.into(), count, what: "images" }),
        }
    }

    /// All images of a full name, one a platform, that which it means by itself first; none if nothing has the name.
    pub fn platforms(&self, name: &str) -> Result<Vec<Image>> {
        let of_name = "JOIN image_names ON image_names.image = images.id WHERE name = ?1 ORDER BY position";
        self.matching(of_name, [name])
    }

    /// The same as [`Images::resolve`], but of a name's images the one that fits `platform` best; none if that one
    /// does not run there.
    pub fn resolve_for(&self, name: &str, platform: &Platform) -> Result<Option<Image>> {
        let mut images = self.platforms(name)?;
        if images.is_empty() {
            images.extend(self.resolve(name)?);
        }
        let fitting = images.into_iter().filter_map(|image| Some((platform.rank(&image.platform)?, image)));
        Ok(fitting.min_by_key(|(rank, _)| *rank).map(|(_, image)| image))
    }

    /// All, newest first.
    pub fn list(&self) -> Result<Vec<Image>> {
        self.matching("ORDER BY serial DESC", [])
    }

    /// Forgets an image and its names. Fails if a container uses it and not `force`. What it alone needed goes
    /// with the next prune.
    pub fn remove(&self, id: &Digest, force: bool) -> Result<()> {
        let user = self.store.database.write(|db| {
            let query = "SELECT id FROM containers WHERE image = ?1 LIMIT 1";
            let user: Option<String> = db.query_row(query, [id.to_string()], |row| row.get(0)).optional()?;
            if user.is_none() || force {
                db.execute("DELETE FROM images WHERE id = ?1", [id.to_string()])?;
                origins::forget_unnamed(db)?;
            }
            Ok(user)
        })?;
        match user {
            Some(container) if !force => Err(Error::ImageInUse { image: id.clone(), container }),
            _ => Ok(()),
        }
    }

    fn matching(&self, condition: &str, parameters: impl rusqlite::Params) -> Result<Vec<Image>> {
        self.store.database.read(|db| {
            let mut statement = db.prepare_cached(&format!("{SELECT} {condition}"))?;
            let images: Vec<Image> = statement.query_map(parameters, image)?.collect::<Result<_, _>>()?;
            images.into_iter().map(|image| with_names(db, image)).collect()
        })
    }
}

/// Forgets the images that are nothing any more, after layers and blobs went: those without a config, and built ones
/// with a layer that is neither here nor can be made from a blob or fetched. What was pulled can be pulled again.
pub(crate) fn forget_lost(db: &Connection) -> rusqlite::Result<()> {
    let mut statement = db.prepare(SELECT)?;
    let images: Vec<Image> = statement.query_map([], image)?.collect::<Result<_, _>>()?;
    let holds = |query: &str, value: &dyn rusqlite::ToSql| db.prepare_cached(query)?.exists([value]);
    let holds_blob = |digest: &Digest| holds("SELECT 1 FROM blobs WHERE digest = ?1", &digest.to_string());
    let is_had = |layer: &ImageLayer| -> rusqlite::Result<bool> {
        let by_id = layer.layer.map(|id| holds("SELECT 1 FROM layers WHERE id = ?1", &id.row())).transpose()?;
        let of_blob = |blob: &kiln_oci::Descriptor| -> rusqlite::Result<bool> {
            Ok(holds_blob(&blob.digest)? || origins::is_known(db, &blob.digest)?)
        };
        Ok(by_id == Some(true)
            || holds("SELECT 1 FROM layers WHERE diff_id = ?1", &layer.diff_id.to_string())?
            || layer.blob.as_ref().map(of_blob).transpose()? == Some(true))
    };
    for image in images {
        let mut whole = holds_blob(&image.id)?;
        for layer in image.layers.iter().filter(|_| image.manifest.is_none()) {
            whole = whole && is_had(layer)?;
        }
        if !whole {
            db.execute("DELETE FROM images WHERE id = ?1", [image.id.to_string()])?;
        }
    }
    Ok(())
}

/// Makes all images forget where an unpacked layer is.
pub(crate) fn forget_layer(db: &Connection, id: LayerId) -> rusqlite::Result<()> {
    let mut statement = db.prepare_cached(SELECT)?;
    let images: Vec<Image> = statement.query_map([], image)?.collect::<Result<_, _>>()?;
    for mut image in images {
        let mut named = false;
        for layer in image.layers.iter_mut().filter(|layer| layer.layer == Some(id)) {
            (layer.layer, named) = (None, true);
        }
        if named {
            let update = "UPDATE images SET layers = ?2 WHERE id = ?1";
            db.prepare_cached(update)?.execute((image.id.to_string(), to_json(&image.layers)?))?;
        }
    }
    Ok(())
}

/// Keeps what was known of a layer and is not said anew.
fn complete(layers: &mut [ImageLayer], known: &[ImageLayer]) {
    for (layer, known) in layers.iter_mut().zip(known).filter(|(a, b)| a.diff_id == b.diff_id) {
        layer.layer = layer.layer.or(known.layer);
        if layer.blob.is_none() {
            layer.blob.clone_from(&known.blob);
        }
    }
}

fn get(db: &Connection, id: &Digest) -> rusqlite::Result<Option<Image>> {
    let query = format!("{SELECT} WHERE id = ?1");
    let found = db.prepare_cached(&query)?.query_row([id.to_string()], image).optional()?;
    found.map(|image| with_names(db, image)).transpose()
}

fn named(db: &Connection, name: &str) -> rusqlite::Result<Option<Digest>> {
    let query = "SELECT image FROM image_names WHERE name = ?1 ORDER BY position LIMIT 1";
    db.prepare_cached(query)?.query_row([name], |row| digest(row, 0)).optional()
}

fn image(row: &Row<'_>) -> rusqlite::Result<Image> {
    let manifest = match row.get_ref(1)? {
        rusqlite::types::ValueRef::Null => None,
        _ => Some(digest(row, 1)?),
    };
    Ok(Image {
        id: digest(row, 0)?,
        manifest,
        layers: json(row, 2)?,
        names: Vec::new(),
        names_by_platform: Vec::new(),
        created: Timestamp::from_seconds(row.get(3)?),
        platform: json(row, 4)?,
    })
}

fn with_names(db: &Connection, mut image: Image) -> rusqlite::Result<Image> {
    // The first image that is left of a name's is what it means by itself.
    let query =
        "SELECT name, min(position) = (SELECT min(position) FROM image_names AS each WHERE each.name = own.name)
        FROM image_names AS own WHERE image = ?1 GROUP BY name ORDER BY name";
    let mut statement = db.prepare_cached(query)?;
    for row in statement.query_map([image.id.to_string()], |row| Ok((row.get(0)?, row.get(1)?)))? {
        let (name, is_first): (String, bool) = row?;
        if is_first { image.names.push(name) } else { image.names_by_platform.push(name) }
    }
    Ok(image)
}

impl Image {
    /// Whether a name means it, by itself or where its platform is asked for.
    pub fn is_named(&self) -> bool {
        !self.names.is_empty() || !self.names_by_platform.is_empty()
    }

    /// Whether this full name means it, by itself or where its platform is asked for.
    pub fn has_name(&self, name: &str) -> bool {
        self.names.iter().chain(&self.names_by_platform).any(|own| own == name)
    }
}
