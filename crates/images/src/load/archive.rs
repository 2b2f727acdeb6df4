//! Takes an image archive apart as it streams by: files become blobs of the store, whatever order
//! they come in; small documents at the top are kept in memory.

use std::collections::HashMap;
use std::io::{self, Read, Write};

use kiln_oci::Digest;
use kiln_progress::Task;
use kiln_store::{Blob, Store};

use super::LoadError;
use crate::import::DOCUMENT_LIMIT;
use crate::layout;
use crate::tar::{Entry, EntryKind, TarReader};
use crate::unpack::{LimitExceeded, Limits, bounded};

/// No image archive has more files: two for each layer, and some documents.
const MAX_FILES: usize = 20_000;

/// An archive whose files are blobs of the store.
#[derive(Default)]
pub(super) struct Spool {
    documents: HashMap<String, Vec<u8>>,
    files: HashMap<String, Blob>,
    /// Links, which docker wrote for layers that are equal.
    links: HashMap<String, String>,
}

impl Spool {
    /// Reads the archive to its end.
    pub(super) fn read<R: Read>(store: &Store, archive: R, task: &Task) -> Result<Spool, LoadError> {
        // An archive of many images may be large, its files may not.
        let limits = Limits { size: u64::MAX, ..Limits::settled() };
        let plain =
            bounded(archive, limits).map_err(|source| LoadError::Read { place: "the archive".to_owned(), source })?;
        let mut reader = TarReader::new(plain);
        let mut spool = Spool::default();
        while let Some(entry) = reader.next_entry()? {
            spool.take(store, &entry, &mut reader)?;
            task.progress(reader.offset(), None);
        }
        Ok(spool)
    }

    /// A document at the top of the archive.
    pub(super) fn document(&self, path: &str) -> Option<&[u8]> {
        self.documents.get(path).map(Vec::as_slice)
    }

    /// The blob that a file of the archive became, links followed.
    pub(super) fn file(&self, path: &str) -> Option<&Blob> {
        let path = clean(path.as_bytes());
        let mut at = path.as_str();
        // A link leads to a file or, in very old archives, to another link; never further.
        for _ in 0..8 {
            if let Some(blob) = self.files.get(at) {
                return Some(blob);
            }
            at = self.links.get(at)?;
        }
        None
    }

    fn take<R: Read>(&mut self, store: &Store, entry: &Entry, reader: &mut TarReader<R>) -> Result<(), LoadError> {
        let path = clean(&entry.path);
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        match &entry.kind {
            EntryKind::File => self.take_file(store, path, entry.size, reader),
            EntryKind::HardLink { target } => {
                self.links.insert(path, clean(target));
                Ok(())
            }
            EntryKind::Symlink { target } => {
                let target = [directory.as_bytes(), b"/", target].concat();
                self.links.insert(path, clean(&target));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn take_file<R: Read>(
        &mut self,
        store: &Store,
        path: String,
        size: u64,
        reader: &mut TarReader<R>,
    ) -> Result<(), LoadError> {
        if self.files.len() + self.links.len() >= MAX_FILES {
            return Err(LoadError::TooManyFiles { limit: MAX_FILES });
        }
        if path == layout::INDEX || path == layout::DOCKER_MANIFEST {
            if size > DOCUMENT_LIMIT {
                return Err(LoadError::DocumentTooLarge { place: path, size });
            }
            let mut document = Vec::new();
            reader.read_to_end(&mut document).map_err(|source| read_failed(&path, source))?;
            self.documents.insert(path, document);
            return Ok(());
        }
        let limit = Limits::settled().size;
        if size > limit {
            return Err(LoadError::Limit { path, source: LimitExceeded::Size { limit } });
        }
        let expected = digest_of_path(&path);
        let blob = store_file(store, &path, expected.as_ref(), reader)?;
        store.leases().pin_blobs(std::slice::from_ref(&blob.digest))?;
        self.files.insert(path, blob);
        Ok(())
    }
}

/// Copies a file into the store; a file of `blobs/` must have the digest that is its name.
pub(super) fn store_file(
    store: &Store,
    path: &str,
    expected: Option<&Digest>,
    file: &mut impl Read,
) -> Result<Blob, LoadError> {
    let mut blob = store.blobs().create()?;
    let mut buffer = vec![0; 128 * 1024];
    loop {
        let count = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(read_failed(path, source)),
        };
        let written = blob.write_all(buffer.get(..count).unwrap_or_default());
        let place = || "the store while loading".to_owned();
        written.map_err(|source| LoadError::Read { place: place(), source })?;
    }
    blob.commit(expected, None).map_err(|source| LoadError::DamagedFile { path: path.to_owned(), source })
}

fn read_failed(path: &str, source: io::Error) -> LoadError {
    LoadError::Read { place: path.to_owned(), source }
}

/// The digest that `blobs/ALGORITHM/HEX` names.
fn digest_of_path(path: &str) -> Option<Digest> {
    let (algorithm, hex) = path.strip_prefix("blobs/")?.split_once('/')?;
    format!("{algorithm}:{hex}").parse().ok()
}

/// A path within the archive without `.`, `..` and leading slash. Only compared, never opened.
fn clean(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts.join("/")
}
