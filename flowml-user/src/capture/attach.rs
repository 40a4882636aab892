//! Attaching the programs to an interface, in the requested mode or the best possible one.

use std::collections::HashMap;
use std::fmt;

use aya::programs::links::PinnedLink;
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcAttachType};
use aya::programs::xdp::{XdpLink, XdpMode};
use aya::programs::{LinkOrder, ProgramInfo, SchedClassifier};

use super::clsact::Clsact;
use super::error::{CaptureError, chain};
use super::interface::Interface;
use super::programs::{EGRESS, INGRESS, Programs};
use crate::process::capabilities::CapabilitySet;
use crate::process::kernel::{release, version};

/// The hook at which ingress is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// XDP in the driver.
    Native,
    /// XDP in the network stack, after the driver.
    Generic,
    /// tc ingress.
    Tc,
}

impl Mode {
    pub(super) const ALL: [Self; 3] = [Self::Native, Self::Generic, Self::Tc];

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

/// The modes that may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Native, else tc, else generic. XDP in the stack copies most packets, which tc does not.
    Auto,
    /// Only this mode.
    Only(Mode),
}

impl Wanted {
    /// All choices.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Only(Mode::Native), Self::Only(Mode::Generic), Self::Only(Mode::Tc)];

    /// The name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Only(mode) => mode.name(),
        }
    }

    /// A description of the mode.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Auto => "Native XDP, else tc, else generic XDP",
            Self::Only(Mode::Native) => "XDP in the driver",
            Self::Only(Mode::Generic) => "XDP in the network stack, with any driver",
            Self::Only(Mode::Tc) => "The tc ingress hook, after GRO",
        }
    }

    /// The modes, in the order in which they are tried.
    const fn modes(self) -> &'static [Mode] {
        match self {
            Self::Auto => &[Mode::Native, Mode::Tc, Mode::Generic],
            Self::Only(Mode::Native) => &[Mode::Native],
            Self::Only(Mode::Generic) => &[Mode::Generic],
            Self::Only(Mode::Tc) => &[Mode::Tc],
        }
    }

    /// Whether a tc program may be attached.
    fn has_tc(self, egress: bool) -> bool {
        egress || self.modes().contains(&Mode::Tc)
    }

    /// Loads the programs that may be attached, because attaching them later needs fewer capabilities than loading. If
    /// the verifier refuses a program, the error is reported when the program is to be attached.
    pub fn load(self, programs: &mut Programs, egress: bool) {
        if self.modes().iter().any(|mode| *mode != Mode::Tc) {
            let _ = programs.xdp();
        }
        let sides = [(INGRESS, self.modes().contains(&Mode::Tc)), (EGRESS, egress)];
        for (program, _) in sides.into_iter().filter(|(_, is_wanted)| *is_wanted) {
            let _ = programs.tc(program);
        }
    }

    /// The capabilities that are needed to attach these programs after loading. Loading needs CAP_NET_ADMIN. Attaching
    /// needs none for a bpf_link (`link_create`, kernel/bpf/syscall.c), and CAP_NET_ADMIN for a tc filter (before Linux
    /// 6.6).
    #[must_use]
    pub fn needs(self, egress: bool) -> CapabilitySet {
        let by_netlink = self.has_tc(egress) && TcHook::of_kernel() == TcHook::Clsact;
        if by_netlink { CapabilitySet::NET_ADMIN } else { CapabilitySet::empty() }
    }
}

/// The method of attaching tc programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcHook {
    /// By a bpf_link (TCX, Linux 6.6 or newer).
    Tcx,
    /// By a filter of the queueing discipline clsact, which every kernel has.
    Clsact,
}

impl TcHook {
    /// The better of the two that this kernel supports.
    #[must_use]
    pub fn of_kernel() -> Self {
        let has_tcx = version(&release()).is_none_or(|version| version >= (6, 6));
        if has_tcx { Self::Tcx } else { Self::Clsact }
    }
}

/// A program on an interface. Dropping it detaches the program, unless it is pinned.
#[derive(Debug)]
pub(super) enum Link {
    /// By a bpf_link (Linux 5.9 or newer).
    Xdp(XdpLink),
    /// Attached at the requested tc hook.
    Tc(SchedClassifierLink),
    /// By a bpf_link that is pinned.
    Pinned(PinnedLink),
}

impl Link {
    fn is_by_netlink(&self) -> bool {
        matches!(self, Self::Tc(link) if link.priority().is_ok())
    }
}

/// The programs on an interface, and the clsact of their filters. They are dropped in this order, as clsact must be
/// empty.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// Ingress, then egress.
    pub(super) programs: Vec<Link>,
    clsact: Option<Clsact>,
}

/// A metered interface. Dropping the value detaches the programs.
#[derive(Debug)]
pub struct Attachment {
    /// The interface.
    pub interface: Interface,
    /// The mode in which its ingress is counted.
    pub mode: Mode,
    /// Whether its egress is counted too.
    pub egress: bool,
    /// The reasons why better modes could not be used, one line for each.
    pub refused: Vec<String>,
    pub(super) links: Links,
}

impl Attachment {
    /// The capabilities that are needed to detach. None for a bpf_link, which the kernel detaches when nothing holds
    /// it; CAP_NET_ADMIN for a tc filter, which has to be removed (before Linux 6.6).
    #[must_use]
    pub fn needs(&self) -> CapabilitySet {
        if self.links.programs.iter().any(Link::is_by_netlink) {
            CapabilitySet::NET_ADMIN
        } else {
            CapabilitySet::empty()
        }
    }

    /// Whether all bpf_links of this attachment are among `links`, which counts links by interface. tc filters (before
    /// Linux 6.6) are not checked.
    #[must_use]
    pub(crate) fn is_among(&self, links: &HashMap<u32, usize>) -> bool {
        let own = self.links.programs.iter().filter(|link| !link.is_by_netlink()).count();
        links.get(&self.interface.index).copied().unwrap_or(0) >= own
    }

    /// Detaches the programs and removes their pins.
    pub fn end(self) {
        for link in self.links.programs {
            if let Link::Pinned(link) = link {
                // A pin that cannot be removed here is removed by the next agent, or together with the folder.
                let _ = link.unpin();
            }
        }
    }
}

/// Attaches to ingress, and to egress if `egress` is set.
///
/// # Errors
/// If no requested mode works. Nothing stays attached to this interface then.
pub fn attach(
    programs: &mut Programs,
    interface: Interface,
    wanted: Wanted,
    egress: bool,
) -> Result<Attachment, CaptureError> {
    attach_by(programs, interface, wanted, egress, TcHook::of_kernel())
}

/// As [`attach`], with this hook for tc programs.
///
/// # Errors
/// As [`attach`].
pub fn attach_by(
    programs: &mut Programs,
    interface: Interface,
    wanted: Wanted,
    egress: bool,
    hook: TcHook,
) -> Result<Attachment, CaptureError> {
    let mut refused = Vec::new();
    let mut last_error = None;
    for &mode in wanted.modes() {
        let mut links = Links::default();
        let ingress = match mode {
            Mode::Native => links.attach_xdp(programs, &interface, mode, XdpMode::Driver),
            Mode::Generic => links.attach_xdp(programs, &interface, mode, XdpMode::Skb),
            Mode::Tc => links.attach_tc(programs, &interface, TcAttachType::Ingress, hook),
        };
        match ingress {
            Ok(()) => {
                if egress {
                    links.attach_tc(programs, &interface, TcAttachType::Egress, hook)?;
                }
                return Ok(Attachment { interface, mode, egress, refused, links });
            }
            // An error of one mode or of its program does not exclude the next mode.
            Err(
                error @ (CaptureError::Attach { .. } | CaptureError::XdpTaken { .. } | CaptureError::Program { .. }),
            ) => {
                refused.push(error.summary());
                last_error = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(last_error.unwrap_or(CaptureError::NoObject))
}

impl Links {
    fn attach_xdp(
        &mut self,
        programs: &mut Programs,
        interface: &Interface,
        mode: Mode,
        xdp_mode: XdpMode,
    ) -> Result<(), CaptureError> {
        if let Some(program) = interface.xdp_program() {
            return Err(CaptureError::XdpTaken { interface: interface.name.clone(), program: program.to_string() });
        }
        let xdp = programs.xdp()?;
        let link = xdp.attach_to_if_index(interface.index, xdp_mode).and_then(|link| xdp.take_link(link));
        self.programs.push(link.map(Link::Xdp).map_err(|error| refusal(interface, mode.name(), &error))?);
        Ok(())
    }

    pub(super) fn attach_tc(
        &mut self,
        programs: &mut Programs,
        interface: &Interface,
        side: TcAttachType,
        hook: TcHook,
    ) -> Result<(), CaptureError> {
        let (program, mode) = match side {
            TcAttachType::Ingress => (INGRESS, "tc"),
            _ => (EGRESS, "tc egress"),
        };
        let refuse = |error: &(dyn std::error::Error + 'static)| refusal(interface, mode, error);
        let classifier: &mut SchedClassifier = programs.tc(program)?;
        let options = match hook {
            TcHook::Tcx => TcAttachOptions::TcxOrder(LinkOrder::default()),
            TcHook::Clsact => {
                let added = Clsact::add(interface).map_err(|error| refuse(&error))?;
                self.clsact = self.clsact.take().or(added);
                TcAttachOptions::Netlink(NlOptions::default())
            }
        };
        let link = classifier.attach_with_options(&interface.name, side, options);
        let link = link.and_then(|link| classifier.take_link(link));
        self.programs.push(link.map(Link::Tc).map_err(|error| refuse(&error))?);
        Ok(())
    }
}

/// The programs at tc ingress of the interface, by name or id. `None` if the kernel does not report them: before TCX,
/// or without permission.
#[must_use]
pub fn tc_ingress_programs(interface: &Interface) -> Option<Vec<String>> {
    let (_, programs) = SchedClassifier::query_tcx(&interface.name, TcAttachType::Ingress).ok()?;
    let name = |program: &ProgramInfo| {
        let name = program.name_as_str().filter(|name| !name.is_empty()).unwrap_or("unnamed");
        format!("{name} (id {})", program.id())
    };
    Some(programs.iter().map(name).collect())
}

pub(super) fn refusal(interface: &Interface, mode: &str, error: &(dyn std::error::Error + 'static)) -> CaptureError {
    CaptureError::Attach { interface: interface.name.clone(), mode: mode.to_owned(), reason: chain(error) }
}
