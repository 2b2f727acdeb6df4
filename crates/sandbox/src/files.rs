//! Small files that are mounted into a root file system and never get into a layer: `/etc/hosts`,
//! scripts, secrets, sockets. They live in memory, in a file system that only a descriptor holds; nothing of
//! them can be left behind.

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kiln_store::Store;
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid, chmodat, chownat, open, openat, unlinkat};
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

impl Directory {
    fn new_name(&self) -> String {
        self.made.fetch_add(1, Ordering::Relaxed).to_string()
    }
}

impl Files {
    pub(crate) fn new(directory: Arc<Directory>) -> Self {
        Files { directory, names: Vec::new() }
    }

    /// Makes a file; the descriptor (`O_PATH`) is for mounting.
    pub(crate) fn add(&mut self, bytes: &[u8], attributes: Attributes) -> io::Result<OwnedFd> {
        let directory = &self.directory.handle;
        let name = self.directory.new_name();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mut file = std::fs::File::from(openat(directory, &name, flags, Mode::RUSR | Mode::WUSR)?);
        self.names.push(name.clone());
        file.write_all(bytes)?;
        drop(file);
        self.finished(&name, attributes)
    }

    /// Makes a socket; the descriptor (`O_PATH`) is for mounting.
    pub(crate) fn add_socket(&mut self, attributes: Attributes) -> io::Result<(UnixListener, OwnedFd)> {
        let name = self.directory.new_name();
        // The short way in: the name of a socket has at most 107 bytes.
        let path = format!("/proc/self/fd/{}/{name}", self.directory.handle.as_raw_fd());
        let listener = UnixListener::bind(path)?;
        self.names.push(name.clone());
        let socket = self.finished(&name, attributes)?;
        Ok((listener, socket))
    }

    /// Gives a new file its owner and its mode.
    fn finished(&self, name: &str, attributes: Attributes) -> io::Result<OwnedFd> {
        let directory = &self.directory.handle;
        if (attributes.uid, attributes.gid) != (0, 0) {
            set_owner(directory, name, attributes)?;
        }
        chmodat(directory, name, Mode::from_raw_mode(attributes.mode & 0o7777), AtFlags::empty())?;
        Ok(openat(directory, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?)
    }
}

/// An id that a user namespace does not have cannot be set; the file then stays root's.
fn set_owner(directory: &OwnedFd, name: &str, attributes: Attributes) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
    match chownat(directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW) {
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
