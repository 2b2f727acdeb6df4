//! Extended attributes between a layer's directory and its index, with overlayfs's marks taken out or escaped.
//!
//! overlayfs keeps its own marks in xattrs `trusted.overlay.*` (`user.overlay.*` in a user namespace). A name of
//! that kind that an image or a container wants is stored as `….overlay.overlay.NAME`, so that it never is a mark.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use crate::fault::{self, Operation};
use crate::metadata::Xattrs;
use crate::store::Mode;

/// What overlayfs says about an entry of an upper directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    /// Hides the lower directory.
    pub(crate) opaque: bool,
    /// A whiteout spelt as an empty file.
    pub(crate) whiteout: bool,
    /// The full name of a mark that refers to other directories: the entry is no whole layer entry.
    pub(crate) refers_elsewhere: Option<String>,
}

/// Set by the host's policy and not readable or not settable inside: no part of a layer.
const HOSTS_OWN: [&[u8]; 3] = [b"security.selinux", b"security.ima", b"security.evm"];

/// The prefix of overlayfs's marks.
pub(crate) fn prefix(mode: Mode) -> &'static [u8] {
    match mode {
        Mode::Root => b"trusted.overlay.",
        Mode::Rootless => b"user.overlay.",
    }
}

/// Reads the xattrs of `name` in `directory` (which must not be changing), without following it.
pub(crate) fn read(directory: BorrowedFd<'_>, name: &[u8], mode: Mode) -> Result<(Xattrs, Marks), Errno> {
    // No system call that every kernel has takes a directory and a name; this path is one, through the descriptor.
    let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
    path.extend_from_slice(if name.is_empty() { b"." } else { name });
    let mut found = (Xattrs::new(), Marks::default());
    let names = match grown(|buffer| rustix::fs::llistxattr(&*path, buffer)) {
        Err(Errno::OPNOTSUPP) => return Ok(found),
        names => names?,
    };
    for name in names.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        match grown(|buffer| rustix::fs::lgetxattr(&*path, name, buffer)) {
            Ok(value) => sort_in(&mut found, name, value, mode),
            Err(Errno::NODATA) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(found)
}

fn sort_in((xattrs, marks): &mut (Xattrs, Marks), name: &[u8], value: Vec<u8>, mode: Mode) {
    let prefix = prefix(mode);
    match name.strip_prefix(prefix) {
        Some(mark) => match mark {
            b"opaque" => marks.opaque |= value == b"y",
            b"whiteout" => marks.whiteout = true,
            b"redirect" | b"metacopy" => {
                marks.refers_elsewhere = Some(String::from_utf8_lossy(name).into_owned());
            }
            _ => {
                if let Some(escaped) = mark.strip_prefix(b"overlay.") {
                    xattrs.insert([prefix, escaped].concat(), value);
                }
            }
        },
        None if HOSTS_OWN.contains(&name) => {}
        None => {
            xattrs.insert(name.to_vec(), value);
        }
    }
}

/// Sets xattrs on an open file or directory. What the disk or our rights do not allow stays in the index only.
pub(crate) fn write(file: impl AsFd, xattrs: &Xattrs, mode: Mode) -> Result<(), Errno> {
    write_by(xattrs, mode, |name, value| rustix::fs::fsetxattr(file.as_fd(), name, value, XattrFlags::empty()))
}

/// The same for an entry that cannot be opened, without following it.
pub(crate) fn write_at(directory: BorrowedFd<'_>, name: &[u8], xattrs: &Xattrs, mode: Mode) -> Result<(), Errno> {
    let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    write_by(xattrs, mode, |name, value| rustix::fs::lsetxattr(&*path, name, value, XattrFlags::empty()))
}

fn write_by(xattrs: &Xattrs, mode: Mode, set: impl Fn(&[u8], &[u8]) -> Result<(), Errno>) -> Result<(), Errno> {
    for (name, value) in xattrs {
        if HOSTS_OWN.contains(&name.as_slice()) {
            continue;
        }
        let escaped = name.strip_prefix(prefix(mode)).map(|rest| [prefix(mode), b"overlay.", rest].concat());
        match fault::run(Operation::SetMetadata, || set(escaped.as_ref().unwrap_or(name), value)) {
            Err(Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP | Errno::INVAL) => {}
            answer => answer?,
        }
    }
    Ok(())
}

/// Marks an open directory opaque.
pub(crate) fn mark_opaque(directory: impl AsFd, mode: Mode) -> Result<(), Errno> {
    let name = [prefix(mode), b"opaque"].concat();
    fault::run(Operation::SetMetadata, || rustix::fs::fsetxattr(directory, &*name, b"y", XattrFlags::empty()))
}

/// Calls with a buffer that is large enough.
fn grown(call: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut small = [0; 512];
    match call(&mut small) {
        Ok(length) => return Ok(small[..length].to_vec()),
        Err(Errno::RANGE) => {}
        Err(errno) => return Err(errno),
    }
    // The kernel's own limit for names and for values.
    let mut large = vec![0; 65536];
    let length = call(&mut large)?;
    large.truncate(length);
    Ok(large)
}
