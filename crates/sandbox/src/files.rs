//! Small files that are mounted into a root file system and never get into a layer: `/etc/hosts`,
//! scripts, secrets. They live in memory, in a file system that only a descriptor holds; nothing of
//! them can be left behind.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kiln_store::Store;
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid, fchmod, fchown, open, openat, unlinkat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen};

use crate::overlay;

/// Where such files are, shared by the executions of a sandbox: mounting it takes a tenth of what
/// a whole step does.
pub(crate) struct Directory {
    handle: OwnedFd,
    made: AtomicU64,
    on_disk: Option<PathBuf>,
}

/// The files of one execution; gone with this.
pub(crate) struct Files {
    directory: Arc<Directory>,
    names: Vec<String>,
}

/// Mode and owner of a file.
#[derive(Clone, Copy)]
pub(crate) struct Attributes {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Attributes {
    pub(crate) const PUBLIC: Attributes = Attributes { mode: 0o644, uid: 0, gid: 0 };
}

impl Directory {
    /// In memory; where the kernel cannot mount from there, in the store's session directory.
    pub(crate) fn new(store: &Store) -> Result<Self, crate::Error> {
        if let Some(handle) = in_memory() {
            return Ok(Directory { handle, made: AtomicU64::new(0), on_disk: None });
        }
        let path = store.scratch()?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = open(&path, flags, Mode::empty())
            .map_err(|error| crate::Error::io(format!("open {}", path.display()), error))?;
        Ok(Directory { handle, made: AtomicU64::new(0), on_disk: Some(path) })
    }
}

impl Files {
    pub(crate) fn new(directory: Arc<Directory>) -> Self {
        Files { directory, names: Vec::new() }
    }

    /// Makes a file; the descriptor (`O_PATH`) is for mounting.
    pub(crate) fn add(&mut self, bytes: &[u8], attributes: Attributes) -> io::Result<OwnedFd> {
        let directory = &self.directory.handle;
        let name = self.directory.made.fetch_add(1, Ordering::Relaxed).to_string();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mut file = std::fs::File::from(openat(directory, &name, flags, Mode::RUSR | Mode::WUSR)?);
        self.names.push(name.clone());
        file.write_all(bytes)?;
        if (attributes.uid, attributes.gid) != (0, 0) {
            set_owner(&file, attributes)?;
        }
        fchmod(&file, Mode::from_raw_mode(attributes.mode & 0o7777))?;
        Ok(openat(directory, &name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?)
    }
}

/// An id that a user namespace does not have cannot be set; the file then stays root's.
fn set_owner(file: &std::fs::File, attributes: Attributes) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
    match fchown(file, Some(uid), Some(gid)) {
        Err(rustix::io::Errno::INVAL) => Ok(()),
        done => Ok(done?),
    }
}

fn in_memory() -> Option<OwnedFd> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).ok()?;
    fsconfig_set_string(&context, "mode", "0700").ok()?;
    fsconfig_create(&context).ok()?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).ok()?;
    overlay::is_cloneable(mount.as_fd()).then_some(mount)
}

/// A file of the host for the process's own copy; empty where there is none, cut at `limit` bytes.
pub(crate) fn host_file(path: &Path, limit: u64) -> Vec<u8> {
    use std::io::Read;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let mut bytes = Vec::new();
    if let Ok(file) = rustix::fs::openat(CWD, path, flags, Mode::empty()) {
        // What could be read so far is as good as it gets.
        let _ = std::fs::File::from(file).take(limit).read_to_end(&mut bytes);
    }
    bytes
}

impl Drop for Files {
    fn drop(&mut self) {
        for name in &self.names {
            // What cannot be removed goes with the directory.
            let _ = unlinkat(&self.directory.handle, name, AtFlags::empty());
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Some(path) = &self.on_disk {
            // The store sweeps what is left when the session ends.
            let _ = std::fs::remove_dir_all(path);
        }
    }
}
