//! Entering a user namespace before anything else is opened, where this process is not root.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Command;

use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::error::Errno;
use crate::sys::{self, Fork};
use crate::tier::{Ids, Rootless, Tier};

/// Neither root nor a user namespace is to be had.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EnterError {
    /// The kernel refuses user namespaces to this user.
    #[error("cannot make a user namespace: {errno}; {hint}")]
    UserNamespace {
        /// Why.
        errno: Errno,
        /// What to look at.
        hint: String,
    },
    /// Root, but without the right to make namespaces and mounts (an ordinary container).
    #[error("root here may not make namespaces or mounts: {errno}")]
    RestrictedRoot {
        /// Why.
        errno: Errno,
    },
}

/// Kernel switches that turn user namespaces off, and the value that does.
const SWITCHES: [(&str, &str); 3] = [
    ("/proc/sys/kernel/unprivileged_userns_clone", "0"),
    ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"),
    ("/proc/sys/user/max_user_namespaces", "0"),
];

/// The map of the initial user namespace: every id is itself.
const ALL_IDS: IdRange = IdRange { inside: 0, outside: 0, count: u32::MAX };

/// Finds out what this process may do, and where it is not root makes it root of a new user and
/// mount namespace: with the ranges of `/etc/subuid` and `/etc/subgid` where there are some, with
/// a single id otherwise. The process stays the same one: arguments, working directory, streams,
/// signals and exit status are not touched, and no second process stays behind.
///
/// Call it in `main`, after [`helper::run_if_asked`](crate::helper::run_if_asked), before any
/// thread is started and any file of the store opened.
pub fn enter() -> Result<Tier, EnterError> {
    if rustix::process::geteuid().is_root() {
        return inspect_root();
    }
    let uid = rustix::process::getuid().as_raw();
    let gid = rustix::process::getgid().as_raw();
    let found = sub_ids(uid);
    let (ids, reason) = match enter_with(found.as_ref().ok()) {
        Ok(()) => (Ids::SubIds, String::new()),
        Err(Failure::Namespace(error)) => return Err(refused(error)),
        Err(Failure::Mapping { reason, users_mapped }) => {
            map_single(uid, gid, users_mapped).map_err(refused)?;
            (Ids::Single, found.err().unwrap_or(reason))
        }
    };
    Ok(Tier::Rootless(Rootless { outer_uid: uid, outer_gid: gid, ids, reason }))
}

fn refused(error: io::Error) -> EnterError {
    let off: Vec<&str> = SWITCHES
        .iter()
        .filter(|(path, value)| fs::read_to_string(path).is_ok_and(|text| text.trim() == *value))
        .map(|(path, _)| *path)
        .collect();
    let hint = if off.is_empty() {
        "this may be forbidden by a container, a seccomp filter or a security module".to_owned()
    } else {
        format!("look at {}", off.join(" and "))
    };
    EnterError::UserNamespace { errno: error.into(), hint }
}

/// Root of the machine, or of a user namespace that somebody else made.
fn inspect_root() -> Result<Tier, EnterError> {
    try_mount_namespace().map_err(|error| EnterError::RestrictedRoot { errno: error.into() })?;
    let (users, groups) = (id_map("/proc/self/uid_map"), id_map("/proc/self/gid_map"));
    if users == [ALL_IDS] {
        return Ok(Tier::Root);
    }
    let several = |map: &[IdRange]| map.iter().map(|range| u64::from(range.count)).sum::<u64>() > 1;
    let outer = |map: &[IdRange]| map.first().map_or(0, |range| range.outside);
    let (ids, reason) = if several(&users) && several(&groups) {
        (Ids::SubIds, String::new())
    } else {
        (Ids::Single, "the surrounding user namespace has no more".to_owned())
    };
    Ok(Tier::Rootless(Rootless { outer_uid: outer(&users), outer_gid: outer(&groups), ids, reason }))
}

/// Makes a mount namespace in a child, which takes it away with it.
fn try_mount_namespace() -> io::Result<()> {
    match sys::fork_into(libc::CLONE_NEWNS)? {
        Fork::Child => std::process::exit(0),
        Fork::Parent { pidfd, .. } => reap(&pidfd).map(|_| ()),
    }
}

fn reap(pidfd: &OwnedFd) -> io::Result<bool> {
    use std::os::fd::AsFd;
    let status = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)?;
    Ok(status.is_some_and(|status| status.exit_status() == Some(0)))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct IdRange {
    inside: u32,
    outside: u32,
    count: u32,
}

fn id_map(path: &str) -> Vec<IdRange> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(id_range).collect()
}

fn id_range(line: &str) -> Option<IdRange> {
    let mut numbers = line.split_whitespace().map(|number| number.parse().ok());
    Some(IdRange { inside: numbers.next()??, outside: numbers.next()??, count: numbers.next()?? })
}

/// What a user may use besides the own ids: `newuidmap` and `newgidmap` take these.
#[derive(Debug)]
struct SubIds {
    users: Vec<IdRange>,
    groups: Vec<IdRange>,
}

/// The ranges given to the user, or why there are none.
fn sub_ids(uid: u32) -> Result<SubIds, String> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = user_name(&passwd, uid);
    let ranges = |path: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let ranges = given_ranges(&text, uid, name);
        if ranges.is_empty() {
            return Err(format!("{path} has no range for user {}", name.unwrap_or("?")));
        }
        Ok(ranges)
    };
    Ok(SubIds { users: ranges("/etc/subuid")?, groups: ranges("/etc/subgid")? })
}

fn user_name(passwd: &str, uid: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

/// subuid(5): `name-or-id:first:count` a line. Inside they follow the own id, 0.
fn given_ranges(text: &str, uid: u32, name: Option<&str>) -> Vec<IdRange> {
    let mut inside = 1u32;
    let mut ranges = Vec::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.trim().split(':').collect();
        let &[who, first, count] = fields.as_slice() else {
            continue;
        };
        let (Ok(outside), Ok(count)) = (first.parse(), count.parse::<u32>()) else {
            continue;
        };
        if count == 0 || !(Some(who) == name || who.parse() == Ok(uid)) {
            continue;
        }
        let Some(next) = inside.checked_add(count) else {
            break;
        };
        ranges.push(IdRange { inside, outside, count });
        inside = next;
    }
    ranges
}

enum Failure {
    /// There is no namespace.
    Namespace(io::Error),
    /// There is one, but its ids could not all be mapped.
    Mapping { reason: String, users_mapped: bool },
}

/// Enters a namespace. The maps are written from outside, by a child forked before.
fn enter_with(ids: Option<&SubIds>) -> Result<(), Failure> {
    let Some(ids) = ids else {
        sys::unshare_user_and_mounts().map_err(Failure::Namespace)?;
        return Err(Failure::Mapping { reason: String::new(), users_mapped: false });
    };
    let (ours, theirs) = UnixStream::pair().map_err(Failure::Namespace)?;
    match sys::fork_into(0).map_err(Failure::Namespace)? {
        Fork::Child => {
            drop(ours);
            map_from_outside(theirs, ids)
        }
        Fork::Parent { pidfd, .. } => {
            drop(theirs);
            let result = unshare_and_wait(ours);
            let _ = reap(&pidfd);
            result
        }
    }
}

fn unshare_and_wait(mapper: UnixStream) -> Result<(), Failure> {
    sys::unshare_user_and_mounts().map_err(Failure::Namespace)?;
    let mut answer = String::new();
    let asked = (&mapper)
        .write_all(b"go")
        .and_then(|()| mapper.shutdown(std::net::Shutdown::Write))
        .and_then(|()| (&mapper).read_to_string(&mut answer));
    match (asked, answer.split_at_checked(1)) {
        (Ok(_), Some(("2", _))) => Ok(()),
        (Ok(_), Some((mapped, reason))) => {
            Err(Failure::Mapping { reason: reason.to_owned(), users_mapped: mapped == "1" })
        }
        (_, _) => {
            Err(Failure::Mapping { reason: "the process that maps ids ended early".to_owned(), users_mapped: false })
        }
    }
}

/// The child: waits until its parent has left for the new namespace, has the maps written by the
/// set-user-id programs, and answers how many of the two (users, groups) it got, with the reason.
fn map_from_outside(parent: UnixStream, ids: &SubIds) -> ! {
    let mut order = Vec::new();
    let ordered = (&parent).read_to_end(&mut order).is_ok_and(|_| order == b"go");
    if ordered && let Some(pid) = rustix::process::getppid() {
        let pid = pid.as_raw_nonzero().get();
        let uid = rustix::process::getuid().as_raw();
        let gid = rustix::process::getgid().as_raw();
        let answer = match run_mapper("newuidmap", pid, uid, &ids.users) {
            Err(reason) => format!("0{reason}"),
            Ok(()) => match run_mapper("newgidmap", pid, gid, &ids.groups) {
                Err(reason) => format!("1{reason}"),
                Ok(()) => "2".to_owned(),
            },
        };
        let _ = (&parent).write_all(answer.as_bytes());
    }
    std::process::exit(0)
}

fn run_mapper(program: &str, pid: i32, own: u32, ranges: &[IdRange]) -> Result<(), String> {
    let own = IdRange { inside: 0, outside: own, count: 1 };
    let mut command = Command::new(program);
    command.arg(pid.to_string());
    for range in [&own].into_iter().chain(ranges) {
        command.args([range.inside, range.outside, range.count].map(|number| number.to_string()));
    }
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program}: {}", said.trim()))
}

/// Maps the own ids to 0, which everybody may do from inside.
fn map_single(uid: u32, gid: u32, users_mapped: bool) -> io::Result<()> {
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    if !users_mapped {
        fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_by_name_and_by_number_follow_each_other() {
        let text = "other:1:2\nme:100000:65536\n# me:1:1\n1001:300000:10\nme:5:0\nme:x:1\n";
        let ranges = given_ranges(text, 1001, Some("me"));
        let plain: Vec<_> = ranges.iter().map(|r| (r.inside, r.outside, r.count)).collect();
        assert_eq!(plain, [(1, 100_000, 65_536), (65_537, 300_000, 10)]);
        assert!(given_ranges(text, 7, None).is_empty());
    }

    #[test]
    fn names_come_from_the_third_field() {
        let passwd = "root:x:0:0::/root:/bin/sh\nme:x:1001:5::/:/bin/sh\n";
        assert_eq!(user_name(passwd, 1001), Some("me"));
        assert_eq!(user_name(passwd, 5), None);
    }
}
