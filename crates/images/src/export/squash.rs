//! Several layers of an image made one: what they change together, without what they undo among themselves.

use std::collections::HashMap;
use std::io;

use kiln_store::{Found, Hashing, Key, Kind, Layer, LayerWriter, NewRecord, Store, Union};

use super::ExportError;
use super::rootfs::FirstNames;

/// Replaces the layers above the lowest `base` by a single one, after which a container sees the same files. What was
/// made once of the same layers is taken again.
///
/// # Errors
/// A store that cannot be read or written, and damage in a file of the layers.
pub fn squash(store: &Store, layers: &[Layer], base: usize) -> Result<Vec<Layer>, ExportError> {
    let (below, above) = layers.split_at(base.min(layers.len()));
    if above.len() < 2 {
        return Ok(layers.to_vec());
    }
    let key = key(layers, below.len());
    let merged = match earlier(store, &key)? {
        Some(layer) => layer,
        None => {
            let layer = merge(store, &Union::new(below.to_vec())?, &Union::new(layers.to_vec())?)?;
            let (layers, inputs) = (vec![layer.id()], Vec::new());
            let lineage = "squashed layers".to_owned();
            store.records().insert(&NewRecord { op: key, lineage, layers, inputs, effects: String::new() }, &[key])?;
            layer
        }
    };
    Ok(below.iter().cloned().chain([merged]).collect())
}

fn key(layers: &[Layer], base: usize) -> Key {
    let ids: Vec<String> = layers.iter().map(|layer| layer.id().to_string()).collect();
    let text = format!("squashed layers 1 {base} {}", ids.join(" "));
    Key(*blake3::hash(text.as_bytes()).as_bytes())
}

fn earlier(store: &Store, key: &Key) -> Result<Option<Layer>, ExportError> {
    let Some(record) = store.records().find(key)? else { return Ok(None) };
    let [id] = record.layers[..] else { return Ok(None) };
    // Pinned before it is looked at: what is there then stays.
    if !store.leases().pin_layers(&[id])? {
        return Ok(None);
    }
    Ok(store.layers().get(id)?)
}

/// A layer that, put on `below`, shows what `whole` shows; `below` are the lowest layers of `whole`.
fn merge(store: &Store, below: &Union, whole: &Union) -> Result<Layer, ExportError> {
    let (base, shown) = (below.layers().len(), whole.walk(b""));
    let root = shown.first().map(|root| root.entry.metadata()).unwrap_or_default();
    let writer = store.layers().stage(&root)?.writer_over(below.clone())?;
    let mut first_names = FirstNames::default();
    let mut is_directory = HashMap::new();
    for found in &shown {
        is_directory.insert(found.entry.path(), found.entry.kind() == Kind::Directory);
        if found.layer < base {
            continue;
        }
        match first_names.earlier(found) {
            Some(first) => writer.hard_link(found.entry.path(), first)?,
            None => put(&writer, whole, found)?,
        }
    }
    for gone in below.walk(b"").iter().map(|found| found.entry.path()).filter(|path| !is_directory.contains_key(path)) {
        // What lies below something that is gone, or is no directory any more, needs no mark of its own.
        let parent = gone.iter().rposition(|&byte| byte == b'/').map_or(&b""[..], |slash| &gone[..slash]);
        if is_directory.get(parent) == Some(&true) {
            writer.whiteout(gone)?;
        }
    }
    Ok(writer.commit()?)
}

fn put(writer: &LayerWriter, whole: &Union, found: &Found<'_>) -> Result<(), ExportError> {
    let entry = found.entry;
    let (path, metadata) = (entry.path(), entry.metadata());
    match entry.kind() {
        Kind::Directory if path.is_empty() && entry.parent_only() => {}
        Kind::Directory => writer.directory(path, &metadata)?,
        Kind::Symlink => writer.symlink(path, entry.target(), &metadata)?,
        Kind::Fifo => writer.fifo(path, &metadata)?,
        Kind::CharacterDevice | Kind::BlockDevice => writer.device(path, entry.kind(), entry.device(), &metadata)?,
        Kind::File => file(writer, whole, found)?,
        Kind::Whiteout => {}
    }
    Ok(())
}

/// The same inode where that is possible, or a copy that is verified while it is read.
fn file(writer: &LayerWriter, whole: &Union, found: &Found<'_>) -> Result<(), ExportError> {
    let (path, metadata) = (found.entry.path(), found.entry.metadata());
    let linked = match whole.layers().get(found.layer) {
        Some(layer) => writer.link_from(layer, path, &metadata, found.entry.digest())?,
        None => false,
    };
    if linked {
        return Ok(());
    }
    let failed = |source| ExportError::WriteEntry { path: String::from_utf8_lossy(path).into_owned(), source };
    let mut copy = writer.file(path, &metadata, Hashing::Now)?;
    io::copy(&mut whole.reader(found)?, &mut copy).map_err(failed)?;
    copy.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use kiln_store::Device;

    use super::*;
    use crate::testing::{TestStore, layer_over, metadata, put_file, torture_layer};

    /// What a container sees: kind, mode, owner, target, digest, which names are one file.
    fn view(layers: &[Layer]) -> Vec<String> {
        let union = Union::new(layers.to_vec()).unwrap();
        let all = union.walk(b"");
        let mut names = FirstNames::default();
        let mut lines = Vec::new();
        for found in &all {
            let entry = found.entry;
            // A file that was never hashed is told by its bytes.
            let mut hasher = blake3::Hasher::new();
            if entry.kind() == Kind::File {
                io::copy(&mut union.reader(found).unwrap(), &mut hasher).unwrap();
            }
            let first = names.earlier(found).map(|path| path.escape_ascii().to_string());
            let target = entry.target().escape_ascii();
            lines.push(format!(
                "{} {:?} {:o} {}:{} {target} {:?} {:?} {first:?} {}",
                entry.path().escape_ascii(),
                entry.kind(),
                entry.mode(),
                entry.uid(),
                entry.gid(),
                entry.device(),
                entry.xattr(b"security.capability"),
                hasher.finalize()
            ));
        }
        lines
    }

    fn layers(store: &Store) -> Vec<Layer> {
        let base = layer_over(store, &[], |writer| {
            for path in ["etc/passwd", "etc/group", "usr/share/a", "usr/share/b", "opt/old/file", "was-file"] {
                put_file(writer, path, &metadata(0o644), path.as_bytes());
            }
            writer.directory("was-directory/below", &metadata(0o755)).unwrap();
        });
        let mut all = vec![base];
        all.push(layer_over(store, &all, |writer| {
            put_file(writer, "tmp/only-for-a-while", &metadata(0o600), b"secret");
            put_file(writer, "etc/passwd", &metadata(0o600), b"changed");
            writer.whiteout("usr/share/a").unwrap();
            writer.whiteout("was-directory").unwrap();
            put_file(writer, "was-directory", &metadata(0o644), b"now a file");
        }));
        all.push(layer_over(store, &all, |writer| {
            writer.whiteout("tmp").unwrap();
            writer.directory("opt/old", &metadata(0o711)).unwrap();
            writer.opaque("opt/old").unwrap();
            put_file(writer, "opt/old/new", &metadata(0o644), b"new");
            put_file(writer, "usr/share/a", &metadata(0o644), b"made anew");
            writer.whiteout("was-file").unwrap();
            writer.directory("was-file", &metadata(0o755)).unwrap();
            let device = Device { major: 1, minor: 3 };
            writer.device("null", Kind::CharacterDevice, device, &metadata(0o666)).unwrap();
        }));
        all
    }

    #[test]
    fn one_layer_shows_what_several_did() {
        let test = TestStore::new();
        let all = layers(&test.store);
        for base in 0..all.len() {
            let squashed = squash(&test.store, &all, base).unwrap();
            assert_eq!(squashed.len(), if base + 1 < all.len() { base + 1 } else { all.len() });
            assert_eq!(view(&squashed), view(&all), "above {base}");
            let again = squash(&test.store, &all, base).unwrap();
            assert_eq!(again.last().map(Layer::id), squashed.last().map(Layer::id));
        }
    }

    #[test]
    fn what_was_undone_is_nowhere() {
        let test = TestStore::new();
        let squashed = squash(&test.store, &layers(&test.store), 1).unwrap();
        let index = squashed[1].index().unwrap();
        let lines: Vec<String> =
            index.entries().map(|entry| format!("{:?} {}", entry.kind(), entry.path().escape_ascii())).collect();
        assert!(index.get("tmp").is_none() && index.get("tmp/only-for-a-while").is_none(), "{lines:#?}");
        // Deleted below the base's directory, and only there.
        assert!(index.get("opt/old/file").is_some_and(|entry| entry.kind() == Kind::Whiteout), "{lines:#?}");
        assert!(index.get("was-directory/below").is_none(), "{lines:#?}");
        assert!(index.get("etc/group").is_none() && index.get("usr/share/b").is_none(), "{lines:#?}");
    }

    #[test]
    fn awkward_entries_stay_as_they_are() {
        let test = TestStore::new();
        let lowest = layer_over(&test.store, &[], |writer| put_file(writer, "empty", &metadata(0o644), b"before"));
        let all = [lowest, torture_layer(&test.store)];
        assert_eq!(view(&squash(&test.store, &all, 0).unwrap()), view(&all));
    }
}
