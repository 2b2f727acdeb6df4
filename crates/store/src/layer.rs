//! One committed layer: its index, its files, and what is wrong with them.

use std::fmt;
use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use kiln_oci::Digest;
use rusqlite::OptionalExtension;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::beneath;
use crate::error::{At, Error, Result, shown};
use crate::index::Index;
use crate::layers::LayerId;
use crate::stamp;
use crate::store::Inner;
use crate::verified::FileReader;

/// What is said of an unhashed file whose stamp is another.
pub(crate) const TOUCHED: &str = "it was changed after the step that made it, and nobody had hashed it yet";

/// A committed layer. Cheap to clone. Pinned for this session.
#[derive(Clone)]
pub struct Layer {
    inner: Arc<LayerInner>,
}

pub(crate) struct LayerInner {
    id: LayerId,
    path: PathBuf,
    store: Arc<Inner>,
    index: Mutex<Option<Arc<Index>>>,
    fs: Mutex<Option<Arc<OwnedFd>>>,
}

impl LayerInner {
    pub(crate) fn new(id: LayerId, path: PathBuf, store: &Arc<Inner>) -> Self {
        Self { id, path, store: Arc::clone(store), index: Mutex::default(), fs: Mutex::default() }
    }
}

impl Layer {
    /// A handle beside the others of the process.
    pub(crate) fn of(inner: Arc<LayerInner>) -> Self {
        Self { inner }
    }

    /// Its number.
    pub fn id(&self) -> LayerId {
        self.inner.id
    }

    /// The directory to mount as a lower layer.
    pub fn fs_path(&self) -> PathBuf {
        self.inner.path.join("fs")
    }

    /// What is in it. Read once, then shared.
    pub fn index(&self) -> Result<Arc<Index>> {
        let mut held = self.inner.index.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = &*held {
            return Ok(Arc::clone(index));
        }
        let index = Arc::new(read_index(&self.inner.path.join("index")).inspect_err(|_| {
            self.inner.store.noted.layer(self.id());
        })?);
        *held = Some(Arc::clone(&index));
        Ok(index)
    }

    /// Digest of its uncompressed tar, if known.
    pub fn diff_id(&self) -> Result<Option<Digest>> {
        let id = self.id().row();
        let text: Option<String> = self.inner.store.database.read(|db| {
            let query = "SELECT diff_id FROM layers WHERE id = ?1";
            Ok(db.prepare_cached(query)?.query_row([id], |row| row.get(0)).optional()?.flatten())
        })?;
        Ok(text.and_then(|text| text.parse().ok()))
    }

    /// Whether nothing is in it but an unchanged root: leave it out of mounts.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.index()?.is_empty())
    }

    /// Opens a regular file of the layer by its path as in the index, never through a symlink. Fails if its size is
    /// not the index's.
    pub fn open(&self, path: &[u8]) -> Result<File> {
        let damaged = |what| self.damaged(path, what);
        let index = self.index()?;
        let entry = index.get(path).ok_or_else(|| Error::MissingEntry { path: shown(path) })?;
        if entry.kind() != crate::Kind::File {
            return Err(Error::WrongKind { path: shown(path), wanted: "a regular file" });
        }
        let fs = self.fs()?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let file = match beneath::open(fs.as_fd(), entry.path(), flags) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Err(damaged("it is missing")),
            Err(errno) => return Err(Error::io("open", self.shown_path(path), errno)),
        };
        let status = file.metadata().at("examine", &self.shown_path(path))?;
        if !status.is_file() {
            return Err(damaged("it is not a regular file"));
        }
        self.compare(&entry, &status)?;
        Ok(file)
    }

    /// Compares what the disk says of a regular file with the index: its size, and where its digest is not known
    /// whether it was touched since it came here.
    ///
    /// # Errors
    /// [`Error::DamagedLayer`].
    pub fn compare(&self, entry: &crate::Entry<'_>, status: &fs::Metadata) -> Result<()> {
        if status.len() != entry.size() {
            return Err(self.damaged(entry.path(), "its size differs"));
        }
        if entry.digest().is_none() && stamp::is_touched(entry, status) && self.stamps_count()? {
            return Err(self.damaged(entry.path(), TOUCHED));
        }
        Ok(())
    }

    /// The error for a file that is not what the index says. The store remembers that the layer is damaged.
    pub fn damaged(&self, path: &[u8], what: &'static str) -> Error {
        self.note_damage();
        Error::DamagedLayer { layer: self.id(), path: shown(path), what }
    }

    /// Has the store remember that the layer is not what it was.
    pub fn note_damage(&self) {
        self.inner.store.noted.layer(self.id());
    }

    /// Whether the stamps of its unhashed files mean something.
    pub(crate) fn stamps_count(&self) -> Result<bool> {
        Ok(stamp::counts(&*self.index()?, &*self.fs()?))
    }

    /// The same for bytes that leave the store: the last read fails if they do not have the index's digest.
    pub fn reader(&self, path: &[u8]) -> Result<FileReader> {
        let file = self.open(path)?;
        let index = self.index()?;
        let digest = index.get(path).and_then(|entry| entry.digest());
        Ok(FileReader::new(file, digest, self, path))
    }

    /// How overlayfs's marks are spelt in it.
    pub fn mode(&self) -> crate::Mode {
        self.inner.store.mode
    }

    /// Opens many of its regular files one after the other, without comparing them with the index.
    pub fn files(&self) -> Result<crate::LayerFiles> {
        crate::LayerFiles::new(self)
    }

    /// The layer's root directory, kept open.
    pub(crate) fn fs(&self) -> Result<Arc<OwnedFd>> {
        let mut held = self.inner.fs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fs) = &*held {
            return Ok(Arc::clone(fs));
        }
        let path = self.fs_path();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fs = Arc::new(rustix::fs::open(&path, flags, rustix::fs::Mode::empty()).at("open", &path)?);
        *held = Some(Arc::clone(&fs));
        Ok(fs)
    }

    pub(crate) fn replace_index(&self, index: Arc<Index>) {
        *self.inner.index.lock().unwrap_or_else(PoisonError::into_inner) = Some(index);
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.inner.path
    }

    fn shown_path(&self, path: &[u8]) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        self.fs_path().join(std::ffi::OsStr::from_bytes(path))
    }
}

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Layer({})", self.id())
    }
}

impl PartialEq for Layer {
    fn eq(&self, other: &Self) -> bool {
        self.inner.path == other.inner.path
    }
}

impl Eq for Layer {}

pub(crate) fn read_index(path: &Path) -> Result<Index> {
    let bytes = fs::read(path).at("read", path)?;
    Index::decode(bytes).map_err(|what| Error::DamagedIndex { path: path.to_owned(), what })
}
