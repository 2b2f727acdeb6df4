//! The few system calls that rustix lacks or cannot know to be sound. All `unsafe` of starting a
//! container is here (the filter's installation is in `seccomp`).

use std::ffi::{CStr, CString, c_char};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// The two sides of [`fork_into`].
pub(crate) enum Fork {
    /// The new process. The descriptor table and memory are copies.
    Child,
    /// The process that called.
    Parent {
        /// The child's number in this pid namespace.
        pid: u32,
        /// The child.
        pidfd: OwnedFd,
    },
}

/// clone(2) into new namespaces (`CLONE_NEW*`), otherwise like fork.
///
/// Only for single-threaded processes: in the child of a threaded one, locks of the allocator
/// could be held for ever. (clone3 is refused inside other containers, so it is not used.)
pub(crate) fn fork_into(namespaces: libc::c_int) -> io::Result<Fork> {
    let flags = namespaces | libc::CLONE_PIDFD | libc::SIGCHLD;
    let mut pidfd: libc::c_int = -1;
    // SAFETY: without CLONE_VM and with a null stack this is fork; the third argument is where
    // CLONE_PIDFD stores its descriptor, a valid `c_int`; the others are unused.
    let result =
        unsafe { libc::syscall(libc::SYS_clone, libc::c_long::from(flags), 0usize, &raw mut pidfd, 0usize, 0usize) };
    match result {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent {
            pid: u32::try_from(pid).unwrap_or(0),
            // SAFETY: the kernel has just opened this descriptor for us; nobody else owns it.
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        }),
    }
}

/// mount_setattr(2) on the mount that `mount` refers to, also on those below where `recursive`.
/// `set` are `MOUNT_ATTR_*` bits, `propagation` is one `MS_*` propagation type or 0.
pub(crate) fn mount_set_attributes(
    mount: BorrowedFd<'_>,
    set: u64,
    clear: u64,
    propagation: u64,
    recursive: bool,
) -> io::Result<()> {
    let attributes = libc::mount_attr { attr_set: set, attr_clr: clear, propagation, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty C string and the structure, whose size is given, is only read.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    check(result)
}

/// execve(2): returns only if it failed.
pub(crate) fn execute(path: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| -> Vec<*const c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: both arrays end with null and point to C strings that live until the call returns.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// Gives this process a session keyring of its own, so that it does not see the caller's.
pub(crate) fn new_session_keyring() -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: a null name asks for an anonymous keyring; no memory is passed.
    check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0usize) })
}

/// Marks every descriptor from `first` on to be closed by the next execve.
pub(crate) fn close_on_exec_from(first: u32) -> io::Result<()> {
    close_range(first, libc::CLOSE_RANGE_CLOEXEC)
}

/// Closes every descriptor from `first` on. Nothing in this process may own one of them.
pub(crate) fn close_from(first: u32) -> io::Result<()> {
    close_range(first, 0)
}

fn close_range(first: u32, flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: passes numbers only; what closing means for owners is said at the callers.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, flags) })
}

/// Sends a signal, also a real-time one, by number.
pub(crate) fn signal_process(process: BorrowedFd<'_>, number: i32) -> io::Result<()> {
    // SAFETY: a null `siginfo` means as kill(2) does; no memory is passed.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), number, 0usize, 0u32) })
}

/// Sends a signal to a child that was not reaped yet, so that its number is still its own.
pub(crate) fn signal_child(pid: u32, number: i32) {
    // SAFETY: passes numbers only.
    unsafe { libc::kill(pid.cast_signed(), number) };
}

/// Gives this process a control group namespace rooted at its current group.
pub(crate) fn unshare_cgroup_namespace() -> io::Result<()> {
    // SAFETY: changes no memory or descriptors; the process is single-threaded.
    check(libc::c_long::from(unsafe { libc::unshare(libc::CLONE_NEWCGROUP) }))
}

/// Moves this process into a new user namespace and a new mount namespace owned by it.
pub(crate) fn unshare_user_and_mounts() -> io::Result<()> {
    // SAFETY: changes no memory or descriptors; the kernel refuses threaded processes.
    check(libc::c_long::from(unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) }))
}

/// Undoes what a process inherits of its starter's signal handling: all signals at their default
/// action, none blocked.
pub(crate) fn reset_signals() {
    for number in 1..=64 {
        // SAFETY: SIG_DFL is a valid action for every signal; refused ones (KILL, STOP) fail.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
    set_blocked_signals(false);
}

/// Blocks all signals, or none.
pub(crate) fn set_blocked_signals(blocked: bool) {
    // SAFETY: the set is initialised before it is used and both calls only touch it.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        if blocked {
            libc::sigfillset(&raw mut set);
        } else {
            libc::sigemptyset(&raw mut set);
        }
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
    }
}

/// Waits for any (blocked) signal and returns its number.
pub(crate) fn wait_for_signal() -> io::Result<i32> {
    // SAFETY: the set is initialised before it is used; the information may be null.
    let number = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut set);
        libc::sigwaitinfo(&raw const set, std::ptr::null_mut())
    };
    if number < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(number)
}

/// Brings up the network interface `lo` of this process's network namespace.
pub(crate) fn loopback_up(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: an all-zero `ifreq` is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *place = byte.cast_signed() as c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an `ifreq` whose name and flags are set.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    check(libc::c_long::from(result))
}

/// Takes over a descriptor that was handed to this process under a fixed number.
pub(crate) fn inherited(number: RawFd) -> OwnedFd {
    // SAFETY: called once per number, at the very start of the helper, before anything else
    // could own it; 0 is always open there (the starter made it so).
    unsafe { OwnedFd::from_raw_fd(number) }
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
