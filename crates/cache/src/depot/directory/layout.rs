//! The files of an OCI image layout, reached from a descriptor of its directory, so that no link in it leads out of
//! it. Blocks. Knows nothing of entries.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use kiln_oci::{Descriptor, Digest, Hasher, Index};
use kiln_registry::BlobSource;
use rustix::fs::{AtFlags, CWD, Dir, FlockOperation, Mode, OFlags, flock, mkdirat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

use crate::depot::{Error, Result};

/// How large an `index.json` may be, in bytes.
const INDEX_LIMIT: u64 = 16 << 20;

/// How many bytes of a blob are in memory at once.
const PIECE: usize = 256 << 10;

const MARK: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// An open layout.
pub(super) struct Layout {
    path: PathBuf,
    top: OwnedFd,
    blobs: OwnedFd,
    /// Where files are written. A layout of another tool may lack it, and a reader needs none.
    ingest: Option<OwnedFd>,
}

/// A new file that is nobody's yet; it is locked while it is written, so that a sweep knows it from a leftover.
/// Dropped without [`Draft::finish`], it is gone.
struct Draft<'a> {
    layout: &'a Layout,
    ingest: &'a OwnedFd,
    name: String,
    file: File,
}

impl Layout {
    /// Opens the layout; `None` if there is no such directory or nothing in it.
    pub(super) fn open(path: &Path) -> Result<Option<Layout>> {
        match Layout::opened(path) {
            Err(Error::Disk { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            answer => answer.map(Some),
        }
    }

    fn opened(path: &Path) -> Result<Layout> {
        let top = openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let top = top.map_err(|e| failed(path, "open", "", e))?;
        let blobs = directory(&top, path, "blobs").and_then(|blobs| directory(&blobs, path, "sha256"))?;
        let ingest = directory(&top, path, "ingest").ok();
        Ok(Layout { path: path.to_owned(), top, blobs, ingest })
    }

    /// The same, with everything created that is missing.
    pub(super) fn create(path: &Path) -> Result<Layout> {
        std::fs::create_dir_all(path).map_err(|e| failed(path, "create", "", e))?;
        let top = openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let top = top.map_err(|e| failed(path, "open", "", e))?;
        for name in ["blobs", "blobs/sha256", "ingest"] {
            match mkdirat(&top, name, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(failed(path, "create", name, e)),
            }
        }
        let layout = Layout::opened(path)?;
        if layout.read(&layout.top, "oci-layout", INDEX_LIMIT)?.is_none() {
            layout.replace(&layout.top, "oci-layout", MARK.as_bytes())?;
        }
        Ok(layout)
    }

    /// What a person calls it.
    pub(super) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// `index.json`; an empty one where there is none.
    pub(super) fn index(&self) -> Result<Index> {
        let Some(raw) = self.read(&self.top, "index.json", INDEX_LIMIT)? else { return Ok(Index::new(Vec::new())) };
        serde_json::from_slice(&raw).map_err(|e| self.damaged("index.json", &e.to_string()))
    }

    /// Waits until no other process changes the list of entries or removes what it does not reach.
    pub(super) fn lock(&self) -> Result<Locked<'_>> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = openat(&self.top, "index.json.lock", flags, Mode::from_raw_mode(0o666));
        let lock = lock.map_err(|e| self.failed("open", "index.json.lock", e))?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|e| self.failed("lock", "index.json.lock", e))?;
        Ok(Locked { layout: self, _lock: lock })
    }

    /// A small blob, whole and verified.
    pub(super) fn document(&self, digest: &Digest, limit: u64) -> Result<Bytes> {
        let missing = || Error::Missing { depot: self.name(), digest: digest.clone() };
        let hasher = self.place(digest).and(digest.hasher()).ok_or_else(missing)?;
        let raw = self.read(&self.blobs, digest.hex(), limit)?.ok_or_else(missing)?;
        if digest_of(hasher, &raw) != *digest {
            return Err(self.damaged(&digest.to_string(), "its bytes do not have its digest"));
        }
        Ok(raw.into())
    }

    /// Opens a blob of the right size; `None` if it is not there.
    pub(super) fn blob(&self, descriptor: &Descriptor) -> Result<Option<File>> {
        let Some(name) = self.place(&descriptor.digest) else { return Ok(None) };
        let Some(file) = self.open_file(&self.blobs, name)? else { return Ok(None) };
        let size = file.metadata().map_err(|e| self.failed("examine", name, e))?.len();
        if size != descriptor.size {
            let detail = format!("it has {size} bytes instead of {}", descriptor.size);
            return Err(self.damaged(&descriptor.digest.to_string(), &detail));
        }
        Ok(Some(file))
    }

    /// Whether the blob is there in the right size; one that was not touched for `age` is touched, so that no sweep
    /// takes it for garbage.
    pub(super) fn keep(&self, descriptor: &Descriptor, age: Duration) -> Result<bool> {
        let file = match self.blob(descriptor) {
            Err(error) if error.is_absence() => return Ok(false),
            answer => answer?,
        };
        let Some(file) = file else { return Ok(false) };
        let name = descriptor.digest.hex();
        let modified = file.metadata().and_then(|m| m.modified()).map_err(|e| self.failed("examine", name, e))?;
        if modified.elapsed().is_ok_and(|since| since >= age) {
            file.set_modified(SystemTime::now()).map_err(|e| self.failed("touch", name, e))?;
        }
        // It may have been swept just before it was touched.
        Ok(file.metadata().map_err(|e| self.failed("examine", name, e))?.nlink() > 0)
    }

    /// Writes a blob from its source.
    pub(super) fn write_blob(&self, descriptor: &Descriptor, source: &dyn BlobSource) -> Result<()> {
        let bad = |detail: String| {
            let (depot, digest) = (self.name(), descriptor.digest.clone());
            Error::Source { depot, digest, detail }
        };
        let name = self.place(&descriptor.digest).ok_or_else(|| bad("only SHA-256 digests can be stored".into()))?;
        let mut draft = self.draft()?;
        let mut hasher = Hasher::sha256();
        loop {
            let piece = source.read_at(hasher.length(), PIECE).map_err(|e| bad(e.to_string()))?;
            if piece.is_empty() || hasher.length() > descriptor.size {
                break;
            }
            hasher.update(&piece);
            draft.file.write_all(&piece).map_err(|e| self.failed("write", name, e))?;
        }
        if hasher.length() != descriptor.size || hasher.finish() != descriptor.digest {
            return Err(bad("its bytes are not those that its descriptor names".into()));
        }
        draft.finish(&self.blobs, name)
    }

    /// Writes a document under its digest.
    pub(super) fn write_document(&self, digest: &Digest, raw: &[u8]) -> Result<()> {
        self.replace(&self.blobs, digest.hex(), raw)
    }

    /// Creates or replaces a file, whole or not at all.
    fn replace(&self, parent: &OwnedFd, name: &str, bytes: &[u8]) -> Result<()> {
        let mut draft = self.draft()?;
        draft.file.write_all(bytes).map_err(|e| self.failed("write", name, e))?;
        draft.finish(parent, name)
    }

    fn draft(&self) -> Result<Draft<'_>> {
        let ingest = self.ingest.as_ref().ok_or_else(|| self.failed("open", "ingest", io::ErrorKind::NotFound))?;
        loop {
            let mut random = [0; 8];
            getrandom::fill(&mut random)
                .map_err(|e| self.failed("create", "ingest", io::Error::other(e.to_string())))?;
            let name = format!("{:016x}", u64::from_ne_bytes(random));
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let file = match openat(ingest, &name, flags, Mode::from_raw_mode(0o666)) {
                Err(Errno::EXIST) => continue,
                answer => File::from(answer.map_err(|e| self.failed("create", &format!("ingest/{name}"), e))?),
            };
            // A sweep may have found it between its creation and its lock.
            let locked = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
            if locked && file.metadata().is_ok_and(|status| status.nlink() > 0) {
                return Ok(Draft { layout: self, ingest, name, file });
            }
        }
    }

    /// Removes files in `ingest` whose writers are gone.
    pub(super) fn remove_leftovers(&self) -> Result<()> {
        let Some(ingest) = &self.ingest else { return Ok(()) };
        for name in self.files(ingest, "ingest")? {
            let Ok(Some(file)) = self.open_file(ingest, &name) else { continue };
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                self.unlink(ingest, &name)?;
            }
        }
        Ok(())
    }

    /// Removes the blobs that were not touched for `age` and that `is_garbage` says it of, by the hexadecimal part
    /// of the digest.
    pub(super) fn remove_blobs(&self, age: Duration, is_garbage: impl Fn(&str) -> bool) -> Result<()> {
        for name in self.files(&self.blobs, "blobs/sha256")? {
            let status = statat(&self.blobs, &name, AtFlags::SYMLINK_NOFOLLOW);
            let is_old = status.is_ok_and(|status| {
                let seconds = u64::try_from(status.st_mtime).unwrap_or(0);
                (SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).elapsed().is_ok_and(|since| since >= age)
            });
            if is_old && is_garbage(&name) {
                self.unlink(&self.blobs, &name)?;
            }
        }
        Ok(())
    }

    fn files(&self, parent: &OwnedFd, name: &str) -> Result<Vec<String>> {
        let entries = Dir::read_from(parent).map_err(|e| self.failed("read", name, e))?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| self.failed("read", name, e))?;
            if let Ok(name) = entry.file_name().to_str()
                && !matches!(name, "." | "..")
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    fn unlink(&self, parent: &OwnedFd, name: &str) -> Result<()> {
        match unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(self.failed("remove", name, e)),
        }
    }

    fn read(&self, parent: &OwnedFd, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some(file) = self.open_file(parent, name)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes).map_err(|e| self.failed("read", name, e))?;
        if bytes.len() as u64 > limit {
            return Err(Error::TooLarge { depot: self.name(), what: name.to_owned(), limit });
        }
        Ok(Some(bytes))
    }

    /// Opens a regular file, never through a link, and without waiting for the other end of a pipe.
    fn open_file(&self, parent: &OwnedFd, name: &str) -> Result<Option<File>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(parent, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(self.damaged(name, "it is a symbolic link")),
            answer => File::from(answer.map_err(|e| self.failed("open", name, e))?),
        };
        if !file.metadata().map_err(|e| self.failed("examine", name, e))?.is_file() {
            return Err(self.damaged(name, "it is no regular file"));
        }
        Ok(Some(file))
    }

    /// The file name of a blob in `blobs/sha256`.
    fn place<'a>(&self, digest: &'a Digest) -> Option<&'a str> {
        (digest.algorithm() == kiln_oci::Algorithm::Sha256).then(|| digest.hex())
    }

    /// An error about something in the layout.
    pub(super) fn damaged(&self, what: &str, detail: &str) -> Error {
        Error::Damaged { depot: self.name(), what: what.to_owned(), detail: detail.to_owned() }
    }

    fn failed(&self, doing: &'static str, name: &str, source: impl Into<io::Error>) -> Error {
        failed(&self.path, doing, name, source)
    }
}

/// A layout that no other process changes meanwhile.
pub(super) struct Locked<'a> {
    layout: &'a Layout,
    _lock: OwnedFd,
}

impl Locked<'_> {
    /// Changes `index.json`.
    pub(super) fn change_index(&self, change: impl FnOnce(&mut Index)) -> Result<()> {
        let before = self.layout.index()?;
        let mut after = before.clone();
        change(&mut after);
        if after == before {
            return Ok(());
        }
        let raw = serde_json::to_vec(&after).map_err(|e| self.layout.damaged("index.json", &e.to_string()))?;
        self.layout.replace(&self.layout.top, "index.json", &raw)
    }
}

impl Draft<'_> {
    /// Gives the file its name, once its bytes are on the disk.
    fn finish(self, parent: &OwnedFd, name: &str) -> Result<()> {
        self.file.sync_data().map_err(|e| self.layout.failed("sync", name, e))?;
        renameat(self.ingest, &self.name, parent, name).map_err(|e| self.layout.failed("rename", name, e))
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        // It is not there any more when it has its name; and a sweep removes what this cannot.
        let _ = unlinkat(self.ingest, &self.name, AtFlags::empty());
    }
}

fn directory(parent: &OwnedFd, path: &Path, name: &str) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty()).map_err(|e| failed(path, "open", name, e))
}

fn failed(path: &Path, doing: &'static str, name: &str, source: impl Into<io::Error>) -> Error {
    Error::Disk { depot: path.display().to_string(), doing, path: path.join(name), source: source.into() }
}

fn digest_of(mut hasher: Hasher, bytes: &[u8]) -> Digest {
    hasher.update(bytes);
    hasher.finish()
}
