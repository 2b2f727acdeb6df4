//! Mounts inside the container, masked paths, read-only paths, kernel parameters.

use std::borrow::Cow;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, fstat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use crate::error::StartError;
use crate::mount_points::MountPoints;
use crate::plan::{Mount, Network, Plan, Source};
use crate::sys;

/// Clones the sources of all bind mounts, in the order of the plan's mounts; `None` for file
/// systems. In the helper: a descriptor's mount can only be cloned in its own mount namespace.
pub(crate) fn open_sources(plan: &Plan, descriptors: &[OwnedFd]) -> Result<Vec<Option<OwnedFd>>, StartError> {
    plan.mounts
        .iter()
        .map(|mount| {
            let cloned = match &mount.source {
                Source::FileSystem { kind, .. } if kind == "sysfs" && !may_mount_sysfs(plan) => {
                    clone_path(Path::new("/sys"), true)
                }
                Source::FileSystem { .. } => return Ok(None),
                Source::BindPath { path, recursive } => clone_path(path, *recursive),
                Source::BindDescriptor { descriptor, recursive } => match descriptors.get(*descriptor) {
                    Some(descriptor) => clone(descriptor.as_fd(), c"", *recursive),
                    None => Err(Errno::BADF),
                },
            };
            cloned.map(Some).map_err(|errno| failed(mount, errno, String::new()))
        })
        .collect()
}

/// In a user namespace, sysfs belongs to the network namespace: only an own one can be shown.
fn may_mount_sysfs(plan: &Plan) -> bool {
    !plan.rootless || plan.namespaces.network == Network::New
}

fn clone_path(path: &Path, recursive: bool) -> rustix::io::Result<OwnedFd> {
    clone(CWD, path, recursive)
}

/// A copy of the mount at a place, attached nowhere yet.
pub(super) fn clone<P: rustix::path::Arg>(
    directory: BorrowedFd<'_>,
    path: P,
    recursive: bool,
) -> rustix::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(directory, path, flags)
}

/// Makes all mounts of the plan in order.
pub(super) fn mount_all(
    plan: &Plan,
    sources: &[Option<OwnedFd>],
    points: &mut MountPoints<'_>,
) -> Result<(), StartError> {
    for (mount, source) in plan.mounts.iter().zip(sources) {
        let source = match (&mount.source, source) {
            (_, Some(source)) => source,
            (Source::FileSystem { kind, options }, None) => {
                let options = covering(kind, options, points, &mount.target);
                &new_file_system(kind, &options, plan).map_err(|(errno, kernel)| failed(mount, errno, kernel))?
            }
            (_, None) => return Err(failed(mount, Errno::BADF, String::new())),
        };
        place(mount, source, points).map_err(|error| {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            failed(mount, errno, String::new())
        })?;
    }
    Ok(())
}

/// The options of a new file system: one in memory that was given no mode takes that of the directory it covers.
fn covering<'a>(
    kind: &str,
    options: &'a [(String, Option<String>)],
    points: &MountPoints<'_>,
    target: &Path,
) -> Cow<'a, [(String, Option<String>)]> {
    if kind != "tmpfs" || options.iter().any(|(key, _)| key == "mode") {
        return Cow::Borrowed(options);
    }
    let Ok(covered) = points.find(target).and_then(fstat) else { return Cow::Borrowed(options) };
    let mode = ("mode".to_owned(), Some(format!("{:o}", covered.st_mode & 0o7777)));
    Cow::Owned(options.iter().cloned().chain([mode]).collect())
}

fn place(mount: &Mount, source: &OwnedFd, points: &mut MountPoints<'_>) -> io::Result<()> {
    if mount.attributes != 0 {
        // A file system of one's own has nothing below; the host's `/sys` in its place has.
        let recursive = mount.recursive_attributes || matches!(mount.source, Source::FileSystem { .. });
        sys::mount_set_attributes(source.as_fd(), mount.attributes, 0, 0, recursive)?;
    }
    let directory = FileType::from_raw_mode(fstat(source)?.st_mode) == FileType::Directory;
    let target = points.find_or_make(&mount.target, directory)?;
    attach(source, &target)?;
    Ok(())
}

/// Attaches a mount over what `target` refers to.
pub(super) fn attach(mount: &OwnedFd, target: &OwnedFd) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, c"", target, c"", flags)
}

fn new_file_system(kind: &str, options: &[(String, Option<String>)], plan: &Plan) -> Result<OwnedFd, (Errno, String)> {
    let bare = |errno| (errno, String::new());
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(bare)?;
    let configure = || {
        for (key, value) in options {
            match value {
                // The terminals' group is no group of a single-id namespace.
                Some(_) if kind == "devpts" && key == "gid" && plan.single_id => {}
                Some(value) => fsconfig_set_string(&context, key.as_str(), value.as_str())?,
                None => fsconfig_set_flag(&context, key.as_str())?,
            }
        }
        // What `mount` and `df` show as the device.
        fsconfig_set_string(&context, c"source", kind)?;
        fsconfig_create(&context)
    };
    configure().map_err(|errno| (errno, kernel_message(&context)))?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).map_err(bare)
}

/// The kernel's explanation of a refused mount, empty if it has none.
pub(super) fn kernel_message(context: &OwnedFd) -> String {
    let mut text = String::new();
    let mut line = [0u8; 1024];
    while let Ok(length) = rustix::io::read(context, &mut line) {
        let message = String::from_utf8_lossy(line.get(..length).unwrap_or_default());
        // "e overlay: …": the first letter is the severity.
        let message = message.trim_end();
        let message = message.split_once(' ').map_or(message, |(_, rest)| rest);
        if message.is_empty() {
            break;
        }
        if !text.is_empty() {
            text.push_str("; ");
        }
        text.push_str(message);
    }
    text
}

fn failed(mount: &Mount, errno: Errno, kernel: String) -> StartError {
    StartError::Mount {
        what: match &mount.source {
            Source::FileSystem { kind, .. } => kind.clone(),
            Source::BindPath { path, .. } => path.display().to_string(),
            Source::BindDescriptor { .. } => "a file or directory".to_owned(),
        },
        target: mount.target.clone(),
        errno: errno.into(),
        kernel,
    }
}

/// Covers masked paths and makes read-only ones so; those that do not exist are left out.
pub(super) fn hide(plan: &Plan, points: &MountPoints<'_>) -> Result<(), StartError> {
    let refused = |path: &PathBuf| {
        let path = path.clone();
        move |error: io::Error| StartError::Mount {
            what: "a mask".to_owned(),
            target: path,
            errno: error.into(),
            kernel: String::new(),
        }
    };
    for path in &plan.read_only {
        existing(points, path)
            .and_then(|target| target.map_or(Ok(()), |target| make_read_only(&target)))
            .map_err(refused(path))?;
    }
    for path in &plan.masked {
        existing(points, path)
            .and_then(|target| target.map_or(Ok(()), |target| mask(&target)))
            .map_err(refused(path))?;
    }
    Ok(())
}

fn existing(points: &MountPoints<'_>, path: &Path) -> io::Result<Option<OwnedFd>> {
    match points.find(path) {
        Ok(target) => Ok(Some(target)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn make_read_only(target: &OwnedFd) -> io::Result<()> {
    let mount = clone(target.as_fd(), c"", true)?;
    sys::mount_set_attributes(mount.as_fd(), libc::MOUNT_ATTR_RDONLY, 0, 0, true)?;
    Ok(attach(&mount, target)?)
}

fn mask(target: &OwnedFd) -> io::Result<()> {
    if FileType::from_raw_mode(fstat(target)?.st_mode) != FileType::Directory {
        return Ok(attach(&clone(CWD, c"/dev/null", false)?, target)?);
    }
    let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)?;
    Ok(attach(&mount, target)?)
}

/// Writes kernel parameters (`net.ipv4.ip_forward`), inside the container's root.
pub(super) fn write_sysctls(list: &[(String, String)]) -> Result<(), StartError> {
    for (name, value) in list {
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        std::fs::write(&path, value)
            .map_err(|error| StartError::system(format!("cannot set the kernel parameter {name}"), error))?;
    }
    Ok(())
}
