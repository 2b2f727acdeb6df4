//! The build cache as a list: what it consists of, how large it is, when it was used.
//!
//! A layer counts for the oldest record that leads to it, a pulled one and one that no record leads to for itself.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use rusqlite::{OptionalExtension, Row};

use super::Freed;
use super::holdings::Holdings;
use crate::cache_mounts;
use crate::database::json;
use crate::error::{At, Result};
use crate::layers::LayerId;
use crate::locks::Sharing;
use crate::measure;
use crate::metadata::Timestamp;
use crate::records::Input;
use crate::repositories;
use crate::store::Inner;
use crate::usage::Disk;

/// What a part of the build cache is, as BuildKit calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CacheKind {
    /// What a step made, or a pulled layer.
    Regular,
    /// A directory of `RUN --mount=type=cache`.
    CacheMount,
    /// What was fetched of a git repository.
    GitCheckout,
    /// Digests of a context's files.
    LocalSource,
    /// Blobs that no image needs.
    Internal,
}

impl CacheKind {
    /// BuildKit's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Regular => "regular",
            Self::CacheMount => "exec.cachemount",
            Self::GitCheckout => "source.git.checkout",
            Self::LocalSource => "source.local",
            Self::Internal => "internal",
        }
    }
}

/// A part of the build cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheEntry {
    /// Names it in this store.
    pub id: String,
    /// What it is.
    pub kind: CacheKind,
    /// Bytes on disk.
    pub bytes: u64,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last used.
    pub used: Timestamp,
    /// How often it was used since it was made.
    pub uses: u64,
    /// Whether somebody uses it now.
    pub in_use: bool,
    /// Whether an image or a container needs it, too: deleting it frees nothing.
    pub shared: bool,
    /// Whether it changes: a cache mount does.
    pub mutable: bool,
    /// What it is, in words.
    pub description: String,
}

pub(super) fn of_record(id: i64) -> String {
    format!("record-{id}")
}

pub(super) fn of_layer(id: LayerId) -> String {
    format!("layer-{id}")
}

pub(super) fn of_mount(name: &str) -> String {
    format!("mount-{}", name.get(..12).filter(|_| name.len() == 32).unwrap_or(name))
}

pub(super) fn of_blob(digest: &str) -> String {
    format!("blob-{}", digest.rsplit(':').next().and_then(|hex| hex.get(..16)).unwrap_or(digest))
}

pub(super) fn of_repository(name: &str) -> String {
    format!("git-{}", name.get(..12).unwrap_or(name))
}

pub(super) fn of_context(name: &str) -> String {
    format!("context-{}", name.get(..12).unwrap_or(name))
}

/// Everything in the build cache, the one used last first. Images and containers that are going to be `gone` need
/// nothing.
pub(crate) fn list(store: &Arc<Inner>, gone: &Freed, containers: &BTreeSet<String>) -> Result<Vec<CacheEntry>> {
    let mut holdings = Holdings::load(store)?;
    holdings.images.retain(|image| !gone.images.iter().any(|(id, _)| *id == image.id));
    holdings.containers.retain(|container| !containers.contains(&container.id));
    let sizes = measure::sizes(store)?;
    let mut entries = of_records(store, &holdings, &sizes)?;
    entries.extend(of_layers(store, &holdings, &sizes)?);
    entries.extend(of_mounts(store, &holdings, &sizes)?);
    entries.extend(of_blobs(store, &holdings)?);
    entries.extend(of_files(store)?);
    entries.sort_by(|a, b| (b.used, &b.id).cmp(&(a.used, &a.id)));
    Ok(entries)
}

struct Described {
    id: i64,
    created: i64,
    used: i64,
    uses: i64,
    description: String,
}

fn described(row: &Row<'_>) -> rusqlite::Result<Described> {
    let inputs: Vec<Input> = json(row, 4)?;
    let instruction = inputs.into_iter().find(|input| input.name == "instruction").map(|input| input.value);
    Ok(Described {
        id: row.get(0)?,
        created: row.get(1)?,
        used: row.get(2)?,
        uses: row.get(3)?,
        description: instruction.unwrap_or_default(),
    })
}

/// The layers that count for a record, by record.
fn owned(holdings: &Holdings) -> HashMap<i64, Vec<LayerId>> {
    let mut owner: HashMap<LayerId, i64> = HashMap::new();
    for record in &holdings.records {
        for layer in record.layers.iter().filter(|layer| !holdings.pulled.contains(layer)) {
            owner.entry(*layer).and_modify(|id| *id = (*id).min(record.id)).or_insert(record.id);
        }
    }
    let mut owned: HashMap<i64, Vec<LayerId>> = HashMap::new();
    for (layer, record) in owner {
        owned.entry(record).or_default().push(layer);
    }
    owned
}

fn of_records(store: &Inner, holdings: &Holdings, sizes: &measure::Sizes) -> Result<Vec<CacheEntry>> {
    let (owned, needed) = (owned(holdings), holdings.layers_of_images());
    let query = "SELECT id, created, used, uses, inputs FROM records";
    let rows: Vec<Described> =
        store.database.read(|db| db.prepare_cached(query)?.query_map([], described)?.collect())?;
    let entry = |row: Described| {
        let own = owned.get(&row.id).map_or(&[][..], Vec::as_slice);
        CacheEntry {
            id: of_record(row.id),
            kind: CacheKind::Regular,
            bytes: own.iter().filter_map(|layer| sizes.layers.get(layer)).sum(),
            created: Timestamp::from_seconds(row.created),
            used: Timestamp::from_seconds(row.used),
            uses: row.uses.max(0) as u64,
            in_use: own.iter().any(|layer| holdings.pinned_layers.contains(layer)),
            shared: !own.is_empty() && own.iter().all(|layer| needed.contains(layer)),
            mutable: false,
            description: row.description,
        }
    };
    Ok(rows.into_iter().map(entry).collect())
}

fn of_layers(store: &Inner, holdings: &Holdings, sizes: &measure::Sizes) -> Result<Vec<CacheEntry>> {
    let needed = holdings.layers_of_images();
    let recorded: HashSet<LayerId> = holdings.records.iter().flat_map(|record| record.layers.iter().copied()).collect();
    let alone = holdings.layers.iter().filter(|id| holdings.pulled.contains(id) || !recorded.contains(id));
    alone
        .map(|&id| {
            let query = "SELECT diff_id, created, used FROM layers WHERE id = ?1";
            let row = store.database.read(|db| {
                let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
                db.prepare_cached(query)?.query_row([id.row()], row).optional()
            })?;
            let (diff_id, created, used): (Option<String>, i64, i64) = row.unwrap_or_default();
            let what = if holdings.pulled.contains(&id) { "pulled layer" } else { "layer that no step needs" };
            Ok(CacheEntry {
                id: of_layer(id),
                kind: CacheKind::Regular,
                bytes: sizes.layers.get(&id).copied().unwrap_or_default(),
                created: Timestamp::from_seconds(created),
                used: Timestamp::from_seconds(used),
                uses: 0,
                in_use: holdings.pinned_layers.contains(&id),
                shared: needed.contains(&id),
                mutable: false,
                description: diff_id.map_or_else(|| what.to_owned(), |diff_id| format!("{what} {diff_id}")),
            })
        })
        .collect()
}

fn of_mounts(store: &Inner, holdings: &Holdings, sizes: &measure::Sizes) -> Result<Vec<CacheEntry>> {
    let entry = |(name, bytes): (&String, &u64)| {
        let row = holdings.mounts.get(name);
        let idle = store.locks.try_acquire(cache_mounts::key(name), Sharing::Exclusive)?.is_some();
        let time =
            |of: fn(&super::holdings::UsedMount) -> i64| Timestamp::from_seconds(row.map(of).unwrap_or_default());
        Ok(CacheEntry {
            id: of_mount(name),
            kind: CacheKind::CacheMount,
            bytes: *bytes,
            created: time(|mount| mount.created),
            used: time(|mount| mount.used),
            uses: row.map_or(0, |mount| mount.uses),
            in_use: !idle,
            shared: false,
            mutable: true,
            description: row.map_or_else(|| "cache mount".to_owned(), |mount| format!("cache mount {}", mount.id)),
        })
    };
    sizes.mounts.iter().map(entry).collect()
}

fn of_blobs(store: &Arc<Inner>, holdings: &Holdings) -> Result<Vec<CacheEntry>> {
    let needed = holdings.blobs_of_images();
    let idle = holdings.blobs.keys().filter(|digest| !needed.contains(*digest));
    let entry = |digest: &String| {
        let query = "SELECT created FROM blobs WHERE digest = ?1";
        let created: Option<i64> =
            store.database.read(|db| db.prepare_cached(query)?.query_row([digest], |row| row.get(0)).optional())?;
        let path = digest.parse().ok().map(|digest| crate::blobs::place(store, &digest));
        let bytes = path.map_or(Ok(0), |path| Disk::default().add(&path))?;
        let time = Timestamp::from_seconds(created.unwrap_or_default());
        Ok(CacheEntry {
            id: of_blob(digest),
            kind: CacheKind::Internal,
            bytes,
            created: time,
            used: time,
            uses: 0,
            in_use: holdings.pinned_blobs.contains(digest),
            shared: false,
            mutable: false,
            description: format!("blob {digest}"),
        })
    };
    idle.map(entry).collect()
}

/// Fetched repositories, and digests of contexts.
fn of_files(store: &Inner) -> Result<Vec<CacheEntry>> {
    let mut entries = Vec::new();
    for (directory, kind) in [(repositories::DIRECTORY, CacheKind::GitCheckout), ("contexts", CacheKind::LocalSource)] {
        let directory = store.root.join(directory);
        if !measure::exists(&directory) {
            continue;
        }
        for found in fs::read_dir(&directory).at("list", &directory)? {
            let found = found.at("list", &directory)?;
            let name = found.file_name().to_string_lossy().into_owned();
            let time = Timestamp::from_seconds(found.metadata().at("examine", &found.path())?.mtime());
            let is_git = kind == CacheKind::GitCheckout;
            let in_use = is_git && store.locks.try_acquire(repositories::key(&name), Sharing::Exclusive)?.is_none();
            entries.push(CacheEntry {
                id: if is_git { of_repository(&name) } else { of_context(&name) },
                kind,
                bytes: Disk::default().add(&found.path())?,
                created: time,
                used: time,
                uses: 0,
                in_use,
                shared: false,
                mutable: true,
                description: if is_git { "git repository" } else { "digests of a context's files" }.to_owned(),
            });
        }
    }
    Ok(entries)
}
