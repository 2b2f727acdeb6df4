//! Docker's default seccomp profile as a classic BPF program for the native architecture and its 32-bit one.
//!
//! The verdict is a function of the system call number that is constant on ranges, so the
//! program is a binary search over the ranges' bounds. A foreign architecture gets EPERM.

mod table;

use std::collections::BTreeMap;

use table::Machine;

use crate::capability;

/// What the filter answers for one system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Allow,
    /// Fail with this error number; 0 is success without doing anything.
    Errno(u16),
    /// Allow if none of the bits is set in the argument of this index.
    WithoutBits {
        argument: u32,
        bits: u32,
    },
    /// Allow if the argument of this index is not this value.
    Unless {
        argument: u32,
        value: u32,
    },
    /// Allow if the argument of this index is one of these values.
    OneOf {
        argument: u32,
        values: &'static [u32],
    },
}

const REFUSED: Verdict = Verdict::Errno(libc::EPERM as u16);

/// All CLONE_NEW* flags but time, which shares its bit with another meaning in clone(2).
const NAMESPACE_FLAGS: u32 = 0x7E02_0000;

/// PER_LINUX, PER_LINUX32, with UNAME26, and "only tell".
const PERSONALITIES: &[u32] = &[0, 0x8, 0x2_0000, 0x2_0008, 0xFFFF_FFFF];

#[cfg(target_arch = "x86_64")]
const NATIVE_ARCHITECTURE: u32 = 0xC000_003E;
#[cfg(target_arch = "x86_64")]
const COMPATIBLE_ARCHITECTURE: u32 = 0x4000_0003;
#[cfg(target_arch = "aarch64")]
const NATIVE_ARCHITECTURE: u32 = 0xC000_00B7;
#[cfg(target_arch = "aarch64")]
const COMPATIBLE_ARCHITECTURE: u32 = 0x4000_0028;

/// How ownership and identity calls are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// By the kernel.
    Real,
    /// With success, doing nothing: where a user namespace holds one id, they could only fail.
    Faked,
}

/// The program for a container that may have `capabilities` (its bounding set).
pub(crate) fn docker(capabilities: u64, identity: Identity) -> Vec<libc::sock_filter> {
    let verdicts = |machine| {
        let mut verdicts = docker_verdicts(capabilities, machine);
        if identity == Identity::Faked {
            verdicts.extend(faked(machine));
        }
        verdicts
    };
    program(verdicts, REFUSED)
}

/// A program that only fakes ownership and identity calls, for unconfined containers.
pub(crate) fn fake_identity() -> Vec<libc::sock_filter> {
    program(faked, Verdict::Allow)
}

fn faked(machine: Machine) -> BTreeMap<u32, Verdict> {
    let calls = table::ALWAYS.iter().chain(table::ALWAYS_32).filter(|call| table::IDENTITY.contains(&call.name));
    calls.filter_map(|call| call.number(machine)).map(|number| (number, Verdict::Errno(0))).collect()
}

fn numbers(calls: &'static [table::Syscall], machine: Machine) -> impl Iterator<Item = u32> {
    calls.iter().filter_map(move |call| call.number(machine))
}

fn docker_verdicts(capabilities: u64, machine: Machine) -> BTreeMap<u32, Verdict> {
    let always = numbers(table::ALWAYS, machine).chain(numbers(table::ALWAYS_32, machine));
    let mut verdicts: BTreeMap<u32, Verdict> = always.map(|number| (number, Verdict::Allow)).collect();
    for call in table::BY_ARGUMENT {
        if let (Some(number), Some(verdict)) = (call.number(machine), by_argument(call.name)) {
            verdicts.insert(number, verdict);
        }
    }
    for (capability, calls) in table::WITH_CAPABILITY {
        if capabilities & capability::bit(*capability) != 0 {
            verdicts.extend(numbers(calls, machine).map(|number| (number, Verdict::Allow)));
        }
    }
    verdicts
}

fn by_argument(name: &str) -> Option<Verdict> {
    Some(match name {
        "clone" => Verdict::WithoutBits { argument: 0, bits: NAMESPACE_FLAGS },
        // Its flags are in memory, which a filter cannot read: programs fall back to clone.
        "clone3" => Verdict::Errno(libc::ENOSYS as u16),
        "personality" => Verdict::OneOf { argument: 0, values: PERSONALITIES },
        "socket" => Verdict::Unless { argument: 0, value: libc::AF_VSOCK as u32 },
        _ => return None,
    })
}

/// The bounds of ranges with one verdict: each entry holds from its number to the next one's.
fn ranges(verdicts: &BTreeMap<u32, Verdict>, otherwise: Verdict) -> Vec<(u32, Verdict)> {
    let mut ranges = vec![(0, otherwise)];
    let mut push = |from: u32, verdict: Verdict| match ranges.last_mut() {
        Some(last) if last.1 == verdict => {}
        Some(last) if last.0 == from => last.1 = verdict,
        _ => ranges.push((from, verdict)),
    };
    let mut next = 0;
    for (&number, &verdict) in verdicts {
        if number > next {
            push(next, otherwise);
        }
        push(number, verdict);
        next = number + 1;
    }
    push(next, otherwise);
    ranges
}

fn program(verdicts: impl Fn(Machine) -> BTreeMap<u32, Verdict>, otherwise: Verdict) -> Vec<libc::sock_filter> {
    let judge = |machine| {
        let mut code = vec![load(NUMBER_OFFSET)];
        code.extend(search(&ranges(&verdicts(machine), otherwise)));
        code
    };
    let native = judge(Machine::Native);
    let mut code = vec![
        load(ARCHITECTURE_OFFSET),
        jump(libc::BPF_JEQ, NATIVE_ARCHITECTURE, 1, 0),
        statement(libc::BPF_JMP | libc::BPF_JA, native.len() as u32),
    ];
    code.extend(native);
    code.extend([jump(libc::BPF_JEQ, COMPATIBLE_ARCHITECTURE, 1, 0), answer(errno_answer(libc::EPERM as u16))]);
    code.extend(judge(Machine::Compatible));
    code
}

/// Code that finds the range of the number in the accumulator and answers its verdict.
fn search(ranges: &[(u32, Verdict)]) -> Vec<libc::sock_filter> {
    let middle = ranges.len() / 2;
    let (lower, upper) = ranges.split_at(middle);
    let Some(&(bound, verdict)) = upper.first() else {
        return Vec::new();
    };
    if lower.is_empty() {
        return verdict_code(verdict);
    }
    let below = search(lower);
    let mut code = match u8::try_from(below.len()) {
        Ok(distance) => vec![jump(libc::BPF_JGE, bound, distance, 0)],
        Err(_) => vec![jump(libc::BPF_JGE, bound, 0, 1), statement(libc::BPF_JMP | libc::BPF_JA, below.len() as u32)],
    };
    code.extend(below);
    code.extend(search(upper));
    code
}

fn verdict_code(verdict: Verdict) -> Vec<libc::sock_filter> {
    let refused = answer(errno_answer(libc::EPERM as u16));
    let allowed = answer(libc::SECCOMP_RET_ALLOW);
    match verdict {
        Verdict::Allow => vec![allowed],
        Verdict::Errno(number) => vec![answer(errno_answer(number))],
        Verdict::WithoutBits { argument, bits } => {
            vec![load(argument_offset(argument)), jump(libc::BPF_JSET, bits, 0, 1), refused, allowed]
        }
        Verdict::Unless { argument, value } => {
            vec![load(argument_offset(argument)), jump(libc::BPF_JEQ, value, 0, 1), refused, allowed]
        }
        Verdict::OneOf { argument, values } => {
            let mut code = vec![load(argument_offset(argument))];
            for (index, &value) in values.iter().enumerate() {
                code.push(jump(libc::BPF_JEQ, value, (values.len() - index) as u8, 0));
            }
            code.extend([refused, allowed]);
            code
        }
    }
}

// Offsets in the kernel's `struct seccomp_data`.
const NUMBER_OFFSET: u32 = 0;
const ARCHITECTURE_OFFSET: u32 = 4;

/// The lower half of an argument (both architectures are little-endian).
fn argument_offset(argument: u32) -> u32 {
    16 + 8 * argument
}

fn errno_answer(number: u16) -> u32 {
    libc::SECCOMP_RET_ERRNO | u32::from(number)
}

fn load(offset: u32) -> libc::sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

fn answer(value: u32) -> libc::sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, value)
}

fn statement(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

fn jump(condition: u32, k: u32, if_true: u8, if_false: u8) -> libc::sock_filter {
    libc::sock_filter { code: (libc::BPF_JMP | condition | libc::BPF_K) as u16, jt: if_true, jf: if_false, k }
}

/// Installs a program for this process and all it becomes. Needs CAP_SYS_ADMIN in the user
/// namespace or `no_new_privs`.
pub(crate) fn install(program: &[libc::sock_filter]) -> std::io::Result<()> {
    let Ok(len) = libc::c_ushort::try_from(program.len()) else {
        return Err(std::io::Error::from_raw_os_error(libc::E2BIG));
    };
    let header = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: `header` describes `program`, which outlives the call; the kernel only reads it.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const header) };
    if result < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::DEFAULT_CAPABILITIES;
    use oci_spec::runtime::Capability;

    #[test]
    fn every_call_of_identity_is_one_that_is_always_allowed() {
        let known = |name: &&str| table::ALWAYS.iter().chain(table::ALWAYS_32).any(|call| call.name == *name);
        assert_eq!(table::IDENTITY.iter().filter(|name| !known(name)).collect::<Vec<_>>(), Vec::<&&str>::new());
    }

    /// What the kernel would do: interprets the program for one call.
    fn run(code: &[libc::sock_filter], architecture: u32, number: u32, argument: u32) -> u32 {
        let (mut at, mut accumulator) = (0usize, 0u32);
        loop {
            let step = code[at];
            at += 1;
            let class = u32::from(step.code);
            let taken = |yes: bool| usize::from(if yes { step.jt } else { step.jf });
            const K: u32 = libc::BPF_JMP | libc::BPF_K;
            match class {
                c if c == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS => {
                    accumulator = match step.k {
                        0 => number,
                        4 => architecture,
                        16 => argument,
                        other => panic!("load from {other}"),
                    }
                }
                c if c == K | libc::BPF_JEQ => at += taken(accumulator == step.k),
                c if c == K | libc::BPF_JGE => at += taken(accumulator >= step.k),
                c if c == K | libc::BPF_JSET => at += taken(accumulator & step.k != 0),
                c if c == libc::BPF_JMP | libc::BPF_JA => at += step.k as usize,
                c if c == libc::BPF_RET | libc::BPF_K => return step.k,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    fn default_set() -> u64 {
        capability::mask(&DEFAULT_CAPABILITIES.into_iter().collect())
    }

    fn judge(code: &[libc::sock_filter], number: i64, argument: u32) -> u32 {
        run(code, NATIVE_ARCHITECTURE, number as u32, argument)
    }

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

    #[test]
    fn every_number_gets_the_verdict_of_the_table() {
        let machines = [(Machine::Native, NATIVE_ARCHITECTURE), (Machine::Compatible, COMPATIBLE_ARCHITECTURE)];
        let cases = machines.iter().flat_map(|machine| [(machine, Identity::Real), (machine, Identity::Faked)]);
        for (&(machine, architecture), identity) in cases {
            let code = docker(default_set(), identity);
            let mut verdicts = docker_verdicts(default_set(), machine);
            if identity == Identity::Faked {
                verdicts.extend(faked(machine));
            }
            for number in (0..600).chain([0x4000_0000, 0x4000_0001, u32::MAX]) {
                let expected = match verdicts.get(&number) {
                    Some(Verdict::Allow) => ALLOW,
                    Some(Verdict::Errno(errno)) => errno_answer(*errno),
                    // With argument 0 all of these allow.
                    Some(_) => ALLOW,
                    None => EPERM,
                };
                assert_eq!(run(&code, architecture, number, 0), expected, "{machine:?} {number}");
            }
        }
    }

    #[test]
    fn known_numbers_agree_with_libc() {
        let code = docker(default_set(), Identity::Real);
        for allowed in [
            libc::SYS_read,
            libc::SYS_openat,
            libc::SYS_execve,
            libc::SYS_chroot,
            libc::SYS_mknodat,
            libc::SYS_statx,
            libc::SYS_close_range,
            libc::SYS_ptrace,
        ] {
            assert_eq!(judge(&code, allowed, 0), ALLOW, "{allowed}");
        }
        for refused in [
            libc::SYS_mount,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_fsopen,
            libc::SYS_pivot_root,
            libc::SYS_keyctl,
            libc::SYS_add_key,
            libc::SYS_bpf,
            libc::SYS_io_uring_setup,
            libc::SYS_open_by_handle_at,
            libc::SYS_userfaultfd,
            libc::SYS_reboot,
        ] {
            assert_eq!(judge(&code, refused, 0), EPERM, "{refused}");
        }
    }

    #[test]
    fn arguments_decide_where_they_must() {
        let code = docker(default_set(), Identity::Real);
        assert_eq!(judge(&code, libc::SYS_clone, libc::SIGCHLD as u32), ALLOW);
        for flag in [libc::CLONE_NEWUSER, libc::CLONE_NEWNS, libc::CLONE_NEWNET] {
            assert_eq!(judge(&code, libc::SYS_clone, flag as u32), EPERM);
        }
        assert_eq!(judge(&code, libc::SYS_clone3, 0), ENOSYS);
        assert_eq!(judge(&code, libc::SYS_socket, libc::AF_INET as u32), ALLOW);
        assert_eq!(judge(&code, libc::SYS_socket, libc::AF_VSOCK as u32), EPERM);
        assert_eq!(judge(&code, libc::SYS_personality, 0xFFFF_FFFF), ALLOW);
        assert_eq!(judge(&code, libc::SYS_personality, 0x4_0000), EPERM);
    }

    #[test]
    fn a_capability_opens_its_calls() {
        let set = default_set() | capability::bit(Capability::SysAdmin);
        let code = docker(set, Identity::Real);
        for call in [libc::SYS_mount, libc::SYS_unshare, libc::SYS_clone3] {
            assert_eq!(judge(&code, call, 0), ALLOW);
        }
        let newuser = libc::CLONE_NEWUSER as u32;
        assert_eq!(judge(&code, libc::SYS_clone, newuser), ALLOW);
        let nothing = docker(0, Identity::Real);
        assert_eq!(judge(&nothing, libc::SYS_chroot, 0), EPERM);
    }

    #[test]
    fn a_foreign_architecture_is_refused() {
        let code = docker(default_set(), Identity::Real);
        let s390x = 0x8000_0016;
        assert_eq!(run(&code, s390x, 3, 0), EPERM);
    }

    #[test]
    fn faking_leaves_the_rest_alone() {
        let code = fake_identity();
        assert_eq!(judge(&code, libc::SYS_fchownat, 0), libc::SECCOMP_RET_ERRNO);
        assert_eq!(judge(&code, libc::SYS_mount, 0), ALLOW);
    }
}
