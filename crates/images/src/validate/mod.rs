//! Checks every invariant of the images in an OCI layout or archive: digests, sizes, diff ids,
//! history against layers, media types, documents, and the layers' tars.
//!
//! Shares no code with the exporters but the tar reader and the decompression, and knows no store:
//! it is the second opinion of the tests, and of a user who distrusts an archive.

mod image;
mod layer;

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use kiln_oci::{Digest, Hasher, Index};

use crate::layout;
use crate::tar::{EntryKind, TarReader};

/// What is wrong with an image archive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Which document or blob.
    pub place: String,
    /// What is wrong.
    pub what: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// Everything wrong with an OCI archive (in any known compression); empty if it is valid. Unpacks
/// it into a temporary directory beside nothing of importance (`TMPDIR`).
pub fn archive<R: Read>(archive: R) -> io::Result<Vec<Problem>> {
    let scratch = Scratch::new()?;
    let mut checker = Checker::new(scratch.path.clone());
    let mut reader = TarReader::new(crate::compression::decompress(archive)?);
    while let Some(entry) = reader.next_entry()? {
        let path = String::from_utf8_lossy(&entry.path).trim_end_matches('/').to_owned();
        match entry.kind {
            EntryKind::Directory => {}
            EntryKind::File => checker.take(&path, &mut reader)?,
            _ => checker.problem(&path, "an image archive holds only files and directories"),
        }
    }
    checker.check()
}

/// Everything wrong with an OCI layout directory.
pub fn layout(directory: &Path) -> io::Result<Vec<Problem>> {
    let mut checker = Checker::new(directory.to_owned());
    for name in [layout::MARKER, layout::INDEX, layout::DOCKER_MANIFEST] {
        match std::fs::File::open(directory.join(name)) {
            Ok(mut file) => checker.take_document(name, &mut file)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let blobs = directory.join("blobs");
    for algorithm in std::fs::read_dir(&blobs)? {
        let algorithm = algorithm?.file_name();
        for blob in std::fs::read_dir(blobs.join(&algorithm))? {
            let name = blob?.file_name();
            let path = format!("blobs/{}/{}", algorithm.to_string_lossy(), name.to_string_lossy());
            let mut file = std::fs::File::open(blobs.join(&algorithm).join(&name))?;
            checker.blob(&path, &mut file, &mut io::sink())?;
        }
    }
    checker.check()
}

/// What is known of a layout while it is checked.
struct Checker {
    /// Where `blobs/` is.
    directory: PathBuf,
    documents: BTreeMap<String, Vec<u8>>,
    /// Sizes of the blobs whose bytes have the digest that is their name.
    blobs: HashMap<Digest, u64>,
    /// Diff ids of layers that were read already, by blob.
    layers: HashMap<Digest, Option<Digest>>,
    problems: Vec<Problem>,
}

impl Checker {
    fn new(directory: PathBuf) -> Checker {
        Checker {
            directory,
            documents: BTreeMap::new(),
            blobs: HashMap::new(),
            layers: HashMap::new(),
            problems: Vec::new(),
        }
    }

    fn problem(&mut self, place: &str, what: impl Into<String>) {
        self.problems.push(Problem { place: place.to_owned(), what: what.into() });
    }

    fn take(&mut self, path: &str, file: &mut impl Read) -> io::Result<()> {
        if !path.starts_with("blobs/") {
            return self.take_document(path, file);
        }
        let target = self.directory.join(format!("{}", self.blobs.len() + self.problems.len()));
        let mut copy = std::fs::File::create(&target)?;
        match self.blob(path, file, &mut copy)? {
            Some(digest) => std::fs::rename(&target, self.blob_file(&digest)),
            None => std::fs::remove_file(&target),
        }
    }

    fn take_document(&mut self, path: &str, file: &mut impl Read) -> io::Result<()> {
        let mut bytes = Vec::new();
        file.take(crate::import::DOCUMENT_LIMIT).read_to_end(&mut bytes)?;
        if self.documents.insert(path.to_owned(), bytes).is_some() {
            self.problem(path, "is there twice");
        }
        Ok(())
    }

    /// Compares a blob with its name; its digest if they agree.
    fn blob(&mut self, path: &str, file: &mut impl Read, copy: &mut impl Write) -> io::Result<Option<Digest>> {
        let name = path.strip_prefix("blobs/").and_then(|rest| rest.split_once('/'));
        let digest = name.and_then(|(algorithm, hex)| format!("{algorithm}:{hex}").parse::<Digest>().ok());
        let Some((digest, mut hasher)) = digest.and_then(|digest| Some((digest.clone(), digest.hasher()?))) else {
            self.problem(path, "is not named by a digest");
            return Ok(None);
        };
        let size = io::copy(&mut Tee { file, hasher: &mut hasher }, copy)?;
        let actual = hasher.finish();
        if actual != digest {
            self.problem(path, format!("its bytes have the digest {actual}"));
            return Ok(None);
        }
        if self.blobs.insert(digest.clone(), size).is_some() {
            self.problem(path, "is there twice");
        }
        Ok(Some(digest))
    }

    /// Where a blob's bytes are: as the layout has them, or in the scratch directory.
    fn blob_file(&self, digest: &Digest) -> PathBuf {
        let in_layout = self.directory.join(layout::blob_path(digest));
        if in_layout.exists() { in_layout } else { self.directory.join(digest.hex()) }
    }

    fn check(mut self) -> io::Result<Vec<Problem>> {
        match self.documents.get(layout::MARKER) {
            None => self.problem(layout::MARKER, "is missing"),
            Some(marker) => {
                let version = serde_json::from_slice::<serde_json::Value>(marker).ok();
                if version.is_none_or(|marker| marker["imageLayoutVersion"] != "1.0.0") {
                    self.problem(layout::MARKER, "does not say imageLayoutVersion 1.0.0");
                }
            }
        }
        match self.documents.get(layout::INDEX).map(|raw| serde_json::from_slice::<Index>(raw)) {
            None => self.problem(layout::INDEX, "is missing"),
            Some(Err(error)) => self.problem(layout::INDEX, error.to_string()),
            Some(Ok(index)) => self.index(layout::INDEX, &index, 0)?,
        }
        self.docker_manifest();
        self.problems.sort();
        self.problems.dedup();
        Ok(self.problems)
    }
}

/// Hashes what is read.
struct Tee<'a, R> {
    file: &'a mut R,
    hasher: &'a mut Hasher,
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hasher.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

/// A directory that goes when it is dropped.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn new() -> io::Result<Scratch> {
        for attempt in 0..1000 {
            let name = format!("kiln-validate-{}-{attempt}", std::process::id());
            let path = std::env::temp_dir().join(name);
            match std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(&path) {
                Ok(()) => return Ok(Scratch { path }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("cannot make a temporary directory"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing can be done about a directory that stays.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests;
