//! Standard streams: descriptors of the caller, or a terminal of the container's own.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Gid, Mode, OFlags, ResolveFlags, Uid, fchown, fstat, openat2};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::Winsize;

use super::mounts;
use crate::error::{Errno, StartError};
use crate::mount_points::MountPoints;
use crate::plan::{Plan, Stdio};

/// Both sides of a terminal.
pub(super) struct Pair {
    /// The caller's side.
    pub(super) master: OwnedFd,
    /// The container's side.
    slave: OwnedFd,
}

fn refused<E: Into<Errno>>(error: E) -> StartError {
    StartError::system("cannot set up the container's terminal", error)
}

/// Opens a terminal of the container's own devpts and shows it as `/dev/console`, if one was
/// asked for. Before the rootfs is entered.
pub(super) fn open(stdio: &Stdio, points: &mut MountPoints<'_>) -> Result<Option<Pair>, StartError> {
    let Stdio::Terminal { rows, columns } = *stdio else {
        return Ok(None);
    };
    let directory = points.find(Path::new("/dev/pts")).map_err(refused)?;
    let master = openat2(
        &directory,
        c"ptmx",
        OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
    )
    .map_err(refused)?;
    unlockpt(&master).map_err(refused)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = ioctl_tiocgptpeer(&master, flags).map_err(refused)?;
    if (rows, columns) != (0, 0) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&slave, size).map_err(refused)?;
    }
    let console = points.find_or_make(Path::new("/dev/console"), false).map_err(refused)?;
    // The slave's own mount may not be visible here (devpts of the container): clone by path.
    let name = rustix::pty::ptsname(&master, Vec::new()).map_err(refused)?;
    let number = name.to_string_lossy().rsplit('/').next().unwrap_or_default().to_owned();
    let source = mounts::clone(directory.as_fd(), number.as_str(), false).map_err(refused)?;
    mounts::attach(&source, &console).map_err(refused)?;
    Ok(Some(Pair { master, slave }))
}

/// Makes the streams descriptors 0, 1 and 2 of a new session.
pub(super) fn connect(plan: &Plan, descriptors: &[OwnedFd], terminal: Option<Pair>) -> Result<(), StartError> {
    // Fails only for a session's leader, which a new process is not.
    let _ = rustix::process::setsid();
    match (&plan.stdio, terminal) {
        (Stdio::Terminal { .. }, Some(pair)) => {
            hand_over(&pair.slave, plan);
            rustix::process::ioctl_tiocsctty(&pair.slave).map_err(refused)?;
            let slave = pair.slave.as_fd();
            duplicate([Some(slave); 3])
        }
        (Stdio::Streams(indexes), _) => {
            let streams = indexes.map(|index| index.and_then(|index| descriptors.get(index)));
            for stream in streams.into_iter().flatten() {
                if is_pipe(stream) {
                    hand_over(stream, plan);
                }
            }
            duplicate(streams.map(|stream| stream.map(AsFd::as_fd)))
        }
        (Stdio::Terminal { .. }, None) => Err(refused(rustix::io::Errno::NOTTY)),
    }
}

/// The others are `/dev/null` already, as in the helper.
fn duplicate(streams: [Option<BorrowedFd<'_>>; 3]) -> Result<(), StartError> {
    let [stdin, stdout, stderr] = streams;
    let done = [
        stdin.map(rustix::stdio::dup2_stdin),
        stdout.map(rustix::stdio::dup2_stdout),
        stderr.map(rustix::stdio::dup2_stderr),
    ];
    for result in done.into_iter().flatten() {
        result.map_err(|errno| StartError::system("cannot connect the streams", errno))?;
    }
    Ok(())
}

/// The container's user may open the stream again by `/dev/stdout`.
fn hand_over(stream: &OwnedFd, plan: &Plan) {
    if plan.single_id {
        return;
    }
    let uid = Uid::from_raw(plan.process.uid);
    // Not ours to change in a user namespace that does not know the owner.
    let _ = fchown(stream, Some(uid), None::<Gid>);
}

fn is_pipe(stream: &OwnedFd) -> bool {
    fstat(stream).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo)
}
