//! Errors that prevent metering.

use std::io;

use thiserror::Error;

use super::kernel;
use super::pin_error::PinError;
use crate::process::capabilities;

/// Message for a kernel of which it is unknown whether counts may be lost ([`CaptureError::Preemptible`]).
pub const UNKNOWN_PREEMPTION: &str = "the kernel is PREEMPT_RT, and its configuration cannot be read: without \
     PREEMPT_RT_NEEDS_BH_LOCK programs of one CPU preempt each other, and counts may be lost";

/// Errors that prevent metering. Each message names the object and states what was expected.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// The requested interface does not exist.
    #[error("no interface is named {name:?}; the interfaces are: {known}")]
    NoInterface {
        /// The requested name.
        name: String,
        /// The existing interfaces.
        known: String,
    },
    /// Programs can preempt each other on this kernel. They count without atomic operations.
    #[error(
        "the kernel is PREEMPT_RT without PREEMPT_RT_NEEDS_BH_LOCK: programs of one CPU preempt each other there, and \
         counts would be lost"
    )]
    Preemptible,
    /// There is no default route. It determines the interface without `-i`.
    #[error("no default route, so no default interface: name one with -i; the interfaces are: {known}")]
    NoDefaultRoute {
        /// The existing interfaces.
        known: String,
    },
    /// The interface is not an Ethernet interface. The parser starts at an Ethernet header.
    #[error(
        "{name} is not an Ethernet interface (link type {link_type}): flowml meters frames that start with an Ethernet header"
    )]
    NotEthernet {
        /// The interface.
        name: String,
        /// ARPHRD number (include/uapi/linux/if_arp.h).
        link_type: u16,
    },
    /// Another XDP program is attached. An interface can have only one.
    #[error(
        "{interface} already has an XDP program: {program}; detach it (ip link set dev {interface} xdp off) or meter \
         beside it with --xdp-mode tc"
    )]
    XdpTaken {
        /// The interface.
        interface: String,
        /// Name and id of the attached program.
        program: String,
    },
    /// The kernel refused the attachment.
    #[error("cannot attach to {interface} in mode {mode}: {reason}")]
    Attach {
        /// The interface.
        interface: String,
        /// The mode.
        mode: String,
        /// The error of the kernel.
        reason: String,
    },
    /// Capabilities are missing.
    #[error(
        "no permission to load BPF programs: run as root, or with the capabilities CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"
    )]
    NoPermission,
    /// There is not enough memory.
    #[error(
        "the kernel has no memory for a flow table of {mib} MiB: lower --flow-capacity (now {capacity} per CPU) or --payload"
    )]
    NoMemory {
        /// Entries per CPU and epoch.
        capacity: u32,
        /// Size of the table, in MiB.
        mib: u64,
    },
    /// The table is larger than a BPF map: an array map has at most 2³² elements.
    #[error("--flow-capacity {capacity} for {cpus} CPUs, and --payload for each, is more than a BPF map can hold")]
    TooLarge {
        /// Entries per CPU and epoch.
        capacity: u32,
        /// Possible CPUs.
        cpus: u32,
    },
    /// The agent was built without the BPF toolchain.
    #[error(
        "this build of flowml contains no kernel programs, so it cannot meter interfaces: build it with `cargo xtask build --release`"
    )]
    NoObject,
    /// The kernel object does not belong to this build of the agent.
    #[error(
        "the kernel object has no {missing}: it was not built together with this agent; run `cargo xtask build --release`"
    )]
    NotOurObject {
        /// The name of the missing map or program.
        missing: &'static str,
    },
    /// An error of the pins.
    #[error(transparent)]
    Pins(#[from] PinError),
    /// A file of the system cannot be read.
    #[error("cannot read {file}: {error}")]
    File {
        /// The path of the file.
        file: &'static str,
        /// The error of the system.
        error: io::Error,
    },
    /// mmap(2) of a map failed.
    #[error("cannot map {name} into memory: {error}")]
    Map {
        /// The name of the map.
        name: &'static str,
        /// The error of the system.
        error: io::Error,
    },
    /// Reading interfaces and routes failed.
    #[error("cannot list the interfaces: {0}")]
    Netlink(#[from] rtnetlink::Error),
    /// A netlink socket cannot be opened.
    #[error("cannot open a netlink socket: {0}")]
    Socket(#[source] io::Error),
    /// capset(2) failed.
    #[error("cannot drop capabilities: {0}")]
    Capabilities(#[source] io::Error),
    /// A map operation failed.
    #[error("flow table: {0}")]
    Table(#[from] aya::maps::MapError),
    /// The maps cannot be loaded.
    #[error("cannot load the kernel object: {reason}")]
    Load {
        /// The complete chain of causes.
        reason: String,
    },
    /// A program cannot be loaded.
    #[error("the kernel refuses the program: {reason}")]
    Program {
        /// The complete chain of causes, with the verifier's log.
        reason: String,
    },
}

impl CaptureError {
    /// The message without the verifier's log. The last line of the log that has words is the reason for a refusal.
    pub(super) fn summary(&self) -> String {
        let text = self.to_string();
        let Some((first, log)) = text.split_once('\n') else { return text };
        let statistics = ["processed ", "verification time ", "stack depth "];
        let is_reason = |line: &&str| !line.is_empty() && !statistics.iter().any(|start| line.starts_with(start));
        let reason = log.lines().map(str::trim).rfind(is_reason);
        reason.map_or_else(|| first.to_owned(), |reason| format!("{first} {reason}"))
    }

    /// Classifies an error of loading by what the user can do about it.
    pub(super) fn load(error: &aya::EbpfError, size: kernel::Size) -> Self {
        match os_error(error) {
            Some(libc::EPERM | libc::EACCES) => Self::NoPermission,
            Some(libc::ENOMEM | libc::E2BIG) => {
                Self::NoMemory { capacity: size.shape.entries(), mib: size.bytes() >> 20 }
            }
            _ => Self::Load { reason: chain(error) },
        }
    }

    pub(super) fn program(error: &aya::programs::ProgramError) -> Self {
        match os_error(error) {
            Some(libc::EPERM) => Self::NoPermission,
            // The error of the verifier for pointer operations that need CAP_PERFMON.
            Some(libc::EACCES) if lacks_capabilities() => Self::NoPermission,
            _ => Self::Program { reason: chain(error) },
        }
    }
}

fn lacks_capabilities() -> bool {
    capabilities::effective().is_ok_and(|there| !capabilities::missing(there).is_empty())
}

/// The error and its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
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

/// The error number of the system in the chain of causes.
pub(super) fn os_error(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(number) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(number);
        }
        next = error.source();
    }
    None
}
