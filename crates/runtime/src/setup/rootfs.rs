//! The container's root: layers joined by overlayfs, or a directory, and the way into it.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, open};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use super::mounts::kernel_message;
use crate::error::{Errno as PlainErrno, StartError};
use crate::plan::{Plan, Rootfs};
use crate::sys;

/// What `fsconfig` takes as a string, with its terminating zero.
const LONGEST_STRING: usize = 255;

/// What mount(2) takes as options; it silently cuts what is longer.
const LONGEST_OPTIONS: usize = 4095;

/// Features of overlayfs whose defaults differ between distributions, and which would make an
/// upper directory useless as a layer.
const OPTIONS: [(&str, &str); 4] =
    [("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off"), ("xino", "off")];

/// Mounts the rootfs in this mount namespace, over its own writable directory.
pub(super) fn mount(plan: &Plan) -> Result<OwnedFd, StartError> {
    make_private().map_err(|error| StartError::system("cannot make mounts private", error))?;
    match &plan.rootfs {
        Rootfs::Directory(path) => bind(path),
        Rootfs::Overlay { lowers, upper, work, volatile } => {
            let overlay = Overlay { lowers, upper, work, volatile: *volatile, user_xattrs: plan.rootless };
            overlay.mount()
        }
    }
}

fn make_private() -> std::io::Result<()> {
    let root = open(c"/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    sys::mount_set_attributes(root.as_fd(), 0, 0, libc::MS_PRIVATE, true)
}

fn bind(path: &Path) -> Result<OwnedFd, StartError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    open_tree(CWD, path, flags).and_then(|mount| attach(&mount, path).map(|()| mount)).map_err(|errno| {
        StartError::Mount {
            what: path.display().to_string(),
            target: PathBuf::from("/"),
            errno: errno.into(),
            kernel: String::new(),
        }
    })
}

fn attach(mount: &OwnedFd, path: &Path) -> rustix::io::Result<()> {
    move_mount(mount, c"", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

struct Overlay<'a> {
    /// Topmost first.
    lowers: &'a [PathBuf],
    upper: &'a Path,
    work: &'a Path,
    volatile: bool,
    user_xattrs: bool,
}

impl Overlay<'_> {
    fn mount(&self) -> Result<OwnedFd, StartError> {
        let context =
            fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(|errno| self.failed(errno, String::new()))?;
        // Has to stay open until the overlay is made: the mount goes with its descriptor.
        let empty = self.empty_lower().map_err(|errno| self.failed(errno, String::new()))?;
        match self.configure(&context, empty.as_ref()) {
            Ok(()) => {}
            // An older kernel, or a path longer than this interface takes.
            Err((Errno::INVAL | Errno::NAMETOOLONG, _)) if !self.lowers.is_empty() => {
                return self.mount_by_options();
            }
            Err((errno, said)) => return Err(self.failed(errno, said)),
        }
        fsconfig_create(&context).map_err(|errno| self.failed(errno, kernel_message(&context)))?;
        let flags = FsMountFlags::FSMOUNT_CLOEXEC;
        fsmount(&context, flags, MountAttrFlags::empty())
            .and_then(|mount| attach(&mount, self.upper).map(|()| mount))
            .map_err(|errno| self.failed(errno, String::new()))
    }

    /// Overlayfs wants at least one lower directory.
    fn empty_lower(&self) -> rustix::io::Result<Option<OwnedFd>> {
        if self.lowers.is_empty() { empty_directory().map(Some) } else { Ok(None) }
    }

    /// An error comes with what was being set, or with the kernel's own words.
    fn configure(&self, context: &OwnedFd, empty: Option<&OwnedFd>) -> Result<(), (Errno, String)> {
        if let Some(empty) = empty {
            fsconfig_set_fd(context, c"lowerdir+", empty).map_err(|errno| (errno, kernel_message(context)))?;
        }
        let lowers = self.lowers.iter().map(|lower| ("lowerdir+", lower.as_path()));
        for (key, path) in lowers.chain([("upperdir", self.upper), ("workdir", self.work)]) {
            set_path(context, key, path).map_err(|errno| {
                let said = kernel_message(context);
                let path = path.display();
                (errno, if said.is_empty() { format!("{key} {path}") } else { format!("{path}: {said}") })
            })?;
        }
        self.configure_features(context).map_err(|errno| (errno, kernel_message(context)))
    }

    fn configure_features(&self, context: &OwnedFd) -> rustix::io::Result<()> {
        for (name, value) in OPTIONS {
            fsconfig_set_string(context, name, value)?;
        }
        if self.user_xattrs {
            fsconfig_set_flag(context, c"userxattr")?;
        }
        if self.volatile {
            fsconfig_set_flag(context, c"volatile")?;
        }
        // What `mount` shows as the device.
        fsconfig_set_string(context, c"source", c"overlay")?;
        // Since 6.6; before, nothing has to be switched off.
        match fsconfig_set_string(context, c"uuid", c"null") {
            Err(Errno::INVAL) => Ok(()),
            result => result,
        }
    }

    /// By mount(2), with paths relative to the directory that all lowers share, because all
    /// options together must fit a page.
    fn mount_by_options(&self) -> Result<OwnedFd, StartError> {
        let too_long = || self.failed(Errno::TOOBIG, "the layers' paths are too long".to_owned());
        let base = common_directory(self.lowers);
        let mut options = OsString::from("lowerdir=");
        for (index, lower) in self.lowers.iter().enumerate() {
            if index > 0 {
                options.push(":");
            }
            options.push(escaped(lower.strip_prefix(&base).unwrap_or(lower)));
        }
        for (name, path) in [("upperdir", self.upper), ("workdir", self.work)] {
            options.push(format!(",{name}="));
            options.push(escaped(path));
        }
        for (name, value) in OPTIONS {
            options.push(format!(",{name}={value}"));
        }
        for (name, wanted) in [("userxattr", self.user_xattrs), ("volatile", self.volatile)] {
            if wanted {
                options.push(format!(",{name}"));
            }
        }
        if options.len() > LONGEST_OPTIONS {
            return Err(too_long());
        }
        let options =
            std::ffi::CString::new(std::os::unix::ffi::OsStringExt::into_vec(options)).map_err(|_| too_long())?;
        rustix::process::chdir(&base)
            .and_then(|()| {
                let flags = MountFlags::empty();
                rustix::mount::mount("overlay", self.upper, "overlay", flags, &*options)
            })
            .and_then(|()| {
                let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY;
                open(self.upper, flags, Mode::empty())
            })
            .map_err(|errno| self.failed(errno, String::new()))
    }

    fn failed(&self, errno: Errno, kernel: String) -> StartError {
        StartError::Overlay {
            upper: self.upper.to_owned(),
            lowers: self.lowers.len(),
            errno: PlainErrno::from(errno),
            kernel,
        }
    }
}

/// By string while it is short enough, else by descriptor (since 6.13).
fn set_path(context: &OwnedFd, key: &str, path: &Path) -> rustix::io::Result<()> {
    if path.as_os_str().len() <= LONGEST_STRING {
        return fsconfig_set_string(context, key, path);
    }
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY;
    fsconfig_set_fd(context, key, open(path, flags, Mode::empty())?)
}

fn empty_directory() -> rustix::io::Result<OwnedFd> {
    let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    let flags = FsMountFlags::FSMOUNT_CLOEXEC;
    fsmount(&context, flags, MountAttrFlags::MOUNT_ATTR_RDONLY)
}

fn common_directory(paths: &[PathBuf]) -> PathBuf {
    let mut paths = paths.iter();
    let first = paths.next().and_then(|path| path.parent());
    let mut common = first.unwrap_or(Path::new("/")).to_owned();
    for path in paths {
        while !path.starts_with(&common) {
            common.pop();
        }
    }
    common
}

/// A path as overlayfs's option parser wants it.
fn escaped(path: &Path) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut bytes = Vec::new();
    for &byte in path.as_os_str().as_bytes() {
        if matches!(byte, b':' | b',' | b'\\') {
            bytes.push(b'\\');
        }
        bytes.push(byte);
    }
    OsString::from_vec(bytes)
}

/// Makes the rootfs `/` and lets go of everything outside.
pub(super) fn enter(root: OwnedFd) -> Result<(), StartError> {
    rustix::process::fchdir(&root)
        .and_then(|()| rustix::process::pivot_root(c".", c"."))
        .and_then(|()| rustix::mount::unmount(c".", UnmountFlags::DETACH))
        .and_then(|()| rustix::process::chdir(c"/"))
        .map_err(|errno| StartError::system("cannot change to the container's root", errno))
}

/// Makes the rootfs (not the mounts in it) read-only, if that was asked for.
pub(super) fn freeze(plan: &Plan) -> Result<(), StartError> {
    if !plan.read_only_rootfs {
        return Ok(());
    }
    let freeze = || {
        let root = open(c"/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        sys::mount_set_attributes(root.as_fd(), libc::MOUNT_ATTR_RDONLY, 0, 0, false)
    };
    freeze().map_err(|error| StartError::system("cannot make the root read-only", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_directory_holds_all_layers() {
        let paths = |list: &[&str]| list.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(common_directory(&paths(&["/s/layers/1/fs", "/s/layers/22/fs"])), Path::new("/s/layers"));
        assert_eq!(common_directory(&paths(&["/a/x", "/b"])), Path::new("/"));
        assert_eq!(common_directory(&paths(&["/a/x"])), Path::new("/a"));
        assert_eq!(common_directory(&[]), Path::new("/"));
    }

    #[test]
    fn separators_in_paths_are_escaped() {
        assert_eq!(escaped(Path::new("/a:b,c\\d e")), "/a\\:b\\,c\\\\d e");
    }
}
