//! Layers: immutable directories with an index, numbered.
//!
//! A layer comes into being by one rename from the session's directory to `layers/<n>/` and then its row; it goes by
//! one rename into the session's directory, then its row, then its files. So it is whole or absent.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, PoisonError};

use kiln_oci::Digest;
use rusqlite::OptionalExtension;
use rustix::io::Errno;

use crate::content;
use crate::database::now;
use crate::error::{At, Error, Result};
use crate::fault::{self, Operation};
use crate::index::Index;
pub use crate::layer::Layer;
pub(crate) use crate::layer::{LayerInner, TOUCHED, read_index};
use crate::leases;
use crate::locks::Sharing;
use crate::mending::{self, Retired};
use crate::metadata::Metadata;
use crate::staged::StagedLayer;
use crate::store::Inner;

/// The layers of a store.
pub struct Layers<'a> {
    pub(crate) store: &'a Arc<Inner>,
}

/// Number of a layer in its store; never reused. Shown in base 36, as its directory is named.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct LayerId(u64);

/// What a layer's content is, times included: equal ids, equal layers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ContentId(pub [u8; 32]);

impl LayerId {
    pub(crate) fn from_row(id: i64) -> Self {
        Self(id as u64)
    }

    pub(crate) fn row(self) -> i64 {
        self.0 as i64
    }
}

impl fmt::Display for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = Vec::new();
        let mut rest = self.0;
        loop {
            digits.push(b"0123456789abcdefghijklmnopqrstuvwxyz"[(rest % 36) as usize]);
            rest /= 36;
            if rest == 0 {
                break;
            }
        }
        digits.reverse();
        f.write_str(&String::from_utf8_lossy(&digits))
    }
}

impl fmt::Debug for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LayerId({self})")
    }
}

impl FromStr for LayerId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 36).map(Self)
    }
}

impl Layers<'_> {
    /// Starts a new layer whose root directory has this metadata.
    pub fn stage(&self, root: &Metadata) -> Result<StagedLayer> {
        StagedLayer::new(self.store, root)
    }

    /// A layer that the store holds, pinned.
    pub fn get(&self, id: LayerId) -> Result<Option<Layer>> {
        if leases::pin_layers(self.store, &[id])? && is_there(self.store, id) {
            return Ok(Some(handle(self.store, id)));
        }
        Ok(None)
    }

    /// A layer with this diff id, pinned.
    pub fn by_diff_id(&self, diff_id: &Digest) -> Result<Option<Layer>> {
        let query = "SELECT id FROM layers WHERE diff_id = ?1 ORDER BY pulled DESC, id";
        let ids: Vec<i64> = self
            .store
            .database
            .read(|db| db.prepare_cached(query)?.query_map([diff_id.to_string()], |row| row.get(0))?.collect())?;
        for id in ids {
            if let Some(layer) = self.get(LayerId::from_row(id))? {
                return Ok(Some(layer));
            }
        }
        Ok(None)
    }

    /// The layers whose diff ids nobody knows.
    pub fn unnamed(&self) -> Result<Vec<LayerId>> {
        let query = "SELECT id FROM layers WHERE diff_id IS NULL ORDER BY id";
        self.store
            .database
            .read(|db| db.prepare_cached(query)?.query_map([], |row| row.get(0).map(LayerId::from_row))?.collect())
    }

    /// Remembers the digest of the layer's uncompressed tar. `pulled`: the layer was made from that tar, so its
    /// content id follows from it.
    pub fn set_diff_id(&self, layer: &Layer, diff_id: &Digest, pulled: bool) -> Result<()> {
        let (id, text) = (layer.id().row(), diff_id.to_string());
        let content = pulled.then(|| content::of_pulled(diff_id).0);
        self.store.database.write(|db| {
            db.prepare_cached(
                "UPDATE layers SET diff_id = ?2, pulled = max(pulled, ?3), content_id = coalesce(?4, content_id) WHERE id = ?1",
            )?
            .execute((id, text, pulled, content))
        })?;
        Ok(())
    }

    /// What the layer holds. Hashes the files that were not hashed yet, in parallel.
    pub fn content_id(&self, layer: &Layer) -> Result<ContentId> {
        let id = layer.id().row();
        let query = "SELECT content_id FROM layers WHERE id = ?1";
        let known: Option<Option<[u8; 32]>> =
            self.store.database.read(|db| db.prepare_cached(query)?.query_row([id], |row| row.get(0)).optional())?;
        if let Some(Some(content)) = known {
            return Ok(ContentId(content));
        }
        let content = content::of_index(&*self.hashed_index(layer)?);
        self.store.database.write(|db| {
            db.prepare_cached("UPDATE layers SET content_id = ?2 WHERE id = ?1")?.execute((id, content.0))
        })?;
        Ok(content)
    }

    /// The oldest layer with the same content id and the same parents; if there is one, `layer` is thrown away.
    ///
    /// Call it with the only handle of a layer that was just committed, before anybody else learns its id.
    pub fn intern(&self, layer: Layer) -> Result<Layer> {
        let content = self.content_id(&layer)?;
        let query = "SELECT id FROM layers WHERE content_id = ?1 AND id < ?2 ORDER BY id";
        let older: Vec<i64> = self.store.database.read(|db| {
            db.prepare_cached(query)?.query_map((content.0, layer.id().row()), |row| row.get(0))?.collect()
        })?;
        for id in older {
            if let Some(held) = self.get(LayerId::from_row(id))?
                && content::show_the_same_parents(&*layer.index()?, &*held.index()?)
            {
                self.remove(layer.id())?;
                return Ok(held);
            }
        }
        Ok(layer)
    }

    /// The index with the digest of every regular file; hashes those not hashed yet, in parallel.
    pub fn hashed_index(&self, layer: &Layer) -> Result<Arc<Index>> {
        content::hash_files(self.store, layer)
    }

    /// Takes a damaged layer out of use: it becomes a miss for every build and image. It is deleted unless a living
    /// process or a container has it.
    pub fn retire(&self, id: LayerId) -> Result<Retired> {
        mending::retire(self.store, id)
    }

    /// Puts `whole`, which was made from the tar with this diff id, in the place of a damaged layer. The number of
    /// `whole` is gone then. The caller made sure that nobody else uses the damaged one.
    pub fn replace(&self, damaged: LayerId, whole: Layer, diff_id: &Digest) -> Result<()> {
        mending::replace(self.store, damaged, whole, diff_id)
    }

    /// Whether a living process other than this one has the layer.
    pub fn is_in_use(&self, id: LayerId) -> Result<bool> {
        mending::is_in_use(self.store, id)
    }

    /// The layer's diff id, as far as anybody knows it, and digests of blobs that should hold it.
    pub fn sources(&self, id: LayerId) -> Result<Option<(Digest, BTreeSet<Digest>)>> {
        mending::sources(self.store, id)
    }

    /// Deletes a layer, whoever needs it.
    pub fn remove(&self, id: LayerId) -> Result<()> {
        remove(self.store, id)
    }
}

/// Whether the layer's directory and its index are there; what is in them is not looked at.
pub(crate) fn is_there(store: &Inner, id: LayerId) -> bool {
    let directory = directory(store, id);
    directory.join("fs").is_dir() && directory.join("index").is_file()
}

pub(crate) fn directory(store: &Inner, id: LayerId) -> PathBuf {
    store.root.join("layers").join(id.to_string())
}

/// The process's one handle of a layer.
pub(crate) fn handle(store: &Arc<Inner>, id: LayerId) -> Layer {
    let mut open = store.open_layers.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(inner) = open.get(&id).and_then(std::sync::Weak::upgrade) {
        return Layer::of(inner);
    }
    if open.len() > 1024 {
        open.retain(|_, layer| layer.strong_count() > 0);
    }
    let path = directory(store, id);
    let inner = Arc::new(LayerInner::new(id, path, store));
    open.insert(id, Arc::downgrade(&inner));
    Layer::of(inner)
}

/// Puts a finished directory (`fs/` and nothing else) in its place with its index.
/// `shares`: the layer from which files were linked.
pub(crate) fn install(store: &Arc<Inner>, staged: &Path, index: Index, shares: Option<LayerId>) -> Result<Layer> {
    let index_path = staged.join("index");
    fault::run(Operation::Write, || fs::write(&index_path, index.bytes())).at("write", &index_path)?;
    let _placing = store.locks.acquire(Inner::placing_key(), Sharing::Shared, &|| false)?;
    let id = claim(store)?;
    let place = directory(store, id);
    if let Err(error) = settle_in(store, staged, id, &index, shares) {
        // Without its row it is nothing. What cannot be removed now is found by `system check`.
        let _ = store.session.discard(&place);
        return Err(error);
    }
    store.recency.grew();
    let layer = handle(store, id);
    layer.replace_index(Arc::new(index));
    Ok(layer)
}

/// Gives a layer its place and its row.
fn settle_in(store: &Inner, staged: &Path, id: LayerId, index: &Index, shares: Option<LayerId>) -> Result<()> {
    let place = directory(store, id);
    fault::run(Operation::Rename, || fs::rename(staged, &place)).at("rename", staged)?;
    let (entries, bytes, time) = (index.len() as i64, bytes_of(index), now());
    store.database.write(|db| {
        db.prepare_cached(
            "INSERT INTO layers (id, entries, bytes, created, used, epoch, shares, turn)
             VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?6, ?7)",
        )?
        .execute((
            id.row(),
            entries,
            bytes as i64,
            time,
            &store.epoch,
            shares.map(LayerId::row),
            store.recency.turn(db)?,
        ))?;
        leases::insert(db, store.session.name(), "layer", &id.to_string())
    })
}

/// Bytes of the files in an index, each counted once whatever names it has.
pub(crate) fn bytes_of(index: &Index) -> u64 {
    let mut groups = std::collections::HashSet::new();
    let first_names = index.entries().filter(|entry| entry.link_group().is_none_or(|group| groups.insert(group)));
    first_names.map(|entry| entry.size()).sum()
}

/// Whether the database knows the layer.
pub(crate) fn has_row(store: &Inner, id: LayerId) -> Result<bool> {
    store.database.read(|db| db.prepare_cached("SELECT 1 FROM layers WHERE id = ?1")?.exists([id.row()]))
}

/// A number that no layer had before, with its (empty) directory.
fn claim(store: &Inner) -> Result<LayerId> {
    loop {
        let id = LayerId::from_row(store.database.write(|db| {
            db.prepare_cached("UPDATE counter SET value = value + 1 RETURNING value")?.query_row([], |row| row.get(0))
        })?);
        let path = directory(store, id);
        match fault::run(Operation::MakeDirectory, || rustix::fs::mkdir(&path, rustix::fs::Mode::RWXU)) {
            Ok(()) => return Ok(id),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(Error::io("create", path, errno)),
        }
    }
}

pub(crate) fn remove(store: &Inner, id: LayerId) -> Result<()> {
    let trash = store.session.fresh_path();
    let path = directory(store, id);
    let there = match fault::run(Operation::Rename, || fs::rename(&path, &trash)) {
        Ok(()) => true,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(Error::io("rename", path, error)),
    };
    store.open_layers.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    let forgotten = store.database.write(|db| {
        db.prepare_cached("DELETE FROM leases WHERE kind = 'layer' AND target = ?1")?.execute([id.to_string()])?;
        delete_row(db, id)
    });
    if let Err(error) = forgotten {
        // The row is still there, so the files shall be too.
        let _ = fs::rename(&trash, &path);
        return Err(error);
    }
    if there { crate::remove::tree(&trash) } else { Ok(()) }
}

/// Drops this process's handles of layers that are gone.
pub(crate) fn forget_handles(store: &Inner, ids: impl Iterator<Item = LayerId>) {
    let mut open = store.open_layers.lock().unwrap_or_else(PoisonError::into_inner);
    ids.for_each(|id| drop(open.remove(&id)));
}

/// Deletes the row. Of the layers that share files with this one the oldest takes its place for the others; what
/// they take on disk is to be measured again.
pub(crate) fn delete_row(db: &rusqlite::Connection, id: LayerId) -> rusqlite::Result<()> {
    let heir: Option<i64> = db
        .prepare_cached("SELECT id FROM layers WHERE shares = ?1 ORDER BY id LIMIT 1")?
        .query_row([id.row()], |row| row.get(0))
        .optional()?;
    if let Some(heir) = heir {
        db.prepare_cached(
            "UPDATE layers SET disk = NULL, shares = CASE id WHEN ?2
             THEN (SELECT shares FROM layers WHERE id = ?1) ELSE ?2 END WHERE shares = ?1",
        )?
        .execute((id.row(), heir))?;
    }
    db.prepare_cached("DELETE FROM layers WHERE id = ?1")?.execute([id.row()]).map(drop)
}

/// Removes directories without a row. The caller keeps others from placing any.
pub(crate) fn sweep(store: &Inner) -> Result<()> {
    let directory = store.root.join("layers");
    for entry in fs::read_dir(&directory).at("list", &directory)? {
        let entry = entry.at("list", &directory)?;
        let id = entry.file_name().to_str().and_then(|name| name.parse::<LayerId>().ok());
        let known = match id {
            None => false,
            Some(id) => {
                store.database.read(|db| db.prepare_cached("SELECT 1 FROM layers WHERE id = ?1")?.exists([id.row()]))?
            }
        };
        if !known {
            store.session.discard(&entry.path())?;
        }
    }
    Ok(())
}

/// Whether every file is there with its size and digest.
pub(crate) fn is_intact(store: &Arc<Inner>, id: LayerId, unknown: content::Unknown) -> bool {
    content::verify(&handle(store, id), unknown).is_ok()
}
