//! ADD of a local archive: unpacked into the destination if its content says that it is one.

use std::io::{Read, Seek, SeekFrom};

use kiln_images::unpack::{self, ExtractOptions};
use kiln_sandbox::users::Owner;
use kiln_store::{FileDigest, FileStamp};

use super::FileError;
use super::destination::Destination;
use super::run::LandedFile;
use crate::tree::{Content, Node, Tree, lossy};

/// Unpacks `node` into the directory that `prepare` makes and names. `None`: it is no archive, and nothing
/// happened. For a context's file the digest of the bytes that were unpacked comes back.
pub(super) fn unpack<'d>(
    tree: &Tree,
    node: &Node,
    owner: Option<Owner>,
    learnt: &(dyn Fn(FileStamp, FileDigest) + Sync),
    prepare: impl FnOnce() -> Result<(&'d Destination<'d>, &'d [u8]), FileError>,
) -> Result<Option<Option<LandedFile>>, FileError> {
    let fail = |reason: String| FileError::Archive { path: lossy(&node.path), reason };
    let (mut file, now) = tree.open(node)?;
    if !unpack::is_archive(&file).map_err(|error| fail(error.to_string()))? {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(0)).map_err(|error| fail(error.to_string()))?;
    let (destination, directory) = prepare()?;
    let lasts = kiln_store::status_tells_changes(&file);
    let options = ExtractOptions { owner: owner.map(|owner| (owner.uid, owner.gid)) };
    let mut reader = Hashed { inner: file, hasher: blake3::Hasher::new() };
    unpack::extract(&mut reader, destination.writer, destination.base, directory, &options)
        .map_err(|error| fail(error.to_string()))?;
    std::io::copy(&mut reader, &mut std::io::sink()).map_err(|error| fail(error.to_string()))?;
    let digest = FileDigest(*reader.hasher.finalize().as_bytes());
    let Some(before) = now else { return stored(tree, node, digest).map(Some) };
    let after = tree.status(&reader.inner, &node.path)?;
    if after.stamp != before.stamp {
        return Err(FileError::Unstable { path: lossy(&node.path) });
    }
    if lasts {
        learnt(after.stamp, digest);
    }
    Ok(Some(Some(LandedFile { digest, mode: after.mode })))
}

/// What landed of a layer's file, compared with the layer's index.
fn stored(tree: &Tree, node: &Node, digest: FileDigest) -> Result<Option<LandedFile>, FileError> {
    if matches!(node.content, Content::Digest(expected) if expected != digest) {
        tree.note_damage(node);
        return Err(FileError::Damaged { path: lossy(&node.path) });
    }
    Ok(tree.is_context().then_some(LandedFile { digest, mode: node.mode }))
}

struct Hashed {
    inner: std::fs::File,
    hasher: blake3::Hasher,
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}
