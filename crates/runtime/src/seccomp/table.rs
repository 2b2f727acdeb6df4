//! System call numbers and docker's verdicts on them: facts of the kernel's ABI and of docker's
//! published default profile. Knows nothing of how a filter is made from them.

mod always;

use oci_spec::runtime::Capability;

pub(super) use always::{ALWAYS, ALWAYS_32};

/// Whose numbers a program uses: a processor runs programs of its 32-bit predecessor, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Machine {
    /// This program's own.
    Native,
    /// The 32-bit one: i386 on x86-64, ARM on AArch64.
    Compatible,
}

/// A system call and its numbers.
pub(super) struct Syscall {
    /// The kernel's name.
    pub(super) name: &'static str,
    /// On x86-64, i386, AArch64, ARM.
    numbers: [u32; 4],
}

const NONE: u32 = u32::MAX;

const fn call(name: &'static str, numbers: [u32; 4]) -> Syscall {
    Syscall { name, numbers }
}

impl Syscall {
    /// The number on this machine, if the call exists there.
    pub(super) fn number(&self, machine: Machine) -> Option<u32> {
        let [x86_64, i386, aarch64, arm] = self.numbers;
        let (native, compatible) = if cfg!(target_arch = "aarch64") { (aarch64, arm) } else { (x86_64, i386) };
        let number = match machine {
            Machine::Native => native,
            Machine::Compatible => compatible,
        };
        (number != NONE).then_some(number)
    }
}

/// Allowed in addition with a capability.
pub(super) const WITH_CAPABILITY: &[(Capability, &[Syscall])] = &[
    (Capability::DacReadSearch, &[call("open_by_handle_at", [304, 342, 265, 371])]),
    (
        Capability::SysAdmin,
        &[
            call("bpf", [321, 357, 280, 386]),
            call("clone", [56, 120, 220, 120]),
            call("clone3", [435, 435, 435, 435]),
            call("fanotify_init", [300, 338, 262, 367]),
            call("fsconfig", [431, 431, 431, 431]),
            call("fsmount", [432, 432, 432, 432]),
            call("fsopen", [430, 430, 430, 430]),
            call("fspick", [433, 433, 433, 433]),
            call("listmount", [458, 458, 458, 458]),
            call("lookup_dcookie", [212, 253, 18, 249]),
            call("mount", [165, 21, 40, 21]),
            call("mount_setattr", [442, 442, 442, 442]),
            call("move_mount", [429, 429, 429, 429]),
            call("open_tree", [428, 428, 428, 428]),
            call("perf_event_open", [298, 336, 241, 364]),
            call("quotactl", [179, 131, 60, 131]),
            call("quotactl_fd", [443, 443, 443, 443]),
            call("setdomainname", [171, 121, 162, 121]),
            call("sethostname", [170, 74, 161, 74]),
            call("setns", [308, 346, 268, 375]),
            call("statmount", [457, 457, 457, 457]),
            call("syslog", [103, 103, 116, 103]),
            call("umount", [NONE, 22, NONE, NONE]),
            call("umount2", [166, 52, 39, 52]),
            call("unshare", [272, 310, 97, 337]),
        ],
    ),
    (Capability::SysBoot, &[call("reboot", [169, 88, 142, 88])]),
    (Capability::SysChroot, &[call("chroot", [161, 61, 51, 61])]),
    (
        Capability::SysModule,
        &[
            call("delete_module", [176, 129, 106, 129]),
            call("finit_module", [313, 350, 273, 379]),
            call("init_module", [175, 128, 105, 128]),
        ],
    ),
    (Capability::SysPacct, &[call("acct", [163, 51, 89, 51])]),
    (
        Capability::SysPtrace,
        &[
            call("kcmp", [312, 349, 272, 378]),
            call("pidfd_getfd", [438, 438, 438, 438]),
            call("process_madvise", [440, 440, 440, 440]),
            call("process_vm_readv", [310, 347, 270, 376]),
            call("process_vm_writev", [311, 348, 271, 377]),
            call("ptrace", [101, 26, 117, 26]),
        ],
    ),
    (Capability::SysRawio, &[call("ioperm", [173, 101, NONE, NONE]), call("iopl", [172, 110, NONE, NONE])]),
    (
        Capability::SysTime,
        &[
            call("clock_settime64", [NONE, 404, NONE, 404]),
            call("stime", [NONE, 25, NONE, NONE]),
            call("clock_settime", [227, 264, 112, 262]),
            call("settimeofday", [164, 79, 170, 79]),
        ],
    ),
    (Capability::SysTtyConfig, &[call("vhangup", [153, 111, 58, 111])]),
    (
        Capability::SysNice,
        &[
            call("get_mempolicy", [239, 275, 236, 320]),
            call("mbind", [237, 274, 235, 319]),
            call("set_mempolicy", [238, 276, 237, 321]),
            call("set_mempolicy_home_node", [450, 450, 450, 450]),
        ],
    ),
    (Capability::Syslog, &[call("syslog", [103, 103, 116, 103])]),
    (Capability::Bpf, &[call("bpf", [321, 357, 280, 386])]),
    (Capability::Perfmon, &[call("perf_event_open", [298, 336, 241, 364])]),
];

/// Judged by an argument, or refused with an error of their own.
pub(super) const BY_ARGUMENT: &[Syscall] = &[
    call("clone", [56, 120, 220, 120]),
    call("clone3", [435, 435, 435, 435]),
    call("personality", [135, 136, 92, 136]),
    call("socket", [41, 359, 198, 281]),
];

/// Change an owner or an identity: pointless where a user namespace has a single id. Their numbers are those of
/// [`ALWAYS`] and [`ALWAYS_32`].
pub(super) const IDENTITY: &[&str] = &[
    "chown",
    "fchown",
    "fchownat",
    "lchown",
    "setfsgid",
    "setfsuid",
    "setgid",
    "setgroups",
    "setregid",
    "setresgid",
    "setresuid",
    "setreuid",
    "setuid",
    "chown32",
    "fchown32",
    "lchown32",
    "setfsgid32",
    "setfsuid32",
    "setgid32",
    "setgroups32",
    "setregid32",
    "setresgid32",
    "setresuid32",
    "setreuid32",
    "setuid32",
];
