//! Making the store smaller: what goes is planned from one snapshot, then deleted piece by piece.
//!
//! Nothing that an image, a container or a living session's lease needs goes. Of the rest, cache records go least
//! recently used first; layers and blobs that nobody names any more go with any prune.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use kiln_oci::Digest;
use rusqlite::Connection;

use crate::cache_mounts;
use crate::containers::{Container, Containers};
use crate::database::now;
use crate::error::{At, Result};
use crate::evictions::{self, EvictionCause};
use crate::images::{Image, Images};
use crate::layers::{self, LayerId};
use crate::locks::Sharing;
use crate::repositories;
use crate::resolutions::Resolutions;
use crate::session;
use crate::store::Inner;
use crate::usage::freed_with;

/// How long what a resolution names stays, in seconds: 30 days.
const RESOLUTIONS_KEEP: i64 = 30 * 24 * 3600;

/// How long logs and digests of contexts stay after they were last written, in seconds: 30 days.
const UNWRITTEN_KEEP: i64 = 30 * 24 * 3600;

/// What to delete. Nothing that an image, a container or a living process's lease needs is ever deleted.
#[derive(Debug, Clone, Default)]
pub struct Prune {
    /// Images without a name that no container uses.
    pub dangling_images: bool,
    /// Images, named or not, that no container uses.
    pub unused_images: bool,
    /// Cache records, least recently used first, until what only the cache needs is at most so many bytes; `Some(0)` for all.
    pub cache_to: Option<u64>,
    /// Of the above, only what was not used for so long.
    pub unused_for: Option<Duration>,
    /// Directories of cache mounts that nobody uses now.
    pub cache_mounts: bool,
    /// Tell what would go, and delete nothing.
    pub dry_run: bool,
}

/// What a prune deleted, or would delete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Freed {
    /// Images with their names at that time.
    pub images: Vec<(Digest, Vec<String>)>,
    /// Cache records.
    pub records: u64,
    /// Layers.
    pub layers: Vec<LayerId>,
    /// Blobs.
    pub blobs: Vec<Digest>,
    /// Cache mounts.
    pub cache_mounts: u64,
    /// Bytes on disk that became free.
    pub bytes: u64,
}

/// Everything that needs something, at one moment.
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    pub(crate) layers: BTreeSet<LayerId>,
    /// Index sizes of layers: an estimate, by which the cache's size is judged.
    sizes: HashMap<LayerId, u64>,
    pub(crate) blobs: BTreeMap<String, u64>,
    pub(crate) images: Vec<Image>,
    pub(crate) containers: Vec<Container>,
    /// Least recently used first.
    pub(crate) records: Vec<UsedRecord>,
    /// Leases of living sessions and young resolutions.
    pinned_layers: HashSet<LayerId>,
    pinned_blobs: HashSet<String>,
}

#[derive(Debug)]
pub(crate) struct UsedRecord {
    id: i64,
    used: i64,
    layers: Vec<LayerId>,
}

/// What shall go.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    images: Vec<(Digest, Vec<String>)>,
    records: Vec<i64>,
    layers: Vec<LayerId>,
    blobs: Vec<String>,
}

pub(crate) fn prune(store: &Arc<Inner>, policy: &Prune) -> Result<Freed> {
    let plan = plan(Holdings::load(store)?, policy, now());
    let mut freed = Freed { images: plan.images.clone(), records: plan.records.len() as u64, ..Freed::default() };
    let trees: Vec<_> = plan.layers.iter().map(|&id| layers::directory(store, id)).collect();
    freed.bytes = freed_with(&trees)?;
    if policy.dry_run {
        freed.layers = plan.layers;
        freed.blobs = plan.blobs.iter().filter_map(|digest| digest.parse().ok()).collect();
    } else {
        delete(store, &plan, &mut freed)?;
    }
    let blobs = crate::blobs::Blobs { store };
    for digest in &freed.blobs {
        if policy.dry_run {
            freed.bytes += blobs.size(digest)?.unwrap_or(0);
        }
    }
    if policy.cache_to.is_some() {
        for name in ["logs", "contexts"] {
            prune_old(store, name, policy.dry_run, &mut freed)?;
        }
    }
    if let Some(keep) = policy.cache_to {
        repositories::prune(store, keep == 0 && policy.unused_for.is_none(), policy.dry_run, &mut freed)?;
    }
    if policy.cache_mounts {
        prune_cache_mounts(store, policy.dry_run, &mut freed)?;
    }
    Ok(freed)
}

impl Holdings {
    pub(crate) fn load(store: &Arc<Inner>) -> Result<Self> {
        let mut holdings =
            Self { images: Images { store }.list()?, containers: Containers { store }.list()?, ..Self::default() };
        let leases = store.database.read(|db| holdings.read_rows(db))?;
        let mut alive: HashMap<String, bool> = HashMap::new();
        for (session, kind, target) in leases {
            let lives = match alive.get(&session) {
                Some(&lives) => lives,
                None => session::is_alive(&session, &store.locks)?,
            };
            alive.insert(session, lives);
            match (kind.as_str(), target.parse()) {
                _ if !lives => {}
                ("layer", Ok(id)) => drop(holdings.pinned_layers.insert(id)),
                _ => drop(holdings.pinned_blobs.insert(target)),
            }
        }
        let oldest = now() - RESOLUTIONS_KEEP;
        let young = Resolutions { store }.list()?.into_iter().filter(|each| each.resolved.seconds > oldest);
        holdings.pinned_blobs.extend(young.map(|each| each.digest.to_string()));
        Ok(holdings)
    }

    /// Reads layers, blobs and records; answers the leases.
    fn read_rows(&mut self, db: &Connection) -> rusqlite::Result<Vec<(String, String, String)>> {
        let mut statement = db.prepare_cached("SELECT id, bytes FROM layers")?;
        for row in statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)))? {
            let (id, bytes) = row?;
            self.sizes.insert(LayerId::from_row(id), bytes as u64);
            self.layers.insert(LayerId::from_row(id));
        }
        let mut statement = db.prepare_cached("SELECT digest, size FROM blobs")?;
        for row in statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)))? {
            let (digest, size) = row?;
            self.blobs.insert(digest, size as u64);
        }
        let mut statement = db.prepare_cached("SELECT id, used FROM records ORDER BY used, id")?;
        let mut layers = db.prepare_cached("SELECT layer FROM record_layers WHERE record = ?1")?;
        for row in statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))? {
            let (id, used) = row?;
            let found = layers.query_map([id], |row| row.get(0).map(LayerId::from_row))?;
            self.records.push(UsedRecord { id, used, layers: found.collect::<Result<_, _>>()? });
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
        let of_image = |image: &Image| {
            let layers = image.layers.iter().filter_map(|layer| layer.blob.as_ref());
            let layers: Vec<String> = layers.map(|blob| blob.digest.to_string()).collect();
            let own = std::iter::once(image.id.to_string()).chain(image.manifest.as_ref().map(Digest::to_string));
            own.chain(layers).collect::<Vec<_>>()
        };
        self.images.iter().flat_map(of_image).collect()
    }
}

/// What a policy makes go, at a time given in seconds since 1970.
fn plan(mut holdings: Holdings, policy: &Prune, now: i64) -> Plan {
    let oldest = policy.unused_for.map_or(i64::MAX, |time| now - time.as_secs() as i64);
    let in_use: HashSet<Digest> = holdings.containers.iter().filter_map(|each| each.image.clone()).collect();
    let goes = |image: &Image| {
        let kind = policy.unused_images || (policy.dangling_images && !image.is_named());
        kind && !in_use.contains(&image.id) && image.created.seconds <= oldest
    };
    let (gone, kept) = std::mem::take(&mut holdings.images).into_iter().partition(goes);
    holdings.images = kept;
    let gone: Vec<Image> = gone;
    let mut needed = holdings.layers_of_images();
    needed.extend(&holdings.pinned_layers);
    let (records, cached) = plan_records(&holdings, &needed, policy, oldest);
    let anything = policy.dangling_images || policy.unused_images || policy.cache_to.is_some();
    let unnamed = |id: &&LayerId| anything && !needed.contains(id) && !cached.contains(id);
    let needed_blobs = holdings.blobs_of_images();
    let unneeded =
        |digest: &&String| anything && !needed_blobs.contains(*digest) && !holdings.pinned_blobs.contains(*digest);
    Plan {
        images: gone.into_iter().map(|image| (image.id, image.names)).collect(),
        records,
        layers: holdings.layers.iter().filter(unnamed).copied().collect(),
        blobs: holdings.blobs.keys().filter(unneeded).cloned().collect(),
    }
}

/// Which records go, and which layers the others still name.
fn plan_records(
    holdings: &Holdings,
    needed: &HashSet<LayerId>,
    policy: &Prune,
    oldest: i64,
) -> (Vec<i64>, HashSet<LayerId>) {
    let mut users: HashMap<LayerId, u64> = HashMap::new();
    for layer in holdings.records.iter().flat_map(|record| &record.layers) {
        *users.entry(*layer).or_default() += 1;
    }
    let size = |layer: &LayerId| holdings.sizes.get(layer).copied().unwrap_or(0);
    let mut total: u64 = users.keys().filter(|layer| !needed.contains(layer)).map(size).sum();
    let mut gone = Vec::new();
    let Some(limit) = policy.cache_to else { return (gone, users.into_keys().collect()) };
    for record in &holdings.records {
        if (limit > 0 && total <= limit) || record.used > oldest {
            break;
        }
        gone.push(record.id);
        for layer in &record.layers {
            let left = users.entry(*layer).or_default();
            *left = left.saturating_sub(1);
            if *left == 0 {
                users.remove(layer);
                if !needed.contains(layer) {
                    total = total.saturating_sub(size(layer));
                }
            }
        }
    }
    (gone, users.into_keys().collect())
}

fn delete(store: &Arc<Inner>, plan: &Plan, freed: &mut Freed) -> Result<()> {
    store.database.write(|db| {
        for (id, _) in &plan.images {
            db.execute("DELETE FROM images WHERE id = ?1", [id.to_string()])?;
        }
        evictions::evict(db, &plan.records, EvictionCause::Prune).map(drop)
    })?;
    for &id in &plan.layers {
        if !is_leased(store, "layer", &id.to_string())? && layers::remove_unless_leased(store, id)? {
            freed.layers.push(id);
        }
    }
    for digest in &plan.blobs {
        let Ok(parsed) = digest.parse::<Digest>() else { continue };
        let size = crate::blobs::Blobs { store }.size(&parsed)?;
        if !is_leased(store, "blob", digest)? && crate::blobs::remove_unless_leased(store, &parsed)? {
            freed.bytes += size.unwrap_or(0);
            freed.blobs.push(parsed);
        }
    }
    Ok(())
}

/// Whether a living session leases it; leases of dead ones are dropped.
fn is_leased(store: &Inner, kind: &str, target: &str) -> Result<bool> {
    let sessions: Vec<String> = store.database.read(|db| {
        db.prepare_cached("SELECT session FROM leases WHERE kind = ?1 AND target = ?2")?
            .query_map([kind, target], |row| row.get(0))?
            .collect()
    })?;
    for name in sessions {
        if session::is_alive(&name, &store.locks)? {
            return Ok(true);
        }
        store.release_leases(&name)?;
    }
    Ok(false)
}

/// Logs of builds and digests of contexts that nobody wrote to for long.
fn prune_old(store: &Inner, name: &str, dry_run: bool, freed: &mut Freed) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let directory = store.root.join(name);
    for entry in std::fs::read_dir(&directory).at("list", &directory)? {
        let entry = entry.at("list", &directory)?;
        let written = entry.metadata().at("examine", &entry.path())?.mtime();
        if written > now() - UNWRITTEN_KEEP {
            continue;
        }
        freed.bytes += freed_with(&[entry.path()])?;
        if !dry_run {
            store.session.discard(&entry.path())?;
        }
    }
    Ok(())
}

fn prune_cache_mounts(store: &Inner, dry_run: bool, freed: &mut Freed) -> Result<()> {
    let directory = store.root.join("cache-mounts");
    for entry in std::fs::read_dir(&directory).at("list", &directory)? {
        let entry = entry.at("list", &directory)?;
        let key = cache_mounts::key(&entry.file_name().to_string_lossy());
        let Some(_alone) = store.locks.try_acquire(key, Sharing::Exclusive)? else { continue };
        freed.cache_mounts += 1;
        freed.bytes += freed_with(&[entry.path()])?;
        if !dry_run {
            store.session.discard(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "prune_tests.rs"]
mod tests;
