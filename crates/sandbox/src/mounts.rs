//! From an execution's mounts to the runtime's.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use kiln_runtime::{BindSource, MountKind};
use kiln_store::{StagedLayer, Store};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use crate::execution::{Execution, Mount, Source};
use crate::files::{self, Attributes, Files};
use crate::rootfs::Lowers;
use crate::socket::Served;
use crate::{Error, overlay, rootfs};

/// How much of the host's `/etc/resolv.conf` is taken over, in bytes.
const RESOLV_CONF_LIMIT: u64 = 64 * 1024;

/// Prepares mounts, and keeps what they rest on until the process is gone.
pub(crate) struct Mounts<'a> {
    store: &'a Store,
    files: Files,
    trees: Vec<Tree>,
    sockets: Vec<Served>,
    done: Vec<kiln_runtime::Mount>,
}

/// What the mounts rest on; to be dropped after the process.
pub(crate) struct Kept {
    _sockets: Vec<Served>,
    _files: Files,
    _trees: Vec<Tree>,
}

/// A root file system that is mounted nowhere: it goes when its descriptor is closed.
struct Tree {
    _mount: OwnedFd,
    _upper: StagedLayer,
    _lowers: Lowers,
}

impl<'a> Mounts<'a> {
    pub(crate) fn new(store: &'a Store, files: Files) -> Self {
        Mounts { store, files, trees: Vec::new(), sockets: Vec::new(), done: Vec::new() }
    }

    /// `/etc/resolv.conf`, `/etc/hosts` and, for a container, `/etc/hostname`.
    pub(crate) fn add_name_files(&mut self, execution: &Execution) -> Result<(), Error> {
        let resolv_conf = files::host_file(Path::new("/etc/resolv.conf"), RESOLV_CONF_LIMIT);
        self.add_public("/etc/resolv.conf", &resolv_conf)?;
        self.add_public("/etc/hosts", hosts(execution).as_bytes())?;
        if execution.hostname_files {
            self.add_public("/etc/hostname", format!("{}\n", execution.hostname).as_bytes())?;
        }
        Ok(())
    }

    pub(crate) fn add(&mut self, mount: Mount) -> Result<(), Error> {
        let kind = match mount.source {
            Source::Host(path) => {
                std::fs::metadata(&path).map_err(|error| failed(&path, &mount.target, error))?;
                MountKind::Bind { source: BindSource::Path(path), read_only: mount.read_only, recursive: true }
            }
            Source::Layers { layers, path } => {
                let source = self.tree(&layers, &path, &mount.target)?;
                bound(source, mount.read_only)
            }
            Source::Tmpfs { size, mode } => MountKind::Tmpfs { size, mode, read_only: mount.read_only },
            Source::Content { bytes, mode, uid, gid } => {
                let file = self.file(&bytes.0, Attributes { mode, uid, gid }, &mount.target)?;
                bound(file, mount.read_only)
            }
            Source::Socket { serve, mode, uid, gid } => {
                let unusable = |error| failed(Path::new("a socket"), &mount.target, error);
                let (listener, socket) = self.files.add_socket(Attributes { mode, uid, gid }).map_err(unusable)?;
                self.sockets.push(Served::start(listener, serve).map_err(unusable)?);
                bound(socket, mount.read_only)
            }
        };
        self.done.push(kiln_runtime::Mount { target: mount.target, kind });
        Ok(())
    }

    pub(crate) fn finish(self) -> (Vec<kiln_runtime::Mount>, Kept) {
        (self.done, Kept { _sockets: self.sockets, _files: self.files, _trees: self.trees })
    }

    fn add_public(&mut self, target: &str, bytes: &[u8]) -> Result<(), Error> {
        let target = PathBuf::from(target);
        let file = self.file(bytes, Attributes::PUBLIC, &target)?;
        self.done.push(kiln_runtime::Mount { target, kind: bound(file, false) });
        Ok(())
    }

    fn file(&mut self, bytes: &[u8], attributes: Attributes, target: &Path) -> Result<OwnedFd, Error> {
        self.files.add(bytes, attributes).map_err(|error| failed(Path::new("a file"), target, error))
    }

    /// A descriptor of `path` in a root file system of its own, changes to which are thrown away.
    fn tree(&mut self, layers: &[kiln_store::Layer], path: &Path, target: &Path) -> Result<OwnedFd, Error> {
        let staged = rootfs::discarded_upper(self.store, layers)?;
        let lowers = rootfs::lowers(self.store, layers)?.or_empty(self.store)?;
        let mount = overlay::detached(&lowers.paths, staged.fs_path(), staged.work_path(), self.store.mode())
            .map_err(|error| failed(path, target, error))?;
        let path_inside = if path.as_os_str().is_empty() { Path::new("/") } else { path };
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let found = openat2(&mount, path_inside, flags, Mode::empty(), resolve)
            .map_err(|error| failed(path, target, error.into()))?;
        self.trees.push(Tree { _mount: mount, _upper: staged, _lowers: lowers });
        Ok(found)
    }
}

fn bound(source: OwnedFd, read_only: bool) -> MountKind {
    MountKind::Bind { source: BindSource::Descriptor(source), read_only, recursive: false }
}

fn failed(source: &Path, target: &Path, reason: io::Error) -> Error {
    Error::Mount { source_path: source.display().to_string(), target: target.into(), reason }
}

fn hosts(execution: &Execution) -> String {
    let alias = if execution.hostname_files { String::new() } else { format!(" {}", execution.hostname) };
    let mut text = format!("127.0.0.1\tlocalhost{alias}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    if execution.hostname_files {
        text.push_str("fe00::\tip6-localnet\nff00::\tip6-mcastprefix\n");
        text.push_str("ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n");
    }
    for host in &execution.extra_hosts {
        text.push_str(&format!("{}\t{}\n", host.address, host.name));
    }
    if execution.hostname_files && !execution.hostname.is_empty() {
        text.push_str(&format!("127.0.1.1\t{}\n", execution.hostname));
    }
    text
}
