//! The store as a whole: opening, the session, durability.
use crate::*;
use std::path::Path;
use std::sync::Arc;

/// How overlayfs spells its marks in this store. The two are not interchangeable on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `trusted.overlay.*`: kiln runs as real root.
    Root,
    /// `user.overlay.*`: kiln runs in a user namespace, or without any privilege.
    Rootless,
}

/// A store on disk. Cheap to clone; every clone works in the same session.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {}

/// A sync of the whole store that runs in the background.
pub struct Settling {}

impl Settling {
    /// Waits until everything committed before it began is on the disk.
    pub fn wait(self) -> Result<()> {
        todo!()
    }
}

impl Store {
    /// Opens or creates the store in `root`, and sweeps what killed processes left there.
    pub fn open(_root: &Path, _mode: Mode) -> Result<Self> {
        todo!()
    }
    /// The store's directory.
    pub fn root(&self) -> &Path {
        todo!()
    }
    /// How overlayfs's marks are spelt here.
    pub fn mode(&self) -> Mode {
        todo!()
    }
    /// A new empty directory of this session, for scratch files; on the same file system as the layers. Swept after a crash.
    pub fn scratch(&self) -> Result<std::path::PathBuf> {
        todo!()
    }
    /// A descriptor that keeps this session's lock held: a helper process that may outlive this one inherits it.
    pub fn session_lock(&self) -> Result<std::os::fd::OwnedFd> {
        todo!()
    }
    /// Starts one sync of what was committed so far, beside the caller's work.
    pub fn settle(&self) -> Settling {
        todo!()
    }
    /// Content-addressed bytes.
    pub fn blobs(&self) -> Blobs<'_> {
        todo!()
    }
    /// Layers.
    pub fn layers(&self) -> Layers<'_> {
        todo!()
    }
    /// Cache records.
    pub fn records(&self) -> Records<'_> {
        todo!()
    }
    /// Images and their names.
    pub fn images(&self) -> Images<'_> {
        todo!()
    }
    /// What image names were resolved to.
    pub fn resolutions(&self) -> Resolutions<'_> {
        todo!()
    }
    /// Locks between processes and threads.
    pub fn locks(&self) -> Locks<'_> {
        todo!()
    }
    /// What must not be pruned while this process lives.
    pub fn leases(&self) -> Leases<'_> {
        todo!()
    }
    /// Containers.
    pub fn containers(&self) -> Containers<'_> {
        todo!()
    }
    /// Directories of cache mounts.
    pub fn cache_mounts(&self) -> CacheMounts<'_> {
        todo!()
    }
    /// Logs of steps.
    pub fn logs(&self) -> Logs<'_> {
        todo!()
    }
    /// Digests of a context's files that need not be read again. `context` names it, such as its absolute path.
    pub fn stat_cache(&self, _context: &Path) -> Result<StatCache> {
        todo!()
    }
    /// Bytes per kind of thing.
    pub fn usage(&self) -> Result<Usage> {
        todo!()
    }
    /// Deletes what the policy names and nobody needs.
    pub fn prune(&self, _policy: &Prune) -> Result<Freed> {
        todo!()
    }
}
