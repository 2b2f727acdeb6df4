//! Taking a damaged layer out of use, and putting a whole one in its place.
//!
//! It knows neither how damage is found nor where a whole layer comes from.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use kiln_oci::Digest;
use rusqlite::Connection;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::content;
use crate::error::{At, Error, Result};
use crate::evictions::{EvictionCause, evict};
use crate::fault::{self, Operation};
use crate::images::{self, Images};
use crate::layers::{self, Layer, LayerId};
use crate::noted::Damaged;
use crate::session;
use crate::store::Inner;

/// What became of a layer that was taken out of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retired {
    /// It is gone.
    Removed,
    /// No build finds it any more, but somebody who is just at work, or a container, has it: it stays on disk.
    InUse,
}

/// Takes everything out of use that this process found damaged since it was last asked, and layers that share a damaged
/// file with it. Tells in words what that was.
pub(crate) fn drop_noted(store: &Arc<Inner>) -> Result<Vec<String>> {
    let Damaged { layers, blobs } = store.noted.take();
    let mut all = layers.clone();
    for &id in &layers {
        all.extend(sharers(store, id)?);
    }
    let mut dropped = Vec::new();
    for &id in &all {
        retire(store, id)?;
        dropped.push(format!("layer {id}"));
    }
    for digest in blobs {
        crate::blobs::remove(store, &digest.to_string())?;
        forget_pulled(store, &digest)?;
        dropped.push(format!("blob {digest}"));
    }
    // Finding out who shares a file came across the damage again.
    store.noted.take();
    Ok(dropped)
}

/// Forgets the image that this was the config of, if it came from elsewhere: it is asked for there again.
fn forget_pulled(store: &Arc<Inner>, config: &Digest) -> Result<()> {
    match (Images { store }).get(config)? {
        Some(image) if image.manifest.is_some() => match (Images { store }).remove(config, false) {
            Err(Error::ImageInUse { .. }) => Ok(()),
            answer => answer,
        },
        _ => Ok(()),
    }
}

/// Layers in which a damaged file of this one is the same file on disk: unchanged files are linked from a step's
/// previous layer, at the same path.
fn sharers(store: &Arc<Inner>, id: LayerId) -> Result<Vec<LayerId>> {
    let damaged = crate::check::damaged_entries(store, id);
    let inode = |path: PathBuf| path.symlink_metadata().ok().filter(|status| status.is_file() && status.nlink() > 1);
    let mut sharers = Vec::new();
    let all: Vec<LayerId> = store.database.read(|db| {
        db.prepare_cached("SELECT id FROM layers")?.query_map([], |row| row.get(0).map(LayerId::from_row))?.collect()
    })?;
    for entry in damaged {
        let within = |id: LayerId| inode(layers::directory(store, id).join("fs").join(&entry));
        let Some(own) = within(id) else { continue };
        let same = |other: &LayerId| {
            within(*other).is_some_and(|status| (status.dev(), status.ino()) == (own.dev(), own.ino()))
        };
        sharers.extend(all.iter().copied().filter(|other| *other != id).filter(same));
    }
    Ok(sharers)
}

/// Takes a layer out of use: no cache record, no image and no look-up leads to it any more. It is deleted unless a
/// living process or a container has it.
pub(crate) fn retire(store: &Arc<Inner>, id: LayerId) -> Result<Retired> {
    store.database.write(|db| {
        evict(db, &records_of(db, id)?, EvictionCause::Damaged)?;
        images::forget_layer(db, id)?;
        let unknown = "UPDATE layers SET diff_id = NULL, content_id = NULL, pulled = 0 WHERE id = ?1";
        db.prepare_cached(unknown)?.execute([id.row()])
    })?;
    let containers = crate::containers::Containers { store }.list()?;
    if is_in_use(store, id)? || containers.iter().any(|container| container.layers.contains(&id)) {
        return Ok(Retired::InUse);
    }
    layers::remove(store, id)?;
    Ok(Retired::Removed)
}

/// Puts the files and index of `whole`, which was made from the tar with this diff id, in the place of those of
/// `damaged`, and takes the number of `whole` away. Whoever names the layer has the whole one then. Cache records of
/// a layer that a step made go: the tar keeps less of times and xattrs than the step did.
pub(crate) fn replace(store: &Arc<Inner>, damaged: LayerId, whole: Layer, diff_id: &Digest) -> Result<()> {
    let (old, new) = (layers::directory(store, damaged), layers::directory(store, whole.id()));
    let content = content::of_pulled(diff_id);
    let new_id = whole.id();
    drop(whole);
    let exchange = || match fault::run(Operation::Rename, || renameat_with(CWD, &new, CWD, &old, RenameFlags::EXCHANGE))
    {
        Err(rustix::io::Errno::NOENT) => fault::run(Operation::Rename, || fs::rename(&new, &old)),
        answer => answer.map_err(Into::into),
    };
    let exchanged = store.database.write(|db| {
        let pulled = "SELECT pulled FROM layers WHERE id = ?1";
        let pulled: bool = db.prepare_cached(pulled)?.query_row([damaged.row()], |row| row.get(0))?;
        if !pulled {
            evict(db, &records_of(db, damaged)?, EvictionCause::Damaged)?;
        }
        let update = "UPDATE layers SET diff_id = ?2, pulled = 1, content_id = ?3, synced = 0, epoch = ?4,
            (entries, bytes) = (SELECT entries, bytes FROM layers WHERE id = ?5) WHERE id = ?1";
        db.prepare_cached(update)?.execute((
            damaged.row(),
            diff_id.to_string(),
            content.0,
            &store.epoch,
            new_id.row(),
        ))?;
        Ok(exchange())
    })?;
    exchanged.at("exchange", &old)?;
    let mut open = store.open_layers.lock().unwrap_or_else(PoisonError::into_inner);
    open.remove(&damaged);
    drop(open);
    layers::remove(store, new_id)
}

/// Whether a living process other than this one has the layer.
pub(crate) fn is_in_use(store: &Arc<Inner>, id: LayerId) -> Result<bool> {
    let sessions: Vec<String> = store.database.read(|db| {
        db.prepare_cached("SELECT session FROM leases WHERE kind = 'layer' AND target = ?1")?
            .query_map([id.to_string()], |row| row.get(0))?
            .collect()
    })?;
    for name in sessions {
        if name != store.session.name() && session::is_alive(&name, &store.locks)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Blobs of the store that hold the layer, and its diff id, by which a layer made from one of them is verified.
pub(crate) fn sources(store: &Arc<Inner>, id: LayerId) -> Result<Option<(Digest, BTreeSet<Digest>)>> {
    let images = Images { store }.list()?;
    let named = images.iter().flat_map(|image| &image.layers).find(|layer| layer.layer == Some(id));
    let diff_id = match named {
        Some(layer) => Some(layer.diff_id.clone()),
        None => layers::handle(store, id).diff_id()?,
    };
    let Some(diff_id) = diff_id else { return Ok(None) };
    let of_images = images.iter().flat_map(|image| &image.layers).filter(|layer| layer.diff_id == diff_id);
    let mut blobs: BTreeSet<Digest> =
        of_images.filter_map(|layer| layer.blob.as_ref()).map(|blob| blob.digest.clone()).collect();
    blobs.extend(crate::check::packed(store)?.into_iter().filter(|(layer, _)| *layer == id).map(|(_, blob)| blob));
    Ok(Some((diff_id, blobs)))
}

fn records_of(db: &Connection, id: LayerId) -> rusqlite::Result<Vec<i64>> {
    let query = "SELECT DISTINCT record FROM record_layers WHERE layer = ?1";
    db.prepare_cached(query)?.query_map([id.row()], |row| row.get(0))?.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{layer, metadata, store};
    use crate::{Key, NewRecord, Store};
    use std::io::Read;

    fn record(store: &Store, number: u8, layer: LayerId) {
        let (op, lineage, effects) = (Key([number; 32]), "a".to_owned(), "{}".to_owned());
        let record = NewRecord { op, lineage, layers: vec![layer], inputs: Vec::new(), effects };
        store.records().insert(&record, &[op]).unwrap();
    }

    fn is_hit(store: &Store, number: u8) -> bool {
        store.records().find(&Key([number; 32])).unwrap().is_some()
    }

    #[test]
    fn whoever_shares_a_damaged_file_goes_with_the_layer_and_others_stay() {
        let (_directory, store) = store();
        let (older, other) = (layer(&store, None, "f a hello\n f b x"), layer(&store, None, "f a hello"));
        let writer = store.layers().stage(&metadata(0o755)).unwrap().writer().unwrap();
        assert!(writer.link_from(&older, "a", &metadata(0o644), None).unwrap());
        let newer = writer.commit().unwrap();
        for (number, made) in [(1, &older), (2, &newer), (3, &other)] {
            record(&store, number, made.id());
        }
        assert_eq!(store.drop_damage().unwrap(), [""; 0]);
        fs::write(newer.fs_path().join("a"), "jello").unwrap();
        newer.reader(b"a").unwrap().read_to_end(&mut Vec::new()).unwrap_err();
        let (older_id, newer_id) = (older.id(), newer.id());
        drop((older, newer));
        assert_eq!(store.drop_damage().unwrap(), [format!("layer {older_id}"), format!("layer {newer_id}")]);
        assert_eq!([1, 2, 3].map(|number| is_hit(&store, number)), [false, false, true]);
        assert!(store.check(&|_, _| {}).unwrap().is_clean());
    }

    #[test]
    fn a_layer_that_another_process_has_is_found_by_nobody_and_stays_on_disk() {
        let (_directory, store) = store();
        let made = layer(&store, None, "f a hello");
        let diff_id = Digest::of(b"tar");
        store.layers().set_diff_id(&made, &diff_id, false).unwrap();
        record(&store, 1, made.id());
        let other = Store::open(store.root(), store.mode()).unwrap();
        let held = other.layers().get(made.id()).unwrap().unwrap();
        assert_eq!(store.layers().retire(made.id()).unwrap(), Retired::InUse);
        assert!(!is_hit(&store, 1) && store.layers().by_diff_id(&diff_id).unwrap().is_none());
        assert!(held.open(b"a").is_ok());
        drop((held, other));
        assert_eq!(store.layers().retire(made.id()).unwrap(), Retired::Removed);
        assert!(store.check(&|_, _| {}).unwrap().is_clean());
    }

    #[test]
    fn a_whole_layer_takes_the_place_of_a_damaged_one_under_its_number() {
        let (_directory, store) = store();
        let damaged = layer(&store, None, "f a hello");
        let (id, diff_id) = (damaged.id(), Digest::of(b"tar"));
        fs::write(damaged.fs_path().join("a"), "jello").unwrap();
        let whole = layer(&store, None, "f a hello");
        let whole_id = whole.id();
        store.layers().replace(id, whole, &diff_id).unwrap();
        drop(damaged);
        assert!(store.layers().get(whole_id).unwrap().is_none());
        let mended = store.layers().by_diff_id(&diff_id).unwrap().unwrap();
        assert_eq!(mended.id(), id);
        let mut bytes = Vec::new();
        mended.reader(b"a").unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"hello");
        assert!(store.check(&|_, _| {}).unwrap().is_clean());
    }
}
