//! Device nodes and links in `/dev`.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Uid, chownat, makedev, mknodat, symlinkat};
use rustix::io::Errno;

use super::mounts;
use crate::error::StartError;
use crate::mount_points::MountPoints;
use crate::plan::{Device, DeviceKind, Plan, Source};

/// Docker's nodes: character devices that everybody may use.
const DEFAULT: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Fills `/dev`, if the plan mounts a new file system there, and makes further nodes.
pub(super) fn make_all(plan: &Plan, points: &mut MountPoints<'_>) -> Result<(), StartError> {
    let new_dev = plan
        .mounts
        .iter()
        .any(|mount| mount.target == Path::new("/dev") && matches!(mount.source, Source::FileSystem { .. }));
    let refused = |path: PathBuf| {
        move |error: io::Error| StartError::system(format!("cannot make the device {}", path.display()), error)
    };
    if new_dev {
        let dev = points.find(Path::new("/dev")).map_err(|errno| refused(PathBuf::from("/dev"))(errno.into()))?;
        for (name, major, minor) in DEFAULT {
            default_node(plan, &dev, name, major, minor).map_err(refused(Path::new("/dev").join(name)))?;
        }
        for (name, target) in LINKS {
            link(&dev, name, target).map_err(refused(Path::new("/dev").join(name)))?;
        }
        if Path::new("/proc/kcore").exists() {
            link(&dev, "core", "/proc/kcore").map_err(refused(PathBuf::from("/dev/core")))?;
        }
    }
    for device in &plan.devices {
        further_node(plan, device, points).map_err(refused(device.path.clone()))?;
    }
    Ok(())
}

fn default_node(plan: &Plan, dev: &OwnedFd, name: &str, major: u32, minor: u32) -> io::Result<()> {
    if plan.rootless {
        let source = mounts::clone(CWD, Path::new("/dev").join(name), false)?;
        return bind_node(&source, dev, Path::new(name));
    }
    let mode = Mode::from_raw_mode(0o666);
    let number = makedev(major, minor);
    Ok(mknodat(dev, name, FileType::CharacterDevice, mode, number)?)
}

/// A user namespace can use the host's nodes, but not make its own.
fn bind_node(source: &OwnedFd, directory: &OwnedFd, name: &Path) -> io::Result<()> {
    let mode = Mode::from_raw_mode(0o666);
    mknodat(directory, name, FileType::RegularFile, mode, 0)?;
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::NOFOLLOW;
    let target = rustix::fs::openat(directory, name, flags, Mode::empty())?;
    Ok(mounts::attach(source, &target)?)
}

fn further_node(plan: &Plan, device: &Device, points: &mut MountPoints<'_>) -> io::Result<()> {
    let (Some(parent), Some(name)) = (device.path.parent(), device.path.file_name()) else {
        return Err(Errno::INVAL.into());
    };
    let directory = points.find_or_make(parent, true)?;
    if plan.rootless && device.kind != DeviceKind::Fifo {
        let source = mounts::clone(CWD, &device.path, false)?;
        return bind_node(&source, &directory, Path::new(name));
    }
    let kind = match device.kind {
        DeviceKind::Character => FileType::CharacterDevice,
        DeviceKind::Block => FileType::BlockDevice,
        DeviceKind::Fifo => FileType::Fifo,
    };
    let mode = Mode::from_raw_mode(device.mode);
    mknodat(&directory, name, kind, mode, makedev(device.major, device.minor))?;
    chownat(
        directory.as_fd(),
        name,
        Some(Uid::from_raw(device.uid)),
        Some(Gid::from_raw(device.gid)),
        AtFlags::SYMLINK_NOFOLLOW,
    )?;
    Ok(())
}

fn link(dev: &OwnedFd, name: &str, target: &str) -> io::Result<()> {
    match symlinkat(target, dev, name) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
