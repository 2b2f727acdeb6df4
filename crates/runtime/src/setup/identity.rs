//! Who the command is and what it may do: limits, user and groups, capabilities, system calls.

use rustix::fs::{Gid, Uid};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities,
    set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use crate::error::{Errno, StartError};
use crate::plan::{CapabilityMasks, Plan, Process, ResourceLimit};
use crate::{seccomp, sys};

/// Capabilities that the kernel may know; asking for the first unknown one fails.
const MOST_CAPABILITIES: u32 = 64;

const OOM_SCORE: &str = "/proc/self/oom_score_adj";

/// Sets the container's preference to be killed when memory runs out. Only worsening it is
/// allowed to everybody. Before the host's `/proc` is left.
pub(super) fn adjust_oom_score(process: &Process, notes: &mut Vec<String>) {
    if let Some(score) = process.oom_score_adjustment
        && let Err(error) = std::fs::write(OOM_SCORE, score.to_string())
    {
        notes.push(format!("the OOM score {score} is not allowed here: {error}"));
    }
}

/// Says that another user was asked for than there can be.
pub(super) fn note_what_is_faked(plan: &Plan, notes: &mut Vec<String>) {
    let process = &plan.process;
    if plan.single_id && (process.uid, process.gid) != (0, 0) {
        notes.push(format!(
            "user {}:{} does not exist in a single-id user namespace; the command runs as 0:0",
            process.uid, process.gid
        ));
    }
}

/// The system call filter, made before the mounts go on and the way to report becomes narrow.
pub(super) fn filter(plan: &Plan) -> Vec<libc::sock_filter> {
    let identity = if plan.single_id { seccomp::Identity::Faked } else { seccomp::Identity::Real };
    match (plan.confined, identity) {
        (true, _) => seccomp::docker(plan.process.capabilities.bounding, identity),
        (false, seccomp::Identity::Faked) => seccomp::fake_identity(),
        (false, seccomp::Identity::Real) => Vec::new(),
    }
}

/// Sets resource limits; a hard limit above our own is clamped to it.
pub(super) fn limit_resources(limits: &[ResourceLimit]) -> Result<(), StartError> {
    for limit in limits {
        let Some(resource) = resource(limit.resource) else {
            continue;
        };
        let known = |value: u64| (value != libc::RLIM_INFINITY).then_some(value);
        let wanted = Rlimit { current: known(limit.soft), maximum: known(limit.hard) };
        if setrlimit(resource, wanted).is_ok() {
            continue;
        }
        let ours = getrlimit(resource).maximum;
        let lesser = |wanted: Option<u64>| match (wanted, ours) {
            (Some(wanted), Some(ours)) => Some(wanted.min(ours)),
            (None, ours) => ours,
            (wanted, None) => wanted,
        };
        let clamped = Rlimit { current: lesser(known(limit.soft)), maximum: lesser(known(limit.hard)) };
        setrlimit(resource, clamped)
            .map_err(|errno| StartError::system(format!("cannot set resource limit {}", limit.resource), errno))?;
    }
    Ok(())
}

fn resource(number: u32) -> Option<Resource> {
    Some(match number {
        libc::RLIMIT_CPU => Resource::Cpu,
        libc::RLIMIT_FSIZE => Resource::Fsize,
        libc::RLIMIT_DATA => Resource::Data,
        libc::RLIMIT_STACK => Resource::Stack,
        libc::RLIMIT_CORE => Resource::Core,
        libc::RLIMIT_RSS => Resource::Rss,
        libc::RLIMIT_NPROC => Resource::Nproc,
        libc::RLIMIT_NOFILE => Resource::Nofile,
        libc::RLIMIT_MEMLOCK => Resource::Memlock,
        libc::RLIMIT_AS => Resource::As,
        libc::RLIMIT_LOCKS => Resource::Locks,
        libc::RLIMIT_SIGPENDING => Resource::Sigpending,
        libc::RLIMIT_MSGQUEUE => Resource::Msgqueue,
        libc::RLIMIT_NICE => Resource::Nice,
        libc::RLIMIT_RTPRIO => Resource::Rtprio,
        libc::RLIMIT_RTTIME => Resource::Rttime,
        _ => return None,
    })
}

/// Becomes the container's user. The filter is installed while the right to do so without
/// `no_new_privs` is still there, the final capabilities come last.
pub(super) fn assume(plan: &Plan, filter: &[libc::sock_filter]) -> Result<(), StartError> {
    let masks = &plan.process.capabilities;
    // A quota of keyrings may be exhausted, a kernel be built without them: no reason to stop.
    let _ = sys::new_session_keyring();
    drop_bounding(masks.bounding).map_err(cannot("limit the capabilities"))?;
    set_keep_capabilities(true).map_err(cannot("keep capabilities"))?;
    if !plan.single_id {
        become_user(&plan.process)?;
    }
    let all_we_have = rustix::thread::capabilities(None).map_err(cannot("read capabilities"))?;
    raise(all_we_have.permitted).map_err(cannot("raise capabilities"))?;
    if plan.process.no_new_privileges {
        set_no_new_privs(true).map_err(cannot("set no_new_privs"))?;
    }
    if !filter.is_empty() {
        seccomp::install(filter).map_err(|error| StartError::system("cannot install the seccomp filter", error))?;
    }
    set_keep_capabilities(false).map_err(cannot("keep capabilities"))?;
    settle(masks, all_we_have.permitted).map_err(cannot("set the capabilities"))
}

fn cannot<E: Into<Errno>>(what: &'static str) -> impl Fn(E) -> StartError {
    move |errno| StartError::system(format!("cannot {what}"), errno)
}

fn become_user(process: &Process) -> Result<(), StartError> {
    let gids: Vec<Gid> = process.additional_gids.iter().map(|&gid| Gid::from_raw(gid)).collect();
    let unknown = |what: &str, errno| StartError::system(format!("cannot become {what}"), errno);
    set_thread_groups(&gids)
        .map_err(|errno| unknown(&format!("a member of the groups {:?}", process.additional_gids), errno))?;
    let gid = Gid::from_raw(process.gid);
    set_thread_res_gid(gid, gid, gid).map_err(|errno| unknown(&format!("group {}", process.gid), errno))?;
    let uid = Uid::from_raw(process.uid);
    set_thread_res_uid(uid, uid, uid).map_err(|errno| unknown(&format!("user {}", process.uid), errno))
}

fn drop_bounding(keep: u64) -> rustix::io::Result<()> {
    for number in 0..MOST_CAPABILITIES {
        let bit = 1u64 << number;
        if keep & bit != 0 {
            continue;
        }
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(bit)) {
            Ok(()) => {}
            // The first number that this kernel does not know.
            Err(rustix::io::Errno::INVAL) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn raise(permitted: CapabilitySet) -> rustix::io::Result<()> {
    let sets = CapabilitySets { effective: permitted, permitted, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets)
}

/// The final sets, without what this process does not have itself (fewer than asked for in a
/// container of somebody else's).
fn settle(masks: &CapabilityMasks, held: CapabilitySet) -> rustix::io::Result<()> {
    let set = |mask: u64| CapabilitySet::from_bits_retain(mask) & held;
    let sets = CapabilitySets {
        effective: set(masks.effective),
        permitted: set(masks.permitted),
        inheritable: set(masks.inheritable),
    };
    set_capabilities(None, sets)?;
    for number in 0..MOST_CAPABILITIES {
        let bit = CapabilitySet::from_bits_retain(1u64 << number);
        if masks.ambient & bit.bits() != 0 && held.contains(bit) {
            rustix::thread::configure_capability_in_ambient_set(bit, true)?;
        }
    }
    Ok(())
}
