//! A tiny pid 1 that passes signals on and reaps orphans, with the command as its child.

use rustix::process::{DumpableBehavior, Pid, WaitOptions, WaitStatus, set_dumpable_behavior, wait};

use super::identity;
use crate::error::StartError;
use crate::plan::Plan;
use crate::sys::{self, Fork};

/// Forks: returns in the child, which becomes the command; the parent stays as pid 1, with the
/// command's rights and none of its descriptors, and never returns.
pub(super) fn split(plan: &Plan, filter: &[libc::sock_filter]) -> Result<(), StartError> {
    sys::set_blocked_signals(true);
    let forked = sys::fork_into(0).map_err(|error| StartError::system("cannot start the command under init", error))?;
    let Fork::Parent { pid, pidfd } = forked else {
        return Ok(());
    };
    std::mem::forget(pidfd);
    // This process goes on with numbers alone and leaves by `exit`: no owner of a descriptor is
    // dropped after this. 0, 1 and 2 are the helper's `/dev/null`.
    let closed = sys::close_from(3);
    // Nothing of this process is for the container to look into.
    let hidden = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    if closed.is_err() || hidden.is_err() || identity::assume(plan, filter).is_err() {
        std::process::exit(125);
    }
    serve(pid)
}

fn serve(command: u32) -> ! {
    loop {
        match sys::wait_for_signal() {
            Ok(libc::SIGCHLD) => reap(command),
            Ok(number) => sys::signal_child(command, number),
            Err(_) => {}
        }
    }
}

fn reap(command: u32) {
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if is(pid, command) {
            std::process::exit(code(status));
        }
    }
}

fn is(pid: Pid, number: u32) -> bool {
    u32::try_from(pid.as_raw_nonzero().get()) == Ok(number)
}

fn code(status: WaitStatus) -> i32 {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 255,
    }
}
