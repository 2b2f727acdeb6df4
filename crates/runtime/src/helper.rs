//! The helper process: what the same binary does when it was started to run one container.
//!
//! It is single-threaded and stays in the caller's namespaces. It starts the container's first
//! process, learns of the caller's death by the end of the control socket (and by a pidfd, should
//! the socket have leaked), kills and reaps, cleans up, and only then lets go of the descriptors
//! that it holds for the caller.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::{PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};

use crate::cgroup::Group;
use crate::channel;
use crate::container::{Exit, Status};
use crate::error::StartError;
use crate::mount_points;
use crate::plan::{FromContainer, FromHelper, MadeMountPoint, Network, Plan};
use crate::setup;
use crate::sys::{self, Fork};

/// The helper's `argv[0]`, which `ps` shows.
pub(crate) const NAME: &str = "kiln-container-helper";

/// Runs one container and exits, if this process was started for that; returns at once otherwise.
/// Has to be the first thing that `main` does.
pub fn run_if_asked() {
    if std::env::args_os().next().is_none_or(|name| name != NAME) {
        return;
    }
    let socket = sys::inherited(0);
    let code = match control_socket(socket) {
        Ok(control) => run(&control),
        Err(_) => 125,
    };
    std::process::exit(code);
}

/// Moves the socket away from descriptor 0, which becomes `/dev/null`, to be read; 1 and 2 are it to be written.
fn control_socket(socket: OwnedFd) -> std::io::Result<UnixStream> {
    sys::close_from(3)?;
    let moved = rustix::io::fcntl_dupfd_cloexec(&socket, 3)?;
    let nothing = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&nothing)?;
    // Descriptor 0 is standard input again, nobody's to close.
    std::mem::forget(socket);
    Ok(UnixStream::from(moved))
}

fn run(control: &UnixStream) -> i32 {
    let caller = rustix::process::getppid().and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let _ = rustix::process::chdir("/");
    // Ctrl-C and the like are for the caller, which decides; this process must outlive it.
    let _ = rustix::process::setsid();
    sys::set_blocked_signals(true);
    let Ok(Some((plan, descriptors))) = channel::receive::<Plan>(control) else {
        return 125;
    };
    let (last_words, code) = match contain(control, caller.as_ref(), plan, descriptors) {
        Ok(exit) => (FromHelper::Ended(exit), 0),
        Err(error) => (FromHelper::Failed(error), 125),
    };
    // Nobody may be there to hear it.
    let _ = channel::send(control, &last_words, &[]);
    code
}

/// The first process of the container, as the helper sees it.
struct First {
    pid: u32,
    pidfd: OwnedFd,
    report: UnixStream,
}

fn contain(
    control: &UnixStream,
    caller: Option<&OwnedFd>,
    plan: Plan,
    descriptors: Vec<OwnedFd>,
) -> Result<Exit, StartError> {
    let mut notes = Vec::new();
    let group = plan
        .limits
        .as_ref()
        .and_then(|limits| Group::create(limits).map_err(|reason| notes.push(limits.missed(&reason))).ok());
    let writable = plan.rootfs.writable().clone();
    let remove = plan.remove_mount_points;
    let (first, held) = start_first(plan, descriptors, group.as_ref())?;
    let (made, result) = match hear(&first) {
        Ok((heard, made)) => {
            notes.extend(heard.notes);
            let started = FromHelper::Started { pid: first.pid, notes };
            let with = [Some(first.pidfd.as_fd()), heard.terminal.as_ref().map(AsFd::as_fd)];
            let with: Vec<BorrowedFd<'_>> = with.into_iter().flatten().collect();
            // A caller that is gone is noticed by `watch` at once.
            let _ = channel::send(control, &started, &with);
            drop(heard.terminal);
            (made, watch(control, caller, &first))
        }
        Err((error, made)) => {
            let _ = sys::signal_process(first.pidfd.as_fd(), libc::SIGKILL);
            let _ = wait_for(&first);
            (made, Err(error))
        }
    };
    let out_of_memory = group.is_some_and(Group::finish);
    let left_mount_points = if remove { mount_points::remove(&writable, &made) } else { Vec::new() };
    drop(held);
    Ok(Exit { status: result?, out_of_memory, left_mount_points })
}

fn start_first(
    plan: Plan,
    descriptors: Vec<OwnedFd>,
    group: Option<&Group>,
) -> Result<(First, Vec<OwnedFd>), StartError> {
    let (report, theirs) =
        UnixStream::pair().map_err(|error| StartError::system("cannot make a socket pair", error))?;
    let sources = setup::mounts::open_sources(&plan, &descriptors)?;
    let forked = sys::fork_into(namespace_flags(&plan))
        .map_err(|error| StartError::system("cannot make the container's namespaces", error))?;
    match forked {
        Fork::Child => {
            drop(report);
            let inherited = setup::Inherited { descriptors: &descriptors, sources, group };
            setup::run(&plan, inherited, theirs)
        }
        // The streams are the container's alone, so that their readers see its end: everything
        // that the plan names is closed here, what it does not name is held.
        Fork::Parent { pid, pidfd } => {
            let held = descriptors.into_iter().skip(plan.descriptor_count()).collect();
            let first = First { pid, pidfd, report };
            Ok((first, held))
        }
    }
}

fn namespace_flags(plan: &Plan) -> libc::c_int {
    let namespaces = &plan.namespaces;
    let mut flags = libc::CLONE_NEWNS | libc::CLONE_NEWPID;
    if namespaces.ipc {
        flags |= libc::CLONE_NEWIPC;
    }
    if namespaces.uts {
        flags |= libc::CLONE_NEWUTS;
    }
    if namespaces.network == Network::New {
        flags |= libc::CLONE_NEWNET;
    }
    flags
}

struct Heard {
    notes: Vec<String>,
    terminal: Option<OwnedFd>,
}

type Setback = (StartError, Vec<MadeMountPoint>);

/// Listens to the first process until it executes the command or fails.
fn hear(first: &First) -> Result<(Heard, Vec<MadeMountPoint>), Setback> {
    let lost = |made: Vec<MadeMountPoint>| {
        let how = "while it set up the container".to_owned();
        (StartError::HelperDied(how), made)
    };
    let (message, descriptors) = match channel::receive(&first.report) {
        Ok(Some(message)) => message,
        _ => return Err(lost(Vec::new())),
    };
    let (notes, made) = match message {
        FromContainer::Ready { notes, made } => (notes, made),
        FromContainer::Failed { error, made } => return Err((error, made)),
    };
    match channel::receive::<FromContainer>(&first.report) {
        Ok(None) => {}
        Ok(Some((FromContainer::Failed { error, .. }, _))) => return Err((error, made)),
        _ => return Err(lost(made)),
    }
    let terminal = descriptors.into_iter().next();
    Ok((Heard { notes, terminal }, made))
}

/// Waits for the container's end, and brings it about when the caller is gone.
fn watch(control: &UnixStream, caller: Option<&OwnedFd>, first: &First) -> Result<Status, StartError> {
    loop {
        let mut watched = vec![PollFd::new(&first.pidfd, PollFlags::IN), PollFd::new(control, PollFlags::IN)];
        watched.extend(caller.map(|caller| PollFd::new(caller, PollFlags::IN)));
        match poll(&mut watched, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(StartError::system("cannot watch the container", errno)),
        }
        let mut happened = watched.iter().map(|one| !one.revents().is_empty());
        if happened.next() == Some(true) {
            return wait_for(first);
        }
        if happened.any(|yes| yes) {
            let _ = sys::signal_process(first.pidfd.as_fd(), libc::SIGKILL);
            return wait_for(first);
        }
    }
}

/// Reaps the first process. The kernel lets it be reaped only when every other process of its
/// pid namespace is gone.
fn wait_for(first: &First) -> Result<Status, StartError> {
    let status = loop {
        match waitid(WaitId::PidFd(first.pidfd.as_fd()), WaitIdOptions::EXITED) {
            Err(rustix::io::Errno::INTR) => {}
            result => break result,
        }
    };
    let status = status.map_err(|errno| StartError::system("cannot wait for the container", errno))?;
    let small = |number: i32| u8::try_from(number & 0xff).unwrap_or(u8::MAX);
    Ok(match status {
        Some(status) => match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Status::Code(small(code)),
            (None, Some(signal)) => Status::Signal(small(signal)),
            (None, None) => Status::Signal(libc::SIGKILL as u8),
        },
        None => Status::Signal(libc::SIGKILL as u8),
    })
}
