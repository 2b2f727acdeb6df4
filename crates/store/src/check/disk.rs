//! What the store's disk makes of metadata: the index has what was asked for, the disk what it could hold.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, StatxFlags, Uid, statx};
use rustix::io::Errno;

use crate::metadata::{Kind, Metadata, Xattrs};
use crate::staged::apply;
use crate::store::Inner;
use crate::xattrs;

/// Mode, owner and xattrs as they are on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) xattrs: Xattrs,
}

type Wanted = (Kind, u32, u32, u32, Vec<(Vec<u8>, Vec<u8>)>);

/// Tries out what the disk can hold, and remembers it.
#[derive(Debug)]
pub(super) struct Disk {
    store: Arc<Inner>,
    tried: Mutex<HashMap<Wanted, Option<Held>>>,
    devices: Mutex<Option<bool>>,
}

impl Disk {
    pub(super) fn new(store: &Arc<Inner>) -> Self {
        Self { store: Arc::clone(store), tried: Mutex::default(), devices: Mutex::default() }
    }

    /// What an entry with this metadata has on this disk, if that can be tried.
    pub(super) fn held(&self, kind: Kind, metadata: &Metadata) -> Option<Held> {
        let list = metadata.xattrs.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let wanted = (kind, metadata.mode, metadata.uid, metadata.gid, list);
        if let Some(known) = self.tried.lock().unwrap_or_else(PoisonError::into_inner).get(&wanted) {
            return known.clone();
        }
        let path = self.store.session.fresh_path();
        let held = self.attempt(&path, kind, metadata).ok();
        // What stays goes with the session.
        let _ = crate::remove::tree(&path);
        self.tried.lock().unwrap_or_else(PoisonError::into_inner).insert(wanted, held.clone());
        held
    }

    /// Whether device nodes can be made; where not, an empty file stands for each.
    pub(super) fn holds_devices(&self) -> bool {
        let mut known = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        *known.get_or_insert_with(|| {
            let path = self.store.session.fresh_path();
            let device = rustix::fs::makedev(1, 3);
            let made = rustix::fs::mknodat(CWD, &path, FileType::CharacterDevice, Mode::RUSR, device).is_ok();
            let _ = std::fs::remove_file(&path);
            made
        })
    }

    fn attempt(&self, path: &Path, kind: Kind, metadata: &Metadata) -> Result<Held, Errno> {
        let mode = self.store.mode;
        match kind {
            Kind::Directory => {
                rustix::fs::mkdir(path, Mode::RWXU)?;
                apply(open(path)?.as_fd(), metadata, mode)?;
            }
            Kind::File => {
                let file = File::create_new(path).map_err(|_| Errno::IO)?;
                apply(file.as_fd(), metadata, mode)?;
            }
            Kind::Symlink => {
                rustix::fs::symlink("x", path)?;
                self.apply_special(path, kind, metadata)?;
            }
            _ => {
                rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
                self.apply_special(path, kind, metadata)?;
            }
        }
        let status = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS)?;
        let (parent, name) = (path.parent().ok_or(Errno::INVAL)?, path.file_name().ok_or(Errno::INVAL)?);
        let parent = open(parent)?;
        let (xattrs, _) = xattrs::read(parent.as_fd(), name.as_encoded_bytes(), mode)?;
        let mode = u32::from(status.stx_mode) & 0o7777;
        Ok(Held { mode, uid: status.stx_uid, gid: status.stx_gid, xattrs })
    }

    /// As a layer's writer does it for what is not opened.
    fn apply_special(&self, path: &Path, kind: Kind, metadata: &Metadata) -> Result<(), Errno> {
        let (uid, gid) = (Uid::from_raw(metadata.uid), Gid::from_raw(metadata.gid));
        match rustix::fs::chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::PERM | Errno::INVAL) if self.store.mode == crate::Mode::Rootless => {}
            answer => answer?,
        }
        if kind != Kind::Symlink {
            rustix::fs::chmodat(CWD, path, Mode::from_raw_mode(metadata.mode), AtFlags::empty())?;
        }
        let (parent, name) = (path.parent().ok_or(Errno::INVAL)?, path.file_name().ok_or(Errno::INVAL)?);
        let parent = open(parent)?;
        xattrs::write_at(parent.as_fd(), name.as_encoded_bytes(), &metadata.xattrs, self.store.mode)
    }
}

fn open(path: &Path) -> Result<File, Errno> {
    File::open(path).map_err(|_| Errno::IO)
}
