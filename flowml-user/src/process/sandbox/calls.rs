//! The system calls that a sandboxed process may make, in groups with a reason for each.
//!
//! They were found with `strace -f` of live runs and of reading captures, in a build with glibc on x86-64. The
//! integration tests run under this filter. The calls that musl and aarch64 use instead were not run. A call that is
//! not listed fails with EPERM: if a library starts to use another call, it gets an error, and the run continues.
//! Constants of arguments are those of the kernel's headers named here (include/uapi).

use std::ffi::c_long;

use libc::*;

/// Calls that fail as on a kernel that lacks them. Libraries then use the older call, whose arguments a filter can
/// examine: clone3(2) has its flags in memory.
pub(super) const LACKING: &[c_long] = &[SYS_clone3];

/// Calls for one purpose.
pub(super) struct Group {
    /// The purpose, for readers of this list.
    #[cfg_attr(not(test), expect(dead_code, reason = "documentation; a test checks that it is not empty"))]
    pub(super) reason: &'static str,
    pub(super) calls: &'static [c_long],
}

/// A call that is permitted with some arguments only.
pub(super) struct Limited {
    /// The purpose, for readers of this list.
    #[cfg_attr(not(test), expect(dead_code, reason = "documentation; a test checks that it is not empty"))]
    pub(super) reason: &'static str,
    pub(super) call: c_long,
    /// The permitted combinations of arguments. In each of them all tests must hold.
    pub(super) ways: &'static [&'static [(Argument, Test)]],
}

/// The number of an argument, from 0.
pub(super) type Argument = u8;

/// A condition on an argument. Only the lower 32 bits are compared: all tested arguments have the type int.
#[derive(Clone, Copy)]
pub(super) enum Test {
    /// The argument is this number.
    Is(u32),
    /// Among the bits of `mask`, exactly those of `set` are set.
    Bits { mask: u32, set: u32 },
    /// The argument is the process id of this process.
    OwnProcess,
}

pub(super) const GROUPS: &[Group] = &[
    Group { reason: "memory", calls: &[SYS_munmap, SYS_mremap, SYS_madvise, SYS_brk] },
    Group {
        reason: "waiting for other threads, names of threads, end of threads",
        calls: &[
            SYS_futex,
            SYS_set_robust_list,
            SYS_rseq,
            SYS_membarrier,
            SYS_gettid,
            SYS_sched_yield,
            SYS_restart_syscall,
            SYS_exit,
            SYS_exit_group,
        ],
    },
    Group {
        reason: "yielding, and the CPU of a thread",
        calls: &[
            SYS_getpriority,
            SYS_setpriority,
            SYS_sched_getaffinity,
            SYS_sched_setaffinity,
            SYS_sched_getparam,
            SYS_sched_getscheduler,
            SYS_sched_setscheduler,
            SYS_getcpu,
        ],
    },
    Group { reason: "a new thread drops its capabilities", calls: &[SYS_capget, SYS_capset] },
    Group { reason: "signals", calls: &[SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_sigaltstack] },
    Group {
        reason: "clocks and timers",
        calls: &[
            SYS_clock_gettime,
            SYS_clock_getres,
            SYS_clock_nanosleep,
            SYS_nanosleep,
            SYS_gettimeofday,
            SYS_timerfd_create,
            SYS_timerfd_settime,
            SYS_timerfd_gettime,
        ],
    },
    Group {
        reason: "identity of this process and this host",
        calls: &[SYS_getpid, SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid, SYS_uname, SYS_sysinfo],
    },
    Group { reason: "random numbers of hash tables and temporary names", calls: &[SYS_getrandom] },
    Group {
        reason: "waiting for several descriptors",
        calls: &[
            SYS_epoll_create1,
            SYS_epoll_ctl,
            SYS_epoll_pwait,
            SYS_epoll_pwait2,
            SYS_ppoll,
            SYS_pselect6,
            SYS_eventfd2,
            SYS_pipe2,
            SYS_socketpair,
        ],
    },
    Group {
        reason: "reading and writing open files",
        calls: &[
            SYS_read,
            SYS_readv,
            SYS_pread64,
            SYS_preadv,
            SYS_write,
            SYS_writev,
            SYS_pwrite64,
            SYS_pwritev,
            SYS_lseek,
            SYS_ftruncate,
            SYS_fsync,
            SYS_fdatasync,
            SYS_flock,
            SYS_fchmod,
            SYS_fstat,
            SYS_fcntl,
            SYS_dup,
            SYS_dup3,
            SYS_close,
            SYS_copy_file_range,
            SYS_sendfile,
        ],
    },
    Group {
        reason: "files by name; Landlock restricts which",
        calls: &[
            SYS_openat,
            SYS_newfstatat,
            SYS_statx,
            SYS_faccessat,
            SYS_faccessat2,
            SYS_readlinkat,
            SYS_getcwd,
            SYS_getdents64,
            SYS_mkdirat,
            SYS_renameat2,
            SYS_unlinkat,
        ],
    },
    Group {
        reason: "collectors, names of hosts, scrapers, the service manager; no new listener",
        calls: &[
            SYS_bind,
            SYS_connect,
            SYS_accept4,
            SYS_sendto,
            SYS_sendmsg,
            SYS_sendmmsg,
            SYS_recvfrom,
            SYS_recvmsg,
            SYS_shutdown,
            SYS_getsockname,
            SYS_getpeername,
            SYS_getsockopt,
            SYS_setsockopt,
        ],
    },
    #[cfg(target_arch = "x86_64")]
    Group {
        reason: "older names of the calls above, which musl and some libraries use on x86-64",
        calls: &[
            SYS_open,
            SYS_stat,
            SYS_lstat,
            SYS_access,
            SYS_readlink,
            SYS_mkdir,
            SYS_rename,
            SYS_renameat,
            SYS_unlink,
            SYS_rmdir,
            SYS_dup2,
            SYS_poll,
            SYS_select,
            SYS_epoll_wait,
            SYS_pipe,
            SYS_time,
        ],
    },
    #[cfg(target_arch = "aarch64")]
    Group {
        // The libc crate does not define its number for glibc.
        reason: "renameat, which musl uses on aarch64",
        calls: &[38],
    },
];

/// Flags for new namespaces, in which a process has more privileges (linux/sched.h).
const NAMESPACES: u32 =
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET) as u32;

// linux/bpf.h
const BPF_MAP_UPDATE_ELEM: u32 = 2;
const BPF_OBJ_PIN: u32 = 6;
const BPF_LINK_CREATE: u32 = 28;

// asm-generic/ioctls.h and linux/sockios.h
const TCGETS: u32 = 0x5401;
const TCSETS: u32 = 0x5402;
const TCSETSW: u32 = 0x5403;
const TCSETSF: u32 = 0x5404;
const TCGETS2: u32 = 0x802c_542a;
const TCSETS2: u32 = 0x402c_542b;
const TCSETSW2: u32 = 0x402c_542c;
const TCSETSF2: u32 = 0x402c_542d;
const TIOCGWINSZ: u32 = 0x5413;
const FIONREAD: u32 = 0x541b;
const FIONBIO: u32 = 0x5421;
const FIOCLEX: u32 = 0x5451;
const SIOCGIFINDEX: u32 = 0x8933;

/// `prctl(PR_SET_VMA, …)`: names for memory areas, an option of glibc (linux/prctl.h).
const PR_SET_VMA: u32 = 0x5356_4d41;

pub(super) const LIMITED: &[Limited] = &[
    Limited {
        reason: "new threads, but neither processes nor namespaces",
        call: SYS_clone,
        ways: &[&[(0, Test::Bits { mask: NAMESPACES | CLONE_THREAD as u32, set: CLONE_THREAD as u32 })]],
    },
    Limited {
        reason: "memory that is not executable; libraries are loaded before",
        call: SYS_mmap,
        ways: &[&[(2, Test::Bits { mask: PROT_EXEC as u32, set: 0 })]],
    },
    Limited {
        reason: "memory that is not executable",
        call: SYS_mprotect,
        ways: &[&[(2, Test::Bits { mask: PROT_EXEC as u32, set: 0 })]],
    },
    Limited {
        reason: "the two updates of a drain; loaded programs are attached to new interfaces, and '--pin' pins the links; no \
                 program is loaded",
        call: SYS_bpf,
        ways: &[
            &[(0, Test::Is(BPF_MAP_UPDATE_ELEM))],
            &[(0, Test::Is(BPF_LINK_CREATE))],
            &[(0, Test::Is(BPF_OBJ_PIN))],
        ],
    },
    Limited {
        reason: "collectors, names of hosts, changes of interfaces, and the filters of tc before Linux 6.6; no raw packets",
        call: SYS_socket,
        ways: &[
            &[(0, Test::Is(AF_INET as u32))],
            &[(0, Test::Is(AF_INET6 as u32))],
            &[(0, Test::Is(AF_UNIX as u32))],
            &[(0, Test::Is(AF_NETLINK as u32)), (2, Test::Is(NETLINK_ROUTE as u32))],
        ],
    },
    Limited {
        reason: "mode and size of the terminal (no input is injected), non-blocking mode, index of an interface",
        call: SYS_ioctl,
        ways: &[
            &[(1, Test::Is(TCGETS))],
            &[(1, Test::Is(TCSETS))],
            &[(1, Test::Is(TCSETSW))],
            &[(1, Test::Is(TCSETSF))],
            &[(1, Test::Is(TCGETS2))],
            &[(1, Test::Is(TCSETS2))],
            &[(1, Test::Is(TCSETSW2))],
            &[(1, Test::Is(TCSETSF2))],
            &[(1, Test::Is(TIOCGWINSZ))],
            &[(1, Test::Is(FIONREAD))],
            &[(1, Test::Is(FIONBIO))],
            &[(1, Test::Is(FIOCLEX))],
            &[(1, Test::Is(SIOCGIFINDEX))],
        ],
    },
    Limited {
        reason: "names of threads and of memory",
        call: SYS_prctl,
        ways: &[&[(0, Test::Is(PR_SET_NAME as u32))], &[(0, Test::Is(PR_SET_VMA))]],
    },
    Limited { reason: "abort of this process", call: SYS_tgkill, ways: &[&[(0, Test::OwnProcess)]] },
    Limited { reason: "abort of this process, as musl does it", call: SYS_kill, ways: &[&[(0, Test::OwnProcess)]] },
];
