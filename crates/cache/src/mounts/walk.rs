//! The files of a directory as the entries of a tar, in sorted order, each read through descriptors.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use kiln_images::tar::{Entry, EntryKind, TarWriter};
use kiln_store::{Device, Metadata, Timestamp, Xattrs};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::MountError;

/// Marks of archives; files with such names would delete others where they are unpacked.
const WHITEOUT: &[u8] = b".wh.";

/// Appends all that is in `root`, and `root` itself first. Returns how many entries there are beside it.
pub(super) fn write<W: Write>(
    tar: &mut TarWriter<W>,
    root: BorrowedFd<'_>,
    id: &str,
    largest: u64,
) -> Result<usize, MountError> {
    let mut walk = Walk { tar, id, largest, left: largest, entries: 0, first_names: HashMap::new() };
    let status = rustix::fs::fstat(root).map_err(|errno| walk.unreadable(b"", errno))?;
    let mut entry = Entry { path: b"./".to_vec(), kind: EntryKind::Directory, ..Entry::default() };
    entry.metadata = metadata(&status, xattrs_of(root, b".").map_err(|errno| walk.unreadable(b"", errno))?);
    walk.append(&entry)?;
    walk.directory(root, b"")?;
    Ok(walk.entries)
}

struct Walk<'a, W> {
    tar: &'a mut TarWriter<W>,
    id: &'a str,
    largest: u64,
    /// Bytes of files that may still come.
    left: u64,
    entries: usize,
    /// The first name of each file that has several.
    first_names: HashMap<(u64, u64), Vec<u8>>,
}

impl<W: Write> Walk<'_, W> {
    fn directory(&mut self, directory: BorrowedFd<'_>, path: &[u8]) -> Result<(), MountError> {
        for name in names(directory).map_err(|errno| self.unreadable(path, errno))? {
            let inside =
                if path.is_empty() { name.as_bytes().to_vec() } else { [path, b"/", name.as_bytes()].concat() };
            match self.entry(directory, &name, &inside) {
                // A step that shares the mount took it away.
                Err(MountError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(())
    }

    fn entry(&mut self, directory: BorrowedFd<'_>, name: &CString, path: &[u8]) -> Result<(), MountError> {
        let status = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
        let status = status.map_err(|errno| self.unreadable(path, errno))?;
        let xattrs = xattrs_of(directory, name.as_bytes()).map_err(|errno| self.unreadable(path, errno))?;
        let mut entry = Entry { path: path.to_vec(), metadata: metadata(&status, xattrs), ..Entry::default() };
        match FileType::from_raw_mode(status.st_mode) {
            FileType::Directory => {
                let below = self.open(directory, name, path, OFlags::DIRECTORY)?;
                entry.path.push(b'/');
                entry.kind = EntryKind::Directory;
                self.append(&entry)?;
                self.entries += 1;
                return self.directory(below.as_fd(), path);
            }
            FileType::RegularFile => return self.file(directory, name, entry, &status),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(directory, name, Vec::new());
                let target = target.map_err(|errno| self.unreadable(path, errno))?;
                entry.kind = EntryKind::Symlink { target: target.into_bytes() };
            }
            FileType::Fifo => entry.kind = EntryKind::Fifo,
            FileType::CharacterDevice if status.st_rdev != 0 => {
                entry.kind = EntryKind::CharacterDevice(device(&status))
            }
            FileType::BlockDevice => entry.kind = EntryKind::BlockDevice(device(&status)),
            // A socket is nothing without its process.
            _ => return Ok(()),
        }
        self.entries += 1;
        self.append(&entry)
    }

    fn file(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &CString,
        mut entry: Entry,
        seen: &Stat,
    ) -> Result<(), MountError> {
        self.entries += 1;
        if seen.st_nlink > 1 {
            let first = self.first_names.entry((seen.st_dev, seen.st_ino)).or_insert_with(|| entry.path.clone());
            if *first != entry.path {
                entry.kind = EntryKind::HardLink { target: first.clone() };
                return self.append(&entry);
            }
        }
        let path = entry.path.clone();
        let file = File::from(self.open(directory, name, &path, OFlags::NONBLOCK)?);
        entry.size = file.metadata().map_err(|source| self.failed(&path, source))?.len();
        let too_large = || MountError::TooLarge { id: self.id.to_owned(), largest: self.largest };
        self.left = self.left.checked_sub(entry.size).ok_or_else(too_large)?;
        self.append(&entry)?;
        let copied = io::copy(&mut file.take(entry.size), &mut *self.tar);
        // Reading a file that was opened fails as seldom as writing a blob does, and means the same.
        match copied.map_err(MountError::Write)? {
            copied if copied < entry.size => Err(MountError::Changing { id: self.id.to_owned(), file: shown(&path) }),
            _ => Ok(()),
        }
    }

    fn open(
        &self,
        directory: BorrowedFd<'_>,
        name: &CString,
        path: &[u8],
        flags: OFlags,
    ) -> Result<OwnedFd, MountError> {
        let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(directory, name, flags, Mode::empty()).map_err(|errno| self.unreadable(path, errno))
    }

    fn append(&mut self, entry: &Entry) -> Result<(), MountError> {
        self.tar.append(entry).map_err(MountError::Write)
    }

    fn unreadable(&self, path: &[u8], errno: Errno) -> MountError {
        self.failed(path, errno.into())
    }

    fn failed(&self, path: &[u8], source: io::Error) -> MountError {
        MountError::Read { id: self.id.to_owned(), file: shown(path), source }
    }
}

/// What is in a directory, sorted.
fn names(directory: BorrowedFd<'_>) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_owned();
        if !matches!(name.as_bytes(), b"." | b"..") && !name.as_bytes().starts_with(WHITEOUT) {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn metadata(status: &Stat, xattrs: Xattrs) -> Metadata {
    Metadata {
        mode: status.st_mode & 0o7777,
        uid: status.st_uid,
        gid: status.st_gid,
        mtime: Timestamp { seconds: status.st_mtime, nanoseconds: status.st_mtime_nsec as u32 },
        xattrs,
    }
}

fn device(status: &Stat) -> Device {
    Device { major: rustix::fs::major(status.st_rdev), minor: rustix::fs::minor(status.st_rdev) }
}

/// The extended attributes that a program may set and read: `user.*`, and capabilities.
fn xattrs_of(directory: BorrowedFd<'_>, name: &[u8]) -> Result<Xattrs, Errno> {
    // No system call that every kernel has takes a directory and a name; this path is one, through the descriptor.
    let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    let path = CString::new(path).map_err(|_| Errno::INVAL)?;
    let mut found = Xattrs::new();
    let mut buffer = vec![0; 64 << 10];
    let length = match rustix::fs::llistxattr(&path, &mut buffer) {
        Err(Errno::OPNOTSUPP) => return Ok(found),
        other => other?,
    };
    let listed = buffer.get(..length).unwrap_or_default().to_vec();
    for name in listed.split(|&byte| byte == 0) {
        if !name.starts_with(b"user.") && name != b"security.capability" {
            continue;
        }
        match rustix::fs::lgetxattr(&path, name, &mut buffer) {
            Ok(length) => drop(found.insert(name.to_vec(), buffer.get(..length).unwrap_or_default().to_vec())),
            Err(Errno::NODATA) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(found)
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
