//! Opening many regular files of a layer in the order of its index: the directory of the last one stays open.
//!
//! What is opened is not compared with the index; whoever reads it does that.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::beneath;
use crate::error::{At, Error, Result, shown};
use crate::layers::Layer;
use crate::path;

/// Opens regular files of one layer, never through a symlink, never out of it.
#[derive(Debug)]
pub struct LayerFiles {
    layer: Layer,
    root: Arc<OwnedFd>,
    last: Option<(Vec<u8>, OwnedFd)>,
}

impl LayerFiles {
    pub(crate) fn new(layer: &Layer) -> Result<Self> {
        Ok(Self { layer: layer.clone(), root: layer.fs()?, last: None })
    }

    /// Opens what is at `path`, in normal form as an index has it.
    ///
    /// # Errors
    /// [`Error::DamagedLayer`] if nothing is there, or a symlink on the way.
    pub fn open(&mut self, path: &[u8]) -> Result<File> {
        let opened = self.open_beside_last(path);
        opened.map(File::from).map_err(|errno| match errno {
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP => self.damaged(path, "it is missing"),
            errno => Error::io("open", self.layer.fs_path().join(shown(path)), errno),
        })
    }

    /// Compares what the disk says of an open file with the index, as [`Layer::compare`].
    ///
    /// # Errors
    /// [`Error::DamagedLayer`].
    pub fn compare(&self, path: &[u8], file: &File) -> Result<()> {
        let index = self.layer.index()?;
        let entry = index.get(path).ok_or_else(|| Error::MissingEntry { path: shown(path) })?;
        let status = file.metadata().at("examine", &self.layer.fs_path().join(shown(path)))?;
        self.layer.compare(&entry, &status)
    }

    /// The error for a file that is not what the index says, as [`Layer::damaged`].
    pub fn damaged(&self, path: &[u8], what: &'static str) -> Error {
        self.layer.damaged(path, what)
    }

    fn open_beside_last(&mut self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let (directory, name) = path::split(path);
        if self.last.as_ref().is_none_or(|(last, _)| last != directory) {
            let opened = beneath::open_directory(self.root.as_fd(), directory)?;
            self.last = Some((directory.to_vec(), opened));
        }
        let parent = self.last.as_ref().map_or(self.root.as_fd(), |(_, directory)| directory.as_fd());
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(parent, name, flags, Mode::empty())
    }
}
