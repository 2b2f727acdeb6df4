//! The container's first process: from its birth in new namespaces to executing the command.

mod command;
mod devices;
mod identity;
mod init;
pub(crate) mod mounts;
mod rootfs;
mod terminal;

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::process::Signal;

use crate::cgroup::Group;
use crate::channel;
use crate::error::StartError;
use crate::mount_points::MountPoints;
use crate::plan::{FromContainer, MadeMountPoint, Network, Plan};
use crate::sys;

/// What the helper prepared for the container.
pub(crate) struct Inherited<'a> {
    /// Those that the plan names by index.
    pub(crate) descriptors: &'a [OwnedFd],
    /// From [`mounts::open_sources`].
    pub(crate) sources: Vec<Option<OwnedFd>>,
    pub(crate) group: Option<&'a Group>,
}

/// Sets the container up and becomes its command. Errors are reported over `report`, whose end
/// without an error says that the command runs.
pub(crate) fn run(plan: &Plan, inherited: Inherited<'_>, report: UnixStream) -> ! {
    let mut made = Vec::new();
    let result = prepare(plan, &inherited, &mut made);
    let error = match result {
        Err(error) => error,
        Ok(prepared) => {
            let ready = FromContainer::Ready { notes: prepared.notes.clone(), made: std::mem::take(&mut made) };
            let master = prepared.terminal.as_ref().map(|pair| pair.master.as_fd());
            match channel::send(&report, &ready, master.as_slice()) {
                Ok(()) => finish(plan, inherited.descriptors, prepared, &report),
                Err(_) => std::process::exit(125),
            }
        }
    };
    let _ = channel::send(&report, &FromContainer::Failed { error, made }, &[]);
    std::process::exit(125)
}

/// What `prepare` leaves for `finish`.
struct Prepared {
    terminal: Option<terminal::Pair>,
    filter: Vec<libc::sock_filter>,
    notes: Vec<String>,
}

fn prepare(plan: &Plan, inherited: &Inherited<'_>, made: &mut Vec<MadeMountPoint>) -> Result<Prepared, StartError> {
    die_with_helper()?;
    let mut notes = Vec::new();
    join_group(plan, inherited.group)?;
    name_and_network(plan)?;
    identity::adjust_oom_score(&plan.process, &mut notes);
    rustix::process::umask(rustix::fs::Mode::empty());
    let root = rootfs::mount(plan)?;
    let mut points = MountPoints::beneath(root.as_fd(), made)
        .map_err(|errno| StartError::system("cannot look at the rootfs", errno))?;
    mounts::mount_all(plan, &inherited.sources, &mut points)?;
    devices::make_all(plan, &mut points)?;
    mounts::hide(plan, &points)?;
    let terminal = terminal::open(&plan.stdio, &mut points)?;
    rootfs::enter(root)?;
    mounts::write_sysctls(&plan.sysctls)?;
    command::enter_working_directory(&plan.process.working_directory)?;
    rootfs::freeze(plan)?;
    identity::note_what_is_faked(plan, &mut notes);
    Ok(Prepared { terminal, filter: identity::filter(plan), notes })
}

/// Returns only with an error.
fn finish(plan: &Plan, descriptors: &[OwnedFd], prepared: Prepared, report: &UnixStream) -> StartError {
    let become_command = || {
        if plan.init {
            init::split(plan, &prepared.filter)?;
        }
        terminal::connect(plan, descriptors, prepared.terminal)?;
        identity::limit_resources(&plan.process.limits)?;
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(plan.process.umask));
        identity::assume(plan, &prepared.filter)?;
        // A change of identity has cancelled it; the helper may have died meanwhile.
        die_with_helper()?;
        exit_without_helper(report);
        sys::close_on_exec_from(3).map_err(|error| StartError::system("cannot close descriptors", error))?;
        sys::reset_signals();
        Ok(command::execute(&plan.process))
    };
    become_command().unwrap_or_else(|error| error)
}

/// The second line of defence: the first is the helper's own kill.
fn die_with_helper() -> Result<(), StartError> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|errno| StartError::system("cannot tie the container to its helper", errno))
}

/// Ends this process if nobody listens at the other side any more.
fn exit_without_helper(report: &UnixStream) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut watched = [PollFd::new(report, PollFlags::RDHUP)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    if poll(&mut watched, Some(&now)) != Ok(0) {
        std::process::exit(125);
    }
}

fn join_group(plan: &Plan, group: Option<&Group>) -> Result<(), StartError> {
    if let Some(group) = group {
        group.join().map_err(|error| StartError::system("cannot enter the control group", error))?;
    }
    if plan.namespaces.cgroup {
        sys::unshare_cgroup_namespace().map_err(|error| StartError::system("cannot make a cgroup namespace", error))?;
    }
    Ok(())
}

fn name_and_network(plan: &Plan) -> Result<(), StartError> {
    if let Some(name) = &plan.hostname {
        rustix::system::sethostname(name.as_bytes())
            .map_err(|errno| StartError::system(format!("cannot set the host name {name}"), errno))?;
    }
    if let Some(name) = &plan.domain_name {
        rustix::system::setdomainname(name.as_bytes())
            .map_err(|errno| StartError::system(format!("cannot set the domain name {name}"), errno))?;
    }
    match &plan.namespaces.network {
        Network::Host => Ok(()),
        Network::New => {
            loopback_up().map_err(|error| StartError::system("cannot bring up the loopback interface", error))
        }
        Network::Existing(path) => join_network(path).map_err(|error| {
            let path = path.display();
            StartError::system(format!("cannot join the network namespace {path}"), error)
        }),
    }
}

fn loopback_up() -> std::io::Result<()> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    sys::loopback_up(socket.as_fd())
}

fn join_network(path: &std::path::Path) -> std::io::Result<()> {
    let namespace = std::fs::File::open(path)?;
    let kind = Some(rustix::thread::LinkNameSpaceType::Network);
    rustix::thread::move_into_link_name_space(namespace.as_fd(), kind)?;
    Ok(())
}
