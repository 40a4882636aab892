//! Attaching the programs to an interface, in the mode that was asked for or the best that it takes.

use std::fmt;

use aya::programs::tc::{self, SchedClassifierLink, TcAttachType};
use aya::programs::xdp::{XdpLink, XdpMode};
use aya::programs::{ProgramError, ProgramInfo, SchedClassifier};

use super::interface::Interface;
use super::kernel::KernelTable;
use super::{CaptureError, chain};
use crate::process::capabilities::CapabilitySet;

/// Where ingress is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// XDP in the driver.
    Native,
    /// XDP in the network stack, behind the driver.
    Generic,
    /// tc ingress.
    Tc,
}

impl Mode {
    /// The name in messages and records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Tc => "tc",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which modes may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Native, else tc, else generic.
    Auto,
    /// This one.
    Only(Mode),
}

/// A program on an interface; dropping it detaches.
#[derive(Debug)]
enum Link {
    /// By a bpf_link, which all kernels from 5.9 on have.
    Xdp(#[expect(dead_code, reason = "held to be dropped")] XdpLink),
    /// By a bpf_link, before Linux 6.6 by a filter.
    Tc(SchedClassifierLink),
}

/// An interface that is being metered, until this is dropped.
#[derive(Debug)]
pub struct Attachment {
    /// Which interface.
    pub interface: Interface,
    /// How its ingress is counted.
    pub mode: Mode,
    /// Whether its egress is counted as well.
    pub egress: bool,
    /// Why a mode that would have been better was not taken, one line each.
    pub refused: Vec<String>,
    links: Vec<Link>,
}

impl Attachment {
    /// The capabilities that detaching needs: none where the kernel detaches what nobody holds any more (bpf_link), and
    /// CAP_NET_ADMIN where a tc filter has to be taken away (before Linux 6.6).
    #[must_use]
    pub fn needs(&self) -> CapabilitySet {
        let by_netlink = |link: &Link| matches!(link, Link::Tc(link) if link.priority().is_ok());
        if self.links.iter().any(by_netlink) { CapabilitySet::NET_ADMIN } else { CapabilitySet::empty() }
    }
}

/// Attaches ingress, and egress where `egress` says so.
///
/// # Errors
/// Where no mode that was wanted works; nothing stays attached to this interface then.
pub fn attach(
    table: &mut KernelTable,
    interface: Interface,
    wanted: Wanted,
    egress: bool,
) -> Result<Attachment, CaptureError> {
    let modes: &[Mode] = match wanted {
        Wanted::Auto => &[Mode::Native, Mode::Tc, Mode::Generic],
        Wanted::Only(Mode::Native) => &[Mode::Native],
        Wanted::Only(Mode::Generic) => &[Mode::Generic],
        Wanted::Only(Mode::Tc) => &[Mode::Tc],
    };
    let mut refused = Vec::new();
    let mut last_error = None;
    for &mode in modes {
        match attach_ingress(table, &interface, mode) {
            Ok(ingress) => {
                let mut links = vec![ingress];
                if egress {
                    links.push(attach_tc(table, &interface, TcAttachType::Egress)?);
                }
                return Ok(Attachment { interface, mode, egress, refused, links });
            }
            Err(error @ (CaptureError::Attach { .. } | CaptureError::XdpTaken { .. })) => {
                refused.push(error.to_string());
                last_error = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(last_error.unwrap_or(CaptureError::NoObject))
}

fn attach_ingress(table: &mut KernelTable, interface: &Interface, mode: Mode) -> Result<Link, CaptureError> {
    let xdp_mode = match mode {
        Mode::Native => XdpMode::Driver,
        Mode::Generic => XdpMode::Skb,
        Mode::Tc => return attach_tc(table, interface, TcAttachType::Ingress),
    };
    if let Some(program) = interface.xdp_program() {
        return Err(CaptureError::XdpTaken { interface: interface.name.clone(), program: program.to_string() });
    }
    let xdp = table.xdp()?;
    let link = xdp.attach_to_if_index(interface.index, xdp_mode).and_then(|link| xdp.take_link(link));
    link.map(Link::Xdp).map_err(|error| refusal(interface, mode.name(), &error))
}

fn attach_tc(table: &mut KernelTable, interface: &Interface, side: TcAttachType) -> Result<Link, CaptureError> {
    let (program, mode) = match side {
        TcAttachType::Ingress => ("flowml_ingress", "tc"),
        _ => ("flowml_egress", "tc egress"),
    };
    let refuse = |error: &(dyn std::error::Error + 'static)| refusal(interface, mode, error);
    let classifier: &mut SchedClassifier = table.tc(program)?;
    let link = match classifier.attach(&interface.name, side) {
        // Before Linux 6.6 there is no TCX, and a classifier needs the clsact qdisc.
        Err(ProgramError::TcError(_)) => {
            match tc::qdisc_add_clsact(&interface.name) {
                Ok(()) | Err(tc::TcError::AlreadyAttached) => {}
                Err(error) => return Err(refuse(&error)),
            }
            classifier.attach(&interface.name, side)
        }
        other => other,
    };
    let link = link.and_then(|link| classifier.take_link(link));
    link.map(Link::Tc).map_err(|error| refuse(&error))
}

/// The programs at tc ingress of the interface, by name or id, where the kernel tells: it has TCX, and we may ask.
#[must_use]
pub fn tc_ingress_programs(interface: &Interface) -> Option<Vec<String>> {
    let (_, programs) = SchedClassifier::query_tcx(&interface.name, TcAttachType::Ingress).ok()?;
    let name = |program: &ProgramInfo| {
        let name = program.name_as_str().filter(|name| !name.is_empty()).unwrap_or("unnamed");
        format!("{name} (id {})", program.id())
    };
    Some(programs.iter().map(name).collect())
}

fn refusal(interface: &Interface, mode: &str, error: &(dyn std::error::Error + 'static)) -> CaptureError {
    CaptureError::Attach { interface: interface.name.clone(), mode: mode.to_owned(), reason: chain(error) }
}
