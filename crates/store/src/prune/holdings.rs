//! Everything that needs something in a store, at one moment.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use kiln_oci::Digest;
use rusqlite::Connection;

use crate::containers::{Container, Containers};
use crate::database::now;
use crate::error::Result;
use crate::images::{Image, Images};
use crate::layers::LayerId;
use crate::resolutions::Resolutions;
use crate::session;
use crate::store::Inner;

/// How long what a resolution names stays, in seconds: 30 days.
const RESOLUTIONS_KEEP: i64 = 30 * 24 * 3600;

/// What the tables say, and who is alive.
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    pub(crate) layers: BTreeSet<LayerId>,
    /// Of layers: the session that used them last, and when, in seconds since 1970.
    pub(super) recency: HashMap<LayerId, (i64, i64)>,
    /// Layers that came from an archive or a registry.
    pub(super) pulled: HashSet<LayerId>,
    /// With their sizes.
    pub(crate) blobs: BTreeMap<String, u64>,
    pub(crate) images: Vec<Image>,
    /// The session that used an image last.
    pub(super) image_turns: HashMap<String, i64>,
    pub(crate) containers: Vec<Container>,
    /// Least recently used first; of those that one session used, what was made last first, for it may be made of
    /// the others.
    pub(crate) records: Vec<UsedRecord>,
    pub(super) mounts: BTreeMap<String, UsedMount>,
    /// Leases of living sessions, young resolutions, and the documents that names stand for.
    pub(super) pinned_layers: HashSet<LayerId>,
    pub(super) pinned_blobs: HashSet<String>,
}

/// A cache record.
#[derive(Debug, Clone)]
pub(crate) struct UsedRecord {
    pub(super) id: i64,
    pub(super) turn: i64,
    /// In seconds since 1970.
    pub(super) used: i64,
    /// The root file system that it leads to, bottom first.
    pub(super) layers: Vec<LayerId>,
}

/// What is written down of a cache mount.
#[derive(Debug, Clone)]
pub(crate) struct UsedMount {
    pub(super) id: String,
    pub(super) created: i64,
    pub(super) used: i64,
    pub(super) turn: i64,
    pub(super) uses: u64,
}

type Lease = (String, String, String);

impl Holdings {
    pub(crate) fn load(store: &Arc<Inner>) -> Result<Self> {
        let mut holdings =
            Self { images: Images { store }.list()?, containers: Containers { store }.list()?, ..Self::default() };
        let leases = store.database.read(|db| {
            holdings.read_layers(db)?;
            holdings.read_records(db)?;
            holdings.read_rest(db)
        })?;
        holdings.pin(store, leases)?;
        let oldest = now() - RESOLUTIONS_KEEP;
        let young = Resolutions { store }.list()?.into_iter().filter(|each| each.resolved.seconds > oldest);
        holdings.pinned_blobs.extend(young.map(|each| each.digest.to_string()));
        Ok(holdings)
    }

    /// Takes over the leases of sessions that live.
    fn pin(&mut self, store: &Inner, leases: Vec<Lease>) -> Result<()> {
        let mut alive: HashMap<String, bool> = HashMap::new();
        for (session, kind, target) in leases {
            let lives = match alive.get(&session) {
                Some(&lives) => lives,
                None => session::is_alive(&session, &store.locks)?,
            };
            alive.insert(session, lives);
            match (kind.as_str(), target.parse()) {
                _ if !lives => {}
                ("layer", Ok(id)) => drop(self.pinned_layers.insert(id)),
                _ => drop(self.pinned_blobs.insert(target)),
            }
        }
        Ok(())
    }

    fn read_layers(&mut self, db: &Connection) -> rusqlite::Result<()> {
        let mut statement = db.prepare_cached("SELECT id, turn, used, pulled FROM layers")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id = LayerId::from_row(row.get(0)?);
            self.layers.insert(id);
            self.recency.insert(id, (row.get(1)?, row.get(2)?));
            if row.get(3)? {
                self.pulled.insert(id);
            }
        }
        Ok(())
    }

    fn read_records(&mut self, db: &Connection) -> rusqlite::Result<()> {
        let mut statement = db.prepare_cached("SELECT id, turn, used FROM records ORDER BY turn, used, id DESC")?;
        let mut layers = db.prepare_cached("SELECT layer FROM record_layers WHERE record = ?1 ORDER BY position")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id = row.get(0)?;
            let found = layers.query_map([id], |row| row.get(0).map(LayerId::from_row))?.collect::<Result<_, _>>()?;
            self.records.push(UsedRecord { id, turn: row.get(1)?, used: row.get(2)?, layers: found });
        }
        Ok(())
    }

    /// Reads blobs, what images lack, and cache mounts; answers the leases.
    fn read_rest(&mut self, db: &Connection) -> rusqlite::Result<Vec<Lease>> {
        let blobs = db
            .prepare_cached("SELECT digest, size FROM blobs")?
            .query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.max(0) as u64)))?
            .collect::<Result<_, _>>()?;
        self.blobs = blobs;
        self.pinned_blobs.extend(crate::roots::all(db)?);
        self.pinned_blobs.extend(crate::registry::held(db)?);
        let turns = db
            .prepare_cached("SELECT id, turn FROM images")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        self.image_turns = turns;
        let mut statement = db.prepare_cached("SELECT name, id, created, used, turn, uses FROM cache_mounts")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (id, created, used, turn) = (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
            let uses = row.get::<_, i64>(5)?.max(0) as u64;
            self.mounts.insert(row.get(0)?, UsedMount { id, created, used, turn, uses });
        }
        db.prepare_cached("SELECT session, kind, target FROM leases")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect()
    }

    /// Layers that images or containers need.
    pub(crate) fn layers_of_images(&self) -> HashSet<LayerId> {
        let images = self.images.iter().flat_map(|image| &image.layers).filter_map(|layer| layer.layer);
        images.chain(self.containers.iter().flat_map(|each| each.layers.iter().copied())).collect()
    }

    /// Blobs that images need, as texts.
    pub(crate) fn blobs_of_images(&self) -> HashSet<String> {
        self.images.iter().flat_map(blobs_of).collect()
    }

    /// Images that containers use.
    pub(super) fn images_in_use(&self) -> HashSet<Digest> {
        self.containers.iter().filter_map(|each| each.image.clone()).collect()
    }
}

/// Config, manifest and layers of an image.
pub(super) fn blobs_of(image: &Image) -> Vec<String> {
    let layers = image.layers.iter().filter_map(|layer| layer.blob.as_ref());
    let layers: Vec<String> = layers.map(|blob| blob.digest.to_string()).collect();
    let own = std::iter::once(image.id.to_string()).chain(image.manifest.as_ref().map(Digest::to_string));
    own.chain(layers).collect()
}
