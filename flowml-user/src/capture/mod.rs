//! From the wire to drained partitions: the flow table in the kernel and what attaches it to interfaces.

use std::io;

use thiserror::Error;

use crate::process::capabilities;

pub mod attach;
mod clsact;
pub mod copied;
pub mod cpus;
pub mod device;
pub mod file;
mod generic;
mod handover;
pub mod held;
pub mod interface;
pub mod kernel;
pub mod pins;
pub mod programs;
pub mod selection;
pub mod shared;
pub mod takeover;
pub mod vectors;
pub mod watch;

/// What is said where it cannot be known whether counts may be lost ([`CaptureError::Preemptible`]).
pub const UNKNOWN_PREEMPTION: &str = "the kernel is PREEMPT_RT, and its configuration cannot be read: without \
     PREEMPT_RT_NEEDS_BH_LOCK programs of one CPU preempt each other, and counts may be lost";

/// Why metering could not begin or go on. Each message names the object and what was expected.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// No such interface.
    #[error("no interface named {name:?}; there are: {known}")]
    NoInterface {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// The programs count without atomic operations.
    #[error(
        "the kernel is PREEMPT_RT without PREEMPT_RT_NEEDS_BH_LOCK: programs of one CPU preempt each other there, and \
         counts would be lost"
    )]
    Preemptible,
    /// Without `-i`, the default route decides.
    #[error("no default route, so no interface to take: name one with -i; there are: {known}")]
    NoDefaultRoute {
        /// What there is.
        known: String,
    },
    /// The parser begins at an Ethernet header.
    #[error(
        "{name} is no Ethernet interface (link type {link_type}): flowml reads frames that begin with an Ethernet header"
    )]
    NotEthernet {
        /// The interface.
        name: String,
        /// ARPHRD number (include/uapi/linux/if_arp.h).
        link_type: u16,
    },
    /// XDP has one program per interface.
    #[error(
        "{interface} already has an XDP program: {program}; detach it (ip link set dev {interface} xdp off) or meter \
         beside it with --xdp-mode tc"
    )]
    XdpTaken {
        /// The interface.
        interface: String,
        /// Name and id of the program that is there.
        program: String,
    },
    /// The kernel refused to attach.
    #[error("cannot attach to {interface} in mode {mode}: {reason}")]
    Attach {
        /// The interface.
        interface: String,
        /// The mode that was tried.
        mode: String,
        /// What the kernel said.
        reason: String,
    },
    /// Capabilities are missing.
    #[error(
        "no permission to load BPF programs: run as root, or with the capabilities CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"
    )]
    NoPermission,
    /// Memory is missing.
    #[error(
        "the kernel has no memory for a flow table of {mib} MiB: lower --flow-capacity (now {capacity} per CPU) or --payload"
    )]
    NoMemory {
        /// Entries per CPU and epoch.
        capacity: u32,
        /// Mebibytes.
        mib: u64,
    },
    /// An array map has at most 2³² elements.
    #[error("--flow-capacity {capacity} for {cpus} CPUs, and --payload for each, is more than a BPF map can hold")]
    TooLarge {
        /// Entries per CPU and epoch.
        capacity: u32,
        /// Possible CPUs.
        cpus: u32,
    },
    /// Built without the BPF toolchain.
    #[error(
        "this build of flowml carries no kernel programs, so it cannot go live: build it with `cargo xtask build --release`"
    )]
    NoObject,
    /// Something else than what this agent was built with.
    #[error(
        "the kernel object has no {missing}: it was not built together with this agent; run `cargo xtask build --release`"
    )]
    NotOurObject {
        /// The map or program.
        missing: &'static str,
    },
    /// What is pinned.
    #[error(transparent)]
    Pins(#[from] pins::PinError),
    /// A file of the system.
    #[error("cannot read {file}: {error}")]
    File {
        /// Which file.
        file: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// mmap(2) of a map.
    #[error("cannot map {name} into memory: {error}")]
    Map {
        /// The map.
        name: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// Reading interfaces and routes.
    #[error("cannot ask the kernel for its interfaces: {0}")]
    Netlink(#[from] rtnetlink::Error),
    /// Opening the netlink socket.
    #[error("cannot open a netlink socket: {0}")]
    Socket(#[source] io::Error),
    /// capset(2).
    #[error("cannot set capabilities aside: {0}")]
    Capabilities(#[source] io::Error),
    /// A map operation.
    #[error("flow table: {0}")]
    Table(#[from] aya::maps::MapError),
    /// Loading maps.
    #[error("cannot load the kernel object: {reason}")]
    Load {
        /// The whole chain of causes.
        reason: String,
    },
    /// Loading a program.
    #[error("the kernel refuses the program: {reason}")]
    Program {
        /// The whole chain of causes; the verifier's log is in it.
        reason: String,
    },
}

impl CaptureError {
    /// What it says but for the log of the verifier, of which the last line with words is the reason for a refusal.
    fn summary(&self) -> String {
        let text = self.to_string();
        let Some((first, log)) = text.split_once('\n') else { return text };
        let statistics = ["processed ", "verification time ", "stack depth "];
        let is_reason = |line: &&str| !line.is_empty() && !statistics.iter().any(|start| line.starts_with(start));
        let reason = log.lines().map(str::trim).rfind(is_reason);
        reason.map_or_else(|| first.to_owned(), |reason| format!("{first} {reason}"))
    }

    /// Sorts the errors of loading by what a user can do about them.
    fn load(error: &aya::EbpfError, size: kernel::Size) -> Self {
        match os_error(error) {
            Some(libc::EPERM | libc::EACCES) => Self::NoPermission,
            Some(libc::ENOMEM | libc::E2BIG) => {
                Self::NoMemory { capacity: size.shape.entries(), mib: size.bytes() >> 20 }
            }
            _ => Self::Load { reason: chain(error) },
        }
    }

    fn program(error: &aya::programs::ProgramError) -> Self {
        match os_error(error) {
            Some(libc::EPERM) => Self::NoPermission,
            // What the verifier says of programs that do with pointers what CAP_PERFMON allows.
            Some(libc::EACCES) if lacks_capabilities() => Self::NoPermission,
            _ => Self::Program { reason: chain(error) },
        }
    }
}

fn lacks_capabilities() -> bool {
    capabilities::effective().is_ok_and(|there| !capabilities::missing(there).is_empty())
}

/// The error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// The system's error number, however deep it lies.
fn os_error(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(number) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(number);
        }
        next = error.source();
    }
    None
}
