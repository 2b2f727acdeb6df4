//! A copy of an overlay mount's upper directory as a layer, for a container that goes on with the original. Unlike a
//! step's directory, which becomes its layer, this one may be mounted: what vanishes meanwhile is left out.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, OFlags, Statx, StatxFlags, openat, statx};
use rustix::io::Errno;

use crate::beneath;
use crate::error::{At, Error, Result};
use crate::layers::{Layer, Layers};
use crate::metadata::{Device, Kind, Metadata, Timestamp};
use crate::path;
use crate::store::Mode;
use crate::union::Union;
use crate::upper::kind_on_disk;
use crate::writer::{Hashing, LayerWriter};
use crate::xattrs::{self, Marks};

impl Layers<'_> {
    /// Copies what an overlay mount over `lower` has in its upper directory `fs` into a layer over `lower`, without the
    /// empty files at the paths of `mount_points`. A file system that can share blocks copies no bytes.
    ///
    /// # Errors
    /// What cannot be read or copied; [`Error::RefusedUpper`] for an entry that refers to other directories.
    pub fn copy_of_upper(&self, fs: &Path, lower: &Union, mount_points: &[&str]) -> Result<Layer> {
        let source = Source::open(fs, self.store.mode, mount_points)?;
        let root = source.root_metadata()?;
        let writer = self.stage(&root)?.writer_over(lower.clone())?;
        let unchanged = lower.lookup("").is_some_and(|below| {
            let below = below.entry.metadata();
            Metadata { mtime: below.mtime, ..root.clone() } == below
        });
        if !unchanged {
            writer.directory("", &root)?;
        }
        source.copy_to(&writer)?;
        writer.commit()
    }
}

/// The directory that is copied.
struct Source<'a> {
    fs: &'a Path,
    mount_points: &'a [&'a str],
    root: OwnedFd,
    mode: Mode,
}

/// An entry as found.
struct Item {
    path: Vec<u8>,
    status: Statx,
    metadata: Metadata,
    marks: Marks,
}

impl<'a> Source<'a> {
    fn open(fs: &'a Path, mode: Mode, mount_points: &'a [&'a str]) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::open(fs, flags, rustix::fs::Mode::empty()).at("open", fs)?;
        Ok(Self { fs, mount_points, root, mode })
    }

    fn root_metadata(&self) -> Result<Metadata> {
        let status = statx(&self.root, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).at("examine", self.fs)?;
        let (xattrs, _) = xattrs::read(self.root.as_fd(), b"", self.mode).at("read the xattrs of", self.fs)?;
        Ok(metadata(&status, xattrs))
    }

    /// Copies everything beneath the root. Directories wait in a list: a container can nest them deeper than any stack.
    fn copy_to(&self, writer: &LayerWriter) -> Result<()> {
        let mut first_names = HashMap::new();
        let mut waiting = vec![Vec::new()];
        while let Some(path) = waiting.pop() {
            let directory = match beneath::open_directory(self.root.as_fd(), &path) {
                Err(Errno::NOENT | Errno::NOTDIR) => continue,
                answer => answer.at("open", &self.shown(&path))?,
            };
            for name in beneath::names(&directory).at("list", &self.shown(&path))? {
                let Some(item) = self.item(directory.as_fd(), path::join(&path, &name))? else { continue };
                if self.entry(directory.as_fd(), &item, writer, &mut first_names)? == Some(Kind::Directory) {
                    waiting.push(item.path);
                }
            }
        }
        Ok(())
    }

    /// What an entry is; `None` if it is gone.
    fn item(&self, directory: BorrowedFd<'_>, path: Vec<u8>) -> Result<Option<Item>> {
        let name = path::split(&path).1;
        let status = match statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS) {
            Err(Errno::NOENT) => return Ok(None),
            answer => answer.at("examine", &self.shown(&path))?,
        };
        let (xattrs, marks) = match xattrs::read(directory, name, self.mode) {
            Err(Errno::NOENT) => return Ok(None),
            answer => answer.at("read the xattrs of", &self.shown(&path))?,
        };
        if let Some(xattr) = marks.refers_elsewhere {
            return Err(Error::RefusedUpper { path: self.shown(&path), xattr });
        }
        let metadata = metadata(&status, xattrs);
        Ok(Some(Item { path, status, metadata, marks }))
    }

    fn is_mount_point(&self, item: &Item, kind: Kind) -> bool {
        let named = || self.mount_points.iter().any(|path| path.as_bytes() == item.path);
        kind == Kind::File && item.status.stx_size == 0 && named()
    }

    /// Copies an entry, of directories the entry alone; tells what it is. Sockets are left out.
    fn entry(
        &self,
        directory: BorrowedFd<'_>,
        item: &Item,
        writer: &LayerWriter,
        first_names: &mut HashMap<(u64, u64), Vec<u8>>,
    ) -> Result<Option<Kind>> {
        let kind = kind_on_disk(&item.status, &item.marks).filter(|kind| !self.is_mount_point(item, *kind));
        let Some(kind) = kind else { return Ok(None) };
        let device = rustix::fs::makedev(item.status.stx_dev_major, item.status.stx_dev_minor);
        let inode = (device, item.status.stx_ino);
        // All whiteouts of a mount are one inode, which means nothing.
        let is_linked = item.status.stx_nlink > 1 && !matches!(kind, Kind::Directory | Kind::Whiteout);
        if let Some(first) = first_names.get(&inode).filter(|_| is_linked) {
            writer.hard_link(&item.path, first)?;
            return Ok(Some(kind));
        }
        if !self.new_entry(directory, item, kind, writer)? {
            return Ok(None);
        }
        if is_linked {
            first_names.insert(inode, item.path.clone());
        }
        Ok(Some(kind))
    }

    /// False if the entry is gone.
    fn new_entry(&self, directory: BorrowedFd<'_>, item: &Item, kind: Kind, writer: &LayerWriter) -> Result<bool> {
        let (path, metadata) = (&item.path, &item.metadata);
        match kind {
            Kind::File => return self.file(directory, item, writer),
            Kind::Directory => {
                writer.directory(path, metadata)?;
                if item.marks.opaque {
                    writer.opaque(path)?;
                }
            }
            Kind::Symlink => match rustix::fs::readlinkat(directory, path::split(path).1, Vec::new()) {
                Err(Errno::NOENT | Errno::INVAL) => return Ok(false),
                target => writer.symlink(path, target.at("read the link", &self.shown(path))?.to_bytes(), metadata)?,
            },
            Kind::CharacterDevice | Kind::BlockDevice => {
                let device = Device { major: item.status.stx_rdev_major, minor: item.status.stx_rdev_minor };
                writer.device(path, kind, device, metadata)?;
            }
            Kind::Fifo => writer.fifo(path, metadata)?,
            Kind::Whiteout => writer.whiteout(path)?,
        }
        Ok(true)
    }

    fn file(&self, directory: BorrowedFd<'_>, item: &Item, writer: &LayerWriter) -> Result<bool> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let source = match openat(directory, path::split(&item.path).1, flags, rustix::fs::Mode::empty()) {
            Err(Errno::NOENT | Errno::LOOP) => return Ok(false),
            answer => File::from(answer.at("open", &self.shown(&item.path))?),
        };
        let mut target = writer.file(&item.path, &item.metadata, Hashing::Later)?;
        target.copy_from_file(&source)?;
        target.finish()?;
        Ok(true)
    }

    fn shown(&self, path: &[u8]) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        self.fs.join(std::ffi::OsStr::from_bytes(path))
    }
}

fn metadata(status: &Statx, xattrs: crate::Xattrs) -> Metadata {
    Metadata {
        mode: u32::from(status.stx_mode) & 0o7777,
        uid: status.stx_uid,
        gid: status.stx_gid,
        mtime: Timestamp { seconds: status.stx_mtime.tv_sec, nanoseconds: status.stx_mtime.tv_nsec },
        xattrs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{in_overlay, layer, root, show, store_for, union};

    const LOWER: &str = "
        d d
        f d/a one
        f d/b two
        d e
        f e/x ex
        l link d
        f top topfile";

    /// Everything that a container can do to its files.
    const SCRIPT: &str = "
        rm d/a; echo more >> d/b; rm -r e; mkdir -m 700 e; echo new > e/new; ln e/new e/second; ln -s /x e/link
        mkfifo e/pipe; mknod e/null c 1 3; touch -h -d @7 e/link; chown 7:8 e/second; chmod 4755 e/second
        touch -r top unchanged; cat top > copy; truncate -s 5M holes; rm link; mkdir link";

    #[test]
    fn a_copy_is_the_layer_that_the_directory_itself_would_become() {
        if !root("a real overlay's upper directory") {
            return;
        }
        for mode in [Mode::Root, Mode::Rootless] {
            let (_directory, store) = store_for(mode);
            let lower = union(&[&layer(&store, None, LOWER)]);
            let root = lower.lookup("").unwrap().entry.metadata();
            let staged = store.layers().stage(&root).unwrap();
            in_overlay(&lower, Some((staged.fs_path(), staged.work_path())), SCRIPT);
            let copy = store.layers().copy_of_upper(staged.fs_path(), &lower, &[]).unwrap();
            let original = staged.commit_upper(&lower).unwrap();
            assert_eq!(show(&copy.index().unwrap()), show(&original.index().unwrap()));
            assert!(copy.index().unwrap().get("e/second").is_some_and(|entry| entry.link_group().is_some()));
            let (of_copy, of_original) =
                (store.layers().content_id(&copy).unwrap(), store.layers().content_id(&original).unwrap());
            assert_eq!(of_copy, of_original);
        }
    }

    #[test]
    fn an_untouched_container_is_an_empty_layer() {
        if !root("a real overlay's upper directory") {
            return;
        }
        let (_directory, store) = store_for(Mode::Root);
        let lower = union(&[&layer(&store, None, LOWER)]);
        let root = lower.lookup("").unwrap().entry.metadata();
        let staged = store.layers().stage(&root).unwrap();
        in_overlay(&lower, Some((staged.fs_path(), staged.work_path())), "cat top; touch -a d/a; > d/point");
        assert!(store.layers().copy_of_upper(staged.fs_path(), &lower, &["d/point"]).unwrap().is_empty().unwrap());
    }
}
