//! A layer being made, in the session's directory.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, Timespec, Timestamps};

use crate::error::{At, Result};
use crate::fault::{self, Operation};
use crate::index::Index;
use crate::layers::{self, Layer, LayerId};
use crate::metadata::{Metadata, Timestamp};
use crate::store::Inner;
use crate::union::Union;
use crate::writer::{LayerWriter, Parents};
use crate::{remove, upper, xattrs};

/// A layer being made: `fs/` and `work/`. Dropped without commit, it is gone.
#[derive(Debug)]
pub struct StagedLayer {
    store: Arc<Inner>,
    path: PathBuf,
    fs: PathBuf,
    work: PathBuf,
    root: Metadata,
    /// The layer from which files were linked.
    shares: std::sync::OnceLock<LayerId>,
    installed: bool,
}

impl StagedLayer {
    pub(crate) fn new(store: &Arc<Inner>, root: &Metadata) -> Result<Self> {
        let path = store.session.fresh_path();
        let (fs, work) = (path.join("fs"), path.join("work"));
        for directory in [&path, &fs, &work] {
            fault::run(Operation::MakeDirectory, || rustix::fs::mkdir(directory, Mode::RWXU))
                .at("create", directory)?;
        }
        let staged = Self {
            store: Arc::clone(store),
            path,
            fs,
            work,
            root: root.clone(),
            shares: Default::default(),
            installed: false,
        };
        staged.apply_root(&staged.root)?;
        Ok(staged)
    }

    /// The directory that becomes the layer: an overlay mount's upper directory.
    pub fn fs_path(&self) -> &Path {
        &self.fs
    }

    /// The overlay mount's work directory, on the same file system.
    pub fn work_path(&self) -> &Path {
        &self.work
    }

    /// Makes a layer of what an overlay mount over `lower` left in the upper directory. Nothing may be mounted or
    /// running any more. What equals the lower layers is taken out of the upper directory.
    pub fn commit_upper(self, lower: &Union) -> Result<Layer> {
        let index = upper::scan(&self.fs, lower, self.store.mode)?;
        self.install(index)
    }

    /// For putting entries in one by one, on an empty tree: missing parent directories are made 0755, root's.
    pub fn writer(self) -> Result<LayerWriter> {
        LayerWriter::new(self, Parents::Made)
    }

    /// For the archive of a layer that may lie on any others: parent directories that the archive does not have look as
    /// they do in the lower layers, whichever those will be, and 0755, root's, of the year 1970 where there are none.
    pub fn unpacker(self) -> Result<LayerWriter> {
        LayerWriter::new(self, Parents::Implied)
    }

    /// The same over lower layers: missing parents are as they are there, and count as unchanged.
    pub fn writer_over(self, lower: Union) -> Result<LayerWriter> {
        LayerWriter::new(self, Parents::AsIn(lower))
    }

    pub(crate) fn store(&self) -> &Arc<Inner> {
        &self.store
    }

    pub(crate) fn root(&self) -> &Metadata {
        &self.root
    }

    pub(crate) fn install(mut self, index: Index) -> Result<Layer> {
        remove::tree(&self.work)?;
        let layer = layers::install(&self.store, &self.path, index, self.shares.get().copied())?;
        self.installed = true;
        Ok(layer)
    }

    /// Remembers that files were linked from a layer.
    pub(crate) fn shares_with(&self, older: LayerId) {
        let _ = self.shares.set(older);
    }

    fn apply_root(&self, root: &Metadata) -> Result<()> {
        let directory = std::fs::File::open(&self.fs).at("open", &self.fs)?;
        apply(directory.as_fd(), root, self.store.mode).at("set the metadata of", &self.fs)
    }
}

impl Drop for StagedLayer {
    fn drop(&mut self) {
        if !self.installed {
            // What stays is swept with the session.
            let _ = remove::tree(&self.path);
        }
    }
}

/// Gives an open file or directory its metadata, in the order that keeps everything: owner (which clears setuid and
/// capabilities), mode, xattrs, times. Rootless, an owner that the disk cannot hold is in the index only.
pub(crate) fn apply(
    file: std::os::fd::BorrowedFd<'_>,
    metadata: &Metadata,
    mode: crate::Mode,
) -> Result<(), rustix::io::Errno> {
    use rustix::fs::{Gid, Uid};
    use rustix::io::Errno;
    let (uid, gid) = (Uid::from_raw(metadata.uid), Gid::from_raw(metadata.gid));
    match fault::run(Operation::SetMetadata, || rustix::fs::fchown(file, Some(uid), Some(gid))) {
        Err(Errno::PERM | Errno::INVAL) if mode == crate::Mode::Rootless => {}
        answer => answer?,
    }
    fault::run(Operation::SetMetadata, || rustix::fs::fchmod(file, Mode::from_raw_mode(metadata.mode)))?;
    xattrs::write(file, &metadata.xattrs, mode)?;
    fault::run(Operation::SetMetadata, || rustix::fs::futimens(file, &times(metadata.mtime)))
}

/// Sets the time of last change; the time of last access too, which nobody reads.
pub(crate) fn times(mtime: Timestamp) -> Timestamps {
    let time = Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}
